/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "numlist.h"

#include <errno.h>
#include <stdint.h>

static int take_number(const char **p, const char *end, int max, int *ret_n)
{
	int64_t n = 0;

	if (*p == end || !g_ascii_isdigit(**p))
		return -EINVAL;
	for (; *p < end && g_ascii_isdigit(**p); (*p)++) {
		n = n * 10 + (**p - '0');
		if (n > max)
			return -ERANGE;
	}
	*ret_n = (int)n;
	return 0;
}

int numlist_parse(const char *s, size_t len, int max, GArray **ret_list)
{
	g_autofree uint8_t *seen = g_malloc0((size_t)max + 1);
	const char *p = s, *end = s + len;
	GArray *list;
	int r;

	while (p < end && g_ascii_isspace(*p))
		p++;
	while (end > p && g_ascii_isspace(end[-1]))
		end--;

	while (p < end) {
		int from, to;

		r = take_number(&p, end, max, &from);
		if (r < 0)
			return r;
		to = from;
		if (p < end && *p == '-') {
			p++;
			r = take_number(&p, end, max, &to);
			if (r < 0)
				return r;
			if (to < from)
				return -EINVAL;
		}
		for (int i = from; i <= to; i++)
			seen[i] = 1;
		if (p == end)
			break;
		/* A comma promises another entry. */
		if (*p != ',' || ++p == end)
			return -EINVAL;
	}

	list = g_array_new(FALSE, FALSE, sizeof(int));
	for (int i = 0; i <= max; i++)
		if (seen[i])
			g_array_append_val(list, i);
	*ret_list = list;
	return 0;
}

bool numlist_contains(const GArray *list, int n)
{
	for (unsigned int i = 0; i < list->len; i++)
		if (g_array_index(list, int, i) == n)
			return true;
	return false;
}
