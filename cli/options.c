// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "daemon/parse-size.h"

G_GNUC_PRINTF(1, 0) static void complain(const char *format, va_list ap)
{
	g_autofree char *text = g_strdup_vprintf(format, ap);
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	guint i;

	/* Line ends are ours; everything else may come from others' names. */
	for (i = 0; lines[i]; i++) {
		g_autofree char *safe = escape(lines[i]);

		fprintf(stderr, "%s%s\n", i == 0 ? "morselctl: " : "", safe);
	}
}

int cli_fail(int status, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	complain(format, ap);
	va_end(ap);
	return status;
}

int cli_usage(const struct verb *verb, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	complain(format, ap);
	va_end(ap);
	fprintf(stderr, "Try: morselctl %s%s--help\n", verb ? verb->name : "", verb ? " " : "");
	return STATUS_USAGE;
}

GOptionEntry *cli_common_entries(struct cli *cli)
{
	static GOptionEntry entries[] = {
		{ "json", 0, 0, G_OPTION_ARG_NONE, NULL,
		  "Print JSON: stable keys, raw integers (bytes, µs, ns, MB/s)", NULL },
		{ "socket", 0, 0, G_OPTION_ARG_FILENAME, NULL,
		  "morseld's socket (default: $MORSEL_SOCKET, /run/morsel/bus)", "PATH" },
		{ "system", 0, 0, G_OPTION_ARG_NONE, NULL,
		  "Go over the system bus instead of the socket", NULL },
		{ NULL },
	};

	entries[0].arg_data = &cli->json;
	entries[1].arg_data = &cli->socket;
	entries[2].arg_data = &cli->system;
	return entries;
}

/* GOption leaves a "--" standing before what looks like an option. */
static char **take_arguments(int argc, char **argv)
{
	GPtrArray *rest = g_ptr_array_new();
	bool seen = false;
	int i;

	for (i = 1; i < argc; i++) {
		if (!seen && strcmp(argv[i], "--") == 0)
			seen = true;
		else
			g_ptr_array_add(rest, g_strdup(argv[i]));
	}
	g_ptr_array_add(rest, NULL);
	return (char **)g_ptr_array_free(rest, FALSE);
}

int cli_parse(struct cli *cli, const struct verb *verb, const GOptionEntry *entries, int argc,
	      char **argv, char ***ret_arguments)
{
	g_autoptr(GOptionContext) context = g_option_context_new(verb->arguments);
	g_autofree char *prgname = g_strdup_printf("morselctl %s", verb->name);
	/* GOption rearranges the array and drops from it what it used. */
	g_auto(GStrv) arguments = NULL;
	g_autofree char **copy = g_memdup2(argv, ((gsize)argc + 1) * sizeof(*argv));
	g_autoptr(GError) error = NULL;
	int n, i;

	g_set_prgname(prgname);
	g_option_context_set_summary(context, verb->summary);
	if (verb->description)
		g_option_context_set_description(context, verb->description);
	if (entries)
		g_option_context_add_main_entries(context, entries, NULL);
	g_option_context_add_main_entries(context, cli_common_entries(cli), NULL);
	if (!g_option_context_parse(context, &argc, &copy, &error)) {
		g_set_prgname("morselctl");
		return cli_usage(verb, "%s: %s", verb->name, error->message);
	}
	g_set_prgname("morselctl");
	if (cli->system && cli->socket)
		return cli_usage(verb, "--system and --socket exclude each other");

	arguments = take_arguments(argc, copy);
	n = (int)g_strv_length(arguments);
	if (n < verb->min)
		return cli_usage(verb, "%s: needs %s", verb->name, verb->arguments);
	if (verb->max >= 0 && n > verb->max)
		return cli_usage(verb, "%s: too many arguments: '%s'", verb->name,
				 arguments[verb->max]);
	for (i = 0; i < n; i++)
		if (!g_utf8_validate(arguments[i], -1, NULL))
			return cli_usage(verb, "%s: argument '%s' is not valid UTF-8", verb->name,
					 arguments[i]);
	*ret_arguments = g_steal_pointer(&arguments);
	return STATUS_OK;
}

int cli_parse_size(const struct verb *verb, const char *what, const char *s, uint64_t *ret_bytes)
{
	int r;

	r = parse_size(s, ret_bytes);
	if (r == -ERANGE)
		return cli_usage(verb, "%s: '%s' is over 64 bits", what, s);
	if (r < 0)
		return cli_usage(
			verb,
			"%s: '%s' is not a size: a whole number of bytes, or of K, M, G or T "
			"(1024-based, as in 512M or 2GiB)",
			what, s);
	return STATUS_OK;
}

int cli_parse_range(const struct verb *verb, const char *s, uint64_t *ret_offset,
		    uint64_t *ret_length)
{
	const char *sign = strpbrk(s, ":+");
	g_autofree char *from = sign ? g_strndup(s, (gsize)(sign - s)) : NULL;
	uint64_t a = 0, b = 0;
	int status;

	if (!sign || !(from[0] || sign[1]))
		return cli_usage(
			verb, "--range: '%s' is not A:B (from A up to B), A:, :B or A+LENGTH", s);
	if (from[0]) {
		status = cli_parse_size(verb, "--range", from, &a);
		if (status != STATUS_OK)
			return status;
	}
	if (sign[1]) {
		status = cli_parse_size(verb, "--range", sign + 1, &b);
		if (status != STATUS_OK)
			return status;
		if (*sign == ':' ? b <= a : b == 0)
			return cli_usage(verb, "--range: '%s' is empty", s);
		if (*sign == '+' && b > UINT64_MAX - a)
			return cli_usage(verb, "--range: '%s' is over 64 bits", s);
	} else if (*sign == '+') {
		return cli_usage(verb, "--range: '%s' has no length", s);
	}
	*ret_offset = a;
	*ret_length = !sign[1] ? 0 : *sign == ':' ? b - a : b;
	return STATUS_OK;
}

int cli_parse_duration(const struct verb *verb, const char *what, const char *s,
		       uint32_t *ret_seconds)
{
	static const struct {
		const char *suffix;
		uint32_t seconds;
	} units[] = { { "h", 3600 }, { "m", 60 }, { "s", 1 }, { "", 1 } };

	for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
		g_autofree char *number = NULL;
		uint32_t n;

		if (!g_str_has_suffix(s, units[i].suffix))
			continue;
		number = g_strndup(s, strlen(s) - strlen(units[i].suffix));
		if (parse_u32(number, &n) < 0 || n == 0 || n > 1000 * 86400 / units[i].seconds)
			break;
		*ret_seconds = n * units[i].seconds;
		return STATUS_OK;
	}
	return cli_usage(verb, "%s: '%s' is no time such as 90, 10m or 2h (1000 days at most)",
			 what, s);
}

int parse_u32(const char *s, uint32_t *ret_value)
{
	guint64 v;

	if (!g_ascii_string_to_unsigned(s, 10, 0, UINT32_MAX, &v, NULL))
		return -EINVAL;
	*ret_value = (uint32_t)v;
	return 0;
}

int cli_parse_user(const struct verb *verb, const char *s, uint32_t *ret_uid)
{
	const struct passwd *p = getpwnam(s);

	if (p)
		*ret_uid = p->pw_uid;
	else if (parse_u32(s, ret_uid) < 0)
		return cli_usage(verb, "no user '%s'", s);
	return STATUS_OK;
}

int cli_parse_group(const struct verb *verb, const char *s, uint32_t *ret_gid)
{
	const struct group *g = getgrnam(s);

	if (g)
		*ret_gid = g->gr_gid;
	else if (parse_u32(s, ret_gid) < 0)
		return cli_usage(verb, "no group '%s'", s);
	return STATUS_OK;
}
