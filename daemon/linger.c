// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "linger.h"

/* Ends handled in one turn of the loop, about: an event has 16 bytes, and each end gives two. */
#define READ_BYTES 1024

struct linger {
	int fd;
	sd_event_source *source;
	GHashTable *held; /* watch → struct held */
};

struct held {
	struct quota_account *account;
	uint64_t bytes;
};

static void held_free(gpointer p)
{
	struct held *h = p;

	quota_linger(h->account, -(int64_t)h->bytes);
	quota_uncharge(h->account, QUOTA_MORSELS, 1);
	quota_uncharge(h->account, QUOTA_BYTES, h->bytes);
	g_free(h);
}

/* Events were lost: the watches that the kernel has no more are those whose memory is gone. */
static void compare_all(struct linger *l)
{
	g_autoptr(GHashTable) there = g_hash_table_new(NULL, NULL);
	GHashTableIter iter;
	char path[64], line[512];
	gpointer watch;
	FILE *f;
	int wd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", l->fd);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "inotify wd:%x", &wd) == 1)
			g_hash_table_add(there, GINT_TO_POINTER(wd));
	fclose(f);
	g_hash_table_iter_init(&iter, l->held);
	while (g_hash_table_iter_next(&iter, &watch, NULL))
		if (!g_hash_table_contains(there, watch))
			g_hash_table_iter_remove(&iter);
}

static bool read_some(struct linger *l)
{
	union {
		struct inotify_event event;
		char bytes[READ_BYTES];
	} buffer;
	ssize_t n = read(l->fd, &buffer, sizeof(buffer));

	for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
		const struct inotify_event *e =
			(const struct inotify_event *)(const void *)(buffer.bytes + at);

		if (e->mask & IN_Q_OVERFLOW)
			compare_all(l);
		else if (e->mask &
			 IN_IGNORED) /* the last that comes: the number may be used again */
			g_hash_table_remove(l->held, GINT_TO_POINTER(e->wd));
		at += (ssize_t)sizeof(*e) + e->len;
	}
	return n > 0;
}

static int on_gone(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	(void)read_some(userdata);
	return 0;
}

void linger_look(struct linger *l)
{
	while (read_some(l))
		;
}

int linger_new(sd_event *event, struct linger **ret_linger)
{
	struct linger *l = g_new0(struct linger, 1);
	int r;

	l->held = g_hash_table_new_full(NULL, NULL, NULL, held_free);
	l->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	r = l->fd < 0 ? -errno : sd_event_add_io(event, &l->source, l->fd, EPOLLIN, on_gone, l);
	if (r < 0) {
		linger_free(l);
		return r;
	}
	*ret_linger = l;
	return 0;
}

struct linger *linger_free(struct linger *l)
{
	if (!l)
		return NULL;
	sd_event_source_disable_unref(l->source);
	if (l->fd >= 0)
		close(l->fd);
	g_hash_table_unref(l->held);
	g_free(l);
	return NULL;
}

int linger_add(struct linger *l, int fd, struct quota_account *account, uint64_t bytes)
{
	char path[32];
	struct held *h;
	int wd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(l->fd, path, IN_DELETE_SELF);
	if (wd < 0)
		return -errno;
	h = g_new(struct held, 1);
	h->account = account;
	h->bytes = bytes;
	quota_linger(account, (int64_t)bytes);
	g_hash_table_insert(l->held, GINT_TO_POINTER(wd), h);
	return 0;
}

unsigned int linger_count(const struct linger *l)
{
	return g_hash_table_size(l->held);
}
