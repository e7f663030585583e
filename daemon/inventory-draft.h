/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "tier.h"

/*
 * A tier being put together, with what only the inventory needs to know of it.
 *
 * keys identify the backing over refreshes, most telling first: "cxl:SERIAL:ram", "dax:PATH",
 * "node:2". Two looks at the machine speak of the same tier when they share a key, so that memory
 * keeps its name on its way from a bare CXL device over devdax to a node.
 */
struct draft {
	struct tier *tier; /* owned */
	GPtrArray *keys;   /* of char * */
	GPtrArray *
		devices; /* of char *: "dax0.0", "region0": names that Device= may give; they race */
	bool named;	 /* the operator gave tier->name */
};

struct draft *draft_new(void);
void draft_free(void *draft); /* a GDestroyNotify */
void draft_add_key(struct draft *d, const char *format, ...) G_GNUC_PRINTF(2, 3);

void draft_add_device(struct draft *d, const char *name);

/* Replace a string of the tier. */
void draft_set_detail(struct draft *d, const char *format, ...) G_GNUC_PRINTF(2, 3);
void draft_set_state(struct draft *d, enum tier_state state, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

/* The node that decides the order of numbers: its first, or the one it would have; INT_MAX for none. */
int draft_order(const struct draft *d);
