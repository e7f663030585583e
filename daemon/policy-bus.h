/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "gate.h"

/* The methods of Manager that are about policies of cgroups: see org.parperos.Morsel1.xml. */
int list_policies_call(struct call *call, sd_bus_error *error);
int show_policy_call(struct call *call, sd_bus_error *error);
int set_policy_call(struct call *call, sd_bus_error *error);
int unset_policy_call(struct call *call, sd_bus_error *error);

/* A path as configuration would take it, else InvalidArgument. */
int policy_bus_check_cgroup(const char *cgroup, sd_bus_error *error);
/* What is to be known of a cgroup's policy now: of char *, for the caller to free. */
GPtrArray *policy_bus_warnings(const struct manager *m, const char *cgroup);
/* "as", from warnings. */
int policy_bus_append_strings(sd_bus_message *m, const GPtrArray *strings);
