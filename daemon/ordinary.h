/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct manager;

/*
 * Places the ordinary memory of processes whose cgroup has ManageOrdinary=yes: rounds on a worker of its own (ordinary-round.h),
 * while some policy wants it. Event loop's thread only.
 */
struct ordinary;

struct ordinary *ordinary_new(struct manager *manager);
void ordinary_stop(struct ordinary *o);		    /* no more rounds; takes NULL */
struct ordinary *ordinary_free(struct ordinary *o); /* waits for one; takes NULL, returns NULL */
/* Policies have changed. */
void ordinary_wake(struct ordinary *o);

/* Are there moves of it that the bandwidth is to be shared with? */
bool ordinary_is_active(const struct ordinary *o);

/* Of one cgroup, as the last round found it, and what was moved since the start. */
struct ordinary_cgroup {
	unsigned int processes;
	GHashTable *bytes;  /* tier's interned name → uint64_t * */
	uint64_t up, down;  /* bytes moved to tiers that answer sooner, and to others */
	uint64_t last_usec; /* of that round, real-time clock */
};
/* NULL: it has no managed processes. Borrowed until the next turn of the loop; o may be NULL. */
const struct ordinary_cgroup *ordinary_cgroup(const struct ordinary *o, const char *cgroup);

struct ordinary_status {
	bool wanted, peer;
	char *trouble; /* why it is left alone, or NULL; owned */
	unsigned int processes, more, left_out, cgroups;
	uint64_t rounds, up, down;
};
void ordinary_status(const struct ordinary *o, struct ordinary_status *ret_status);
void ordinary_status_done(struct ordinary_status *s);
