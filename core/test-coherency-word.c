/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coherency-word.h"
#include "test-check.h"

/*
 * Plain checks of the word, and --dump: the code's whole transition table for a pool of three hosts, which
 * tests/model/table.py compares with transitions.tbl.
 */

#define DUMP_HOSTS 3u

static const char *error_name(int r)
{
	switch (r) {
	case COH_HELD:
		return "held";
	case -EPERM:
		return "EPERM";
	case -ENOENT:
		return "ENOENT";
	case -EAGAIN:
		return "EAGAIN";
	case -EEXIST:
		return "EEXIST";
	case -EUCLEAN:
		return "EUCLEAN";
	case -EHOSTDOWN:
		return "EHOSTDOWN";
	default:
		return "?";
	}
}

static void dump_one(enum coh_op op, unsigned self, unsigned peer, uint64_t w)
{
	uint64_t n = 0;
	int r = coh_next(op, w, self, peer, &n);

	printf("%s %u %u %s %u %u ", coh_op_name(op), self, peer, coh_state_name(coh_word_state(w)),
	       coh_word_owner(w), coh_word_sharers(w));
	if (r)
		printf("%s\n", error_name(r));
	else
		printf("%s %u %u +%u\n", coh_state_name(coh_word_state(n)), coh_word_owner(n),
		       coh_word_sharers(n), coh_word_version(n) - coh_word_version(w));
}

static void dump(void)
{
	printf("hosts %u\n", DUMP_HOSTS);
	for (unsigned op = 0; op < COH_OPS; op++)
		for (unsigned self = 0; self < DUMP_HOSTS; self++)
			for (unsigned peer = 0; peer < DUMP_HOSTS; peer++)
				for (unsigned s = 0; s < 8 && peer != self; s++)
					for (unsigned owner = 0; owner < DUMP_HOSTS; owner++)
						for (uint32_t sh = 0; sh < 1u << DUMP_HOSTS; sh++)
							dump_one(op, self, peer,
								 coh_word(s, owner, sh, 5));
}

/* xorshift64*, Vigna 2014: good enough to pick test words. */
static uint64_t random_word(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static void test_fields(void)
{
	uint64_t w = coh_word(COH_PENDING, 31, 0x7fffffff, 0xffffff);

	CHECK(coh_word_state(w) == COH_PENDING);
	CHECK(coh_word_owner(w) == 31);
	CHECK(coh_word_sharers(w) == 0x7fffffff);
	CHECK(coh_word_version(w) == 0xffffff);
	CHECK(!coh_word_damaged(w));
	CHECK(coh_word_damaged(coh_word(COH_PENDING, 31, 0x80000000u, 0)));
	CHECK(!coh_word_damaged(0)); /* zeroed memory is a directory of free extents */
}

/* Whatever the word: nothing well-formed becomes damaged, and damage spreads nowhere. */
static void test_closed(void)
{
	uint64_t seed = 0x9e3779b97f4a7c15ull;

	for (unsigned i = 0; i < 2000000; i++) {
		uint64_t w = random_word(&seed), n = 0x5555;
		enum coh_op op = random_word(&seed) % COH_OPS;
		unsigned self = random_word(&seed) % COH_HOSTS,
			 peer = random_word(&seed) % COH_HOSTS;
		int r;

		if (self == peer)
			continue;
		/* Half of them well-formed: a random word mostly is not. */
		if (i & 1) {
			enum coh_state s = coh_word_state(w);

			w = coh_word(s,
				     s == COH_FREE || s == COH_INVALID || s == COH_SHARED ||
						     s == COH_SUSPECT
					     ? 0
					     : coh_word_owner(w),
				     s == COH_SHARED || s == COH_PENDING
					     ? coh_word_sharers(w) | 0x100
					     : 0,
				     coh_word_version(w));
		}
		r = coh_next(op, w, self, peer, &n);
		if (r) {
			CHECK(n == 0x5555);
			if (coh_word_damaged(w))
				CHECK(r == -EUCLEAN);
		} else {
			CHECK(!coh_word_damaged(n));
			CHECK(!coh_word_damaged(w) || op == COH_OP_CONDEMN);
		}
	}
}

static void test_bounds(void)
{
	uint64_t n = 7;

	CHECK(coh_next(COH_OP_READ, 0, COH_HOSTS, 0, &n) == -EINVAL);
	CHECK(coh_next(COH_OP_LEND, 0, 0, COH_HOSTS, &n) == -EINVAL);
	CHECK(coh_next(COH_OPS, 0, 0, 0, &n) == -EINVAL);
	CHECK(n == 7);
}

static void test_wrap(void)
{
	uint64_t w = coh_word(COH_EXCLUSIVE, 3, 0, 0xffffff), n = 0;

	CHECK(coh_next(COH_OP_DROP, w, 3, 0, &n) == 0);
	CHECK(coh_word_version(n) == 0 && coh_word_wrapped(w, n));
	CHECK(coh_word_state(n) == COH_INVALID && coh_word_owner(n) == 0 &&
	      coh_word_sharers(n) == 0);
	w = coh_word(COH_EXCLUSIVE, 3, 0, 7);
	CHECK(coh_next(COH_OP_HAND, w, 3, 31, &n) == 0 && !coh_word_wrapped(w, n));
}

/* All 32 slots at once. */
static void test_full(void)
{
	uint64_t w = coh_word(COH_INVALID, 0, 0, 1), n;

	for (unsigned h = 0; h < COH_HOSTS; h++) {
		CHECK(coh_next(COH_OP_READ, w, h, 0, &n) == 0);
		w = n;
	}
	CHECK(coh_word_sharers(w) == 0xffffffff);
	CHECK(coh_next(COH_OP_WRITE, w, 31, 0, &n) == 0);
	CHECK(coh_word_state(n) == COH_PENDING && coh_word_owner(n) == 31 &&
	      coh_word_sharers(n) == 0x7fffffff);
	w = n;
	for (unsigned h = 0; h < COH_HOSTS - 1; h++) {
		CHECK(coh_next(COH_OP_WRITE, w, 31, 0, &n) == -EAGAIN);
		CHECK(coh_next(COH_OP_DROP, w, h, 0, &n) == 0);
		w = n;
	}
	CHECK(coh_next(COH_OP_WRITE, w, 31, 0, &n) == 0 && coh_word_state(n) == COH_EXCLUSIVE);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--dump") == 0) {
		dump();
		return 0;
	}
	test_fields();
	test_closed();
	test_bounds();
	test_wrap();
	test_full();
	return check_result();
}
