// SPDX-License-Identifier: GPL-2.0-or-later
#include <langinfo.h>
#include <string.h>
#include <stdio.h>
#include <time.h>

#include "cli.h"

char *format_bytes(uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned int i = 0;

	while (i + 1 < G_N_ELEMENTS(units) && bytes >> (10 * (i + 1)))
		i++;
	if (bytes == 0)
		return g_strdup("0");
	if (bytes % (UINT64_C(1) << (10 * i)) == 0)
		return g_strdup_printf("%" PRIu64 " %s", bytes >> (10 * i), units[i]);
	return g_strdup_printf("%.1f %s", (double)bytes / (double)(UINT64_C(1) << (10 * i)),
			       units[i]);
}

char *format_bandwidth(uint64_t mbs)
{
	if (mbs == 0)
		return g_strdup("-");
	if (mbs >= 1000)
		return g_strdup_printf("%.1f GB/s", (double)mbs / 1000.0);
	return g_strdup_printf("%" PRIu64 " MB/s", mbs);
}

char *format_time(uint64_t usec)
{
	g_autoptr(GDateTime) t = NULL;

	if (usec == 0 || usec / G_USEC_PER_SEC > INT64_MAX / 2)
		return g_strdup("-");
	t = g_date_time_new_from_unix_local((gint64)(usec / G_USEC_PER_SEC));
	return t ? g_date_time_format(t, "%Y-%m-%d %H:%M:%S") : g_strdup("-");
}

char *format_duration(double seconds)
{
	unsigned long s = seconds > 0 && seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 0;

	if (s >= 3600)
		return g_strdup_printf("%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
	return g_strdup_printf("%lu:%02lu", s / 60, s % 60);
}

char *format_strings(json_t *array)
{
	GString *s = g_string_new(NULL);
	json_t *value;
	size_t i;

	json_array_foreach(array, i, value) g_string_append_printf(
		s, "%s%s", i ? " " : "", json_is_string(value) ? json_string_value(value) : "?");
	if (!s->len)
		g_string_append_c(s, '-');
	return g_string_free(s, FALSE);
}

char *format_integers(json_t *array)
{
	GString *s = g_string_new(NULL);
	json_t *value;
	size_t i;

	json_array_foreach(array, i, value) g_string_append_printf(
		s, "%s%" JSON_INTEGER_FORMAT, i ? "," : "", json_integer_value(value));
	if (!s->len)
		g_string_append_c(s, '-');
	return g_string_free(s, FALSE);
}

struct amount {
	const char *name;
	uint64_t bytes;
};

static int larger_first(gconstpointer a, gconstpointer b)
{
	const struct amount *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return strcmp(x->name, y->name);
}

char *format_bytes_by(json_t *object)
{
	g_autoptr(GArray) amounts = g_array_new(FALSE, FALSE, sizeof(struct amount));
	GString *s = g_string_new(NULL);
	const char *key;
	json_t *value;
	guint i;

	json_object_foreach(object, key, value)
	{
		struct amount a = { key, (uint64_t)json_integer_value(value) };

		g_array_append_val(amounts, a);
	}
	g_array_sort(amounts, larger_first);
	for (i = 0; i < amounts->len; i++) {
		const struct amount *a = &g_array_index(amounts, struct amount, i);
		g_autofree char *bytes = format_bytes(a->bytes);

		g_string_append_printf(s, "%s%s %s", i ? ", " : "", a->name, bytes);
	}
	if (!s->len)
		g_string_append_c(s, '-');
	return g_string_free(s, FALSE);
}

/* Characters that change how the rest of the line is shown, without being control characters. */
static bool changes_display(gunichar c)
{
	return c == 0x061c || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xe0000 && c <= 0xe007f);
}

char *escape(const char *s)
{
	bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	GString *out = g_string_sized_new(strlen(s) + 1);
	gunichar c;

	while (*s) {
		c = g_utf8_get_char_validated(s, -1);
		if (c == (gunichar)-1 || c == (gunichar)-2) {
			g_string_append_printf(out, "\\x%02x", (unsigned char)*s);
			s++;
			continue;
		}
		if (c < 0x20 || c == 0x7f)
			g_string_append_printf(out, "\\x%02x", c);
		else if (c >= 0x80 &&
			 (!utf8 || c < 0xa0 || changes_display(c) || !g_unichar_isprint(c)))
			g_string_append_printf(out, "\\u{%x}", c);
		else
			g_string_append_unichar(out, c);
		s = g_utf8_next_char(s);
	}
	return g_string_free(out, FALSE);
}
