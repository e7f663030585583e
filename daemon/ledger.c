// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ledger.h"
#include "log.h"
#include "worker.h"

/* The order counts: the first is written first, and is the one that is used when they are alike. */
static const char *const names[2] = { "registry", "registry.copy" };
static const char *const new_names[2] = { "registry.new", "registry.copy.new" };

struct change {
	enum ledger_kind kind;
	sd_id128_t id;
	GBytes *body;  /* NULL: a drop */
	bool happened; /* it cannot fail any more */
	ledger_done_t done;
	void *userdata;
};

/* What is written at once. */
struct group {
	struct work work;
	struct ledger *ledger;
	GArray *changes; /* of struct change */
	bool sync;
	bool wrote; /* so something can be written */
	int r;
	char *trouble;
};

struct file {
	int fd;
	uint64_t length;
	uint32_t check;
};

struct ledger {
	sd_event *event;
	int dir_fd;
	bool doubtful, rebooted;
	char *trouble; /* never NULL */
	struct worker_pool *pool;
	struct group *open, *running;
	sd_event_source *begin, *sync, *retry;

	/* The worker's while a group runs, else the loop's. */
	struct ledger_image image;
	struct file files[2];
	uint64_t rewrite_at; /* length of a file */
	bool stale;	     /* the files do not say what image does: they are to be written anew */
};

/* --- Reading -------------------------------------------------------------------------------- */

/* 0 with *ret_there false: there is no such file. */
static int read_file(struct ledger *l, const char *name, struct ledger_image *image,
		     bool *ret_there, char **ret_text)
{
	int fd = openat(l->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	void *data = NULL;
	struct stat st;
	int r = 0;

	*ret_there = fd >= 0;
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	if (r >= 0 && st.st_size > 0) {
		data = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (data == MAP_FAILED)
			r = -errno;
	}
	if (r >= 0)
		r = ledger_parse(data, st.st_size, image);
	if (data && data != MAP_FAILED)
		munmap(data, st.st_size);
	if (fd >= 0)
		close(fd);
	if (r < 0)
		*ret_text = g_strdup_printf("%s in the state directory: %s", name,
					    r == -EPROTONOSUPPORT ? "it is of a newer morseld"
					    : r == -EINVAL	  ? "it is not a file"
								  : g_strerror(-r));
	return r;
}

static void say_damage(const struct ledger_image images[2], const bool there[2], int best)
{
	for (int i = 0; i < 2; i++) {
		const char *what = !there[i] ? "it is not there" : images[i].damage;

		if (!what && images[i].seq < images[best].seq)
			what = "it is older than the other one";
		if (what)
			log_line(LOG_WARNING, LOG_REGISTRY_DAMAGED, names[i],
				 "%s: %s; %s %s is used", names[i], what,
				 i == best ? "what stands before that in" : "the copy",
				 names[best]);
	}
}

static int load(struct ledger *l, char **ret_text)
{
	struct ledger_image images[2];
	bool there[2] = {};
	int best, r = 0;

	ledger_image_init(&images[0]);
	ledger_image_init(&images[1]);
	for (int i = 0; i < 2 && r >= 0; i++)
		r = read_file(l, names[i], &images[i], &there[i], ret_text);
	if (r >= 0) {
		best = ledger_compare(&images[0], &images[1]) < 0 ? 0 : 1;
		l->stale = !there[0] || !there[1] || images[0].damage || images[1].damage ||
			   images[0].seq != images[1].seq || images[0].version < LEDGER_VERSION ||
			   images[1].version < LEDGER_VERSION;
		if (there[0] || there[1])
			say_damage(images, there, best);
		/* One whole copy has everything that was answered, also where the other one has more records
		 * before its damage: a group that was being written when the daemon ended. */
		l->doubtful = (there[0] || there[1]) && (!there[0] || images[0].damage) &&
			      (!there[1] || images[1].damage);
		for (int i = 0; i < 2; i++)
			l->files[i] = (struct file){ -1, images[i].good, images[i].check };
		l->image = images[best];
		images[best].entries = NULL;
		images[best].damage = NULL;
	}
	ledger_image_done(&images[0]);
	ledger_image_done(&images[1]);
	return r;
}

static int open_files(struct ledger *l, char **ret_text)
{
	for (int i = 0; i < 2; i++) {
		l->files[i].fd = openat(l->dir_fd, names[i], O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (l->files[i].fd < 0) {
			*ret_text = g_strdup_printf("%s in the state directory: %s", names[i],
						    g_strerror(errno));
			return -errno;
		}
	}
	l->rewrite_at = 2 * l->files[0].length + LEDGER_LOG_BYTES;
	return 0;
}

/* --- Writing, on the worker ----------------------------------------------------------------- */

static int write_all(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
	while (size > 0) {
		ssize_t n = pwrite(fd, data, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data += n;
		size -= n;
		offset += n;
	}
	return 0;
}

static int write_new(struct ledger *l, const char *name, const GByteArray *data, int *ret_fd)
{
	int fd, r;

	fd = openat(l->dir_fd, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, data->data, data->len, 0);
	if (r >= 0 && fsync(fd) < 0)
		r = -errno;
	if (r < 0) {
		close(fd);
		unlinkat(l->dir_fd, name, 0);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* On a full disk: the copy makes room for a new file. The other one stays whole until that is. */
static bool give_up_copy(struct ledger *l)
{
	if (l->files[1].fd < 0 || l->files[1].length == 0)
		return false;
	l->files[1].length = 0;
	return ftruncate(l->files[1].fd, 0) == 0;
}

/* Each file anew, one after the other, so that one is whole at any time. */
static int rewrite(struct ledger *l)
{
	struct file file = {};
	g_autoptr(GByteArray) data = ledger_format(&l->image, &file.check);
	int r;

	file.length = data->len;
	for (int i = 0; i < 2; i++) {
		r = write_new(l, new_names[i], data, &file.fd);
		if (r == -ENOSPC && i == 0 && give_up_copy(l))
			r = write_new(l, new_names[i], data, &file.fd);
		if (r < 0)
			return r;
		if (renameat(l->dir_fd, new_names[i], l->dir_fd, names[i]) < 0) {
			r = -errno;
			close(file.fd);
			return r;
		}
		if (l->files[i].fd >= 0)
			close(l->files[i].fd);
		l->files[i] = file;
		if (fsync(l->dir_fd) < 0)
			return -errno;
	}
	l->rewrite_at = 2 * file.length + LEDGER_LOG_BYTES;
	return 0;
}

/* Behind both files, or behind none. */
static int append(struct ledger *l, const GArray *changes)
{
	GByteArray *data[2] = { g_byte_array_new(), g_byte_array_new() };
	int r = 0, i;

	for (i = 0; i < 2; i++)
		for (unsigned int k = 0; k < changes->len; k++) {
			const struct change *c = &g_array_index(changes, struct change, k);

			ledger_append_record(data[i], l->files[i].check, l->image.seq + 1 + k,
					     c->kind, c->id, c->body);
		}
	for (i = 0; i < 2 && r >= 0; i++)
		r = write_all(l->files[i].fd, data[i]->data, data[i]->len, l->files[i].length);
	for (int k = 0; k < i; k++) {
		if (r >= 0)
			l->files[k].length += data[k]->len;
		else if (ftruncate(l->files[k].fd, (off_t)l->files[k].length) < 0)
			l->stale = true;
	}
	g_byte_array_unref(data[0]);
	g_byte_array_unref(data[1]);
	return r;
}

static int sync_files(struct ledger *l)
{
	for (int i = 0; i < 2; i++)
		if (fdatasync(l->files[i].fd) < 0)
			return -errno;
	return 0;
}

static void group_run(struct work *w)
{
	struct group *g = (struct group *)w;
	struct ledger *l = g->ledger;
	unsigned int applied = 0;
	int r = 0;

	if (l->stale) {
		r = rewrite(l);
		l->stale = r < 0;
		g->wrote = r >= 0;
	}
	if (r >= 0 && g->changes->len > 0) {
		r = append(l, g->changes);
		g->wrote = r >= 0;
	}
	for (unsigned int i = 0; i < g->changes->len; i++) {
		const struct change *c = &g_array_index(g->changes, struct change, i);

		if (r < 0 && !c->happened)
			continue;
		ledger_apply(&l->image, c->kind, c->id, c->body);
		applied++;
	}
	l->image.seq += applied;
	g->r = r;
	if (r < 0 && applied > 0)
		l->stale = true;
	if (r >= 0 && l->files[0].length >= l->rewrite_at) {
		r = rewrite(l);
		l->stale = r < 0;
	} else if (r >= 0 && g->sync) {
		r = sync_files(l);
		/* What the kernel could not write it has forgotten: only a new file has it. */
		l->stale = r < 0;
	}
	if (r < 0)
		g->trouble = g_strdup(g_strerror(-r));
}

/* --- On the loop ---------------------------------------------------------------------------- */

static int on_begin(sd_event_source *s, void *userdata);
static int on_sync(sd_event_source *s, uint64_t usec, void *userdata);
static int on_retry(sd_event_source *s, uint64_t usec, void *userdata);

static void change_clear(gpointer p)
{
	struct change *c = p;

	g_clear_pointer(&c->body, g_bytes_unref);
}

static struct group *open_group(struct ledger *l)
{
	if (!l->open) {
		l->open = g_new0(struct group, 1);
		l->open->ledger = l;
		l->open->changes = g_array_new(FALSE, FALSE, sizeof(struct change));
		g_array_set_clear_func(l->open->changes, change_clear);
		if (l->begin)
			sd_event_source_set_enabled(l->begin, SD_EVENT_ONESHOT);
	}
	return l->open;
}

static void set_trouble(struct ledger *l, const char *text)
{
	if (text[0] && !l->trouble[0])
		log_line(LOG_ERR, LOG_REGISTRY_UNSAVED, names[0],
			 "the registry cannot be written: %s; nothing is created until it can be",
			 text);
	else if (!text[0] && l->trouble[0])
		log_line(LOG_NOTICE, LOG_REGISTRY_SAVED, names[0], "the registry is written again");
	g_free(l->trouble);
	l->trouble = g_strdup(text);
}

static void after(struct ledger *l, sd_event_source **source, uint64_t usec,
		  sd_event_time_handler_t handler)
{
	if (*source)
		return;
	(void)sd_event_add_time_relative(l->event, source, CLOCK_MONOTONIC, usec, usec / 4, handler,
					 l);
}

static void group_end(struct group *g)
{
	struct ledger *l = g->ledger;

	if (g->trouble || g->wrote)
		set_trouble(l, g->trouble ? g->trouble : "");
	if (l->stale)
		after(l, &l->retry, LEDGER_RETRY_USEC, on_retry);
	else if (g->changes->len > 0 && g->r >= 0)
		after(l, &l->sync, LEDGER_SYNC_USEC, on_sync);
	for (unsigned int i = 0; i < g->changes->len; i++) {
		const struct change *c = &g_array_index(g->changes, struct change, i);

		if (c->done)
			c->done(c->happened ? 0 : g->r, c->userdata);
	}
	g_array_unref(g->changes);
	g_free(g->trouble);
	g_free(g);
}

static void submit(struct ledger *l);

static void group_done(struct work *w, bool ran)
{
	struct group *g = (struct group *)w;
	struct ledger *l = g->ledger;

	if (!ran)
		group_run(w);
	l->running = NULL;
	group_end(g);
	if (l->open && l->pool)
		submit(l);
}

static void submit(struct ledger *l)
{
	struct group *g = g_steal_pointer(&l->open);

	if (l->begin)
		sd_event_source_set_enabled(l->begin, SD_EVENT_OFF);
	l->running = g;
	g->work.run = group_run;
	g->work.done = group_done;
	worker_pool_submit(l->pool, &g->work);
}

static int on_begin(sd_event_source *s, void *userdata)
{
	struct ledger *l = userdata;

	if (l->open && !l->running)
		submit(l);
	return 0;
}

static int on_sync(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct ledger *l = userdata;

	l->sync = sd_event_source_disable_unref(l->sync);
	open_group(l)->sync = true;
	return 0;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct ledger *l = userdata;

	l->retry = sd_event_source_disable_unref(l->retry);
	open_group(l);
	return 0;
}

int ledger_open(sd_event *event, int dir_fd, struct ledger **ret_ledger, char **ret_text)
{
	struct ledger *l = g_new0(struct ledger, 1);
	sd_id128_t boot;
	int r;

	l->event = sd_event_ref(event);
	l->dir_fd = dir_fd;
	l->trouble = g_strdup("");
	l->files[0].fd = l->files[1].fd = -1;
	r = load(l, ret_text);
	if (r >= 0 && !l->stale)
		r = open_files(l, ret_text);
	if (r >= 0)
		r = worker_pool_new(event, "morsel-ledger", 1, &l->pool);
	if (r >= 0)
		r = sd_event_add_defer(event, &l->begin, on_begin, l);
	if (r < 0) {
		if (!*ret_text)
			*ret_text = g_strdup(g_strerror(-r));
		ledger_free(l);
		return r;
	}
	sd_event_source_set_enabled(l->begin, SD_EVENT_OFF);
	/* The next start is to know whether the machine has been started since. */
	if (sd_id128_get_boot(&boot) >= 0 && !sd_id128_equal(boot, l->image.boot)) {
		l->rebooted = !sd_id128_is_null(l->image.boot);
		l->image.boot = boot;
		l->stale = true;
	}
	if (l->stale) {
		r = rewrite(l);
		l->stale = r < 0;
		if (r < 0) {
			set_trouble(l, g_strerror(-r));
			after(l, &l->retry, LEDGER_RETRY_USEC, on_retry);
		}
	}
	*ret_ledger = l;
	return 0;
}

struct ledger *ledger_free(struct ledger *l)
{
	if (!l)
		return NULL;
	sd_event_source_disable_unref(l->begin);
	sd_event_source_disable_unref(l->sync);
	sd_event_source_disable_unref(l->retry);
	l->begin = l->sync = l->retry = NULL;
	l->pool = worker_pool_free(l->pool);
	while (l->open) {
		struct group *g = g_steal_pointer(&l->open);

		group_run(&g->work);
		group_end(g);
	}
	sd_event_source_disable_unref(l->sync);
	sd_event_source_disable_unref(l->retry);
	for (int i = 0; i < 2; i++)
		if (l->files[i].fd >= 0) {
			(void)fdatasync(l->files[i].fd);
			close(l->files[i].fd);
		}
	ledger_image_done(&l->image);
	sd_event_unref(l->event);
	g_free(l->trouble);
	g_free(l);
	return NULL;
}

const struct ledger_image *ledger_image(const struct ledger *l)
{
	return &l->image;
}

bool ledger_doubtful(const struct ledger *l)
{
	return l->doubtful;
}

bool ledger_rebooted(const struct ledger *l)
{
	return l->rebooted;
}

static void push(struct ledger *l, struct change c)
{
	g_array_append_val(open_group(l)->changes, c);
}

void ledger_put(struct ledger *l, enum ledger_kind kind, sd_id128_t id, GBytes *body,
		ledger_done_t done, void *userdata)
{
	push(l, (struct change){ kind, id, body, false, done, userdata });
}

void ledger_update(struct ledger *l, enum ledger_kind kind, sd_id128_t id, GBytes *body,
		   ledger_done_t done, void *userdata)
{
	push(l, (struct change){ kind, id, body, true, done, userdata });
}

void ledger_drop(struct ledger *l, enum ledger_kind kind, sd_id128_t id, ledger_done_t done,
		 void *userdata)
{
	push(l, (struct change){ kind, id, NULL, true, done, userdata });
}

const char *ledger_trouble(const struct ledger *l)
{
	return l->trouble;
}
