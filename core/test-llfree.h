/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the suites of test-llfree share. A suite is a function that returns when all is well;
 * check() ends the process with status 1 otherwise.
 */
#ifndef MORSEL_TEST_LLFREE_H
#define MORSEL_TEST_LLFREE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llfree.h"
#include "llfree-fault.h"

#define check(cond) ((cond) ? (void)0 : test_fail(__FILE__, __LINE__, #cond))
#define check_eq(a, b)                                                        \
	do {                                                                  \
		long long check_a = (long long)(a), check_b = (long long)(b); \
		if (check_a != check_b) {                                     \
			fprintf(stderr, "%lld and %lld: ", check_a, check_b); \
			test_fail(__FILE__, __LINE__, #a " == " #b);          \
		}                                                             \
	} while (0)
void test_fail(const char *file, int line, const char *what) __attribute__((noreturn));

/* A pool in ordinary memory, with guard bytes behind both buffers. */
struct pool {
	struct llfree a;
	struct llfree_config config;
	struct llfree_meta meta;
};

/* Checks what llfree_init() returns; frees with pool_done(), which looks at the guards. */
void pool_new(struct pool *p, const struct llfree_config *config);
void pool_buffers(struct pool *p, const struct llfree_config *config);
void pool_done(struct pool *p);
struct llfree_config config_of(uint64_t frames, unsigned classes, unsigned slots, unsigned flags);

/* xorshift; never 0. */
uint64_t test_random(uint64_t *state);
/* 1, or what --long and the like make of it: how much to do. */
extern unsigned test_scale;
extern uint64_t test_seed;

static inline struct llfree_request req(unsigned order, unsigned class, unsigned slot)
{
	return (struct llfree_request){ .order = (uint8_t)order,
					.class = (uint8_t) class,
					.slot = (uint16_t)slot };
}

static inline struct llfree_request req_zeroed(unsigned order, unsigned class, unsigned slot)
{
	struct llfree_request r = req(order, class, slot);

	r.flags = LLFREE_ZEROED;
	return r;
}

/* Hooks, in builds that have them. */
extern void (*test_on_point)(void);
extern void (*test_on_writeback)(const void *line);
extern void (*test_on_fence)(void);
/*
 * The next @times visits of the site, after @skip of them, lose their race. How often that
 * happened.
 */
void test_force(int site, unsigned skip, unsigned times);
unsigned test_forced(int site);

void suite_basic(void);
void suite_orders(void);
void suite_model(void);
void suite_defect1(void);
void suite_defect2(void);
void suite_defect3(void);
void suite_defect4(void);
void suite_defect5(void);
void suite_defect6(void);
void suite_defect7(void);
void suite_defect8(void);
void suite_defect9(void);
void suite_input(void);
void suite_classes(void);
void suite_zeroed(void);
void suite_offline(void);
void suite_bad(void);
void suite_owner(void);
void suite_stats(void);
void suite_grow(void);
void suite_large(void);
void suite_recover(void);
void suite_flips(void);
void suite_kill(void);
void suite_threads(void);
void suite_split_threads(void);
void suite_contract(void);
void suite_owner_threads(void);
void suite_attach(void);
void suite_rollback(void);
void suite_interleave(void);
void suite_crash(void);

#endif
