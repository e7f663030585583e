// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "connection.h"
#include "listen.h"
#include "log.h"
#include "manager.h"

/* Accepted in one turn of the loop, unless it takes too long: who connects waits behind all who connected
 * before, so these must not pile up; clients that are connected wait for no more than this. */
#define ACCEPT_PER_TURN 64
#define ACCEPT_USEC 500
/* New connections of one user: so many at once, then so many a second. A program connects once; a script
 * with a morselctl in a loop gets to a hundred. */
#define RATE_BURST 1024
#define RATE_PER_SECOND 256
/* Users whose rate is remembered. */
#define RATES_MAX 1024
/* After accept() failed for lack of something, the next try. */
#define PAUSE_USEC 100000

struct listener {
	struct manager *manager;
	char *path;
	int fd;
	dev_t dev;
	ino_t ino;
	sd_event_source *source, *pause;
	GHashTable *rates; /* uid → struct rate, of those that connected lately */
};

struct rate {
	double left; /* of the burst */
	uint64_t usec;
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

static gboolean is_full_again(gpointer uid, gpointer value, gpointer now)
{
	const struct rate *rate = value;

	return rate->left + (double)(*(uint64_t *)now - rate->usec) * RATE_PER_SECOND / 1e6 >=
	       RATE_BURST;
}

static bool is_too_fast(struct listener *l, uid_t uid)
{
	struct rate *rate = g_hash_table_lookup(l->rates, GUINT_TO_POINTER(uid));
	uint64_t now = now_monotonic();

	if (!rate) {
		if (g_hash_table_size(l->rates) >= RATES_MAX)
			g_hash_table_foreach_remove(l->rates, is_full_again, &now);
		if (g_hash_table_size(l->rates) >= RATES_MAX)
			g_hash_table_remove_all(l->rates);
		rate = g_new(struct rate, 1);
		*rate = (struct rate){ .left = RATE_BURST, .usec = now };
		g_hash_table_insert(l->rates, GUINT_TO_POINTER(uid), rate);
	}
	rate->left =
		MIN(RATE_BURST, rate->left + (double)(now - rate->usec) * RATE_PER_SECOND / 1e6);
	rate->usec = now;
	if (rate->left < 1)
		return true;
	rate->left--;
	return false;
}

/* What can be said of a user who floods is said without reading anything of the process. */
static bool is_flood(struct listener *l, int fd)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);
	bool too_fast;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
		return false;
	too_fast = is_too_fast(l, cred.uid);
	if (!too_fast && !quota_user_is_full(l->manager->quota, cred.uid, QUOTA_CONNECTIONS))
		return false;
	if (log_rate_pass(&refuse_rate, LOG_CONNECTION_REFUSED))
		log_line(LOG_NOTICE, LOG_CONNECTION_REFUSED, NULL,
			 too_fast ? "connection of uid %u (pid %d) refused: more than %d new ones a"
				    " second"
				  : "connection of uid %u (pid %d) refused: as many as"
				    " ConnectionsPerUser= allows are open",
			 cred.uid, cred.pid, RATE_PER_SECOND);
	return true;
}

/* Who connects, charged with a connection; NULL: nobody who may. */
static struct caller *admit(struct listener *l, int fd)
{
	g_autoptr(Caller) caller = NULL;
	g_autofree char *text = NULL;
	int r;

	if (is_flood(l, fd))
		return NULL;
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
	uint64_t end = now_monotonic() + ACCEPT_USEC;

	for (unsigned int i = 0; i < ACCEPT_PER_TURN && now_monotonic() < end; i++) {
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
	l->rates = g_hash_table_new_full(NULL, NULL, NULL, g_free);

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
	g_hash_table_unref(l->rates);
	g_free(l->path);
	g_free(l);
	return NULL;
}
