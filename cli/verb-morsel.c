// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* "prefer hbm0 dram0", "spread dram0=3 cxl0=1", with "only on" for allow. */
static char *format_policy(const json_t *info)
{
	json_t *prefer = get_array(info, "prefer"), *allow = get_array(info, "allow");
	json_t *spread = get_object(info, "spread"), *weight;
	GString *s = g_string_new(NULL);
	const char *tier;

	if (json_array_size(prefer) > 0) {
		g_autofree char *list = format_strings(prefer);

		g_string_append_printf(s, "prefer %s", list);
	}
	if (json_object_size(spread) > 0) {
		g_string_append(s, "spread");
		json_object_foreach(spread, tier, weight) g_string_append_printf(
			s, " %s=%" JSON_INTEGER_FORMAT, tier, json_integer_value(weight));
	}
	if (json_array_size(allow) > 0) {
		g_autofree char *list = format_strings(allow);

		g_string_append_printf(s, "%sonly on %s", s->len ? ", " : "", list);
	}
	if (!s->len)
		g_string_append(s, "default");
	return g_string_free(s, FALSE);
}

static char *format_owner(const json_t *info)
{
	const char *name = get_string(info, "owner_name");

	return name[0] ? g_strdup(name) : g_strdup_printf("%" PRIu64, get_u64(info, "owner"));
}

static char *format_pages(const json_t *info)
{
	g_autofree char *size = format_bytes(get_u64(info, "page_size_bytes"));
	const char *backing = get_string(info, "page_backing");

	/* "4k" says nothing that the size does not. */
	if (!backing[0] || strcmp(backing, "4k") == 0)
		return g_steal_pointer(&size);
	return g_strdup_printf("%s %s", size, backing);
}

static char *format_mode(const json_t *info)
{
	return g_strdup_printf("%04o", (unsigned int)get_u64(info, "mode"));
}

/* --- list ------------------------------------------------------------------------------------ */

struct filter {
	char *owner, *name, *tier, *storage;
};

static int append_filter(sd_bus_message *m, const struct filter *f, uint32_t owner)
{
	int r;

	r = options_open(m);
	if (r >= 0 && f->owner)
		r = options_u32(m, "owner", owner);
	if (r >= 0 && f->name)
		r = options_string(m, "name", f->name);
	if (r >= 0 && f->tier)
		r = options_string(m, "tier", f->tier);
	if (r >= 0 && f->storage)
		r = options_string(m, "storage", f->storage);
	return r < 0 ? r : options_close(m);
}

/* One page; *cursor is replaced by the next. */
static int list_page(struct cli *cli, const struct filter *f, uint32_t owner, char **cursor,
		     json_t *morsels)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	g_autoptr(json_t) page = NULL;
	const char *next;
	int r, status;

	status = cli_message(cli, "List", &m);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "su", *cursor, (uint32_t)1000);
	if (r >= 0)
		r = append_filter(m, f, owner);
	if (r < 0)
		return cli_fail_message("List", r);
	status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, &page);
	if (r >= 0)
		r = sd_bus_message_read(reply, "s", &next);
	if (r < 0)
		return cli_fail_message("List", r);
	if (json_array_extend(morsels, page) < 0)
		return cli_fail(STATUS_FAILED, "out of memory");
	/* A daemon that repeats itself would keep us here for ever. */
	if (next[0] && strcmp(next, *cursor) == 0)
		return cli_fail(STATUS_FAILED, "List: morseld repeats its cursor '%s'", next);
	g_free(*cursor);
	*cursor = g_strdup(next);
	return STATUS_OK;
}

static void print_morsels(json_t *morsels)
{
	struct table *t = table_new();
	json_t *info;
	size_t i;

	table_column(t, "NAME");
	table_column(t, "OWNER");
	table_column(t, "MODE");
	table_column_right(t, "SIZE");
	table_column_right(t, "ALLOCATED");
	table_column(t, "PAGES");
	table_column(t, "CREATED");
	table_column(t, "POLICY");
	json_array_foreach(morsels, i, info)
	{
		table_row(t);
		table_cell(t, get_string(info, "name"));
		table_cell_take(t, format_owner(info));
		table_cell_take(t, format_mode(info));
		table_cell_take(t, format_bytes(get_u64(info, "size_bytes")));
		table_cell_take(t, format_bytes(get_u64(info, "allocated_bytes")));
		table_cell_take(t, format_pages(info));
		table_cell_take(t, format_time(get_u64(info, "created_usec")));
		table_cell_take(t, format_policy(info));
	}
	table_print_free(t);
}

static int run_list(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	struct filter f = {};
	const GOptionEntry entries[] = {
		{ "owner", 0, 0, G_OPTION_ARG_STRING, &f.owner, "Only of this user", "USER" },
		{ "name", 0, 0, G_OPTION_ARG_STRING, &f.name, "Only names that match", "GLOB" },
		{ "tier", 0, 0, G_OPTION_ARG_STRING, &f.tier, "Only those placed on it", "TIER" },
		{ "storage", 0, 0, G_OPTION_ARG_STRING, &f.storage, "Only those kept by it",
		  "STORAGE" },
		{ NULL },
	};
	g_autoptr(json_t) morsels = json_array();
	g_autofree char *cursor = g_strdup("");
	g_auto(GStrv) arguments = NULL;
	uint32_t owner = 0;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status == STATUS_OK && f.owner)
		status = cli_parse_user(verb, f.owner, &owner);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status == STATUS_OK) {
		do {
			status = list_page(cli, &f, owner, &cursor, morsels);
		} while (status == STATUS_OK && cursor[0]);
	}
	if (status == STATUS_OK) {
		if (cli->json)
			print_json(morsels);
		else
			print_morsels(morsels);
	}
	g_free(f.owner);
	g_free(f.name);
	g_free(f.tier);
	g_free(f.storage);
	return status;
}

const struct verb verb_list = {
	.name = "list",
	.summary = "The morsels that one may see",
	.run = run_list,
};

/* --- show ------------------------------------------------------------------------------------ */

static void print_field(const char *name, char *value)
{
	g_autofree char *safe = escape(value);

	printf("%-11s %s\n", name, safe);
	g_free(value);
}

static void print_residency(json_t *residency, uint64_t size)
{
	struct table *t = table_new();
	json_t *tiers = get_object(residency, "tiers"), *bytes;
	const struct {
		const char *key, *name;
	} others[] = { { "swapped_bytes", "(swapped)" }, { "absent_bytes", "(no page yet)" } };
	const char *tier;
	size_t i;

	table_column(t, "WHERE");
	table_column_right(t, "BYTES");
	table_column_right(t, "SHARE");
	json_object_foreach(tiers, tier, bytes)
	{
		uint64_t n = (uint64_t)json_integer_value(bytes);

		table_row(t);
		table_cell(t, tier);
		table_cell_take(t, format_bytes(n));
		table_cell_take(t, g_strdup_printf("%.1f %%",
						   size ? 100.0 * (double)n / (double)size : 0.0));
	}
	for (i = 0; i < G_N_ELEMENTS(others); i++) {
		uint64_t n = get_u64(residency, others[i].key);

		if (!n)
			continue;
		table_row(t);
		table_cell(t, others[i].name);
		table_cell_take(t, format_bytes(n));
		table_cell_take(t, g_strdup_printf("%.1f %%", 100.0 * (double)n / (double)size));
	}
	putchar('\n');
	table_print_free(t);
	if (get_bool(residency, "sampled")) {
		g_autofree char *looked = format_bytes(get_u64(residency, "looked_at_bytes"));

		printf("Estimated from %s of it; --exact looks at every page.\n", looked);
	}
}

static void print_morsel(json_t *info, json_t *residency)
{
	const char *group = get_string(info, "group_name");

	print_field("Name:", g_strdup(get_string(info, "name")));
	print_field("Id:", g_strdup(get_string(info, "id")));
	print_field("Owner:", format_owner(info));
	print_field("Group:", group[0] ? g_strdup(group)
				       : g_strdup_printf("%" PRIu64, get_u64(info, "group")));
	print_field("Mode:", format_mode(info));
	print_field("Size:", format_bytes(get_u64(info, "size_bytes")));
	print_field("Allocated:", format_bytes(get_u64(info, "allocated_bytes")));
	print_field("Pages:", format_pages(info));
	print_field("Policy:", format_policy(info));
	print_field("Initiators:", format_integers(get_array(info, "initiators")));
	print_field("Storage:",
		    g_strdup_printf("%s, %s, %s", get_string(info, "storage"),
				    get_string(info, "scope"), get_string(info, "durability")));
	print_field("Account:", g_strdup(get_string(info, "account")));
	print_field("Created:", format_time(get_u64(info, "created_usec")));
	print_residency(residency, get_u64(info, "size_bytes"));
}

static int get_info(struct cli *cli, const char *morsel, json_t **ret_info)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	int r, status;

	status = cli_message(cli, "Show", &m);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "s", morsel);
	if (r < 0)
		return cli_fail_message("Show", r);
	status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, ret_info);
	return r < 0 ? cli_fail_message("Show", r) : STATUS_OK;
}

static int get_residency(struct cli *cli, const char *morsel, bool exact, json_t **ret_residency)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	int r, status;

	status = cli_message(cli, "Residency", &m);
	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "s", morsel);
	if (r >= 0)
		r = options_open(m);
	if (r >= 0 && exact)
		r = options_bool(m, "exact", true);
	if (r >= 0)
		r = options_close(m);
	if (r < 0)
		return cli_fail_message("Residency", r);
	status = cli_call_slow(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, ret_residency);
	return r < 0 ? cli_fail_message("Residency", r) : STATUS_OK;
}

static int run_show(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	gboolean exact = FALSE;
	const GOptionEntry entries[] = {
		{ "exact", 0, 0, G_OPTION_ARG_NONE, &exact,
		  "Look at every page, where it is large too", NULL },
		{ NULL },
	};
	g_autoptr(json_t) info = NULL, residency = NULL;
	g_auto(GStrv) arguments = NULL;
	int status;

	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status == STATUS_OK)
		status = get_info(cli, arguments[0], &info);
	/* By id: the name may have gone to another object since. */
	if (status == STATUS_OK)
		status = get_residency(cli, get_string(info, "id"), exact, &residency);
	if (status != STATUS_OK)
		return status;
	if (cli->json) {
		json_object_set(info, "residency", residency);
		print_json(info);
	} else {
		print_morsel(info, residency);
	}
	return STATUS_OK;
}

const struct verb verb_show = {
	.name = "show",
	.arguments = "MORSEL",
	.summary = "All about one morsel, and on which tiers its bytes lie",
	.min = 1,
	.max = 1,
	.run = run_show,
};

/* --- destroy --------------------------------------------------------------------------------- */

static int destroy_one(struct cli *cli, const char *morsel, char **ret_text)
{
	g_autoptr(sd_bus_message) m = NULL;
	sd_bus_error e = SD_BUS_ERROR_NULL;
	int r, status = STATUS_OK;

	*ret_text = NULL;
	r = sd_bus_message_new_method_call(cli->bus, &m, cli->name, MANAGER_PATH, MANAGER_IFACE,
					   "Destroy");
	if (r >= 0)
		r = cli_allow_dialog(cli, m);
	if (r >= 0)
		r = sd_bus_message_append(m, "s", morsel);
	if (r >= 0)
		r = sd_bus_call(cli->bus, m, 0, &e, NULL);
	if (r < 0)
		status = cli_error_status(cli, r, &e, ret_text);
	sd_bus_error_free(&e);
	return status;
}

static int run_destroy(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autoptr(json_t) result = json_object(), destroyed = json_array(), failed = json_array();
	g_auto(GStrv) arguments = NULL;
	int status, worst = STATUS_OK;
	size_t i;

	status = cli_parse(cli, verb, NULL, argc, argv, &arguments);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status != STATUS_OK)
		return status;
	/* One that cannot go does not keep the others. */
	for (i = 0; arguments[i]; i++) {
		g_autofree char *text = NULL;

		status = destroy_one(cli, arguments[i], &text);
		if (status == STATUS_OK) {
			json_array_append_new(destroyed, json_string(arguments[i]));
			continue;
		}
		cli_fail(status, "%s", text);
		json_array_append_new(failed,
				      json_pack("{ss ss}", "morsel", arguments[i], "error", text));
		worst = worst == STATUS_OK || worst == status ? status : STATUS_FAILED;
		if (status == STATUS_NO_DAEMON)
			break;
	}
	if (cli->json) {
		json_object_set(result, "destroyed", destroyed);
		json_object_set(result, "failed", failed);
		print_json(result);
	}
	return worst;
}

const struct verb verb_destroy = {
	.name = "destroy",
	.arguments = "MORSEL…",
	.summary = "Remove morsels; mapped memory goes with its last mapping",
	.min = 1,
	.max = -1,
	.run = run_destroy,
};
