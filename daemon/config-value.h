/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Values of configuration files. All return 0, or a negative errno with *message saying what is wanted; what they
 * give is written on success only.
 */

int config_parse_u64(const char *s, uint64_t *ret_n); /* digits only; no message */
int config_take_u64(const char *value, uint64_t min, uint64_t max, uint64_t *ret_n, char **message);
/* Bytes, with a suffix or without. min: 0, or 1 where 0 is refused. */
int config_take_size(const char *value, uint64_t min, uint64_t *ret_n, char **message);
int config_take_bool(const char *value, bool *ret_b, char **message);

/* A tier's name becomes part of a D-Bus path and of tables. */
#define TIER_NAME_WANTED \
	"a tier's name is 1 to 32 letters, digits, '-', '_' or '.', the first a letter or digit"
bool config_tier_name_valid(const char *s);

struct config_share {
	GRefString *tier; /* interned: the same name is the same pointer */
	unsigned int weight;
};
/* "hbm0 dram0", or with weights "hbm0:3 dram0:1", none of them twice. *ret_tiers: of struct config_share, may
 * be empty. */
int config_take_tiers(const char *value, bool weights, GArray **ret_tiers, char **message);
