// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "connection.h"
#include "listen.h"
#include "log.h"
#include "manager.h"

/* Accepted in one turn of the loop: clients that are connected wait for no more than these. */
#define ACCEPT_PER_TURN 8
/* After accept() failed for lack of something, the next try. */
#define PAUSE_USEC 100000

struct listener {
	struct manager *manager;
	char *path;
	int fd;
	dev_t dev;
	ino_t ino;
	sd_event_source *source, *pause;
};

static struct log_rate refuse_rate = { .interval_usec = 10000000, .burst = 5 };

static void refuse(const struct caller *caller, const char *why)
{
	if (!log_rate_pass(&refuse_rate, LOG_CONNECTION_REFUSED))
		return;
	if (caller)
		log_line(LOG_NOTICE, LOG_CONNECTION_REFUSED, NULL,
			 "connection of uid %u (pid %d) refused: %s", caller->uid, caller->pid,
			 why);
	else
		log_line(LOG_NOTICE, LOG_CONNECTION_REFUSED, NULL, "connection refused: %s", why);
}

/* Who connects, charged with a connection; NULL: nobody who may. */
static struct caller *admit(struct listener *l, int fd)
{
	g_autoptr(Caller) caller = NULL;
	g_autofree char *text = NULL;
	int r;

	r = caller_from_socket(l->manager->root_fd, fd, &caller);
	if (r == -EPERM)
		refuse(NULL, "its user has no number in the daemon's user namespace, and so could"
			     " not be told from others");
	else if (r == -ESRCH)
		refuse(NULL, "the process that made it has gone: no cgroup to charge");
	if (r < 0)
		return NULL;
	if (manager_descriptors_short(l->manager, fd)) {
		text = g_strdup_printf("out of descriptors, of which there are %u",
				       l->manager->descriptors);
		refuse(caller, text);
		return NULL;
	}
	caller->account = quota_account_get(l->manager->quota, caller->uid, caller->cgroup);
	r = quota_charge(caller->account, QUOTA_CONNECTIONS, 1, NULL, &text);
	if (r < 0) {
		refuse(caller, text);
		return NULL;
	}
	return g_steal_pointer(&caller);
}

static int on_pause_over(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct listener *l = userdata;

	sd_event_source_set_enabled(l->source, SD_EVENT_ON);
	return 0;
}

static void pause_accepting(struct listener *l, int error)
{
	if (log_rate_pass(&refuse_rate, LOG_NO_DESCRIPTORS))
		log_line(LOG_WARNING, LOG_NO_DESCRIPTORS, l->path,
			 "%s: cannot accept a connection: %s, trying again soon", l->path,
			 g_strerror(error));
	sd_event_source_set_enabled(l->source, SD_EVENT_OFF);
	sd_event_source_disable_unref(l->pause);
	l->pause = NULL;
	if (sd_event_add_time_relative(l->manager->event, &l->pause, CLOCK_MONOTONIC, PAUSE_USEC, 0,
				       on_pause_over, l) < 0)
		sd_event_source_set_enabled(l->source, SD_EVENT_ON);
}

static int on_connect(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct listener *l = userdata;

	for (unsigned int i = 0; i < ACCEPT_PER_TURN; i++) {
		struct connection *c;
		struct caller *caller;
		int client, r;

		client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (client < 0) {
			if (errno == EAGAIN)
				return 0;
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			pause_accepting(l, errno);
			return 0;
		}
		caller = admit(l, client);
		if (!caller) {
			close(client);
			continue;
		}
		r = connection_accept(l->manager, client, caller, &c);
		if (r < 0) {
			/* A peer that has gone already is none of our errors. */
			if (r != -ECONNRESET && r != -EPIPE && r != -ENOTCONN &&
			    log_rate_pass(&refuse_rate, LOG_CONNECTION_REFUSED))
				log_line(LOG_WARNING, LOG_CONNECTION_REFUSED, NULL,
					 "connection refused: %s", g_strerror(-r));
			continue;
		}
		manager_connection_added(l->manager, c);
	}
	return 0;
}

/* 0: nobody answers there; -EADDRINUSE, -ENOTSOCK, or what else is wrong with it. */
static int check_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd, r;

	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
	close(fd);
	if (r != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(address->sun_path) < 0 ? -errno : 0;
}

static int bind_path(struct listener *l)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	g_autofree char *directory = g_path_get_dirname(l->path);
	struct stat st;
	mode_t mask;
	int r;

	if (strlen(l->path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, l->path);

	mask = umask(0022);
	r = g_mkdir_with_parents(directory, 0755) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return r;

	r = check_stale(&address);
	if (r < 0)
		return r;

	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return -errno;
	/* The mode is the socket's from its first moment; nobody is served before listen(). */
	mask = umask(0111);
	r = bind(l->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return r;
	if (lstat(l->path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	if (listen(l->fd, SOMAXCONN) < 0)
		return -errno;
	return 0;
}

int listener_new(struct manager *manager, const char *path, struct listener **ret_listener)
{
	struct listener *l = g_new0(struct listener, 1);
	int r;

	l->manager = manager;
	l->path = g_strdup(path);
	l->fd = -1;

	r = bind_path(l);
	if (r >= 0)
		r = sd_event_add_io(manager->event, &l->source, l->fd, EPOLLIN, on_connect, l);
	if (r < 0) {
		log_line(LOG_ERR, LOG_START_FAILED, path, "socket %s: %s", path,
			 r == -EADDRINUSE     ? "another daemon answers there"
			 : r == -ENAMETOOLONG ? "the path is longer than 107 bytes"
			 : r == -ENOTSOCK     ? "there is a file that is not a socket"
					      : g_strerror(-r));
		listener_free(l);
		return r;
	}
	*ret_listener = l;
	return 0;
}

struct listener *listener_free(struct listener *l)
{
	struct stat st;

	if (!l)
		return NULL;
	sd_event_source_disable_unref(l->source);
	sd_event_source_disable_unref(l->pause);
	if (l->fd >= 0)
		close(l->fd);
	if (l->ino && lstat(l->path, &st) == 0 && st.st_ino == l->ino && st.st_dev == l->dev)
		unlink(l->path);
	g_free(l->path);
	g_free(l);
	return NULL;
}
