/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "quota.h"

/*
 * Destroyed morsels that somebody still holds. The name is free, but the memory is not before the last
 * descriptor is closed and the last mapping gone; until then it stays charged, as a file that was
 * removed while open does. Else a client could own more than its quota by destroying what it has mapped.
 *
 * The kernel tells (inotify, IN_DELETE_SELF: a memfd has no name, so its inode goes with its last
 * file). The watch does not keep the memory. Event loop's thread only.
 */
struct linger;

int linger_new(sd_event *event, struct linger **ret_linger);
/* What lingers is uncharged. Takes NULL, returns NULL. */
struct linger *linger_free(struct linger *l);

/*
 * fd: a descriptor of the object; the caller closes it and all others of the daemon's soon. The charges of
 * one morsel and of its bytes on account are then the linger's. On failure (-ENOSPC: out of inotify
 * watches) they stay the caller's.
 */
int linger_add(struct linger *l, int fd, struct quota_account *account, uint64_t bytes);
/* Look now, rather than when the loop comes to it. */
void linger_look(struct linger *l);
unsigned int linger_count(const struct linger *l);
