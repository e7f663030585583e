/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "job.h"
#include "morsel.h"

struct manager;

/*
 * What a change must reach before it is told to whoever asked for it, so that what was told is still so after
 * the daemon's death at any moment:
 *
 *   create    1. the keeper has the descriptor   2. the registry's file has the record   3. visible, answered
 *   destroy   1. invisible   2. the file has the drop, and what lingers   3. the keeper has let go
 *             4. answered
 *   move      1. the file has the job            2. answered; the job may have begun already
 *   provision 1. the file has the job            2. begun, answered
 *
 * A death between 1 and 2 of a creation leaves a descriptor that nothing claims: the next start drops it.
 * One between 2 and 3 of a destruction leaves the same. Nobody was answered in either case. Where there is no
 * keeper, or it is away, its step is left out (doctor says so); where there is no state directory, the
 * file's. Objects of a lasting storage need no keeper: theirs are left out, and what nothing claims is found in
 * the storage itself.
 *
 * done is called once, perhaps from within. Event loop's thread.
 */
typedef void (*persist_done_t)(int r, void *userdata);

/* m has its object, its id and its number (registry_number()), and is not published yet. On failure (-ENOSPC
 * and others that writing gives) nothing is left of it anywhere but in the registry. */
void persist_create(struct manager *manager, struct morsel *m, persist_done_t done, void *userdata);
/* Its rights, its records or something else of it have changed. done may be NULL; r is always 0: what cannot
 * be written now is written later. */
void persist_update(struct manager *manager, struct morsel *m, persist_done_t done, void *userdata);
/* It was taken out of the registry. r is always 0: what cannot be written now is written later. */
void persist_destroy(struct manager *manager, struct morsel *m, persist_done_t done,
		     void *userdata);
/* Of a destroyed one: its memory is free. userdata: the manager. */
void persist_gone(sd_id128_t id, void *userdata);
void persist_job_begin(struct job *job, persist_done_t done, void *userdata);
void persist_job_end(struct job *job);
/* The daemon is ending, and the job has ended before it was done. */
void persist_job_interrupted(struct job *job);
