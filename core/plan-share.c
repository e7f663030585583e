/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include "plan-internal.h"

#define DEFAULT_WEIGHT 100u

/* Children's lists. Accounts stand behind their parents, so that one pass up or down visits the tree in order. */
void plan_parents(struct run *r)
{
	struct plan_scratch *s = r->s;
	uint32_t n = r->in->n_accounts;

	for (uint32_t a = 0; a <= n; a++)
		s->child[a] = NONE;
	for (uint32_t a = n; a-- > 0;) {
		uint32_t parent = r->in->accounts[a].parent;

		if (parent == PLAN_NO_PARENT)
			parent = n;
		else if (parent >= a) {
			plan_tell(r, PLAN_BAD_ACCOUNT, a, PLAN_ABSENT, 0);
			parent = n;
		}
		s->parent[a] = parent;
		s->sibling[a] = s->child[parent];
		s->child[parent] = a;
	}
	s->parent[n] = NONE;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Limits and Low as they can count, and use with that of all below. */
void plan_limits(struct run *r)
{
	uint32_t n = r->in->n_accounts;

	for (unsigned t = 0; t < r->n_tiers; t++) {
		for (uint32_t a = 0; a < n; a++) {
			const struct plan_account *account = &r->in->accounts[a];
			struct plan_share *x = share_of(r, a, t);
			uint64_t bound = least(account->max[t], account->high[t]);

			x->limit = bound;
			for (uint32_t up = r->s->parent[a]; up != n; up = r->s->parent[up])
				bound = least(bound, share_of(r, up, t)->limit);
			x->low = least(account->low[t], bound);
			if (x->low < account->low[t])
				plan_tell(r, PLAN_LOW_MAX, a, t, account->low[t] - x->low);
			x->all = x->own + account->other[t];
		}
		for (uint32_t a = n; a-- > 0;) {
			if (r->s->parent[a] != n)
				share_of(r, r->s->parent[a], t)->all += share_of(r, a, t)->all;
		}
	}
}

uint32_t plan_limited_by(const struct run *r, uint32_t account, unsigned tier, uint64_t pages)
{
	for (uint32_t a = account; a != r->in->n_accounts; a = r->s->parent[a]) {
		const struct plan_share *x = share_of(r, a, tier);

		if (x->all + pages > x->limit)
			return a;
	}
	return NONE;
}

bool plan_has_room(const struct run *r, uint32_t account, unsigned tier, uint64_t pages)
{
	return r->free[tier] >= pages && plan_limited_by(r, account, tier, pages) == NONE;
}

/* value × part / whole, without overflow where part <= whole. */
static uint64_t in_proportion(uint64_t value, uint64_t part, uint64_t whole)
{
	/* Pages are below 2^44, weights below 2^32: the quotient's error is below one part in 2^20. */
	while (value >= 1ull << 40 || part >= 1ull << 23) {
		if (part < 1u << 23)
			return value / whole * part;
		part >>= 1;
		whole >>= 1;
	}
	return whole ? value * part / whole : 0;
}

static uint32_t weight_of(const struct run *r, uint32_t account)
{
	uint32_t w = r->in->accounts[account].weight;

	return w ? w : DEFAULT_WEIGHT;
}

/*
 * Deal what the account node has out to its children, and to its own memory, which counts as one child more of the
 * default weight: Low first, then by weight, round by round as some have all that they claim.
 */
static void deal(struct run *r, uint32_t node, unsigned t, uint64_t amount)
{
	struct plan_share *own = node < r->in->n_accounts ? share_of(r, node, t) : NULL;
	uint64_t lows = 0, weights, given;
	uint32_t a;

	for (a = r->s->child[node]; a != NONE; a = r->s->sibling[a]) {
		struct plan_share *x = share_of(r, a, t);

		x->sub_due = least(x->low, x->sub_claim);
		lows += x->sub_due;
	}
	if (own)
		own->due = 0;
	if (lows > amount) {
		plan_tell(r, PLAN_LOW_SUM, node, t, lows - amount);
		for (a = r->s->child[node]; a != NONE; a = r->s->sibling[a]) {
			struct plan_share *x = share_of(r, a, t);

			x->sub_due = in_proportion(amount, x->sub_due, lows);
			/* Nor is more of it kept from others. */
			x->low = x->sub_due;
		}
		return;
	}
	amount -= lows;
	/* Each round but the last satisfies somebody; 64 leave little to deal. */
	for (unsigned round = 0; amount && round < 64; round++) {
		weights = own && own->due < own->claim ? DEFAULT_WEIGHT : 0;
		for (a = r->s->child[node]; a != NONE; a = r->s->sibling[a]) {
			struct plan_share *x = share_of(r, a, t);

			if (x->sub_due < x->sub_claim)
				weights += weight_of(r, a);
		}
		if (!weights)
			break;
		given = 0;
		if (own && own->due < own->claim) {
			uint64_t more = least(in_proportion(amount, DEFAULT_WEIGHT, weights),
					      own->claim - own->due);

			own->due += more;
			given += more;
		}
		for (a = r->s->child[node]; a != NONE; a = r->s->sibling[a]) {
			struct plan_share *x = share_of(r, a, t);
			uint64_t more;

			if (x->sub_due >= x->sub_claim)
				continue;
			more = least(in_proportion(amount, weight_of(r, a), weights),
				     x->sub_claim - x->sub_due);
			x->sub_due += more;
			given += more;
		}
		if (!given)
			break;
		amount -= given;
	}
}

static void shares_of_tier(struct run *r, unsigned t, uint32_t better)
{
	uint32_t n = r->in->n_accounts;
	uint64_t capacity = r->free[t];

	for (uint32_t a = n; a-- > 0;) {
		struct plan_share *x = share_of(r, a, t);

		x->claim = x->warm;
		for (unsigned b = 0; b < r->n_tiers; b++) {
			if (better >> b & 1)
				x->claim -= least(x->claim, share_of(r, a, b)->due);
		}
		/* Children stand behind: their sums are there already. */
		x->sub_claim = least(x->sub_claim + x->claim, x->limit);
		if (r->s->parent[a] != n)
			share_of(r, r->s->parent[a], t)->sub_claim += x->sub_claim;
		capacity += x->own;
	}
	deal(r, n, t, capacity);
	for (uint32_t a = 0; a < n; a++) {
		struct plan_share *x = share_of(r, a, t);

		if (r->s->child[a] == NONE)
			x->due = x->sub_due;
		else
			deal(r, a, t, x->sub_due);
	}
}

/* What each account is due of each tier, nearest first: what one has there it does not claim of the next. */
void plan_shares(struct run *r)
{
	uint32_t better = 0;

	for (unsigned i = 0; i < r->n_tiers; i++) {
		unsigned t = r->order[i];

		if (r->usable >> t & 1)
			shares_of_tier(r, t, better);
		better |= 1u << t;
	}
}
