/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/*
 * What would block the event loop runs on the threads of a pool, and its end comes back to the loop.
 * Owners (uids) take turns: one that hands in a thousand pieces of work delays another's first by
 * one piece, not by a thousand.
 *
 * Everything here is called on the event loop's thread; only work->run runs elsewhere.
 */
struct worker_pool;

/* Embedded in what the work needs; belongs to the pool between submit and done. */
struct work {
	void (*run)(struct work *w); /* on a worker: may block */
	/* On the loop, exactly once. ran: false when the pool was freed before its turn came. */
	void (*done)(struct work *w, bool ran);
	uint32_t owner;
	GList link; /* the pool's */
};

/* threads: most at once, 1 or more; they are started when there is work for them and then stay.
 * name: of the threads, at most 15 bytes. */
int worker_pool_new(sd_event *event, const char *name, unsigned int threads,
		    struct worker_pool **ret_pool);
/* Waits for what runs (make it stop before), then calls done of everything left. Takes NULL, returns
 * NULL. */
struct worker_pool *worker_pool_free(struct worker_pool *pool);

/* run, done and owner must be set. Cannot fail: where no thread can be started the first time, the
 * work runs when one can be. */
void worker_pool_submit(struct worker_pool *pool, struct work *w);

/* At most so many pieces of one owner's work run at once (default: as many as there are threads), so that
 * one owner's long pieces do not take all threads. With 1 an owner's pieces run in the order that they
 * were handed in. Before the first piece of work. */
void worker_pool_set_share(struct worker_pool *pool, unsigned int n);
void worker_pool_set_threads(struct worker_pool *pool,
			     unsigned int threads); /* takes effect upwards */
unsigned int worker_pool_waiting(struct worker_pool *pool);
