/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "warnings.h"

#include <stdarg.h>
#include <string.h>

/* Enough to see what is wrong with one tier; the last entry says that there are more. */
#define WARNINGS_MAX 16

static void take(GPtrArray *warnings, char *text)
{
	for (unsigned int i = 0; i < warnings->len; i++)
		if (strcmp(warnings->pdata[i], text) == 0) {
			g_free(text);
			return;
		}
	if (warnings->len >= WARNINGS_MAX) {
		g_free(text);
		return;
	}
	if (warnings->len == WARNINGS_MAX - 1) {
		g_free(text);
		text = g_strdup("more warnings of this sort are not listed");
	}
	g_ptr_array_add(warnings, text);
}

void warnings_add(GPtrArray *warnings, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	take(warnings, g_strdup_vprintf(format, ap));
	va_end(ap);
}

void warnings_add_all(GPtrArray *warnings, const GPtrArray *from)
{
	for (unsigned int i = 0; i < from->len; i++)
		take(warnings, g_strdup(from->pdata[i]));
}
