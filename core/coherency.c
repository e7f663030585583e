/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "coherency-internal.h"

/* The daemon's side of the directory: fetch, prepare, serve, and what else moves an extent. */

/* kept: bit 0 present, 24 bits of version, 39 of era. */
#define KEPT_PRESENT 1ull

static uint64_t kept_word(uint32_t version, uint64_t era)
{
	return KEPT_PRESENT | (uint64_t)version << 1 | era << 25;
}

int coh_apply(struct coh_host *h, uint32_t e, enum coh_op op, unsigned peer, uint64_t *ret_word)
{
	uint64_t *word = &h->pool->lines[e].word;
	uint64_t w = morsel_mem_load(h->mem, word), n;

	for (;;) {
		int r = coh_next(op, w, h->slot, peer, &n);

		if (r == 0) {
			/*
			 * The era advances before a wrapped version can be seen: whoever meets the version that
			 * it remembers, after a wrap, also meets another era. Once too often does no harm.
			 */
			if (coh_word_wrapped(w, n) && COH_KEEP(ERA))
				coh_count_up(h, &h->pool->header->era);
			/*
			 * cas is a full barrier: what this host stored under the old word is out before, what it
			 * does under the new one comes after. Flushes are fenced by whoever needs them.
			 */
			if (!morsel_mem_cas(h->mem, word, &w, n))
				continue;
			w = n;
		}
		*ret_word = w;
		return r;
	}
}

/* ---- tenures --------------------------------------------------------------------------------------- */

static enum coh_mode gate_mode(uint64_t gate)
{
	return (enum coh_mode)(gate & COH_GATE_MODE);
}

/* This host holds E as W says: let clients in. */
static void open_gate(struct coh_host *h, uint32_t e, uint64_t tag, uint64_t w, bool fresh)
{
	struct coh_local *l = &h->local[e];
	enum coh_mode mode = coh_word_state(w) == COH_EXCLUSIVE ? COH_W : COH_R;
	uint64_t gate = morsel_mem_load(h->mem, &l->gate);

	if (gate_mode(gate) == COH_NONE) {
		/*
		 * A new tenure. The caches may hold lines of any age, by prefetch too, so no block is valid; except that
		 * those which were at the end of an earlier tenure still are if nobody has written since.
		 */
		uint64_t kept = l->kept;
		uint64_t now = kept_word(coh_word_version(w),
					 morsel_mem_load(h->mem, &h->pool->header->era));
		uint64_t ignore = KEPT_PRESENT;

		if (fresh && COH_KEEP(CLAIM_FRESH))
			kept = 0;
		ignore |= COH_KEEP(OPEN_KEPT_VERSION) ? 0 : COH_VERSION_MASK << 1;
		ignore |= COH_KEEP(OPEN_KEPT_ERA) ? 0 : ~0ull << 25;
		if ((!(kept & KEPT_PRESENT) || (kept & ~ignore) != (now & ~ignore)) &&
		    COH_KEEP(OPEN_CLEAR_VALID))
			morsel_mem_store(h->mem, &l->valid, 0);
		morsel_mem_store(h->mem, &l->dirty, 0);
		l->kept = 0;
		l->repair = 0;
	} else if (gate_mode(gate) >= mode) {
		return;
	}
	/* Release: a client that sees the gate open sees the bits of this tenure. */
	morsel_mem_store(h->mem, &l->gate, (uint64_t)mode | tag << COH_GATE_TAG_SHIFT);
}

void coh_write_back_blocks(struct coh_host *h, uint32_t e, uint64_t mask)
{
	for (unsigned b = 0; b < COH_BLOCKS; b++)
		if (mask >> b & 1)
			morsel_mem_write_back(
				h->mem, h->pool->data + e * COH_EXTENT_SIZE + b * COH_BLOCK_SIZE,
				COH_BLOCK_SIZE);
}

void coh_invalidate_blocks(struct coh_host *h, uint32_t e, uint64_t mask)
{
	for (unsigned b = 0; b < COH_BLOCKS; b++)
		if (mask >> b & 1)
			morsel_mem_invalidate(
				h->mem, h->pool->data + e * COH_EXTENT_SIZE + b * COH_BLOCK_SIZE,
				COH_BLOCK_SIZE);
}

/* Would OP be right now? Nobody else can take that away, but for those who suspect this host. */
static int allowed(struct coh_host *h, uint32_t e, enum coh_op op, unsigned peer)
{
	uint64_t n;

	return coh_next(op, morsel_mem_load(h->mem, &h->pool->lines[e].word), h->slot, peer, &n);
}

/*
 * Ends this host's tenure by OP (drop, hand to PEER, free): clients out, dirty lines to memory, and only then
 * the word. A line written back late would overwrite what the next holder writes, so the order is the point.
 */
static int give_up(struct coh_host *h, uint32_t e, enum coh_op op, unsigned peer,
		   uint64_t *ret_word)
{
	struct coh_local *l = &h->local[e];
	bool keep_flush = op == COH_OP_FREE ? COH_KEEP(FREE_FLUSH) : COH_KEEP(CLOSE_FLUSH);
	uint64_t era, w, dirty;
	enum coh_mode mode = gate_mode(morsel_mem_load(h->mem, &l->gate));
	bool opened;
	int r;

	/* Release without acquire: nothing is touched. */
	r = allowed(h, e, op, peer);
	if (r == 0)
		r = coh_revoke(h, e, COH_GATE_REVOKE);
	if (r < 0)
		return r;
	dirty = morsel_mem_load(h->mem, &l->dirty);
	if (dirty) {
		/* A flush may run ahead of the loads that found the holds gone, and so of the clients' last stores. */
		if (COH_KEEP(CLOSE_FENCE_BEFORE))
			morsel_mem_fence(h->mem);
		/* Not CLWB: nothing of this tenure stays behind in the cache. */
		if (keep_flush)
			coh_invalidate_blocks(h, e, dirty);
		/* Flushes are asynchronous, and cas does not wait for them. */
		if (COH_KEEP(CLOSE_FENCE))
			morsel_mem_fence(h->mem);
	}
	/*
	 * While still held: an owner that wraps the version later counts the era up later too, so this value and
	 * the version name the data of this tenure's end without doubt.
	 */
	era = morsel_mem_load(h->mem, &h->pool->header->era);
	if (op == COH_OP_FREE)
		morsel_mem_store(h->mem, &h->pool->lines[e].tag, 0);
	r = coh_apply(h, e, op, peer, &w);
	/* Not held any more after all: whoever took it away cleaned up, and this host is suspected. */
	morsel_mem_store(h->mem, &l->dirty, 0);
	/* Of a tenure that was lent but never opened nothing is known, so nothing is kept. */
	opened = mode != COH_NONE || !COH_KEEP(CLOSE_KEPT);
	l->kept = r == 0 && opened && op != COH_OP_FREE ? kept_word(coh_word_version(w), era) : 0;
	morsel_mem_store(h->mem, &l->gate, 0);
	if (ret_word)
		*ret_word = w;
	return r;
}

/* Gives the write right up and keeps reading, alone or together with PEER (OP lend). */
static int demote(struct coh_host *h, uint32_t e, enum coh_op op, unsigned peer)
{
	struct coh_local *l = &h->local[e];
	uint64_t w, gate, dirty;
	int r = allowed(h, e, op, peer);

	if (r == 0 && COH_KEEP(LEND_GATE))
		r = coh_revoke(h, e, COH_GATE_DEMOTE);
	if (r < 0)
		return r;
	dirty = morsel_mem_load(h->mem, &l->dirty);
	if (dirty) {
		if (COH_KEEP(LEND_FENCE_BEFORE)) /* as in give_up() */
			morsel_mem_fence(h->mem);
		/* CLWB is enough: the lines stay valid here, and clean ones are never written back. */
		if (COH_KEEP(LEND_WRITE_BACK))
			coh_write_back_blocks(h, e, dirty);
		if (COH_KEEP(LEND_FENCE))
			morsel_mem_fence(h->mem);
	}
	r = coh_apply(h, e, op, peer, &w);
	gate = morsel_mem_load(h->mem, &l->gate);
	morsel_mem_store(h->mem, &l->dirty, 0);
	/* Refused: suspected and cleaned meanwhile. Nothing is held then. */
	if (r < 0 || gate_mode(gate) == COH_NONE)
		morsel_mem_store(h->mem, &l->gate, 0);
	else
		morsel_mem_store(h->mem, &l->gate,
				 (gate >> COH_GATE_TAG_SHIFT << COH_GATE_TAG_SHIFT) | COH_R);
	return r;
}

/* ---- asking others --------------------------------------------------------------------------------- */

#define RACED 2 /* the word has changed: look again */

/*
 * PEER stands in the way of E, whose word was W: ask it, or clean up after it if it is not alive.
 */
static int ask_one(struct coh_host *h, uint32_t e, uint64_t w, unsigned peer, enum coh_msg msg)
{
	int r;

	switch (coh_host_word_state(coh_host_state(h, peer))) {
	case COH_HOST_ALIVE:
		return coh_send(h, peer, msg, e);
	case COH_HOST_SUSPECTED:
	case COH_HOST_FENCED:
		r = coh_clean(h, e, peer);
		return r < 0 && r != -EBUSY ? r : RACED;
	default:
		/*
		 * A slot that nobody uses was scrubbed from every word before. If the word still names it after
		 * that was seen, no host wrote it.
		 */
		return morsel_mem_load(h->mem, &h->pool->lines[e].word) == w ? -EUCLEAN : RACED;
	}
}

static int ask(struct coh_host *h, uint32_t e, uint64_t w, enum coh_mode mode)
{
	unsigned owner = coh_word_owner(w);
	uint32_t sharers = coh_word_sharers(w);
	int r, result = -EAGAIN;

	if (owner != h->slot) {
		r = ask_one(h, e, w, owner, mode == COH_W ? COH_MSG_WRITE : COH_MSG_READ);
		return r ? r : -EAGAIN;
	}
	if (coh_word_state(w) != COH_PENDING)
		return -EAGAIN;
	for (unsigned s = 0; s < COH_HOSTS; s++) {
		if (!(sharers >> s & 1))
			continue;
		r = ask_one(h, e, w, s, COH_MSG_WRITE);
		if (r == -ENOBUFS)
			result = r;
		else if (r)
			return r;
	}
	return result;
}

/* Another host waits for this one's readers: a reader here must not wait for that host's. */
static bool crossed(struct coh_host *h, uint64_t w)
{
	return COH_KEEP(UPGRADE_CROSSED) && coh_word_state(w) == COH_PENDING &&
	       coh_word_owner(w) != h->slot;
}

int coh_fetch(struct coh_host *h, uint32_t e, uint64_t tag, enum coh_mode mode, bool upgrade)
{
	enum coh_op op = mode == COH_W ? COH_OP_WRITE : COH_OP_READ;
	struct coh_line *line;
	uint64_t w, gate;
	int r, asked;

	if (mode != COH_R && mode != COH_W)
		return -EINVAL;
	if (e >= h->pool->extents)
		return -ERANGE;
	line = &h->pool->lines[e];
	do {
		if (!coh_alive(h))
			return -ESTALE;
		/*
		 * Others wait for this host's clients: they go first, or a busy host would starve them. But a client that
		 * reads and wants to write what this host may write is itself what they wait for.
		 */
		gate = morsel_mem_load(h->mem, &h->local[e].gate);
		if ((gate & COH_GATE_REVOKE || (mode == COH_W && gate & COH_GATE_DEMOTE)) &&
		    !(upgrade && gate_mode(gate) == COH_W)) {
			w = morsel_mem_load(h->mem, &line->word);
			if (upgrade && crossed(h, w))
				return -EDEADLK;
			return -EAGAIN;
		}
		asked = 0;
		r = coh_apply(h, e, op, 0, &w);
		if (r == -EAGAIN || (r == 0 && coh_word_state(w) == COH_PENDING)) {
			/* Two that read and both want to write wait for each other's reading. */
			if (upgrade && crossed(h, w))
				return -EDEADLK;
			asked = ask(h, e, w, mode);
		} else if (r == -EHOSTDOWN) {
			/* Still in quarantine? Not if its owner was fenced in the meantime. */
			asked = ask_one(h, e, w, coh_word_owner(w), COH_MSG_WRITE);
			if (asked == RACED &&
			    coh_host_word_state(coh_host_state(h, coh_word_owner(w))) ==
				    COH_HOST_SUSPECTED)
				asked = -EHOSTDOWN;
		}
	} while (asked == RACED);
	if (asked || r < 0)
		return asked ? asked : r;
	/* The tag changes only in the hands of an exclusive holder, and now that is nobody else. */
	if (COH_KEEP(TAG) && morsel_mem_load(h->mem, &line->tag) != tag) {
		if (r == 0)
			coh_drop(h, e);
		return -ESTALE;
	}
	if (r == 0 && coh_word_state(w) == COH_EXCLUSIVE)
		morsel_mem_store(h->mem, &line->taken, morsel_mem_load(h->mem, &line->taken) + 1);
	open_gate(h, e, tag, w, false);
	return 0;
}

int coh_cancel(struct coh_host *h, uint32_t e)
{
	struct coh_line *line;
	uint64_t w;
	int r;

	if (e >= h->pool->extents)
		return -ERANGE;
	line = &h->pool->lines[e];
	do {
		w = morsel_mem_load(h->mem, &line->word);
		if (coh_word_damaged(w) || coh_word_state(w) != COH_PENDING ||
		    coh_word_owner(w) != h->slot)
			return -EPERM;
		if (gate_mode(morsel_mem_load(h->mem, &h->local[e].gate)) == COH_NONE) {
			r = give_up(h, e, COH_OP_DROP, 0, NULL);
			return r < 0 ? r : coh_serve(h, e);
		}
		/*
		 * Clients here still read, so the word cannot just be dropped. The others are on their way out: take the
		 * right when they are, which leaves the clients alone, and pass it on.
		 */
		if (!coh_word_sharers(w)) {
			r = coh_apply(h, e, COH_OP_WRITE, 0, &w);
			if (r < 0)
				return r;
			open_gate(h, e, morsel_mem_load(h->mem, &line->tag), w, false);
			return coh_serve(h, e);
		}
		r = ask(h, e, w, COH_W);
	} while (r == RACED);
	return r;
}

int coh_prepare(struct coh_host *h, uint32_t e, uint64_t blocks, enum coh_mode mode)
{
	struct coh_local *l;
	uint64_t gate, valid, need;

	if (e >= h->pool->extents)
		return -ERANGE;
	if (!blocks || blocks & ~COH_ALL_BLOCKS || (mode != COH_R && mode != COH_W))
		return -EINVAL;
	l = &h->local[e];
	gate = morsel_mem_load(h->mem, &l->gate);
	if (gate_mode(gate) < mode)
		return -EAGAIN;
	valid = morsel_mem_load(h->mem, &l->valid);
	need = blocks & ~valid;
	if (need) {
		if (!COH_KEEP(PREPARE_ORDER))
			morsel_mem_store(h->mem, &l->valid, valid | need);
		/* An invalidate may run ahead of the load that found the word ours: hold it back. */
		if (COH_KEEP(PREPARE_FENCE_BEFORE))
			morsel_mem_fence(h->mem);
		if (COH_KEEP(PREPARE_INVALIDATE))
			coh_invalidate_blocks(h, e, need);
		/* Until it is complete a load may still hit the old line. */
		if (COH_KEEP(PREPARE_FENCE_AFTER))
			morsel_mem_fence(h->mem);
		morsel_mem_store(h->mem, &l->valid, valid | need);
	}
	if (mode == COH_W && COH_KEEP(PREPARE_DIRTY))
		morsel_mem_store(h->mem, &l->dirty, morsel_mem_load(h->mem, &l->dirty) | blocks);
	return 0;
}

/* ---- answering others ------------------------------------------------------------------------------ */

static void unflag(struct coh_host *h, uint32_t e)
{
	struct coh_local *l = &h->local[e];
	uint64_t gate = morsel_mem_load(h->mem, &l->gate);

	if (gate & (COH_GATE_REVOKE | COH_GATE_DEMOTE))
		morsel_mem_store(h->mem, &l->gate, gate & ~(COH_GATE_REVOKE | COH_GATE_DEMOTE));
}

/* Tells all who asked, but for NOT, to look again. */
static int wake_all(struct coh_host *h, uint32_t e, unsigned not )
{
	struct coh_local *l = &h->local[e];
	uint64_t want = l->want;
	int r, result = 0;

	for (unsigned s = 0; s < COH_HOSTS; s++) {
		uint64_t bits = (1ull << s | 1ull << (s + 32)) & want;

		if (!bits)
			continue;
		r = s == not || s == h->slot ? 0 : coh_send(h, s, COH_MSG_WAKE, e);
		if (r < 0)
			result = r;
		else
			l->want &= ~bits;
	}
	return result;
}

/*
 * The next slot in MASK (not 0) after the one that this host served last: turns go round among all who ask,
 * readers and writers alike, or two that write could keep a reader out for ever.
 */
static unsigned next_turn(const struct coh_local *l, uint32_t mask)
{
	unsigned s = (unsigned)l->turn;

	do
		s = (s + 1) % COH_HOSTS;
	while (!(mask >> s & 1));
	return s;
}

static int serve_exclusive(struct coh_host *h, uint32_t e)
{
	struct coh_local *l = &h->local[e];
	int r;

	while (l->want) {
		uint32_t readers = (uint32_t)l->want, writers = (uint32_t)(l->want >> 32);
		unsigned peer = next_turn(l, readers | writers);

		if (peer == h->slot ||
		    coh_host_word_state(coh_host_state(h, peer)) != COH_HOST_ALIVE) {
			l->want &= ~(1ull << peer | 1ull << (peer + 32));
			continue;
		}
		r = writers >> peer & 1 ? give_up(h, e, COH_OP_HAND, peer, NULL)
					: demote(h, e, COH_OP_LEND, peer);
		if (r < 0)
			return r;
		l->turn = peer;
		/* The others ask again, of whoever has it then. */
		r = coh_send(h, peer, COH_MSG_WAKE, e);
		if (r < 0)
			return r; /* still in want: told as one of all, next time */
		return wake_all(h, e, peer);
	}
	unflag(h, e);
	return 0;
}

int coh_serve(struct coh_host *h, uint32_t e)
{
	struct coh_local *l;
	uint64_t w;
	unsigned owner;
	bool sharer;
	int r;

	if (e >= h->pool->extents)
		return -ERANGE;
	if (!coh_alive(h))
		return -ESTALE;
	l = &h->local[e];
	w = morsel_mem_load(h->mem, &h->pool->lines[e].word);
	if (coh_word_damaged(w))
		return -EUCLEAN;
	owner = coh_word_owner(w);
	sharer = coh_word_sharers(w) >> h->slot & 1;

	switch (coh_word_state(w)) {
	case COH_EXCLUSIVE:
		if (owner == h->slot)
			return serve_exclusive(h, e);
		break;
	case COH_PENDING:
		if (owner == h->slot) {
			/* Their turn comes when ours has been; until then our readers need not go. */
			unflag(h, e);
			return 0;
		}
		if (!sharer)
			break;
		r = give_up(h, e, COH_OP_DROP, 0, NULL);
		if (r < 0)
			return r;
		/* It may be the last that the writer waits for. */
		l->want |= 1ull << (owner + 32);
		break;
	case COH_RECOVERING:
		if (owner == h->slot)
			return 0;
		break;
	case COH_SHARED:
		if (sharer)
			unflag(h, e);
		break;
	default:
		break;
	}
	return wake_all(h, e, h->slot);
}

int coh_drop(struct coh_host *h, uint32_t e)
{
	int r;

	if (e >= h->pool->extents)
		return -ERANGE;
	r = give_up(h, e, COH_OP_DROP, 0, NULL);
	return r < 0 ? r : coh_serve(h, e);
}

int coh_downgrade(struct coh_host *h, uint32_t e)
{
	int r;

	if (e >= h->pool->extents)
		return -ERANGE;
	r = demote(h, e, COH_OP_DOWNGRADE, 0);
	return r < 0 ? r : coh_serve(h, e);
}

/* ---- objects come and go ---------------------------------------------------------------------------- */

int coh_claim(struct coh_host *h, uint32_t e, uint64_t tag)
{
	uint64_t w;
	int r;

	if (e >= h->pool->extents)
		return -ERANGE;
	if (!tag)
		return -EINVAL;
	if (!coh_alive(h))
		return -ESTALE;
	r = coh_apply(h, e, COH_OP_CLAIM, 0, &w);
	if (r < 0)
		return r;
	morsel_mem_store(h->mem, &h->pool->lines[e].tag, tag);
	open_gate(h, e, tag, w, true);
	return 0;
}

/* The repairer used the bytes without a gate: all of them may be in the cache. */
static void flush_repaired(struct coh_host *h, uint32_t e)
{
	/* Other threads may have repaired: a flush could run ahead of the load that says that they are done. */
	if (COH_KEEP(RESTORE_FENCE_BEFORE))
		morsel_mem_fence(h->mem);
	if (COH_KEEP(RESTORE_FLUSH))
		coh_invalidate_blocks(h, e, COH_ALL_BLOCKS);
	if (COH_KEEP(RESTORE_FENCE))
		morsel_mem_fence(h->mem);
}

int coh_free(struct coh_host *h, uint32_t e)
{
	int r;

	if (e >= h->pool->extents)
		return -ERANGE;
	if (h->local[e].repair && COH_KEEP(REPAIR_FREE_FLUSH))
		flush_repaired(h, e);
	r = give_up(h, e, COH_OP_FREE, 0, NULL);
	if (r < 0)
		return r;
	h->local[e].repair = 0;
	return coh_serve(h, e);
}

int coh_recover(struct coh_host *h, uint32_t e)
{
	uint64_t w;
	int r;

	if (e >= h->pool->extents)
		return -ERANGE;
	if (!coh_alive(h))
		return -ESTALE;
	r = coh_apply(h, e, COH_OP_RECOVER, 0, &w);
	if (r < 0)
		return r;
	h->local[e].repair = 1;
	h->local[e].kept = 0;
	/* As coh_prepare(): the repairer must see memory, not what its cache remembers. */
	if (COH_KEEP(RECOVER_FENCE_BEFORE))
		morsel_mem_fence(h->mem);
	if (COH_KEEP(RECOVER_INVALIDATE))
		coh_invalidate_blocks(h, e, COH_ALL_BLOCKS);
	if (COH_KEEP(RECOVER_FENCE_AFTER))
		morsel_mem_fence(h->mem);
	return 0;
}

static int end_repair(struct coh_host *h, uint32_t e, enum coh_op op)
{
	uint64_t w;
	int r;

	if (e >= h->pool->extents)
		return -ERANGE;
	if (!h->local[e].repair)
		return -EPERM;
	flush_repaired(h, e);
	r = coh_apply(h, e, op, 0, &w);
	/*
	 * Refused: this host is suspected and the extent in quarantine, its bytes what they were. They stay marked as
	 * under repair, or coh_surrender() would give them back as good.
	 */
	if (r < 0 && COH_KEEP(REPAIR_REFUSED))
		return r;
	h->local[e].repair = 0;
	return r < 0 ? r : coh_serve(h, e);
}

int coh_restore(struct coh_host *h, uint32_t e)
{
	return end_repair(h, e, COH_OP_RESTORE);
}

int coh_abandon(struct coh_host *h, uint32_t e)
{
	return end_repair(h, e, COH_OP_ABANDON);
}

int coh_condemn(struct coh_host *h, uint32_t e)
{
	uint64_t w;

	if (e >= h->pool->extents)
		return -ERANGE;
	return coh_apply(h, e, COH_OP_CONDEMN, 0, &w);
}
