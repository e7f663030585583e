// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

static int basic_to_json(sd_bus_message *m, char type, json_t **ret_json)
{
	union {
		uint8_t y;
		int b;
		int16_t n;
		uint16_t q;
		int32_t i;
		uint32_t u;
		int64_t x;
		uint64_t t;
		double d;
		const char *s;
	} v;
	json_t *j;
	int r;

	r = sd_bus_message_read_basic(m, type, &v);
	if (r < 0)
		return r;
	switch (type) {
	case 'y':
		j = json_integer(v.y);
		break;
	case 'b':
		j = json_boolean(v.b);
		break;
	case 'n':
		j = json_integer(v.n);
		break;
	case 'q':
		j = json_integer(v.q);
		break;
	case 'i':
	case 'h': /* a descriptor's number means nothing to the reader, but keeps the shape */
		j = json_integer(v.i);
		break;
	case 'u':
		j = json_integer(v.u);
		break;
	case 'x':
		j = json_integer(v.x);
		break;
	case 't':
		j = v.t <= INT64_MAX ? json_integer((json_int_t)v.t) : json_real((double)v.t);
		break;
	case 'd':
		j = json_real(v.d);
		break;
	default: /* s o g; sd-bus has checked that it is UTF-8 */
		j = json_string(v.s);
		break;
	}
	if (!j)
		return -ENOMEM;
	*ret_json = j;
	return 0;
}

/* One {key, value}; keys are strings or integers. */
static int entry_to_json(sd_bus_message *m, const char *contents, json_t *object)
{
	g_autoptr(json_t) key = NULL, value = NULL;
	char number[32];
	const char *k;
	int r;

	r = sd_bus_message_enter_container(m, 'e', contents);
	if (r < 0)
		return r;
	r = message_to_json(m, &key);
	if (r < 0)
		return r;
	r = message_to_json(m, &value);
	if (r < 0)
		return r;
	if (json_is_integer(key)) {
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(key));
		k = number;
	} else {
		k = json_string_value(key);
	}
	if (!k)
		return -EBADMSG;
	if (json_object_set(object, k, value) < 0)
		return -ENOMEM;
	return sd_bus_message_exit_container(m);
}

static int array_to_json(sd_bus_message *m, const char *contents, json_t **ret_json)
{
	bool dictionary = contents[0] == '{';
	g_autoptr(json_t) j = dictionary ? json_object() : json_array();
	g_autofree char *inside = dictionary ? g_strndup(contents + 1, strlen(contents) - 2) : NULL;
	int r;

	r = sd_bus_message_enter_container(m, 'a', contents);
	if (r < 0)
		return r;
	while ((r = sd_bus_message_at_end(m, false)) == 0) {
		if (dictionary) {
			r = entry_to_json(m, inside, j);
			if (r < 0)
				return r;
		} else {
			json_t *value;

			r = message_to_json(m, &value);
			if (r < 0)
				return r;
			if (json_array_append_new(j, value) < 0)
				return -ENOMEM;
		}
	}
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(m);
	if (r < 0)
		return r;
	*ret_json = g_steal_pointer(&j);
	return 0;
}

static int struct_to_json(sd_bus_message *m, const char *contents, json_t **ret_json)
{
	g_autoptr(json_t) j = json_array();
	json_t *value;
	int r;

	r = sd_bus_message_enter_container(m, 'r', contents);
	if (r < 0)
		return r;
	while ((r = sd_bus_message_at_end(m, false)) == 0) {
		r = message_to_json(m, &value);
		if (r < 0)
			return r;
		if (json_array_append_new(j, value) < 0)
			return -ENOMEM;
	}
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(m);
	if (r < 0)
		return r;
	*ret_json = g_steal_pointer(&j);
	return 0;
}

int message_to_json(sd_bus_message *m, json_t **ret_json)
{
	const char *contents;
	char type;
	int r;

	r = sd_bus_message_peek_type(m, &type, &contents);
	if (r < 0)
		return r;
	if (r == 0)
		return -EBADMSG;
	switch (type) {
	case 'a':
		return array_to_json(m, contents, ret_json);
	case 'r':
		return struct_to_json(m, contents, ret_json);
	case 'v': {
		g_autoptr(json_t) j = NULL;

		r = sd_bus_message_enter_container(m, 'v', contents);
		if (r < 0)
			return r;
		r = message_to_json(m, &j);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
		*ret_json = g_steal_pointer(&j);
		return 0;
	}
	default:
		return basic_to_json(m, type, ret_json);
	}
}
