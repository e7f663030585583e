// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "cli.h"

#define PAGE 1000

char *cli_cgroup_path(const char *s)
{
	static const char mount[] = "/sys/fs/cgroup";
	char *path;

	if (g_str_has_prefix(s, mount) && (s[strlen(mount)] == '/' || s[strlen(mount)] == '\0'))
		s += strlen(mount);
	path = g_strconcat(s[0] == '/' ? "" : "/", s, NULL);
	for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = '\0';
	return path;
}

/* --- list ------------------------------------------------------------------------------------ */

static int get_page(struct cli *cli, const char *cursor, json_t **ret_policies, char **ret_next)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	g_autoptr(json_t) next = NULL;
	int r, status = cli_message(cli, "ListPolicies", &m);

	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "su", cursor, (uint32_t)PAGE);
	if (r < 0)
		return cli_fail_message("ListPolicies", r);
	status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, ret_policies);
	if (r >= 0)
		r = message_to_json(reply, &next);
	if (r < 0)
		return cli_fail_message("ListPolicies", r);
	*ret_next = g_strdup(json_string_value(next));
	return STATUS_OK;
}

static void print_list(json_t *policies)
{
	struct table *t = table_new();
	json_t *policy;
	size_t i;

	table_column(t, "CGROUP");
	table_column(t, "EXISTS");
	table_column(t, "SETTINGS");
	json_array_foreach(policies, i, policy)
	{
		g_autoptr(GString) settings = g_string_new(NULL);
		const char *key;
		json_t *value;

		json_object_foreach(get_object(policy, "settings"), key, value)
			g_string_append_printf(settings, "%s%s=%s", settings->len > 0 ? " " : "",
					       key, json_string_value(value));
		table_row(t);
		table_cell(t, get_string(policy, "cgroup"));
		table_cell(t, get_bool(policy, "pattern")  ? "pattern"
			      : get_bool(policy, "exists") ? "yes"
							   : "no");
		table_cell(t, settings->str);
	}
	table_print_free(t);
}

static int run_list(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autoptr(json_t) all = json_array();
	g_auto(GStrv) arguments = NULL;
	g_autofree char *cursor = g_strdup("");
	int status;

	status = cli_parse(cli, verb, NULL, argc, argv, &arguments);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	while (status == STATUS_OK) {
		g_autoptr(json_t) page = NULL;
		g_autofree char *at = g_steal_pointer(&cursor);

		status = get_page(cli, at, &page, &cursor);
		if (status == STATUS_OK)
			json_array_extend(all, page);
		if (status != STATUS_OK || !cursor || !cursor[0])
			break;
	}
	if (status != STATUS_OK)
		return status;
	if (cli->json)
		print_json(all);
	else
		print_list(all);
	return STATUS_OK;
}

/* --- show ------------------------------------------------------------------------------------ */

static void print_notes(const json_t *warnings)
{
	const json_t *w;
	size_t i;

	json_array_foreach(warnings, i, w)
	{
		g_autofree char *text = escape(json_string_value(w));

		printf("Note: %s\n", text);
	}
}

static void print_settings(json_t *policy)
{
	struct table *t = table_new();
	json_t *s;
	size_t i;

	table_column(t, "KEY");
	table_column(t, "VALUE");
	table_column(t, "FROM");
	table_column(t, "WHERE");
	json_array_foreach(get_array(policy, "effective"), i, s)
	{
		const char *from = get_string(s, "from"), *origin = get_string(s, "origin");

		table_row(t);
		table_cell(t, get_string(s, "key"));
		if (json_object_get(s, "bytes"))
			table_cell_take(t, format_bytes(get_u64(s, "bytes")));
		else
			table_cell(t, get_string(s, "value")[0] ? get_string(s, "value") : "-");
		table_cell(t, from[0] ? from : "default");
		table_cell_take(
			t, g_strdup_printf("%s%s", origin[0] ? origin : "-",
					   get_bool(s, "lasting") ? "" : " (until the next boot)"));
	}
	table_print_free(t);
}

void print_policy(json_t *policy)
{
	g_autofree char *cgroup = escape(get_string(policy, "cgroup"));
	json_t *used = get_object(policy, "tiers_used");
	json_t *ordinary = get_object(policy, "ordinary_bytes");

	printf("Cgroup:  %s%s\n", cgroup, get_bool(policy, "exists") ? "" : " (not there now)");
	printf("Max:     %s\n",
	       get_bool(policy, "enforced") ? "enforced by the kernel module" : "advisory");
	if (json_object_size(used) > 0) {
		g_autofree char *bytes = format_bytes_by(used);

		printf("In use:  %s\n", bytes);
	}
	if (json_object_size(ordinary) > 0) {
		g_autofree char *bytes = format_bytes_by(ordinary);
		g_autofree char *up = format_bytes(get_u64(policy, "ordinary_moved_up"));
		g_autofree char *down = format_bytes(get_u64(policy, "ordinary_moved_down"));

		printf("Ordinary: %s; moved to nearer memory: %s, away from it: %s\n", bytes, up,
		       down);
	}
	putchar('\n');
	print_settings(policy);
	if (json_array_size(get_array(policy, "warnings")) > 0)
		putchar('\n');
	print_notes(get_array(policy, "warnings"));
}

int cli_get_policy(struct cli *cli, const char *cgroup, json_t **ret_json)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	int r, status = cli_message(cli, "ShowPolicy", &m);

	if (status != STATUS_OK)
		return status;
	r = sd_bus_message_append(m, "s", cgroup);
	if (r < 0)
		return cli_fail_message("ShowPolicy", r);
	status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, ret_json);
	return r < 0 ? cli_fail_message("ShowPolicy", r) : STATUS_OK;
}

static int run_show(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autoptr(json_t) policy = NULL;
	g_auto(GStrv) arguments = NULL;
	g_autofree char *cgroup = NULL;
	int status;

	status = cli_parse(cli, verb, NULL, argc, argv, &arguments);
	if (status == STATUS_OK)
		status = cli_connect(cli);
	if (status != STATUS_OK)
		return status;
	cgroup = cli_cgroup_path(arguments[0]);
	status = cli_get_policy(cli, cgroup, &policy);
	if (status != STATUS_OK)
		return status;
	if (cli->json)
		print_json(policy);
	else
		print_policy(policy);
	return STATUS_OK;
}

/* --- set, unset ------------------------------------------------------------------------------ */

static int append_settings(sd_bus_message *m, char **settings)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	for (char **s = settings; r >= 0 && *s; s++) {
		char *equals = strchr(*s, '=');
		g_autofree char *key = g_strndup(*s, (size_t)(equals - *s));

		r = sd_bus_message_append(m, "{sv}", key, "s", equals + 1);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_keys(sd_bus_message *m, char **keys)
{
	int r = sd_bus_message_open_container(m, 'a', "s");

	for (char **k = keys; r >= 0 && *k; k++)
		r = sd_bus_message_append(m, "s", *k);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int change(struct cli *cli, const char *method, char **arguments, bool runtime)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	g_autoptr(json_t) warnings = NULL;
	g_autofree char *cgroup = cli_cgroup_path(arguments[0]);
	bool sets = strcmp(method, "SetPolicy") == 0;
	int r, status;

	status = cli_connect(cli);
	if (status == STATUS_OK)
		status = cli_message(cli, method, &m);
	if (status != STATUS_OK)
		return status;
	r = cli_allow_dialog(cli, m);
	if (r >= 0)
		r = sd_bus_message_append(m, "s", cgroup);
	if (r >= 0)
		r = sets ? append_settings(m, arguments + 1) : append_keys(m, arguments + 1);
	if (r >= 0)
		r = options_open(m);
	if (r >= 0 && runtime)
		r = options_bool(m, "runtime", true);
	if (r >= 0)
		r = options_close(m);
	if (r < 0)
		return cli_fail_message(method, r);
	/* A dialog may stand open for longer than 25 s. */
	status = cli_call_slow(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, &warnings);
	if (r < 0)
		return cli_fail_message(method, r);
	if (cli->json) {
		g_autoptr(json_t)
			result = json_pack("{s:s, s:O}", "cgroup", cgroup, "warnings", warnings);

		print_json(result);
	} else {
		print_notes(warnings);
	}
	return STATUS_OK;
}

static int run_set(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	gboolean runtime = FALSE;
	const GOptionEntry entries[] = {
		{ "runtime", 0, 0, G_OPTION_ARG_NONE, &runtime, "Until the next boot only", NULL },
		{ NULL },
	};
	g_auto(GStrv) arguments = NULL;
	int status = cli_parse(cli, verb, entries, argc, argv, &arguments);

	if (status != STATUS_OK)
		return status;
	for (char **s = arguments + 1; *s; s++)
		if (!strchr(*s, '=') || **s == '=')
			return cli_usage(verb, "'%s' is not KEY=VALUE", *s);
	return change(cli, "SetPolicy", arguments, runtime);
}

static int run_unset(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	gboolean runtime = FALSE;
	const GOptionEntry entries[] = {
		{ "runtime", 0, 0, G_OPTION_ARG_NONE, &runtime,
		  "Only what was set until the next boot", NULL },
		{ NULL },
	};
	g_auto(GStrv) arguments = NULL;
	int status = cli_parse(cli, verb, entries, argc, argv, &arguments);

	return status != STATUS_OK ? status : change(cli, "UnsetPolicy", arguments, runtime);
}

const struct verb verb_policy_list = {
	.name = "policy list",
	.summary = "Cgroups that have a policy",
	.run = run_list,
};

const struct verb verb_policy_show = {
	.name = "policy show",
	.arguments = "CGROUP",
	.summary = "What holds for a cgroup, and where each of it comes from",
	.min = 1,
	.max = 1,
	.run = run_show,
};

#define KEYS                                                                                         \
	"Keys: Prefer, Allow, Spread (of tiers), Low.TIER, High.TIER, Max.TIER, Weight, PageSize,\n" \
	"Migrate, Bandwidth, ManageOrdinary: see morsel.policy(5)."

const struct verb verb_policy_set = {
	.name = "policy set",
	.arguments = "CGROUP KEY=VALUE…",
	.summary = "Change a cgroup's policy, at once and for good",
	.description = KEYS,
	.min = 2,
	.max = -1,
	.run = run_set,
};

const struct verb verb_policy_unset = {
	.name = "policy unset",
	.arguments = "CGROUP [KEY…]",
	.summary = "Take back what was set; without keys all of it",
	.description = KEYS,
	.min = 1,
	.max = -1,
	.run = run_unset,
};
