/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>

/*
 * morseld's end of the keeper (keeper-main.c), which holds a second descriptor of every morsel. What was
 * put lives on when morseld ends; keeper_fetch() gets it back in its next life. Where there is no
 * keeper, or it is away, everything goes on, and keeper_state() says so; when it comes back it is handed
 * everything again.
 *
 * Event loop's thread; nothing blocks, except keeper_fetch().
 */
struct keeper;

enum keeper_state {
	KEEPER_NONE,	/* there is to be none */
	KEEPER_AWAY,	/* not connected; tried again by itself */
	KEEPER_FILLING, /* being handed everything */
	KEEPER_COMPLETE,
	KEEPER_FULL, /* its RLIMIT_NOFILE is too low: it holds some */
};

/* path: its socket, NULL for none. */
struct keeper *keeper_new(sd_event *event, const char *path);
/* The end is near: send what can be sent now, and let go those who wait for more than that. */
void keeper_flush(struct keeper *k);
/* Sends what it can and leaves the keeper what it has. Takes NULL, returns NULL. */
struct keeper *keeper_free(struct keeper *k);

/* What the keeper gave back: frees the descriptors that nobody took. */
struct kept {
	sd_id128_t id;
	int fd; /* -1: taken */
};
/*
 * At the start, before all else: connects and gets back all that is held. *ret_kept: of struct kept, a set
 * keyed by id. 0 also where there is no keeper, then it is empty. At most room descriptors: -EMFILE.
 * -ETIMEDOUT: it does not answer. Blocks, a few seconds at most.
 */
int keeper_fetch(struct keeper *k, unsigned int room, GHashTable **ret_kept, char **ret_text);
struct kept *kept_find(GHashTable *kept, sd_id128_t id);
/* What was fetched is used: fd is borrowed until keeper_drop(). */
void keeper_adopted(struct keeper *k, sd_id128_t id, int fd);
/* Everything that was kept is adopted or to be dropped: from now on it works as told above. */
void keeper_start(struct keeper *k);

/*
 * Put a descriptor; it is borrowed until keeper_drop(). done is called once: kept, as soon as the
 * keeper is certain to get it, whatever becomes of this process; !kept when there is no (complete) keeper
 * now. It may be called from within.
 */
typedef void (*keeper_done_t)(bool kept, void *userdata);
void keeper_put(struct keeper *k, sd_id128_t id, int fd, keeper_done_t done, void *userdata);
/* Forget one. done (may be NULL): the keeper has closed its descriptor, or there is no keeper; so whoever
 * closes the last one then is not the keeper, which has more to do. */
void keeper_drop(struct keeper *k, sd_id128_t id, void (*done)(void *userdata), void *userdata);

enum keeper_state keeper_state(const struct keeper *k);
const char *keeper_path(const struct keeper *k); /* NULL: none */
/* Why it is away or full; "" else. */
const char *keeper_trouble(const struct keeper *k);
bool keeper_holds(const struct keeper *k, sd_id128_t id);
unsigned int keeper_held(const struct keeper *k); /* descriptors that it has of ours */
