// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "cli.h"

struct provision_options {
	char *serial, *mode, *as, *zone, *size;
	gboolean persist, force, drop_data, dry_run, no_wait;
};

static int append_options(sd_bus_message *m, const struct provision_options *o, uint64_t size)
{
	int r;

	r = options_open(m);
	if (r >= 0 && o->mode)
		r = options_string(m, "mode", o->mode);
	if (r >= 0 && o->as)
		r = options_string(m, "as", o->as);
	if (r >= 0 && o->zone)
		r = options_string(m, "zone", o->zone);
	if (r >= 0 && size)
		r = options_u64(m, "size", size);
	if (r >= 0 && o->persist)
		r = options_bool(m, "persist", true);
	if (r >= 0 && o->force)
		r = options_bool(m, "force", true);
	if (r >= 0 && o->drop_data)
		r = options_bool(m, "drop_data", true);
	if (r >= 0 && o->dry_run)
		r = options_bool(m, "dry_run", true);
	return r < 0 ? r : options_close(m);
}

static int start(struct cli *cli, const char *method, const char *memory,
		 const struct provision_options *o, uint64_t size, char **ret_path)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	const char *path;
	int r, status;

	status = cli_message(cli, method, &m);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "s", memory);
	if (r >= 0)
		r = append_options(m, o, size);
	if (r < 0)
		return cli_fail_message(method, r);
	status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_read(reply, "o", &path);
	if (r < 0)
		return cli_fail_message(method, r);
	*ret_path = g_strdup(path);
	return STATUS_OK;
}

static void print_result(const json_t *result)
{
	json_t *steps = get_array(result, "steps"), *step;
	g_autofree char *summary = escape(get_string(result, "summary"));
	size_t i;

	json_array_foreach(steps, i, step)
	{
		const char *raw = json_string_value(step);
		g_autofree char *text = escape(raw ? raw : "");

		printf("%zu. %s\n", i + 1, text);
	}
	if (summary[0])
		puts(summary);
}

static int finish(struct cli *cli, const char *verb, const char *memory, struct job_watch *p)
{
	g_autoptr(json_t) result = NULL;
	const char *state, *error;
	int status;

	status = job_end(cli, p, &state, &error, &result);
	if (status != STATUS_OK)
		return status;
	if (!cli->json)
		print_result(result);
	if (strcmp(state, "done") != 0)
		return cli_fail(STATUS_FAILED, "%s %s: %s", verb, memory, error[0] ? error : state);
	return STATUS_OK;
}

static int run(struct cli *cli, const struct verb *verb, const char *method,
	       const GOptionEntry *entries, struct provision_options *o, int argc, char **argv)
{
	g_auto(GStrv) arguments = NULL;
	g_autofree char *memory = NULL;
	struct job_watch p = { .steps = true };
	uint64_t size = 0;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status != STATUS_OK)
		return status;
	if (!arguments[0] == !o->serial)
		return cli_usage(verb, "%s: needs either a tier, a device or --serial", verb->name);
	memory = o->serial ? g_strdup_printf("serial:%s", o->serial) : g_strdup(arguments[0]);
	if (o->size)
		status = cli_parse_size(verb, "--size", o->size, &size);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status == STATUS_OK)
		status = job_watch_begin(cli, &p);
	if (status == STATUS_OK)
		status = start(cli, method, memory, o, size, &p.path);
	if (status == STATUS_OK)
		status = o->no_wait ? job_started(cli, p.path) : job_wait(cli, &p);
	if (status == STATUS_OK && !o->no_wait)
		status = finish(cli, verb->name, memory, &p);
	job_watch_end(&p);
	return status;
}

static void options_free(struct provision_options *o)
{
	g_free(o->serial);
	g_free(o->mode);
	g_free(o->as);
	g_free(o->zone);
	g_free(o->size);
}

#define COMMON_ENTRIES(o)                                                                         \
	{ "serial",    0,                                                                         \
	  0,	       G_OPTION_ARG_STRING,                                                       \
	  &(o).serial, "The CXL device of this serial number (decimal or 0x…)",                   \
	  "NUMBER" },                                                                             \
		{ "mode",    0,                                                                   \
		  0,	     G_OPTION_ARG_STRING,                                                 \
		  &(o).mode, "Its volatile or its persistent memory, where it has both",          \
		  "ram|pmem" },                                                                   \
		{ "drop-data",                                                                    \
		  0,                                                                              \
		  0,                                                                              \
		  G_OPTION_ARG_NONE,                                                              \
		  &(o).drop_data,                                                                 \
		  "Also where persistent data is lost",                                           \
		  NULL },                                                                         \
		{ "dry-run", 0, 0, G_OPTION_ARG_NONE, &(o).dry_run, "Only say the steps", NULL }, \
	{                                                                                         \
		"no-wait", 0, 0, G_OPTION_ARG_NONE, &(o).no_wait, "Start it and return", NULL     \
	}

static int run_provision(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	__attribute__((cleanup(options_free))) struct provision_options o = {};
	const GOptionEntry entries[] = {
		COMMON_ENTRIES(o),
		{ "as", 0, 0, G_OPTION_ARG_STRING, &o.as,
		  "A device (the default), or a node that holds pages", "devdax|system-ram" },
		{ "zone", 0, 0, G_OPTION_ARG_STRING, &o.zone,
		  "Of system-ram: movable (the default) or kernel", "ZONE" },
		{ "size", 0, 0, G_OPTION_ARG_STRING, &o.size,
		  "A multiple of 256M (default: all that is free)", "SIZE" },
		{ "persist", 0, 0, G_OPTION_ARG_NONE, &o.persist, "Do it at each start, too",
		  NULL },
		{ "force", 0, 0, G_OPTION_ARG_NONE, &o.force,
		  "Take over a region that morsel did not make", NULL },
		{ NULL },
	};

	return run(cli, verb, "Provision", entries, &o, argc, argv);
}

const struct verb verb_tier_provision = {
	.name = "tier provision",
	.arguments = "TIER|--serial N",
	.summary = "Bring CXL memory up",
	.description =
		"Makes a CXL region and binds it. What is so already is left as it is; where a step fails,\n"
		"those before it are taken back. Instead of a tier, memdev:memN, regionN, daxN.M or nodeN.\n"
		"Memory in the movable zone can go offline again, but cannot feed the kernel or module\n"
		"pools; memory in a kernel zone can, and may then stay online until a reboot.",
	.min = 0,
	.max = 1,
	.run = run_provision,
};

static int run_unprovision(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	__attribute__((cleanup(options_free))) struct provision_options o = {};
	const GOptionEntry entries[] = {
		COMMON_ENTRIES(o),
		{ "force", 0, 0, G_OPTION_ARG_NONE, &o.force,
		  "Also a region that morsel did not make", NULL },
		{ NULL },
	};

	return run(cli, verb, "Unprovision", entries, &o, argc, argv);
}

const struct verb verb_tier_unprovision = {
	.name = "tier unprovision",
	.arguments = "TIER|--serial N",
	.summary = "Take CXL memory down again",
	.description = "Offline, unbind, delete the region; and no longer at each start.",
	.min = 0,
	.max = 1,
	.run = run_unprovision,
};
