// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

/* options a{sv}: the range, where one is given, and a flag, where it is set. */
static int append_range(sd_bus_message *m, const struct morsel_range *range, const char *flag)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0 && range) {
		r = dict_append_u64(m, "offset", range->offset);
		if (r >= 0 && range->length)
			r = dict_append_u64(m, "length", range->length);
	}
	if (r >= 0 && flag)
		r = dict_append_bool(m, flag, true);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* Wait for the job and read its result. */
static int wait_job(morsel_client *c, const char *path, struct morsel_move_result *ret_result)
{
	_cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
	struct morsel_move_result result = {};
	const struct dict_field fields[] = {
		{ "moved_bytes", 't', &result.moved },
		{ "already_bytes", 't', &result.already },
		{ "absent_bytes", 't', &result.absent },
		{ "failed_bytes", 't', &result.failed },
	};
	const char *state, *error;
	int r;

	r = client_message(c, path, JOB_IFACE, "Wait", &m);
	if (r < 0)
		return r;
	r = client_call_waiting(c, m, &reply);
	if (r < 0)
		return r;
	r = sd_bus_message_read(reply, "ss", &state, &error);
	if (r >= 0)
		r = dict_read(reply, fields, sizeof(fields) / sizeof(fields[0]), NULL);
	if (r < 0)
		return client_fail_message(c, r, "Wait");
	if (strcmp(state, "done") != 0)
		return client_fail_locked(c, strcmp(state, "cancelled") == 0 ? -ECANCELED : -EIO,
					  "The move was %s: %s", state, error);
	if (ret_result)
		*ret_result = result;
	return 0;
}

int morsel_move(morsel *h, const char *tier, const struct morsel_range *range,
		struct morsel_move_result *ret_result)
{
	_cleanup_end_ morsel_client *locked = NULL;
	_cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
	morsel_client *c;
	const char *path;
	int r;

	if (!h)
		return -EINVAL;
	c = h->client;
	r = client_begin(c, &locked);
	if (r < 0)
		return r;
	if (!tier)
		return client_fail_locked(c, -EINVAL, "%s: no tier to move it to", h->name);
	r = client_message(c, MANAGER_PATH, MANAGER_IFACE, "Move", &m);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "ss", h->id, tier);
	if (r >= 0)
		r = append_range(m, range, NULL);
	if (r < 0)
		return client_fail_message(c, r, "Move");
	r = client_call(c, m, TIMEOUT_DEFAULT, &reply);
	if (r < 0)
		return r;
	r = sd_bus_message_read_basic(reply, 'o', &path);
	if (r < 0)
		client_fail_message(c, r, "Move");
	else
		r = wait_job(c, path, ret_result);
	return r < 0 ? r : 0;
}

/* a{st} inside a variant. Returns the number of entries, of which min(n, …) were written. */
static int read_tiers(sd_bus_message *m, struct morsel_tier_bytes *tiers, size_t n)
{
	const char *tier;
	uint64_t bytes;
	int count = 0, r;

	r = sd_bus_message_enter_container(m, 'v', "a{st}");
	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "{st}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_read(m, "{st}", &tier, &bytes)) > 0) {
		if ((size_t)count < n) {
			snprintf(tiers[count].tier, sizeof(tiers[count].tier), "%s", tier);
			tiers[count].bytes = bytes;
		}
		count++;
	}
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	return r < 0 ? r : count;
}

/* The dictionary has containers in it, so dict_read() sees it a second time for the plain values. */
static int read_residency(sd_bus_message *m, struct morsel_tier_bytes *tiers, size_t n,
			  uint64_t *ret_absent)
{
	uint64_t absent = 0;
	const struct dict_field fields[] = { { "absent_bytes", 't', &absent } };
	const char *key;
	int count = 0, r;

	r = dict_read(m, fields, 1, NULL);
	if (r >= 0)
		r = sd_bus_message_rewind(m, true);
	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read_basic(m, 's', &key);
		if (r < 0)
			return r;
		if (strcmp(key, "tiers") == 0)
			r = count = read_tiers(m, tiers, n);
		else
			r = sd_bus_message_skip(m, "v");
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (ret_absent)
		*ret_absent = absent;
	return count;
}

int morsel_residency(morsel *h, int exact, struct morsel_tier_bytes *tiers, size_t n,
		     uint64_t *ret_absent)
{
	_cleanup_end_ morsel_client *locked = NULL;
	_cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
	morsel_client *c;
	int r;

	if (!h || (n > 0 && !tiers))
		return -EINVAL;
	c = h->client;
	r = client_begin(c, &locked);
	if (r < 0)
		return r;
	r = client_message(c, MANAGER_PATH, MANAGER_IFACE, "Residency", &m);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "s", h->id);
	if (r >= 0)
		r = append_range(m, NULL, exact ? "exact" : NULL);
	if (r < 0)
		return client_fail_message(c, r, "Residency");
	/* Looking at every page of terabytes takes longer than the default. */
	r = client_call(c, m, TIMEOUT_NONE, &reply);
	if (r < 0)
		return r;
	r = read_residency(reply, tiers, n, ret_absent);
	if (r < 0)
		client_fail_message(c, r, "Residency");
	return r;
}
