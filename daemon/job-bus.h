/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "job.h"

struct call;
struct connection;

int job_bus_attach(struct connection *c);
/* On a bus: properties are answered only when it is known who asks, which sd-bus's own way of getting
 * properties cannot wait for. */
int job_bus_filter(struct connection *c);
void job_bus_path(uint32_t job, char path[static 64]);
/* Answers the call with job's path as soon as the registry's file has it (jobs_begin()), or with NoSpace. */
int job_bus_begin(struct call *call, struct job *job);
/* An element of ListJobs: a{sv}. */
int job_bus_append(sd_bus_message *m, const struct job *job);
/* To the connection that started it, if it is still there. */
void job_bus_tell_changed(struct job *job);
void job_bus_tell_removed(struct job *job);
void job_bus_answer_wait(struct job *job, sd_bus_message *call);
