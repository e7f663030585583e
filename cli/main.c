// SPDX-License-Identifier: GPL-2.0-or-later
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

const struct verb *const verbs[] = {
	&verb_tiers,
	&verb_tier_show,
	&verb_tier_provision,
	&verb_tier_unprovision,
	&verb_list,
	&verb_create,
	&verb_show,
	&verb_move,
	&verb_jobs,
	&verb_chmod,
	&verb_chown,
	&verb_destroy,
	&verb_policy_list,
	&verb_policy_show,
	&verb_policy_set,
	&verb_policy_unset,
	&verb_quota,
	&verb_stats,
	&verb_top,
	&verb_explain,
	&verb_record,
	&verb_report,
	&verb_simulate,
	&verb_doctor,
	NULL,
};

static void print_help(FILE *f)
{
	size_t i;

	fputs("Usage: morselctl [OPTION…] VERB [OPTION…] [ARGUMENT…]\n\n"
	      "Look at the memory tiers of this machine, and place memory objects on them.\n\n"
	      "Verbs:\n",
	      f);
	for (i = 0; verbs[i]; i++) {
		g_autofree char *call = g_strdup_printf(
			"%s %s", verbs[i]->name, verbs[i]->arguments ? verbs[i]->arguments : "");

		/* The width of printf() counts bytes, and an ellipsis has three. */
		fprintf(f, "  %s%*s %s\n", call, MAX(0, 34 - (int)g_utf8_strlen(call, -1)), "",
			verbs[i]->summary);
	}
	fputs("  help [VERB]                        This text, or a verb's options\n\n"
	      "Options, before or behind the verb:\n"
	      "  --json            JSON: stable keys, raw integers (bytes, µs, ns, MB/s)\n"
	      "  --socket PATH     morseld's socket (default: $MORSEL_SOCKET, /run/morsel/bus)\n"
	      "  --system          Go over the system bus instead of the socket\n"
	      "  --version         Print the version\n"
	      "  -h, --help        This text; behind a verb: its options\n\n"
	      "MORSEL is a name of one's own, OWNER:NAME or an id. Sizes are bytes, or have a suffix\n"
	      "K, M, G or T (1024-based).\n"
	      "Exit status: 0 done, 1 failed, 2 usage, 3 morseld not reachable, 4 no such object.\n",
	      f);
}

/* The verb at argv[0], of one word or two; *ret_words says how many. */
static const struct verb *find_verb(int argc, char **argv, int *ret_words)
{
	size_t i;

	for (i = 0; verbs[i]; i++) {
		const char *space = strchr(verbs[i]->name, ' ');
		size_t first = space ? (size_t)(space - verbs[i]->name) : strlen(verbs[i]->name);

		if (strlen(argv[0]) != first || strncmp(argv[0], verbs[i]->name, first) != 0)
			continue;
		if (!space) {
			*ret_words = 1;
			return verbs[i];
		}
		if (argc > 1 && strcmp(argv[1], space + 1) == 0) {
			*ret_words = 2;
			return verbs[i];
		}
	}
	return NULL;
}

static int help(struct cli *cli, int argc, char **argv)
{
	char *arguments[] = { NULL, (char *)"--help", NULL };
	const struct verb *verb;
	int words;

	if (argc == 0) {
		print_help(stdout);
		return STATUS_OK;
	}
	verb = find_verb(argc, argv, &words);
	if (!verb || words != argc)
		return cli_usage(NULL, "no verb '%s'", argv[0]);
	arguments[0] = (char *)verb->name;
	return verb->run(cli, verb, 2, arguments);
}

/* Common options stand before the verb too; parsing stops at it. */
static int parse_common(struct cli *cli, int *argc, char ***argv, gboolean *ret_help,
			gboolean *ret_version)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GError) error = NULL;
	const GOptionEntry help_entry[] = {
		{ "help", 'h', 0, G_OPTION_ARG_NONE, ret_help, NULL, NULL },
		{ "version", 0, 0, G_OPTION_ARG_NONE, ret_version, NULL, NULL },
		{ NULL },
	};

	g_option_context_set_help_enabled(context, FALSE);
	g_option_context_set_strict_posix(context, TRUE);
	g_option_context_add_main_entries(context, help_entry, NULL);
	g_option_context_add_main_entries(context, cli_common_entries(cli), NULL);
	if (!g_option_context_parse(context, argc, argv, &error))
		return cli_usage(NULL, "%s", error->message);
	return STATUS_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct verb *verb;
	gboolean wants_help = FALSE, wants_version = FALSE;
	int status, words = 0;

	status = parse_common(cli, &argc, &argv, &wants_help, &wants_version);
	if (status != STATUS_OK)
		return status;
	if (wants_help)
		return help(cli, 0, NULL);
	if (wants_version) {
		puts("morselctl " MORSEL_VERSION);
		return STATUS_OK;
	}
	argc--;
	argv++;
	if (argc > 0 && strcmp(argv[0], "--") == 0) {
		argc--;
		argv++;
	}
	if (argc == 0) {
		print_help(stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[0], "help") == 0)
		return help(cli, argc - 1, argv + 1);
	verb = find_verb(argc, argv, &words);
	if (!verb)
		return cli_usage(NULL, "no verb '%s'", argv[0]);
	return verb->run(cli, verb, argc - words + 1, argv + words - 1);
}

int main(int argc, char **argv)
{
	/* Copied because GOption takes out of the array what it used. */
	g_autofree char **copy = g_memdup2(argv, ((gsize)argc + 1) * sizeof(*argv));
	struct cli cli = {};
	int status;

	setlocale(LC_ALL, "");
	/* Figures with a point, whoever reads them: columns are cut up by scripts too. */
	setlocale(LC_NUMERIC, "C");
	g_set_prgname("morselctl");
	status = run(&cli, argc, copy);
	cli_disconnect(&cli);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		if (status == STATUS_OK)
			status = cli_fail(STATUS_FAILED, "writing the output failed");
	}
	return status;
}
