// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "linger.h"

/* Ends handled in one turn of the loop, about: an event has 16 bytes, and each end gives two. */
#define READ_BYTES 1024
/* Between two questions after objects that give no events. */
#define ASK_USEC 1000000

struct linger {
	sd_event *event;
	linger_gone_t gone;
	void *userdata;
	int fd;
	sd_event_source *source;
	GHashTable *held; /* watch → struct held */
	sd_event_source *ask;
	GPtrArray *objects; /* of struct held, of lasting storages */
};

struct held {
	sd_id128_t id;
	struct quota_account *account;
	uint64_t bytes;
	struct storage *storage;       /* of object, */
	struct storage_object *object; /* owned; NULL: of a watch */
};

static void held_free(gpointer p)
{
	struct held *h = p;

	quota_linger(h->account, -(int64_t)h->bytes);
	quota_uncharge(h->account, QUOTA_MORSELS, 1);
	quota_uncharge(h->account, QUOTA_BYTES, h->bytes);
	if (h->object)
		h->storage->ops->free(h->object);
	g_free(h);
}

static void tell(const struct linger *l, const struct held *h)
{
	if (!sd_id128_is_null(h->id))
		l->gone(h->id, l->userdata);
}

static void let_go(struct linger *l, int watch)
{
	struct held *h = g_hash_table_lookup(l->held, GINT_TO_POINTER(watch));

	if (!h)
		return;
	tell(l, h);
	g_hash_table_remove(l->held, GINT_TO_POINTER(watch));
}

/* Events were lost: the watches that the kernel has no more are those whose memory is gone. */
static void compare_all(struct linger *l)
{
	g_autoptr(GHashTable) there = g_hash_table_new(NULL, NULL);
	GHashTableIter iter;
	char path[64], line[512];
	gpointer watch, held;
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
	while (g_hash_table_iter_next(&iter, &watch, &held))
		if (!g_hash_table_contains(there, watch)) {
			tell(l, held);
			g_hash_table_iter_remove(&iter);
		}
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
			let_go(l, e->wd);
		at += (ssize_t)sizeof(*e) + e->len;
	}
	return n > 0;
}

static int on_gone(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	(void)read_some(userdata);
	return 0;
}

static void ask_all(struct linger *l)
{
	for (unsigned int i = l->objects->len; i-- > 0;) {
		const struct held *h = l->objects->pdata[i];

		if (h->storage->ops->gone(h->object)) {
			tell(l, h);
			g_ptr_array_remove_index_fast(l->objects, i);
		}
	}
}

static int on_ask(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct linger *l = userdata;

	ask_all(l);
	if (l->objects->len == 0)
		return 0;
	sd_event_source_set_time_relative(s, ASK_USEC);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

void linger_look(struct linger *l)
{
	while (read_some(l))
		;
	ask_all(l);
}

static int watch_instance(struct linger *l)
{
	l->source = sd_event_source_disable_unref(l->source);
	return sd_event_add_io(l->event, &l->source, l->fd, EPOLLIN, on_gone, l);
}

int linger_new(sd_event *event, linger_gone_t gone, void *userdata, struct linger **ret_linger)
{
	struct linger *l = g_new0(struct linger, 1);
	int r;

	l->event = sd_event_ref(event);
	l->gone = gone;
	l->userdata = userdata;
	l->held = g_hash_table_new_full(NULL, NULL, NULL, held_free);
	l->objects = g_ptr_array_new_with_free_func(held_free);
	l->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	r = l->fd < 0 ? -errno : watch_instance(l);
	if (r >= 0)
		r = sd_event_add_time(event, &l->ask, CLOCK_MONOTONIC, UINT64_MAX, 0, on_ask, l);
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
	sd_event_source_disable_unref(l->ask);
	g_ptr_array_unref(l->objects);
	if (l->fd >= 0)
		close(l->fd);
	g_hash_table_unref(l->held);
	sd_event_unref(l->event);
	g_free(l);
	return NULL;
}

int linger_descriptor(const struct linger *l)
{
	return l->fd;
}

static bool is_instance(int fd)
{
	g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd), *what = NULL;

	what = g_file_read_link(link, NULL);
	return what && g_str_equal(what, "anon_inode:inotify");
}

int linger_adopt(struct linger *l, int fd)
{
	int own = l->fd, r;

	if (!is_instance(fd)) {
		close(fd);
		return -EINVAL;
	}
	l->fd = fd;
	r = watch_instance(l);
	if (r < 0) {
		l->fd = own;
		own = fd;
		(void)watch_instance(l);
	}
	close(own);
	return r;
}

void linger_restore(struct linger *l, int watch, struct quota_account *account, uint64_t bytes,
		    sd_id128_t id)
{
	struct held *h = g_new(struct held, 1);

	*h = (struct held){ .id = id, .account = account, .bytes = bytes };
	quota_linger(account, (int64_t)bytes);
	g_hash_table_insert(l->held, GINT_TO_POINTER(watch), h);
}

void linger_check(struct linger *l)
{
	/* First what has been told: a number that comes later is a new watch's. */
	linger_look(l);
	compare_all(l);
}

int linger_add(struct linger *l, int fd, struct quota_account *account, uint64_t bytes,
	       sd_id128_t id, int *ret_watch)
{
	char path[32];
	int wd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(l->fd, path, IN_DELETE_SELF);
	if (wd < 0)
		return -errno;
	linger_restore(l, wd, account, bytes, id);
	*ret_watch = wd;
	return 0;
}

void linger_add_object(struct linger *l, struct storage *storage, struct storage_object *object,
		       struct quota_account *account, uint64_t bytes, sd_id128_t id)
{
	struct held *h = g_new(struct held, 1);

	*h = (struct held){
		.id = id, .account = account, .bytes = bytes, .storage = storage, .object = object
	};
	quota_linger(account, (int64_t)bytes);
	if (l->objects->len == 0) {
		sd_event_source_set_time_relative(l->ask, ASK_USEC);
		sd_event_source_set_enabled(l->ask, SD_EVENT_ONESHOT);
	}
	g_ptr_array_add(l->objects, h);
}

unsigned int linger_count(const struct linger *l)
{
	return g_hash_table_size(l->held) + l->objects->len;
}
