// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"

static int unknown_option(const struct bus_option *options, size_t n, const char *key,
			  sd_bus_error *error)
{
	g_autofree char *quoted = quote(key);
	g_autoptr(GString) known = g_string_new(NULL);

	for (size_t i = 0; i < n; i++)
		g_string_append_printf(known, "%s%s", i > 0 ? ", " : "", options[i].name);
	return bus_error_setf(error, ERROR_INVALID_ARGUMENT, "unknown option %s; there are: %s",
			      quoted, known->str);
}

int bus_options_read(sd_bus_message *m, const struct bus_option *options, size_t n, void *target,
		     sd_bus_error *error)
{
	uint32_t seen = 0;
	const char *key, *type;
	size_t i;
	int r;

	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read(m, "s", &key);
		if (r < 0)
			return r;
		for (i = 0; i < n && strcmp(options[i].name, key) != 0; i++)
			;
		if (i == n)
			return unknown_option(options, n, key, error);
		if (seen & (1u << i))
			return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
					      "option '%s' is given twice", key);
		seen |= 1u << i;

		r = sd_bus_message_peek_type(m, NULL, &type);
		if (r < 0)
			return r;
		if (strcmp(type, options[i].type) != 0)
			return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
					      "option '%s' has type '%s', not '%.32s'", key,
					      options[i].type, type);
		r = sd_bus_message_enter_container(m, 'v', type);
		if (r < 0)
			return r;
		r = options[i].read(m, &options[i], target, error);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m);
}

static int read_basic(sd_bus_message *m, const struct bus_option *o, void *value)
{
	return sd_bus_message_read_basic(m, o->type[0], value);
}

int bus_option_u64(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e)
{
	return read_basic(m, o, (char *)target + o->offset);
}

int bus_option_u32(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e)
{
	return read_basic(m, o, (char *)target + o->offset);
}

int bus_option_bool(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e)
{
	int value, r = read_basic(m, o, &value);

	if (r >= 0)
		*(bool *)((char *)target + o->offset) = value;
	return r;
}

int bus_option_string(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e)
{
	return read_basic(m, o, (char *)target + o->offset);
}

int bus_append_string(sd_bus_message *m, const char *key, const char *value)
{
	return sd_bus_message_append(m, "{sv}", key, "s", value);
}

int bus_append_u32(sd_bus_message *m, const char *key, uint32_t value)
{
	return sd_bus_message_append(m, "{sv}", key, "u", value);
}

int bus_append_i32(sd_bus_message *m, const char *key, int32_t value)
{
	return sd_bus_message_append(m, "{sv}", key, "i", value);
}

int bus_append_u64(sd_bus_message *m, const char *key, uint64_t value)
{
	return sd_bus_message_append(m, "{sv}", key, "t", value);
}

int bus_append_bool(sd_bus_message *m, const char *key, bool value)
{
	return sd_bus_message_append(m, "{sv}", key, "b", (int)value);
}

int bus_open_array(sd_bus_message *m, const char *key, const char *type)
{
	int r;

	r = sd_bus_message_open_container(m, 'e', "sv");
	if (r < 0)
		return r;
	r = sd_bus_message_append_basic(m, 's', key);
	if (r < 0)
		return r;
	r = sd_bus_message_open_container(m, 'v', type);
	if (r < 0)
		return r;
	return sd_bus_message_open_container(m, 'a', type + 1);
}

int bus_close_array(sd_bus_message *m)
{
	int r;

	for (unsigned int i = 0; i < 3; i++) {
		r = sd_bus_message_close_container(m);
		if (r < 0)
			return r;
	}
	return 0;
}
