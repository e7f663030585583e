/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdint.h>

/*
 * What a morsel asked for, by tier names (DESIGN: policy). Plain data, immutable, referenced.
 *
 *   prefer   ordered; the first one that can take pages gets them, the kernel falls back by
 *            distance when it is full (advisory in the node storage)
 *   allow    pages may lie nowhere else; empty: anywhere
 *   spread   tier → weight 1..255: granules of 2 MiB are dealt out in these proportions
 * prefer and spread exclude each other; every tier in prefer and spread must be in allow if that is
 * not empty.
 */
struct spread_weight {
	char *tier;
	unsigned int weight;
};

struct placement {
	grefcount refs;
	GPtrArray *prefer; /* of char * */
	GPtrArray *allow;  /* of char * */
	GArray *spread;	   /* of struct spread_weight */
	uint64_t page_size; /* 4096 or 2097152 */
};

struct placement *placement_new(void);
struct placement *placement_ref(struct placement *p);
struct placement *placement_unref(struct placement *p);
