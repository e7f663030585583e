// SPDX-License-Identifier: GPL-2.0-or-later
#include "provision-parse.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "kernfile.h"

static int parse_word(const char *s, const char *const *words, unsigned int first)
{
	if (!s)
		return (int)first;
	for (unsigned int i = 0; words[i]; i++)
		if (strcmp(words[i], s) == 0)
			return (int)i;
	return -EINVAL;
}

int provision_parse_mode(const char *s, enum provision_mode *ret_mode)
{
	static const char *const words[] = { "ram", "pmem", NULL };
	int n = parse_word(s, words, 0);

	if (n < 0)
		return n;
	*ret_mode = !s ? MODE_ANY : n == 1 ? MODE_PMEM : MODE_RAM;
	return 0;
}

int provision_parse_as(const char *s, enum provision_as *ret_as)
{
	static const char *const words[] = { "devdax", "system-ram", NULL };
	int n = parse_word(s, words, 0);

	if (n < 0)
		return n;
	*ret_as = n == 1 ? AS_SYSTEM_RAM : AS_DEVDAX;
	return 0;
}

int provision_parse_zone(const char *s, enum provision_zone *ret_zone)
{
	static const char *const words[] = { "movable", "kernel", NULL };
	int n = parse_word(s, words, 0);

	if (n < 0)
		return n;
	*ret_zone = n == 1 ? ZONE_KERNEL : ZONE_MOVABLE;
	return 0;
}

/* Digits, for dax with one point in them. */
static bool is_number(const char *s, bool with_point)
{
	size_t n = strspn(s, "0123456789");

	if (n == 0)
		return false;
	if (!with_point)
		return s[n] == 0;
	return s[n] == '.' && is_number(s + n + 1, false);
}

int provision_parse_memory(const char *s, struct provision_wish *w)
{
	static const struct {
		const char *prefix;
		bool with_point;
	} names[] = { { "mem", false }, { "region", false }, { "dax", true }, { "node", false } };
	bool memdev = g_str_has_prefix(s, "memdev:");

	if (g_str_has_prefix(s, "serial:")) {
		w->select = SELECT_SERIAL;
		return kernfile_parse_u64(s + strlen("serial:"), &w->serial) < 0 ? -EINVAL : 0;
	}
	if (memdev)
		s += strlen("memdev:");
	for (unsigned int i = 0; i < (memdev ? 1 : G_N_ELEMENTS(names)); i++)
		if (g_str_has_prefix(s, names[i].prefix) &&
		    is_number(s + strlen(names[i].prefix), names[i].with_point) &&
		    g_strlcpy(w->name, s, sizeof(w->name)) < sizeof(w->name)) {
			w->select = SELECT_NAME;
			return 0;
		}
	return -EINVAL;
}
