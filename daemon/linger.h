/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>

#include "quota.h"
#include "storage.h"

/*
 * Destroyed morsels that somebody still holds. The name is free, but the memory is not before the last
 * descriptor is closed and the last mapping gone; until then it stays charged, as a file that was
 * removed while open does. Else a client could own more than its quota by destroying what it has mapped.
 *
 * The kernel tells (inotify, IN_DELETE_SELF: a memfd has no name, so its inode goes with its last
 * file). The watch does not keep the memory. Objects of a lasting storage have no such inode: they are asked,
 * once a second while there are any. Event loop's thread only.
 *
 * All watches are in one inotify instance, whose descriptor the keeper has as well: they go on while there is no
 * daemon, and the next one asks the instance what has gone meanwhile. Whose memory it is, is in the registry's
 * file.
 */
struct linger;

/* Of the instance, among the keeper's descriptors. */
#define LINGER_KEPT_ID SD_ID128_MAKE(d4, 28, bc, db, 50, 93, 42, f4, 8b, dc, dd, eb, fe, d1, 24, c2)

/* The memory of one that was added with an id is free. */
typedef void (*linger_gone_t)(sd_id128_t id, void *userdata);

int linger_new(sd_event *event, linger_gone_t gone, void *userdata, struct linger **ret_linger);
/* What lingers is uncharged. Takes NULL, returns NULL. */
struct linger *linger_free(struct linger *l);

int linger_descriptor(const struct linger *l); /* borrowed */

/*
 * fd: a descriptor of the object; the caller closes it and all others of the daemon's soon. The charges of
 * one morsel and of its bytes on account are then the linger's. On failure (-ENOSPC: out of inotify
 * watches) they stay the caller's. id: SD_ID128_NULL where nobody is to be told. *ret_watch: for
 * linger_restore().
 */
int linger_add(struct linger *l, int fd, struct quota_account *account, uint64_t bytes,
	       sd_id128_t id, int *ret_watch);

/* The same for a destroyed object of a lasting storage, which is taken over and freed when it has gone. */
void linger_add_object(struct linger *l, struct storage *storage, struct storage_object *object,
		       struct quota_account *account, uint64_t bytes, sd_id128_t id);

/*
 * At the start, before the first linger_add(): the instance of the daemon before this one (taken over, on failure
 * too; -EINVAL: it is none), then what was watched in it, each charged already. linger_check() at last lets go
 * of what is not watched any more: all of it, where there is no such instance.
 */
int linger_adopt(struct linger *l, int fd);
void linger_restore(struct linger *l, int watch, struct quota_account *account, uint64_t bytes,
		    sd_id128_t id);
void linger_check(struct linger *l);

/* Look now, rather than when the loop comes to it. */
void linger_look(struct linger *l);
unsigned int linger_count(const struct linger *l);
