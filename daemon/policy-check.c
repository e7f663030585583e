// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy-check.h"

#include <inttypes.h>
#include <string.h>

#include "config-value.h"
#include "warnings.h"

#define WISHES (1u << POLICY_PREFER | 1u << POLICY_SPREAD)

static char *place_of(const struct policy_setting *s)
{
	return g_strdup_printf("%s:%u", s->section->file->path, s->line);
}

/* "/a: Max.hbm0=64M (FILE:LINE)" */
static char *describe(const char *path, const struct policy_setting *s)
{
	g_autofree char *place = place_of(s);

	return g_strdup_printf("cgroup %s: %s=%s (%s)", path, s->key, s->value, place);
}

static bool allowed(const struct policy_setting *allow, const char *tier)
{
	if (!allow || allow->tiers->len == 0)
		return true;
	for (unsigned int i = 0; i < allow->tiers->len; i++)
		if (g_array_index(allow->tiers, struct config_share, i).tier == tier)
			return true;
	return false;
}

static void check_tiers(const char *path, const struct policy_setting *s,
			const struct policy_setting *allow, GHashTable *capacity,
			GPtrArray *warnings)
{
	for (unsigned int i = 0; i < s->tiers->len; i++) {
		const char *tier = g_array_index(s->tiers, struct config_share, i).tier;
		g_autofree char *what = NULL;

		if (g_hash_table_contains(capacity, tier) &&
		    (!(1u << s->field & WISHES) || allowed(allow, tier)))
			continue;
		what = describe(path, s);
		if (!g_hash_table_contains(capacity, tier))
			warnings_add(warnings, "%s: there is no tier %s now, ignoring it", what,
				     tier);
		else
			warnings_add(warnings, "%s: tier %s is not in Allow=%s, ignoring it", what,
				     tier, allow->value);
	}
}

/* small may not be over large. */
static void check_order(const char *path, const struct policy_setting *small,
			const struct policy_setting *large, GPtrArray *warnings)
{
	g_autofree char *what = NULL, *other = NULL;

	if (!small || !large || small->number <= large->number)
		return;
	what = describe(path, small);
	other = place_of(large);
	warnings_add(warnings, "%s: is over %s=%s (%s), which counts", what, large->key,
		     large->value, other);
}

void policy_check_limits(const struct policy_set *set, const char *path, const char *tier,
			 GPtrArray *warnings)
{
	const struct policy_setting *low = policy_own(set, path, 1u << POLICY_LOW, tier),
				    *high = policy_own(set, path, 1u << POLICY_HIGH, tier),
				    *max = policy_effective(set, path, 1u << POLICY_MAX, tier,
							    NULL);

	check_order(path, low, max, warnings);
	check_order(path, low, high, warnings);
	check_order(path, high, max && max->number != POLICY_NONE ? max : NULL, warnings);
}

static void check_setting(const struct policy_set *s, const char *path,
			  const struct policy_setting *setting, GHashTable *capacity,
			  GPtrArray *warnings)
{
	/* Something later counts, and is looked at by itself. */
	if (policy_own(s, path, 1u << setting->field, setting->tier) != setting)
		return;
	if (setting->tiers)
		check_tiers(path, setting,
			    policy_effective(s, path, 1u << POLICY_ALLOW, NULL, NULL), capacity,
			    warnings);
	if (!setting->tier)
		return;
	if (!g_hash_table_contains(capacity, setting->tier)) {
		g_autofree char *what = describe(path, setting);

		warnings_add(warnings, "%s: there is no tier %s now", what, setting->tier);
	}
	/* Max alone contradicts nothing. */
	if (setting->field != POLICY_MAX)
		policy_check_limits(s, path, setting->tier, warnings);
}

void policy_check_cgroup(const struct policy_set *s, const char *path, GHashTable *capacity,
			 GPtrArray *warnings)
{
	const GPtrArray *sections = policy_set_sections(s, path);

	for (unsigned int i = 0; sections && i < sections->len; i++) {
		const struct policy_section *section = sections->pdata[i];

		for (unsigned int k = 0; k < section->settings->len; k++)
			check_setting(s, path, section->settings->pdata[k], capacity, warnings);
	}
}

/* --- Low together ----------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *above)
{
	size_t n = strlen(above);

	return g_str_equal(above, "/") ||
	       (strncmp(path, above, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* A cgroup whose others below are still to come. */
struct level {
	const char *path;
	uint64_t below; /* what those below want protected */
};

/* A level is complete: what it asks of the one above it. */
static uint64_t close_level(const struct policy_set *s, const struct level *l, const char *tier,
			    GPtrArray *warnings)
{
	const struct policy_setting *low = policy_own(s, l->path, 1u << POLICY_LOW, tier),
				    *max = policy_own(s, l->path, 1u << POLICY_MAX, tier);

	if (max && l->below > max->number) {
		g_autofree char *what = describe(l->path, max);

		warnings_add(warnings,
			     "%s: the cgroups below it have Low.%s of %" PRIu64
			     " bytes together; they share what there is",
			     what, tier, l->below);
	}
	return low ? low->number : l->below;
}

static void check_low(const struct policy_set *s, const char *tier, uint64_t capacity,
		      GPtrArray *warnings)
{
	const GPtrArray *paths = policy_set_paths(s);
	g_autoptr(GArray) stack = g_array_new(false, false, sizeof(struct level));
	struct level root = { .path = "/" };
	uint64_t wanted;

	g_array_append_val(stack, root);
	/* Those above come first: the stack holds the path to the one that is looked at. */
	for (unsigned int i = 0; i <= paths->len; i++) {
		const char *path = i < paths->len ? paths->pdata[i] : NULL;

		while (stack->len > 1 &&
		       !(path &&
			 is_below(path, g_array_index(stack, struct level, stack->len - 1).path))) {
			struct level l = g_array_index(stack, struct level, stack->len - 1);
			struct level *above;

			g_array_set_size(stack, stack->len - 1);
			above = &g_array_index(stack, struct level, stack->len - 1);
			above->below = add(above->below, close_level(s, &l, tier, warnings));
		}
		if (path && !g_str_equal(path, "/")) {
			struct level l = { .path = path };

			g_array_append_val(stack, l);
		}
	}
	wanted = close_level(s, &g_array_index(stack, struct level, 0), tier, warnings);
	if (wanted > capacity)
		warnings_add(warnings,
			     "tier %s: Low.%s of all cgroups is %" PRIu64
			     " bytes together, and the tier has %" PRIu64
			     ": it cannot be kept for all, they share what there is",
			     tier, tier, wanted, capacity);
}

void policy_check_all(const struct policy_set *s, GHashTable *capacity, GPtrArray *warnings)
{
	const GPtrArray *paths = policy_set_paths(s), *patterns = policy_set_patterns(s);
	GHashTableIter iter;
	gpointer tier, bytes;

	for (unsigned int i = 0; i < paths->len; i++)
		policy_check_cgroup(s, paths->pdata[i], capacity, warnings);
	for (unsigned int i = 0; i < patterns->len; i++)
		policy_check_cgroup(s, ((const struct policy_section *)patterns->pdata[i])->path,
				    capacity, warnings);
	g_hash_table_iter_init(&iter, capacity);
	while (g_hash_table_iter_next(&iter, &tier, &bytes))
		check_low(s, tier, *(uint64_t *)bytes, warnings);
}
