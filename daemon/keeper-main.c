// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * morsel-keeper holds descriptors for morseld, so that they outlive it: each morsel's memory lives as
 * long as some descriptor or mapping of it does. It knows ids and descriptors and nothing else, and
 * decides nothing. The protocol: keeper-proto.h.
 *
 * One client at a time, of the keeper's own user. A new one takes the place of the one before, after all that
 * that one had sent was taken in: morseld may have died behind its last words.
 */
#include <errno.h>
#include <getopt.h>
#include <glib.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "keeper-io.h"

/* Of RLIMIT_NOFILE: sockets and streams, and one batch of descriptors that are held already. */
#define RESERVED (16 + KEEPER_BATCH)
/* A client that does not read for so long is closed. */
#define SEND_SECONDS 5

struct held {
	sd_id128_t id;
	int fd;
	unsigned int round; /* of BEGIN */
};

struct keeper {
	GHashTable *held; /* of struct held, a set keyed by id */
	unsigned int round, limit;
	int listen_fd, client;
	bool mute; /* the client does not take answers any more; what it has sent is still to be read */
};

static void say(const char *level, const char *what, int r)
{
	fprintf(stderr, "%smorsel-keeper: %s%s%s\n", level, what, r < 0 ? ": " : "",
		r < 0 ? strerror(-r) : "");
}

static guint held_hash(gconstpointer p)
{
	return ((const struct held *)p)->id.qwords[0]; /* random bits */
}

static gboolean held_equal(gconstpointer a, gconstpointer b)
{
	return sd_id128_equal(((const struct held *)a)->id, ((const struct held *)b)->id);
}

static void held_free(gpointer p)
{
	struct held *h = p;

	close(h->fd);
	g_free(h);
}

static void put(struct keeper *k, const struct keeper_message *m, const int *fds)
{
	for (unsigned int i = 0; i < m->head.n; i++) {
		struct held *h = g_new(struct held, 1);

		*h = (struct held){ m->ids[i], fds[i], k->round };
		g_hash_table_replace(k->held, h, h);
	}
}

static void drop(struct keeper *k, const struct keeper_message *m)
{
	for (unsigned int i = 0; i < m->head.n; i++)
		g_hash_table_remove(k->held, &(struct held){ .id = m->ids[i] });
}

static gboolean is_stale(gpointer key, gpointer value, gpointer data)
{
	return ((struct held *)value)->round != ((struct keeper *)data)->round;
}

static void answer(struct keeper *k, struct keeper_message *m, enum keeper_type type,
		   uint64_t value, const int *fds)
{
	int r;

	if (k->mute)
		return;
	m->head = (struct keeper_head){ .version = KEEPER_VERSION,
					.type = type,
					.n = fds ? m->head.n : 0,
					.held = g_hash_table_size(k->held),
					.value = value };
	for (unsigned int tries = 0;; tries++) {
		r = keeper_send(k->client, m, fds, 0);
		/* Too many descriptors on their way: the client takes them off as it reads. */
		if (r != -ETOOMANYREFS || tries >= SEND_SECONDS * 100)
			break;
		poll(NULL, 0, 10);
	}
	if (r == 0)
		return;
	k->mute = true;
	if (r == -EPIPE || r == -ECONNRESET)
		return;
	say(SD_WARNING, "morseld does not read, connection closed", r);
	shutdown(k->client, SHUT_RDWR);
}

static void give_back(struct keeper *k)
{
	struct keeper_message m = {};
	int fds[KEEPER_BATCH];
	GHashTableIter iter;
	gpointer p;

	g_hash_table_iter_init(&iter, k->held);
	while (g_hash_table_iter_next(&iter, &p, NULL)) {
		const struct held *h = p;

		fds[m.head.n] = h->fd;
		m.ids[m.head.n++] = h->id;
		if (m.head.n == KEEPER_BATCH) {
			answer(k, &m, KEEPER_HAVE, 0, fds);
			m.head.n = 0;
		}
	}
	if (m.head.n > 0)
		answer(k, &m, KEEPER_HAVE, 0, fds);
	answer(k, &m, KEEPER_END, 0, NULL);
}

/* Take in one message. flags as for recvmsg. */
static int serve(struct keeper *k, int flags)
{
	struct keeper_message m;
	int fds[KEEPER_BATCH], r;
	unsigned int n_fds, n;

	r = keeper_receive(k->client, &m, fds, &n_fds, flags);
	if (r < 0)
		return r;
	n = m.head.n;
	switch (m.head.type) {
	case KEEPER_PUT:
		put(k, &m, fds);
		return 0;
	case KEEPER_DROP:
		drop(k, &m);
		answer(k, &m, KEEPER_DROPPED, n, NULL);
		return 0;
	case KEEPER_GET:
		give_back(k);
		return 0;
	case KEEPER_BEGIN:
		k->round++;
		return 0;
	case KEEPER_SWEEP:
		g_hash_table_foreach_remove(k->held, is_stale, k);
		answer(k, &m, KEEPER_SWEPT, 0, NULL);
		return 0;
	}
	for (unsigned int i = 0; i < n_fds; i++)
		close(fds[i]);
	return -EBADMSG;
}

static void hang_up(struct keeper *k)
{
	close(k->client);
	k->client = -1;
}

static void serve_client(struct keeper *k)
{
	int r = serve(k, MSG_DONTWAIT);

	if (r >= 0 || r == -EAGAIN)
		return;
	/* A peer that ended is not worth a line. */
	if (r != -ENODATA)
		say(SD_WARNING, "connection closed", r);
	hang_up(k);
}

static void accept_client(struct keeper *k)
{
	struct timeval timeout = { .tv_sec = SEND_SECONDS };
	struct keeper_message hello = {};
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int fd;

	fd = accept4(k->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			say(SD_WARNING, "cannot accept", -errno);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != geteuid()) {
		fprintf(stderr, SD_WARNING "morsel-keeper: connection of uid %u refused\n",
			peer.uid);
		close(fd);
		return;
	}
	if (k->client >= 0) {
		k->mute = true;
		while (serve(k, MSG_DONTWAIT) >= 0)
			;
		hang_up(k);
	}
	k->client = fd;
	k->mute = false;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	answer(k, &hello, KEEPER_HELLO, k->limit, NULL);
}

/* Systemd's, or one of our own at path. */
static int open_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = sd_listen_fds(true), fd;
	mode_t mask;

	if (n == 1 && sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_SEQPACKET, 1, NULL, 0) > 0)
		return SD_LISTEN_FDS_START;
	if (!path || strlen(path) >= sizeof(address.sun_path))
		return -EINVAL;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A dead one's: a keeper that lives on at this path would lose nothing but its name. */
	unlink(path);
	mask = umask(0177);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	umask(mask);
	return fd;
}

static unsigned int raise_limit(void)
{
	struct rlimit limit = { 1024, 1024 };

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur > RESERVED ? MIN(limit.rlim_cur - RESERVED, UINT32_MAX) : 0;
}

static int run(const char *path)
{
	struct keeper k = { .client = -1, .limit = raise_limit() };

	k.listen_fd = open_socket(path);
	if (k.listen_fd < 0) {
		say(SD_ERR, path ? path : "no socket from systemd, and no --listen", k.listen_fd);
		return EXIT_FAILURE;
	}
	k.held = g_hash_table_new_full(held_hash, held_equal, held_free, NULL);
	sd_notify(0, "READY=1");
	for (;;) {
		struct pollfd p[] = { { k.listen_fd, POLLIN, 0 }, { k.client, POLLIN, 0 } };

		if (poll(p, 2, -1) < 0 && errno != EINTR) {
			say(SD_ERR, "poll", -errno);
			return EXIT_FAILURE;
		}
		if (p[1].revents)
			serve_client(&k);
		if (p[0].revents)
			accept_client(&k);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "listen", required_argument, NULL, 'l' },
						 { "version", no_argument, NULL, 'V' },
						 { "help", no_argument, NULL, 'h' },
						 {} };
	const char *path = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
		switch (c) {
		case 'l':
			path = optarg;
			break;
		case 'V':
			printf("morsel-keeper %s\n", MORSEL_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			printf("usage: morsel-keeper [--listen PATH]\n"
			       "Holds morseld's descriptors. Without --listen the socket is systemd's.\n");
			return EXIT_SUCCESS;
		default:
			return 2;
		}
	if (optind < argc) {
		fprintf(stderr, "morsel-keeper: unexpected argument '%s'\n", argv[optind]);
		return 2;
	}
	return run(path);
}
