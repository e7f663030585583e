/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ebpf/placement-policy.h"

/*
 * Keeps a placement program (docs/ebpf.md) registered while there is something for it to say, and its map of policies true.
 * Registering is the work of morsel-helper's second service; the program is there as long as our connection to it. All that
 * blocks is on a thread of its own.
 */
struct placer;

enum placer_state {
	PLACER_IDLE,	 /* no policy names tiers, and the operator has no program of his own */
	PLACER_TRYING,	 /* not known yet */
	PLACER_ATTACHED, /* text: which program */
	PLACER_OTHER,	 /* another one is registered, and left alone */
	PLACER_ABSENT,	 /* nobody to register it */
	PLACER_FAILED,	 /* text */
};

/* socket_path: copied. root_fd: where the operator's program is looked for; borrowed. */
struct placer *placer_new(int root_fd, const char *socket_path);
/* The program is registered no more when this returns. Takes NULL, returns NULL. */
struct placer *placer_free(struct placer *p);

/* What holds for an account's objects from now on; no tiers: nothing. Any thread, under any lock; does not block. */
void placer_set(struct placer *p, uint64_t account, const struct morsel_policy *policy);
/* The configuration was read again. */
void placer_wake(struct placer *p);

struct placer_status {
	enum placer_state state;
	unsigned int policies; /* accounts that have one */
	bool sent;	       /* the program's map has them all as they are now */
	char *text;	       /* never NULL; owned */
};
/* Any thread. */
void placer_status(struct placer *p, struct placer_status *ret_status);
