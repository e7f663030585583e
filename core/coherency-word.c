/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "coherency-word.h"
#include "coherency-mutate.h"

bool coh_word_damaged(uint64_t w)
{
	unsigned owner = coh_word_owner(w);
	uint32_t sharers = coh_word_sharers(w);

	/* Version bits beyond the width can only be set by accident. */
	if ((w >> COH_VERSION_SHIFT) & ~COH_VERSION_MASK)
		return true;
	switch (coh_word_state(w)) {
	case COH_FREE:
	case COH_INVALID:
	case COH_SUSPECT:
		return owner || sharers;
	case COH_SHARED:
		return owner || !sharers;
	case COH_PENDING:
		return sharers & 1u << owner;
	case COH_EXCLUSIVE:
	case COH_QUARANTINED:
	case COH_RECOVERING:
		return sharers;
	}
	return true;
}

bool coh_word_wrapped(uint64_t old, uint64_t new_word)
{
	return coh_word_version(new_word) < coh_word_version(old);
}

/* Readers that come and go, one bit at a time: what is left decides between SHARED and INVALID. */
static uint64_t readable(uint32_t sharers, uint32_t version)
{
	return coh_word(sharers ? COH_SHARED : COH_INVALID, 0, sharers, version);
}

static int next_read(uint64_t w, unsigned self, uint64_t *ret)
{
	uint32_t sharers = coh_word_sharers(w), me = 1u << self;
	uint32_t version = coh_word_version(w);
	bool mine = coh_word_owner(w) == self;

	switch (coh_word_state(w)) {
	case COH_FREE:
		return -ENOENT;
	case COH_INVALID:
		*ret = coh_word(COH_SHARED, 0, me, version);
		return 0;
	case COH_SHARED:
		if (sharers & me)
			return COH_HELD;
		*ret = coh_word(COH_SHARED, 0, sharers | me, version);
		return 0;
	case COH_EXCLUSIVE:
		return mine ? COH_HELD : -EAGAIN;
	case COH_PENDING:
		/* Still a reader: what was lent may be used once before it goes. */
		if (sharers & me)
			return COH_HELD;
		/* Handed to us for a writer that has gone meanwhile: take it rather than wait for ourselves. */
		if (!mine || sharers)
			return -EAGAIN;
		*ret = coh_word(COH_EXCLUSIVE, self, 0, version);
		return 0;
	case COH_QUARANTINED:
		return -EHOSTDOWN;
	case COH_SUSPECT:
		return -EUCLEAN;
	case COH_RECOVERING:
		return -EAGAIN;
	}
	return -EUCLEAN;
}

static int next_write(uint64_t w, unsigned self, uint64_t *ret)
{
	uint32_t others = coh_word_sharers(w) & ~(1u << self);
	uint32_t version = coh_word_version(w);
	bool mine = coh_word_owner(w) == self;

	switch (coh_word_state(w)) {
	case COH_FREE:
		return -ENOENT;
	case COH_INVALID:
		*ret = coh_word(COH_EXCLUSIVE, self, 0, version);
		return 0;
	case COH_SHARED:
		*ret = coh_word(others ? COH_PENDING : COH_EXCLUSIVE, self, others, version);
		return 0;
	case COH_EXCLUSIVE:
		return mine ? COH_HELD : -EAGAIN;
	case COH_PENDING:
		if (!mine || others)
			return -EAGAIN;
		*ret = coh_word(COH_EXCLUSIVE, self, 0, version);
		return 0;
	case COH_QUARANTINED:
		return -EHOSTDOWN;
	case COH_SUSPECT:
		return -EUCLEAN;
	case COH_RECOVERING:
		return -EAGAIN;
	}
	return -EUCLEAN;
}

static int next_drop(uint64_t w, unsigned self, uint64_t *ret)
{
	uint32_t sharers = coh_word_sharers(w), me = 1u << self;
	uint32_t version = coh_word_version(w);
	unsigned owner = coh_word_owner(w);

	switch (coh_word_state(w)) {
	case COH_SHARED:
		if (!(sharers & me))
			return -EPERM;
		*ret = readable(sharers & ~me, version);
		return 0;
	case COH_EXCLUSIVE:
		if (owner != self)
			return -EPERM;
		*ret = coh_word(COH_INVALID, 0, 0, version + COH_KEEP(VERSION_DROP));
		return 0;
	case COH_PENDING:
		if (owner == self)
			*ret = readable(sharers, version);
		else if (sharers & me)
			*ret = coh_word(COH_PENDING, owner, sharers & ~me, version);
		else
			return -EPERM;
		return 0;
	default:
		return -EPERM;
	}
}

/* What a host that is no longer alive leaves behind; once it is FENCED it cannot write any more. */
static int next_dead(uint64_t w, unsigned peer, bool fenced, uint64_t *ret)
{
	uint32_t sharers = coh_word_sharers(w), its = 1u << peer;
	uint32_t version = coh_word_version(w);
	unsigned owner = coh_word_owner(w);

	switch (coh_word_state(w)) {
	case COH_SHARED:
		if (!(sharers & its))
			return COH_HELD;
		*ret = readable(sharers & ~its, version);
		return 0;
	case COH_PENDING:
		if (owner == peer)
			*ret = readable(sharers, version);
		else if (sharers & its)
			*ret = coh_word(COH_PENDING, owner, sharers & ~its, version);
		else
			return COH_HELD;
		return 0;
	case COH_EXCLUSIVE:
	case COH_RECOVERING: /* a repairer writes too */
		if (owner != peer)
			return COH_HELD;
		*ret = fenced ? coh_word(COH_SUSPECT, 0, 0, version)
			      : coh_word(COH_QUARANTINED, peer, 0, version);
		return 0;
	case COH_QUARANTINED:
		if (owner != peer || !fenced)
			return COH_HELD;
		*ret = coh_word(COH_SUSPECT, 0, 0, version);
		return 0;
	default:
		return COH_HELD;
	}
}

static int next_surrender(uint64_t w, unsigned self, bool torn, uint64_t *ret)
{
	enum coh_state state = coh_word_state(w);
	uint32_t version = coh_word_version(w);

	if (coh_word_owner(w) != self)
		return -EPERM;
	if (state != COH_QUARANTINED && state != COH_EXCLUSIVE &&
	    !(torn && state == COH_RECOVERING))
		return -EPERM;
	*ret = torn ? coh_word(COH_SUSPECT, 0, 0, version)
		    : coh_word(COH_INVALID, 0, 0, version + COH_KEEP(VERSION_SURRENDER));
	return 0;
}

static int next_recover(uint64_t w, unsigned self, uint64_t *ret)
{
	switch (coh_word_state(w)) {
	case COH_SUSPECT:
		*ret = coh_word(COH_RECOVERING, self, 0, coh_word_version(w));
		return 0;
	case COH_RECOVERING:
		return coh_word_owner(w) == self ? COH_HELD : -EAGAIN;
	case COH_QUARANTINED:
		return -EHOSTDOWN;
	default:
		return -EEXIST;
	}
}

int coh_next(enum coh_op op, uint64_t old, unsigned self, unsigned peer, uint64_t *ret_new)
{
	uint32_t version = coh_word_version(old);
	enum coh_state state = coh_word_state(old);
	bool exclusive = state == COH_EXCLUSIVE && coh_word_owner(old) == self;
	bool recovering = state == COH_RECOVERING && coh_word_owner(old) == self;

	if (self >= COH_HOSTS || peer >= COH_HOSTS || (unsigned)op >= COH_OPS)
		return -EINVAL;
	if (op == COH_OP_CONDEMN) {
		if (!coh_word_damaged(old))
			return -EEXIST;
		*ret_new = coh_word(COH_SUSPECT, 0, 0, version);
		return 0;
	}
	if (coh_word_damaged(old))
		return -EUCLEAN;

	switch (op) {
	case COH_OP_CLAIM:
		if (state != COH_FREE)
			return -EEXIST;
		*ret_new = coh_word(COH_EXCLUSIVE, self, 0, version);
		return 0;
	case COH_OP_READ:
		return next_read(old, self, ret_new);
	case COH_OP_WRITE:
		return next_write(old, self, ret_new);
	case COH_OP_DROP:
		return next_drop(old, self, ret_new);
	case COH_OP_DOWNGRADE:
		if (!exclusive)
			return -EPERM;
		*ret_new =
			coh_word(COH_SHARED, 0, 1u << self, version + COH_KEEP(VERSION_DOWNGRADE));
		return 0;
	case COH_OP_LEND:
		if (!exclusive)
			return -EPERM;
		*ret_new = coh_word(COH_SHARED, 0, 1u << self | 1u << peer,
				    version + COH_KEEP(VERSION_LEND));
		return 0;
	case COH_OP_HAND:
		if (!exclusive)
			return -EPERM;
		*ret_new = coh_word(COH_PENDING, peer, 0, version + COH_KEEP(VERSION_HAND));
		return 0;
	case COH_OP_FREE:
		if (!exclusive && !recovering)
			return -EPERM;
		*ret_new = coh_word(COH_FREE, 0, 0, version);
		return 0;
	case COH_OP_SUSPECTED:
		return next_dead(old, peer, false, ret_new);
	case COH_OP_FENCED:
		return next_dead(old, peer, true, ret_new);
	case COH_OP_SURRENDER:
		return next_surrender(old, self, false, ret_new);
	case COH_OP_SURRENDER_TORN:
		return next_surrender(old, self, true, ret_new);
	case COH_OP_RECOVER:
		return next_recover(old, self, ret_new);
	case COH_OP_RESTORE:
	case COH_OP_ABANDON:
		if (!recovering)
			return -EPERM;
		*ret_new = op == COH_OP_RESTORE ? coh_word(COH_INVALID, 0, 0,
							   version + COH_KEEP(VERSION_RESTORE))
						: coh_word(COH_SUSPECT, 0, 0, version);
		return 0;
	default:
		return -EINVAL;
	}
}

const char *coh_state_name(enum coh_state state)
{
	static const char *const names[] = { "FREE",	"INVALID",     "SHARED",  "EXCLUSIVE",
					     "PENDING", "QUARANTINED", "SUSPECT", "RECOVERING" };

	return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

const char *coh_op_name(enum coh_op op)
{
	static const char *const names[] = {
		"claim",   "read",    "write",	   "drop",    "downgrade", "lend",
		"hand",	   "free",    "suspected", "fenced",  "surrender", "surrender_torn",
		"recover", "restore", "abandon",   "condemn",
	};

	_Static_assert(sizeof(names) / sizeof(names[0]) == COH_OPS, "one name per operation");
	return (unsigned)op < COH_OPS ? names[op] : "?";
}
