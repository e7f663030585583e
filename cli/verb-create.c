// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct create {
	char *size, *prefer, *allow, *spread, *page_size, *mode, *group, *initiators;
	gboolean populate;
	/* parsed: */
	uint64_t size_bytes, page_bytes;
	uint32_t mode_bits, gid;
};

static void create_done(struct create *c)
{
	g_free(c->size);
	g_free(c->prefer);
	g_free(c->allow);
	g_free(c->spread);
	g_free(c->page_size);
	g_free(c->mode);
	g_free(c->group);
	g_free(c->initiators);
}

/* What can be judged without the daemon. */
static int parse_values(const struct verb *verb, struct create *c)
{
	int status;

	if (!c->size)
		return cli_usage(verb, "create: needs --size SIZE");
	status = cli_parse_size(verb, "--size", c->size, &c->size_bytes);
	if (status == STATUS_OK && c->page_size)
		status = cli_parse_size(verb, "--page-size", c->page_size, &c->page_bytes);
	if (status == STATUS_OK && c->group)
		status = cli_parse_group(verb, c->group, &c->gid);
	if (status == STATUS_OK && c->mode)
		status = cli_parse_mode(verb, "--mode: ", c->mode, &c->mode_bits);
	return status;
}

/* TIER=WEIGHT words as a{su}. */
static int append_spread(sd_bus_message *m, const struct verb *verb, const char *spread)
{
	g_auto(GStrv) words = g_strsplit_set(spread, " \t,", -1);
	int r;
	guint i;

	r = sd_bus_message_open_container(m, 'e', "sv");
	if (r >= 0)
		r = sd_bus_message_append(m, "s", "spread");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "a{su}");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "{su}");
	for (i = 0; r >= 0 && words[i]; i++) {
		char *equals = strchr(words[i], '=');
		uint32_t weight;

		if (!words[i][0])
			continue;
		if (!equals || equals == words[i] || parse_u32(equals + 1, &weight) < 0)
			return cli_usage(verb, "--spread: '%s' is not TIER=WEIGHT", words[i]);
		*equals = 0;
		r = sd_bus_message_append(m, "{su}", words[i], weight);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? cli_fail_message("Create", r) : STATUS_OK;
}

static int append_initiators(sd_bus_message *m, const struct verb *verb, const char *list)
{
	g_auto(GStrv) words = g_strsplit_set(list, " \t,", -1);
	g_autoptr(GArray) nodes = g_array_new(FALSE, FALSE, sizeof(int32_t));
	uint32_t node;
	int r;
	guint i;

	for (i = 0; words[i]; i++) {
		if (!words[i][0])
			continue;
		if (parse_u32(words[i], &node) < 0 || node > INT32_MAX)
			return cli_usage(verb, "--initiators: '%s' is not a node", words[i]);
		g_array_append_val(nodes, node);
	}
	r = sd_bus_message_open_container(m, 'e', "sv");
	if (r >= 0)
		r = sd_bus_message_append(m, "s", "initiators");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "ai");
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'i', nodes->data, nodes->len * sizeof(int32_t));
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? cli_fail_message("Create", r) : STATUS_OK;
}

static int append_options(sd_bus_message *m, const struct verb *verb, const struct create *c)
{
	int r, status = STATUS_OK;

	r = options_open(m);
	if (r >= 0 && c->prefer)
		r = options_words(m, "prefer", c->prefer);
	if (r >= 0 && c->allow)
		r = options_words(m, "allow", c->allow);
	if (r >= 0 && c->spread)
		status = append_spread(m, verb, c->spread);
	if (r >= 0 && status == STATUS_OK && c->initiators)
		status = append_initiators(m, verb, c->initiators);
	if (status != STATUS_OK)
		return status;
	if (r >= 0 && c->page_size)
		r = options_u64(m, "page_size", c->page_bytes);
	if (r >= 0 && c->mode)
		r = options_u32(m, "mode", c->mode_bits);
	if (r >= 0 && c->group)
		r = options_u32(m, "group", c->gid);
	if (r >= 0 && c->populate)
		r = options_bool(m, "populate", true);
	if (r >= 0)
		r = options_close(m);
	return r < 0 ? cli_fail_message("Create", r) : STATUS_OK;
}

static int create(struct cli *cli, const struct verb *verb, const char *name,
		  const struct create *c)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	g_autoptr(json_t) info = NULL;
	int r, status;

	status = cli_message(cli, "Create", &m);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "st", name, c->size_bytes);
	if (r < 0)
		return cli_fail_message("Create", r);
	status = append_options(m, verb, c);
	if (status == STATUS_OK)
		status = cli_call_slow(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_skip(reply, "sh");
	if (r >= 0)
		r = message_to_json(reply, &info);
	if (r < 0)
		return cli_fail_message("Create", r);
	if (cli->json) {
		print_json(info);
	} else {
		g_autofree char *shown = escape(name);
		g_autofree char *size = format_bytes(c->size_bytes);

		printf("Created %s (%s), %s.\n", shown, get_string(info, "id"), size);
	}
	return STATUS_OK;
}

static int run_create(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	struct create c = {};
	const GOptionEntry entries[] = {
		{ "size", 0, 0, G_OPTION_ARG_STRING, &c.size, "Its size, whole pages", "SIZE" },
		{ "prefer", 0, 0, G_OPTION_ARG_STRING, &c.prefer,
		  "Tiers to place it on, best first: hbm0,dram0", "TIERS" },
		{ "allow", 0, 0, G_OPTION_ARG_STRING, &c.allow, "Its pages lie nowhere else",
		  "TIERS" },
		{ "spread", 0, 0, G_OPTION_ARG_STRING, &c.spread,
		  "Deal it out by weight, for bandwidth: dram0=3,cxl0=1", "TIER=WEIGHT…" },
		{ "page-size", 0, 0, G_OPTION_ARG_STRING, &c.page_size, "4K or 2M", "SIZE" },
		{ "mode", 0, 0, G_OPTION_ARG_STRING, &c.mode,
		  "Who may open it: 0600 (default), 0640, 0666", "MODE" },
		{ "group", 0, 0, G_OPTION_ARG_STRING, &c.group, "Its group, one of one's own",
		  "GROUP" },
		{ "initiators", 0, 0, G_OPTION_ARG_STRING, &c.initiators,
		  "Nodes whose CPUs will use it: 0,1", "NODES" },
		{ "populate", 0, 0, G_OPTION_ARG_NONE, &c.populate, "Allocate all of it now",
		  NULL },
		{ NULL },
	};
	g_auto(GStrv) arguments = NULL;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status == STATUS_OK)
		status = parse_values(verb, &c);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status == STATUS_OK)
		status = create(cli, verb, arguments[0], &c);
	create_done(&c);
	return status;
}

const struct verb verb_create = {
	.name = "create",
	.arguments = "NAME --size SIZE",
	.summary = "Make a morsel; it stays until it is destroyed",
	.min = 1,
	.max = 1,
	.run = run_create,
};
