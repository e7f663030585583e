/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_COHERENCY_MUTATE_H
#define MORSEL_CORE_COHERENCY_MUTATE_H

/*
 * The test hook that takes one step of the protocol away: each flush, fence, invalidate, barrier, version
 * bump and check that safety rests on is written as COH_KEEP(NAME) in the code, which is always true there.
 * Compiled with -DMORSEL_COH_MUTATE (only tests/coherency does), it is false for the one step that
 * coh_mutation names, and the simulator must notice. Adding a step to the protocol means adding it here.
 */
#define COH_MUTATIONS(X)                                                                        \
	X(PREPARE_FENCE_BEFORE, "prepare: fence between the word and the invalidates")          \
	X(PREPARE_INVALIDATE, "prepare: invalidate of the blocks")                              \
	X(PREPARE_FENCE_AFTER, "prepare: fence after the invalidates")                          \
	X(PREPARE_ORDER, "prepare: valid bits only after the invalidates")                      \
	X(PREPARE_DIRTY, "prepare: dirty bits for write access")                                \
	X(OPEN_CLEAR_VALID, "open: valid bits of an earlier tenure cleared")                    \
	X(CLAIM_FRESH, "claim: nothing kept from before the extent was free")                   \
	X(OPEN_KEPT_VERSION, "open: version compared before valid bits are kept")               \
	X(OPEN_KEPT_ERA, "open: era compared before valid bits are kept")                       \
	X(CLOSE_FLUSH, "give up: write-back and invalidate of dirty blocks")                    \
	X(CLOSE_FENCE_BEFORE, "give up: fence between the last hold and the write-back")        \
	X(CLOSE_FENCE, "give up: fence after the write-back")                                   \
	X(CLOSE_KEPT, "give up: nothing kept of a tenure that was never opened")                \
	X(LEND_WRITE_BACK, "downgrade: write-back of dirty blocks")                             \
	X(LEND_FENCE_BEFORE, "downgrade: fence between the last write hold and the write-back") \
	X(LEND_FENCE, "downgrade: fence after the write-back")                                  \
	X(LEND_GATE, "downgrade: write holds shut out before the write-back")                   \
	X(HOLD_BARRIER, "acquire: barrier between hold and gate")                               \
	X(HOLD_GATE, "acquire: gate checked")                                                   \
	X(HOLD_TAG, "acquire: tag of the object compared")                                      \
	X(HOLD_VALID, "acquire: valid bits checked")                                            \
	X(HOLD_DIRTY, "acquire: dirty bits checked for write access")                           \
	X(HOLD_BACK_BARRIER, "acquire: barrier after a hold that was taken back")               \
	X(WANT_BARRIER, "want: barrier between the wish and the call")                          \
	X(REVOKE_BARRIER, "revoke: barrier between flag and scan")                              \
	X(REVOKE_SCAN, "revoke: hold pages scanned")                                            \
	X(RELEASE_ALIVE, "release: own host still alive")                                       \
	X(RELEASE_BARRIER, "release: barrier between hold and revoke flag")                     \
	X(VERSION_DROP, "version: bump in drop")                                                \
	X(VERSION_DOWNGRADE, "version: bump in downgrade")                                      \
	X(VERSION_LEND, "version: bump in lend")                                                \
	X(VERSION_HAND, "version: bump in hand")                                                \
	X(VERSION_SURRENDER, "version: bump in surrender")                                      \
	X(VERSION_RESTORE, "version: bump in restore")                                          \
	X(ERA, "version: era advanced when the version wraps")                                  \
	X(TAG, "fetch: tag of the object compared")                                             \
	X(FREE_FLUSH, "free: dirty blocks flushed before the extent is free")                   \
	X(DEAD_CHECK, "clean: only a host that is suspected or fenced")                         \
	X(FENCED_CHECK, "recover: only after the external fence")                               \
	X(FENCED_INCARNATION, "fence: of the incarnation that was meant")                       \
	X(JOIN_BARRIER, "join: barrier between the own id and the others'")                     \
	X(SCRUB, "slot: every word scrubbed before reuse")                                      \
	X(SCRUB_GRACE, "slot: grace period before the scrub")                                   \
	X(REUSE_GRACE, "slot: grace period before the reuse")                                   \
	X(SURRENDER_FLUSH, "surrender: write-back of dirty blocks")                             \
	X(SURRENDER_FENCE_BEFORE,                                                               \
	  "surrender: fence between the stop of the clients and the write-back")                \
	X(SURRENDER_FENCE, "surrender: fence after the write-back")                             \
	X(SURRENDER_TORN, "surrender: extents with a writer inside made suspect")               \
	X(RECOVER_FENCE_BEFORE, "repair: fence between the word and the invalidates")           \
	X(RECOVER_INVALIDATE, "repair: invalidate before it reads")                             \
	X(RECOVER_FENCE_AFTER, "repair: fence after the invalidates")                           \
	X(RESTORE_FENCE_BEFORE, "repair: fence between the last repairer and the write-back")   \
	X(RESTORE_FLUSH, "repair: write-back at its end")                                       \
	X(RESTORE_FENCE, "repair: fence after the write-back")                                  \
	X(REPAIR_REFUSED, "repair: not over when its end is refused")                           \
	X(REPAIR_FREE_FLUSH, "repair: write-back before the extent is free")                    \
	X(ORDER, "wait: only for extents above those held")                                     \
	X(UPGRADE_CROSSED, "upgrade: refused while another host upgrades")                      \
	X(NOTIFY, "mailbox: notify bit set after the message")                                  \
	X(NOTIFY_ARM, "mailbox: no sleep over a message")

enum coh_mutation {
	COH_MUT_NONE,
#define X(name, what) COH_MUT_##name,
	COH_MUTATIONS(X)
#undef X
	COH_MUT_COUNT
};

#ifdef MORSEL_COH_MUTATE
extern enum coh_mutation coh_mutation;
#define COH_KEEP(name) (coh_mutation != COH_MUT_##name)
#else
#define COH_KEEP(name) true
#endif

#endif
