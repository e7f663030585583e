// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <stdarg.h>

#include "bus-error.h"

static const struct {
	int error;
	const char *name;
} names[] = {
	{ EINVAL, ERROR_INVALID_ARGUMENT },
	{ ERANGE, ERROR_INVALID_ARGUMENT },
	/* What sd-bus says of a message whose body is not what its signature says. */
	{ EBADMSG, ERROR_INVALID_ARGUMENT },
	{ ENXIO, ERROR_INVALID_ARGUMENT },
	{ ENOENT, ERROR_NO_SUCH_MORSEL },
	{ EEXIST, ERROR_EXISTS },
	{ EACCES, ERROR_ACCESS_DENIED },
	{ EPERM, ERROR_ACCESS_DENIED },
	{ ENOSPC, ERROR_NO_SPACE },
	{ EDQUOT, ERROR_QUOTA_EXCEEDED },
	{ ENODEV, ERROR_TIER_OFFLINE },
	{ ENOMEM, ERROR_NO_MEMORY },
	{ EMFILE, ERROR_NO_DESCRIPTORS },
	{ ENFILE, ERROR_NO_DESCRIPTORS },
	{ EOPNOTSUPP, ERROR_NOT_SUPPORTED },
	{ EBUSY, ERROR_BUSY },
	{ ECANCELED, ERROR_CANCELLED },
};

const char *bus_error_name(int r)
{
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		if (names[i].error == -r)
			return names[i].name;
	return ERROR_FAILED;
}

int bus_error_set(sd_bus_error *error, int r, const char *text)
{
	sd_bus_error_set(error, bus_error_name(r), text ? text : g_strerror(-r));
	return r;
}

int bus_error_setf(sd_bus_error *error, const char *name, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	sd_bus_error_set(error, name, text);

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		if (g_str_equal(names[i].name, name))
			return -names[i].error;
	return g_str_equal(name, ERROR_NO_SUCH_TIER) || g_str_equal(name, ERROR_NO_SUCH_JOB) ||
			       g_str_equal(name, ERROR_NO_SUCH_POLICY)
		       ? -ENOENT
		       : -EIO;
}

char *quote(const char *s)
{
	enum {
		MAX = 64
	};
	GString *out = g_string_new("'");
	const char *p;

	for (p = s; *p && p - s < MAX; p = g_utf8_next_char(p)) {
		gunichar c = g_utf8_get_char(p);

		if (g_unichar_iscntrl(c) || c == '\'' || c == '\\')
			g_string_append_printf(out, "\\x%02x", c);
		else
			g_string_append_unichar(out, c);
	}
	g_string_append(out, *p ? "…'" : "'");
	if (*p)
		g_string_append_printf(out, " (%zu bytes)", strlen(s));
	return g_string_free(out, FALSE);
}
