/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

/*
 * One call for a burst of events: when quiet_usec passed since the last poke, at the latest max_usec
 * after the first. So a storm that never pauses cannot put the call off for ever.
 * Belongs to the event loop's thread.
 */
struct settle;

typedef void (*settle_call_t)(void *userdata);

int settle_new(sd_event *event, uint64_t quiet_usec, uint64_t max_usec, settle_call_t call,
	       void *userdata, struct settle **ret_settle);
struct settle *
settle_free(struct settle *s); /* takes NULL, returns NULL; a pending call is dropped */
int settle_poke(struct settle *s);
