// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "helper/protocol.h"
#include "log.h"
#include "manager.h"

#define DEFAULT_LISTEN "/run/morsel/bus"
#define DEFAULT_CONFIG "/etc/morsel/morseld.conf"

static int run(int argc, char **argv)
{
	g_autofree char *keeper = NULL, *address = NULL, *listen_path = NULL, *config = NULL,
			*runtime_dir = NULL, *root = NULL, *state_dir = NULL, *helper = NULL,
			*bpf = NULL;
	gboolean dry_run = FALSE, version = FALSE, debug = FALSE;
	const GOptionEntry entries[] = {
		{ "address", 0, 0, G_OPTION_ARG_STRING, &address,
		  "The message bus: 'system' (the default), a D-Bus address, or 'none'",
		  "ADDRESS" },
		{ "listen", 0, 0, G_OPTION_ARG_FILENAME, &listen_path,
		  "The applications' socket (default: " DEFAULT_LISTEN ")", "PATH" },
		{ "config", 0, 0, G_OPTION_ARG_FILENAME, &config,
		  "Configuration; drop-ins are in FILE.d (default: " DEFAULT_CONFIG ")", "FILE" },
		{ "runtime-dir", 0, 0, G_OPTION_ARG_FILENAME, &runtime_dir,
		  "Policies until the next boot are in DIR/policy.d (default: the socket's directory)",
		  "DIR" },
		{ "root", 0, 0, G_OPTION_ARG_FILENAME, &root,
		  "Read /sys and /proc below DIR instead", "DIR" },
		{ "state-dir", 0, 0, G_OPTION_ARG_FILENAME, &state_dir,
		  "Directory for lasting state, locked while the daemon runs", "DIR" },
		{ "bpf-helper", 0, 0, G_OPTION_ARG_FILENAME, &bpf,
		  "Socket of morsel-helper --bpf, or 'none' (default: " HELPER_BPF_SOCKET ")",
		  "PATH" },
		{ "helper", 0, 0, G_OPTION_ARG_FILENAME, &helper,
		  "morsel-helper's socket, or 'none' (default: " HELPER_SOCKET ")", "PATH" },
		{ "keeper", 0, 0, G_OPTION_ARG_FILENAME, &keeper,
		  "The socket of morsel-keeper, which holds morsels while the daemon is restarted",
		  "PATH" },
		{ "dry-run", 0, 0, G_OPTION_ARG_NONE, &dry_run,
		  "Check every call, but create, move and destroy nothing", NULL },
		{ "debug", 0, 0, G_OPTION_ARG_NONE, &debug, "Log more", NULL },
		{ "version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version", NULL },
		{ NULL },
	};
	g_autoptr(GOptionContext) context = g_option_context_new("- the daemon of morsel");
	g_autoptr(GError) error = NULL;
	struct manager_options options = {};
	struct manager *manager;
	int r;

	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error)) {
		fprintf(stderr, "morseld: %s\n", error->message);
		return 2;
	}
	if (argc > 1) {
		fprintf(stderr, "morseld: unexpected argument '%s'\n", argv[1]);
		return 2;
	}
	if (version) {
		printf("morseld %s\n", MORSEL_VERSION);
		return EXIT_SUCCESS;
	}

	log_init(debug ? LOG_DEBUG : LOG_INFO);
	options.address = !address ? "system" : g_str_equal(address, "none") ? NULL : address;
	options.listen_path = listen_path ? listen_path : DEFAULT_LISTEN;
	options.config_path = config ? config : DEFAULT_CONFIG;
	if (!runtime_dir)
		runtime_dir = g_path_get_dirname(options.listen_path);
	options.runtime_dir = runtime_dir;
	options.root = root ? root : "/";
	options.state_dir = state_dir;
	/* With another root the machine is not this one, and its memory none of ours. */
	options.helper_path = helper ? (g_str_equal(helper, "none") ? NULL : helper)
			      : root ? NULL
				     : HELPER_SOCKET;
	options.bpf_path = bpf	  ? (g_str_equal(bpf, "none") ? NULL : bpf)
			   : root ? NULL
				  : HELPER_BPF_SOCKET;
	options.keeper_path = keeper;
	options.dry_run = dry_run;

	r = manager_new(&options, &manager);
	if (r < 0)
		return EXIT_FAILURE;
	r = manager_run(manager);
	manager_free(manager);
	return r < 0 ? EXIT_FAILURE : r;
}

int main(int argc, char **argv)
{
	return run(argc, argv);
}
