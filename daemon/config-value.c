// SPDX-License-Identifier: GPL-2.0-or-later
#include "config-value.h"

#include <errno.h>
#include <string.h>

#include "parse-size.h"
#include "placement.h"

#define TIER_NAME_MAX 32

int config_parse_u64(const char *s, uint64_t *ret_n)
{
	uint64_t n;

	/* parse_size with the suffixes taken away. */
	if (*s == 0 || s[strspn(s, "0123456789")] != 0)
		return -EINVAL;
	if (parse_size(s, &n) < 0)
		return -ERANGE;
	*ret_n = n;
	return 0;
}

int config_take_u64(const char *value, uint64_t min, uint64_t max, uint64_t *ret_n, char **message)
{
	uint64_t n;

	if (config_parse_u64(value, &n) < 0 || n < min || n > max) {
		*message = g_strdup_printf("a whole number from %" G_GUINT64_FORMAT
					   " to %" G_GUINT64_FORMAT " is wanted",
					   min, max);
		return -EINVAL;
	}
	*ret_n = n;
	return 0;
}

int config_take_size(const char *value, uint64_t min, uint64_t *ret_n, char **message)
{
	uint64_t n;
	int r = parse_size(value, &n);

	if (r == -ERANGE)
		*message = g_strdup("the size is over 64 bits");
	else if (r < 0)
		*message = g_strdup("a size such as 4096, 512M, 8G or 2T is wanted");
	else if (n < min)
		*message = g_strdup("the size may not be 0");
	else {
		*ret_n = n;
		return 0;
	}
	return -EINVAL;
}

bool config_tier_name_valid(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > TIER_NAME_MAX || !g_ascii_isalnum(s[0]))
		return false;
	for (; *s; s++)
		if (!g_ascii_isalnum(*s) && *s != '-' && *s != '_' && *s != '.')
			return false;
	return true;
}

int config_take_bool(const char *value, bool *ret_b, char **message)
{
	static const char *const yes[] = { "yes", "true", "on", "1", NULL };
	static const char *const no[] = { "no", "false", "off", "0", NULL };

	if (g_strv_contains(yes, value))
		*ret_b = true;
	else if (g_strv_contains(no, value))
		*ret_b = false;
	else {
		*message = g_strdup("yes or no is wanted");
		return -EINVAL;
	}
	return 0;
}

/* field: "hbm0" or, with weights, "hbm0:3"; cut up. */
static int take_share(char *field, bool weights, struct config_share *ret, char **message)
{
	char *colon = weights ? strrchr(field, ':') : NULL;
	uint64_t weight = 0;

	if (weights && (!colon || config_parse_u64(colon + 1, &weight) < 0 || weight < 1 ||
			weight > SPREAD_WEIGHT_MAX)) {
		*message = g_strdup("TIER:WEIGHT is wanted, with spaces between them; a weight is"
				    " a whole number from 1 to 255");
		return -EINVAL;
	}
	if (colon)
		*colon = 0;
	if (!config_tier_name_valid(field)) {
		*message = g_strdup(
			"names of tiers are wanted, with spaces between them; " TIER_NAME_WANTED);
		return -EINVAL;
	}
	*ret = (struct config_share){ g_ref_string_new_intern(field), (unsigned int)weight };
	return 0;
}

static void share_clear(gpointer p)
{
	g_ref_string_release(((struct config_share *)p)->tier);
}

int config_take_tiers(const char *value, bool weights, GArray **ret_tiers, char **message)
{
	g_autoptr(GArray) tiers = g_array_new(false, false, sizeof(struct config_share));
	g_auto(GStrv) fields = g_strsplit_set(value, " \t", -1);

	g_array_set_clear_func(tiers, share_clear);
	for (char **f = fields; *f; f++) {
		struct config_share share;
		int r;

		if (**f == 0)
			continue;
		r = take_share(*f, weights, &share, message);
		if (r < 0)
			return r;
		g_array_append_val(tiers, share);
		for (unsigned int i = 0; i + 1 < tiers->len; i++)
			if (g_array_index(tiers, struct config_share, i).tier == share.tier) {
				*message = g_strdup_printf("%s stands there twice", share.tier);
				return -EINVAL;
			}
	}
	*ret_tiers = g_steal_pointer(&tiers);
	return 0;
}
