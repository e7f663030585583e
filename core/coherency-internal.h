/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_COHERENCY_INTERNAL_H
#define MORSEL_CORE_COHERENCY_INTERNAL_H

#include "coherency.h"
#include "coherency-mutate.h"

/* Between the files of core/coherency only. */

/* Advances a shared counter; returns its new value. */
uint64_t coh_count_up(struct coh_host *h, uint64_t *counter);

/* Load, transition, compare-and-swap until it is done or refused. *ret_word: the word after it (or found). */
int coh_apply(struct coh_host *h, uint32_t e, enum coh_op op, unsigned peer, uint64_t *ret_word);

/* Puts a message into HOST's mailbox. -ENOBUFS: full. */
int coh_send(struct coh_host *h, unsigned to, enum coh_msg msg, uint32_t e);

/* Shuts the gate of E for FLAG's holds and looks for such holds. -EBUSY: there are some. */
int coh_revoke(struct coh_host *h, uint32_t e, uint64_t flag);

/* Flushes the blocks in MASK of E; not fenced. */
void coh_write_back_blocks(struct coh_host *h, uint32_t e, uint64_t mask);
void coh_invalidate_blocks(struct coh_host *h, uint32_t e, uint64_t mask);

/* Any write hold on E in the clients' pages? */
bool coh_held_for_writing(struct coh_host *h, uint32_t e);

#endif
