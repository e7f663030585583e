/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "parse-size.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

int parse_size(const char *s, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	uint64_t n = 0;
	bool over = false;
	const char *unit;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			over = true;
	unit = *s ? strchr(units, *s) : NULL;
	if (unit != NULL) {
		if (__builtin_mul_overflow(n, UINT64_C(1) << (10 * (unit - units + 1)), &n))
			over = true;
		s++;
		if (strcmp(s, "iB") == 0)
			s += 2;
	}
	if (strcmp(s, "B") == 0)
		s++;
	if (*s != 0)
		return -EINVAL;
	if (over)
		return -ERANGE;
	*ret_bytes = n;
	return 0;
}
