/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/replay.h"

/*
 * A trace as a map: rows are stretches of morsels, columns are rounds that follow one another. Of each cell how often a granule
 * of it was accessed, and in which tier most of it was.
 */

struct heatmap_region {
	char *name;	   /* valid UTF-8, from the trace; or "3 others" */
	uint32_t granules; /* of 2 MiB */
	uint32_t row, rows;
	double accesses;
};

struct heatmap_row {
	uint32_t region;
	uint32_t first, granules; /* of the region */
};

struct heatmap_tier {
	char *name; /* "-": the trace does not say */
	uint32_t latency_ns;
	double accesses;
};

struct heatmap {
	struct replay_extent extent;
	struct trace_header header;
	uint64_t length_ms; /* of all rounds */

	GArray *regions; /* of struct heatmap_region: the most accessed ones, in the trace's order, then the others as one */
	GArray *rows; /* of struct heatmap_row */
	uint32_t columns;
	uint64_t *begin_ms; /* [columns + 1]: where each begins, and where the last one ends */
	double *rate;	    /* [row × columns + column]: accesses a second of a granule */
	uint8_t *tier;	    /* the same; PLAN_ABSENT: nowhere, or it is not told */
	struct heatmap_tier tiers[PLAN_ABSENT + 1]; /* the last one: of what is nowhere */
	uint32_t n_tiers;
	double *by_tier;	  /* [column × (PLAN_ABSENT + 1) + tier]: accesses */
	double accesses, highest; /* the highest rate */
	double decades;		  /* that colours go over */
};

/*
 * regions: how many have rows of their own, at most; rows, columns: at most, rows more than regions. -EUCLEAN,
 * -EOPNOTSUPP, -ERANGE: as replay_scan(); -ENODATA: no round.
 */
int heatmap_new(const void *data, uint64_t size, uint32_t regions, uint32_t rows, uint32_t columns,
		struct heatmap **ret);
struct heatmap *heatmap_free(struct heatmap *h); /* takes NULL, returns NULL */

/* How hot a rate is, 1 to levels on a scale of logarithms over as many decades below the highest; 0: not accessed. */
unsigned int heatmap_level(const struct heatmap *h, double rate, unsigned int levels);
/* The rate at which a level begins, and the highest at levels + 1. */
double heatmap_level_rate(const struct heatmap *h, unsigned int level, unsigned int levels);

/* As text, for width columns of a terminal, and as SVG; free with g_free. title: what the trace is called. */
char *heatmap_text(const struct heatmap *h, const char *title);
char *heatmap_svg(const struct heatmap *h, const char *title);
/* "300 rounds in 5:00, 2 morsels, 512 MiB", and whether the trace is whole; g_free. */
char *heatmap_summary(const struct heatmap *h);
/* A rate as people read it: "3.2k"; g_free. */
char *heatmap_format_rate(double rate);
/* The name as it can be shown, cut to n characters; g_free. */
char *heatmap_short_name(const char *name, unsigned int n);
