/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage-module-sys.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE UINT64_C(4096)

/* Of the one dax device. */
#define DAX_START (UINT64_C(32) << 30)
#define DAX_PLACE 4

/*
 * A model of the module in memory, for tests: enough of its contract for one daemon. One for the process; a test
 * sets it to zeroes, looks into it, and says what goes wrong.
 */
struct fake_object {
	uint64_t id, bytes, account;
	uint32_t flags;
	struct morsel_placement list;
	uint8_t *pages; /* pool of each page, 0: none */
	bool destroyed, held;
};

struct fake_account {
	uint64_t id, parent;
	uint64_t limit[MORSEL_MAX_TIERS];
};

extern struct fake_module {
	struct morsel_pool_create pools[MORSEL_MAX_POOLS + 1]; /* pool: 0 where there is none */
	uint64_t room[MORSEL_MAX_POOLS + 1];		       /* bytes */
	struct fake_account accounts[40];
	unsigned int n_accounts;
	struct fake_object objects[16];
	unsigned int n_objects;
	/* What goes wrong. */
	unsigned long fail_request;
	int fail_with;
	unsigned int interrupt; /* so many calls end with EINTR, a move after one range */
	uint64_t pinned;	/* offset of a page that does not move, 1: none */
	unsigned int moves;
	unsigned int opened; /* the dax device */
	int open_error;
} fake;

/* What the storage calls instead of the kernel. */
extern const struct module_sys fake_sys;

/* NULL: there is none. */
struct fake_object *fake_find(uint64_t id);
struct fake_account *fake_account_find(uint64_t id);
/* 0 or a negative errno, as the module's calls. */
int fake_account_destroy(uint64_t id);
int fake_destroy(struct fake_object *o);
/* The pool over a node, or over the dax device (-1); 0: there is none. */
uint32_t fake_pool_of(int node);
/* It must be this: "0 2*3", nodes of pools and their weights. */
void fake_want_list(const struct morsel_placement *list, const char *want);
