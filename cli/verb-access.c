// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "cli.h"

struct access {
	bool has_mode, has_owner, has_group;
	uint32_t mode, owner, group;
};

static int set_one(struct cli *cli, const struct access *a, const char *morsel)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	int r, status;

	status = cli_message(cli, "SetAccess", &m);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "s", morsel);
	if (r >= 0)
		r = options_open(m);
	if (r >= 0 && a->has_mode)
		r = options_u32(m, "mode", a->mode);
	if (r >= 0 && a->has_owner)
		r = options_u32(m, "owner", a->owner);
	if (r >= 0 && a->has_group)
		r = options_u32(m, "group", a->group);
	if (r >= 0)
		r = options_close(m);
	return r < 0 ? cli_fail_message("SetAccess", r) : cli_call(cli, m, &reply);
}

/* One that cannot be changed does not keep the others. */
static int set_all(struct cli *cli, const struct access *a, char **morsels)
{
	g_autoptr(json_t) changed = json_array();
	int status, worst = STATUS_OK;

	for (size_t i = 0; morsels[i]; i++) {
		status = set_one(cli, a, morsels[i]);
		if (status == STATUS_OK)
			json_array_append_new(changed, json_string(morsels[i]));
		else
			worst = worst == STATUS_OK || worst == status ? status : STATUS_FAILED;
		if (status == STATUS_NO_DAEMON)
			break;
	}
	if (cli->json)
		print_json(changed);
	return worst;
}

int cli_parse_mode(const struct verb *verb, const char *what, const char *s, uint32_t *ret_mode)
{
	guint64 v;

	if (!g_ascii_string_to_unsigned(s, 8, 0, 07777, &v, NULL))
		return cli_usage(verb, "%s'%s' is not an octal mode such as 0640", what, s);
	*ret_mode = (uint32_t)v;
	return STATUS_OK;
}

static int run_chmod(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	struct access a = { .has_mode = true };
	g_auto(GStrv) arguments = NULL;
	int status;

	status = cli_parse(cli, verb, NULL, argc, argv, &arguments);
	if (status == STATUS_OK)
		status = cli_parse_mode(verb, "", arguments[0], &a.mode);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	return status == STATUS_OK ? set_all(cli, &a, arguments + 1) : status;
}

const struct verb verb_chmod = {
	.name = "chmod",
	.arguments = "MODE MORSEL…",
	.summary = "Change who may open them",
	.min = 2,
	.max = -1,
	.run = run_chmod,
};

/* "USER", "USER:GROUP" or ":GROUP". */
static int parse_owner(const struct verb *verb, const char *s, struct access *a)
{
	const char *colon = strchr(s, ':');
	g_autofree char *user = colon ? g_strndup(s, (gsize)(colon - s)) : g_strdup(s);
	int status = STATUS_OK;

	if (!user[0] && (!colon || !colon[1]))
		return cli_usage(verb, "a USER, USER:GROUP or :GROUP is wanted");
	a->has_owner = user[0] != '\0';
	a->has_group = colon && colon[1];
	if (a->has_owner)
		status = cli_parse_user(verb, user, &a->owner);
	if (status == STATUS_OK && a->has_group)
		status = cli_parse_group(verb, colon + 1, &a->group);
	return status;
}

static int run_chown(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	struct access a = {};
	g_auto(GStrv) arguments = NULL;
	int status;

	status = cli_parse(cli, verb, NULL, argc, argv, &arguments);
	if (status == STATUS_OK)
		status = parse_owner(verb, arguments[0], &a);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	return status == STATUS_OK ? set_all(cli, &a, arguments + 1) : status;
}

const struct verb verb_chown = {
	.name = "chown",
	.arguments = "[USER][:GROUP] MORSEL…",
	.summary = "Change their group; for root, their owner",
	.min = 2,
	.max = -1,
	.run = run_chown,
};
