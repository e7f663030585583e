// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

/* Open {key: <contents>}. */
static int entry_open(sd_bus_message *m, const char *key, const char *contents)
{
	int r;

	r = sd_bus_message_open_container(m, 'e', "sv");
	if (r < 0)
		return r;
	r = sd_bus_message_append_basic(m, 's', key);
	if (r < 0)
		return r;
	return sd_bus_message_open_container(m, 'v', contents);
}

static int entry_close(sd_bus_message *m)
{
	int r;

	r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_basic(sd_bus_message *m, const char *key, char type, const void *value)
{
	char contents[2] = { type, 0 };
	int r;

	r = entry_open(m, key, contents);
	if (r < 0)
		return r;
	r = sd_bus_message_append_basic(m, type, value);
	return r < 0 ? r : entry_close(m);
}

int dict_append_u64(sd_bus_message *m, const char *key, uint64_t value)
{
	return append_basic(m, key, 't', &value);
}

int dict_append_u32(sd_bus_message *m, const char *key, uint32_t value)
{
	return append_basic(m, key, 'u', &value);
}

int dict_append_bool(sd_bus_message *m, const char *key, bool value)
{
	int b = value;

	return append_basic(m, key, 'b', &b);
}

/* The next word of *p, copied to word (bounded: tier names are short, a cut one is unknown as well). */
static bool next_word(const char **p, char *word, size_t size)
{
	static const char separators[] = " \t,";
	size_t n;

	*p += strspn(*p, separators);
	n = strcspn(*p, separators);
	if (n == 0)
		return false;
	snprintf(word, size, "%.*s", n < size ? (int)n : (int)size - 1, *p);
	*p += n;
	return true;
}

int dict_append_words(sd_bus_message *m, const char *key, const char *words)
{
	char word[256];
	int r;

	r = entry_open(m, key, "as");
	if (r < 0)
		return r;
	r = sd_bus_message_open_container(m, 'a', "s");
	while (r >= 0 && next_word(&words, word, sizeof(word)))
		r = sd_bus_message_append_basic(m, 's', word);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : entry_close(m);
}

static int parse_u32(const char *s, uint32_t *ret_value)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		v = v * 10 + (uint64_t)(*s - '0');
		if (v > UINT32_MAX)
			return -ERANGE;
	}
	*ret_value = (uint32_t)v;
	return 0;
}

int dict_append_weights(sd_bus_message *m, const char *key, const char *weights, char *ret_bad)
{
	char word[256], *equals;
	uint32_t weight;
	int r;

	r = entry_open(m, key, "a{su}");
	if (r < 0)
		return r;
	r = sd_bus_message_open_container(m, 'a', "{su}");
	while (r >= 0 && next_word(&weights, word, sizeof(word))) {
		equals = strchr(word, '=');
		if (!equals || equals == word || parse_u32(equals + 1, &weight) < 0) {
			snprintf(ret_bad, 100, "%.99s", word);
			return -EINVAL;
		}
		*equals = 0;
		r = sd_bus_message_append(m, "{su}", word, weight);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : entry_close(m);
}

int dict_append_numbers(sd_bus_message *m, const char *key, const char *numbers, char *ret_bad)
{
	uint32_t number;
	char word[256];
	int r;

	r = entry_open(m, key, "ai");
	if (r < 0)
		return r;
	r = sd_bus_message_open_container(m, 'a', "i");
	while (r >= 0 && next_word(&numbers, word, sizeof(word))) {
		if (parse_u32(word, &number) < 0 || number > INT32_MAX) {
			snprintf(ret_bad, 100, "%.99s", word);
			return -EINVAL;
		}
		r = sd_bus_message_append(m, "i", (int32_t)number);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : entry_close(m);
}

static int read_value(sd_bus_message *m, const struct dict_field *fields, size_t n, const char *key,
		      uint64_t *seen)
{
	const char *contents;
	size_t i;
	char type;
	int r;

	for (i = 0; i < n; i++)
		if (strcmp(fields[i].key, key) == 0)
			break;
	if (i == n)
		return sd_bus_message_skip(m, "v");
	r = sd_bus_message_peek_type(m, &type, &contents);
	if (r < 0)
		return r;
	if (type != 'v' || contents[0] != fields[i].type || contents[1])
		return -EBADMSG;
	r = sd_bus_message_enter_container(m, 'v', contents);
	if (r < 0)
		return r;
	r = sd_bus_message_read_basic(m, fields[i].type, fields[i].value);
	if (r < 0)
		return r;
	*seen |= UINT64_C(1) << i;
	return sd_bus_message_exit_container(m);
}

int dict_read(sd_bus_message *m, const struct dict_field *fields, size_t n, uint64_t *ret_seen)
{
	uint64_t seen = 0;
	const char *key;
	int r;

	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read_basic(m, 's', &key);
		if (r < 0)
			return r;
		r = read_value(m, fields, n, key, &seen);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	r = sd_bus_message_exit_container(m);
	if (r < 0)
		return r;
	if (ret_seen)
		*ret_seen = seen;
	return 0;
}
