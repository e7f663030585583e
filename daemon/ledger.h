/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "ledger-file.h"

/*
 * The state that outlives the daemon, in two files of the state directory, "registry" and "registry.copy"
 * (ledger-file.h). Changes are written in groups by a worker: a change's done is called when it is in both
 * files as far as this process is concerned, that is, whatever becomes of the process. They are forced to
 * the disk (fdatasync) within LEDGER_SYNC_USEC after that: it is the machine that would have to fail in
 * between, and with it goes the memory that the change is about; all that a later start could tell of it is
 * that it is lost.
 *
 * When nothing can be written (the disk is full) a change that somebody waits for fails and leaves nothing
 * behind; one that has happened already (a drop, or a put that nobody waits for) is remembered and written
 * when it can be. ledger_trouble() says so.
 *
 * Event loop's thread.
 */
#define LEDGER_SYNC_USEC 200000
/* After a failure, the next try. */
#define LEDGER_RETRY_USEC 5000000
/* The log is written anew as a base when it is longer than the base was, and this. */
#define LEDGER_LOG_BYTES (1 << 20)

struct ledger;

/*
 * Reads what there is. dir_fd: borrowed. Two files that do not say the same, or a damaged one, are told in
 * the journal; the better one counts. -EPROTONOSUPPORT, or what reading gave: *ret_text names the file.
 */
int ledger_open(sd_event *event, int dir_fd, struct ledger **ret_ledger, char **ret_text);
/* Writes everything that is not yet. Takes NULL, returns NULL. */
struct ledger *ledger_free(struct ledger *l);

/* What was read; not after the first change. */
const struct ledger_image *ledger_image(const struct ledger *l);
/* Was some of it damaged, so that changes before the daemon's end may be missing? */
bool ledger_doubtful(const struct ledger *l);
/* Was it written before the machine was last started? */
bool ledger_rebooted(const struct ledger *l);

typedef void (*ledger_done_t)(int r, void *userdata);
/* body is taken over. done: -ENOSPC and others, and then nothing is left of it. */
void ledger_put(struct ledger *l, enum ledger_kind kind, sd_id128_t id, GBytes *body,
		ledger_done_t done, void *userdata);
/* Of what has happened already, though somebody waits. done (may be NULL) is always given 0: see above. */
void ledger_update(struct ledger *l, enum ledger_kind kind, sd_id128_t id, GBytes *body,
		   ledger_done_t done, void *userdata);
/* The same of a drop. */
void ledger_drop(struct ledger *l, enum ledger_kind kind, sd_id128_t id, ledger_done_t done,
		 void *userdata);

const char *ledger_trouble(const struct ledger *l); /* "": all is written */
