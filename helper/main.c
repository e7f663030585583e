// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/log.h"
#include "protocol.h"
#include "serve.h"

#define DEFAULT_USER "morsel"
#define CONFIG "/etc/morsel/morseld.conf"
#define IDLE_SEC 60

static int fail(const char *what, const char *object, int r)
{
	log_line(LOG_ERR, LOG_START_FAILED, object, "%s %s: %s", what, object, g_strerror(-r));
	return EXIT_FAILURE;
}

static int bind_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static int run(int argc, char **argv)
{
	g_autofree char *path = NULL, *root = NULL, *user = NULL, *config = NULL;
	gboolean version = FALSE, bpf = FALSE;
	const GOptionEntry entries[] = {
		{ "socket", 0, 0, G_OPTION_ARG_FILENAME, &path,
		  "Listen here (default: the socket that systemd hands over)", "PATH" },
		{ "root", 0, 0, G_OPTION_ARG_FILENAME, &root,
		  "Find the kernel's files below DIR instead of /", "DIR" },
		{ "user", 0, 0, G_OPTION_ARG_STRING, &user,
		  "Who may call, beside root (default: " DEFAULT_USER ")", "USER" },
		{ "bpf", 0, 0, G_OPTION_ARG_NONE, &bpf,
		  "Serve what is about placement programs, and nothing else", NULL },
		{ "version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version", NULL },
		{ NULL },
	};
	g_autoptr(GOptionContext) context = g_option_context_new("- root's part of morseld");
	g_autoptr(GError) error = NULL;
	struct serve_options options = { .user = (uid_t)-1, .idle_sec = IDLE_SEC };
	struct passwd *entry;
	int fd, r;

	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1) {
		fprintf(stderr, "morsel-helper: %s\n", error ? error->message : "no arguments");
		return 2;
	}
	if (version) {
		puts("morsel-helper " MORSEL_VERSION);
		return EXIT_SUCCESS;
	}
	log_init(LOG_INFO);

	entry = getpwnam(user ? user : DEFAULT_USER);
	if (entry)
		options.user = entry->pw_uid;
	else if (user)
		return fail("user", user, -ENOENT);
	options.root_fd = open(root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (options.root_fd < 0)
		return fail("root directory", root, -errno);
	config = g_strconcat(root ? root : "", CONFIG, NULL);
	options.config_path = config;
	options.bpf = bpf;
	if (path) {
		fd = bind_socket(path);
		options.idle_sec = 0;
		if (fd < 0)
			return fail("socket", path, fd);
	} else {
		if (sd_listen_fds(1) != 1 ||
		    sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
			log_line(
				LOG_ERR, LOG_START_FAILED, NULL,
				"systemd hands over no socket (morsel-helper.socket, or morsel-bpf.socket); "
				"--socket PATH listens without it");
			return EXIT_FAILURE;
		}
		fd = SD_LISTEN_FDS_START;
	}
	r = serve(fd, &options);
	if (path)
		unlink(path);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	return run(argc, argv);
}
