// SPDX-License-Identifier: GPL-2.0-or-later
#include "damon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "daemon/kernfile.h"
#include "procfile.h"

#define ADMIN "sys/kernel/mm/damon/admin"
#define KDAMONDS ADMIN "/kdamonds"
#define CONTEXT KDAMONDS "/0/contexts/0"

/*
 * How often the operations' own idea of what there is shall be renewed, in us: "fvaddr" has none, so that the value is free
 * to tell whose it is.
 */
#define MARK UINT64_C(1836217203)

/*
 * At least one for so much, so that a hot part is found at once; but no more than that many, for as many pages are looked at in each
 * sample. At most: what bounds the sampler's work.
 */
#define REGION (UINT64_C(512) << 10)
#define REGIONS_LEAST 10u
#define REGIONS_MIN 400u
#define REGIONS_MAX 1000u

#define PIECES 200u
#define PIECE_MIN (UINT64_C(2) << 20)

/* A window that is shorter or longer by less than a half is left as it is. */
#define WINDOW_TOLERANCE 2

#define NO_LIMIT "4294967295"

void damon_init(struct damon *d, int root_fd)
{
	memset(d, 0, sizeof(*d));
	d->root_fd = root_fd;
	d->lock = -1;
}

/* ---- files ---- */

static int put(struct damon *d, const char *value, const char *format, ...) G_GNUC_PRINTF(3, 4);
static int put(struct damon *d, const char *value, const char *format, ...)
{
	g_autofree char *path = NULL;
	size_t length = strlen(value);
	va_list args;
	ssize_t n;
	int fd, r;

	va_start(args, format);
	path = g_strdup_vprintf(format, args);
	va_end(args);
	fd = openat(d->root_fd, path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		r = -errno;
	} else {
		n = write(fd, value, length);
		r = n < 0 ? -errno : n == (ssize_t)length ? 0 : -EIO;
		close(fd);
	}
	if (r < 0)
		g_strlcpy(d->failed, path, sizeof(d->failed));
	return r;
}

static int put_number(struct damon *d, uint64_t value, const char *path)
{
	char text[24];

	g_snprintf(text, sizeof(text), "%" PRIu64, value);
	return put(d, text, "%s", path);
}

/* ---- whose it is ---- */

static int lock_admin(int root_fd)
{
	int fd = openat(root_fd, ADMIN, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r == -EWOULDBLOCK ? -EBUSY : r;
}

static bool is_marked(int root_fd)
{
	uint64_t mark;

	return kernfile_read_u64f(root_fd, &mark, "%s",
				  CONTEXT "/monitoring_attrs/intervals/update_us") == 0 &&
	       mark == MARK;
}

static void give_back(struct damon *d)
{
	(void)put(d, "off", "%s", KDAMONDS "/0/state");
	(void)put(d, "0", "%s", KDAMONDS "/nr_kdamonds");
	d->running = false;
}

/* DAMON-based work of the kernel's own, which only root sees. */
static bool kernel_uses(int root_fd, char text[static HELPER_TEXT_MAX])
{
	static const char *const names[] = { "damon_reclaim", "damon_lru_sort" };

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *value = NULL;

		if (kernfile_read_textf(root_fd, &value, "sys/module/%s/parameters/enabled",
					names[i]) < 0 ||
		    !g_str_equal(value, "Y"))
			continue;
		g_snprintf(text, HELPER_TEXT_MAX,
			   "%s is on (echo N > /sys/module/%s/parameters/enabled)", names[i],
			   names[i]);
		return true;
	}
	return false;
}

int damon_take(struct damon *d, char text[static HELPER_TEXT_MAX])
{
	uint64_t n;
	int r;

	if (kernel_uses(d->root_fd, text))
		return -EBUSY;
	if (d->lock >= 0)
		return 0;
	r = lock_admin(d->root_fd);
	if (r == -EBUSY)
		g_strlcpy(text, "another morsel-helper samples with DAMON", HELPER_TEXT_MAX);
	else if (r < 0)
		g_snprintf(text, HELPER_TEXT_MAX, "/%s: %s", ADMIN, g_strerror(-r));
	if (r < 0)
		return r;
	d->lock = r;
	r = kernfile_read_u64f(d->root_fd, &n, "%s", KDAMONDS "/nr_kdamonds");
	if (r == 0 && n == 1 && is_marked(d->root_fd)) {
		give_back(d);
		r = kernfile_read_u64f(d->root_fd, &n, "%s", KDAMONDS "/nr_kdamonds");
	}
	if (r == 0 && n == 0)
		return 0;
	if (r == 0) {
		g_snprintf(text, HELPER_TEXT_MAX,
			   "DAMON is set up by somebody else (%" PRIu64
			   " kdamonds in /%s): his are left alone",
			   n, KDAMONDS);
		r = -EBUSY;
	} else {
		g_snprintf(text, HELPER_TEXT_MAX, "/%s: %s", KDAMONDS, kernfile_strerror(r));
	}
	close(d->lock);
	d->lock = -1;
	return r;
}

static void forget(struct damon *d)
{
	for (unsigned int i = 0; i < d->n; i++)
		g_clear_pointer(&d->ranges[i], g_array_unref);
	d->n = 0;
}

void damon_done(struct damon *d)
{
	if (d->lock < 0)
		return;
	/* Not if somebody made another one of it meanwhile. */
	if (is_marked(d->root_fd))
		give_back(d);
	forget(d);
	close(d->lock);
	d->lock = -1;
}

void damon_tidy(int root_fd)
{
	struct damon d;

	if (!is_marked(root_fd))
		return;
	damon_init(&d, root_fd);
	d.lock = lock_admin(root_fd);
	damon_done(&d);
}

/* ---- what is sampled ---- */

/* In pieces to begin with: the kernel would split each region in two once in a window. */
static GArray *cut(const GArray *ranges, uint64_t piece)
{
	GArray *pieces = g_array_new(FALSE, FALSE, sizeof(struct proc_range));

	for (unsigned int i = 0; i < ranges->len; i++) {
		struct proc_range rest = g_array_index(ranges, struct proc_range, i);

		while (rest.start < rest.end) {
			uint64_t next = (rest.start / piece + 1) * piece;
			const struct proc_range p = { rest.start, MIN(next, rest.end) };

			g_array_append_val(pieces, p);
			rest.start = p.end;
		}
	}
	return pieces;
}

static int put_ranges(struct damon *d, unsigned int target, const GArray *ranges, uint64_t piece)
{
	g_autoptr(GArray) pieces = cut(ranges, piece);
	g_autofree char *n = g_strdup_printf("%u", pieces->len);
	int r = put(d, n, CONTEXT "/targets/%u/regions/nr_regions", target);

	for (unsigned int i = 0; r == 0 && i < pieces->len; i++) {
		const struct proc_range *range = &g_array_index(pieces, struct proc_range, i);
		g_autofree char *start = g_strdup_printf("%" PRIu64, range->start);
		g_autofree char *end = g_strdup_printf("%" PRIu64, range->end);

		r = put(d, start, CONTEXT "/targets/%u/regions/%u/start", target, i);
		if (r == 0)
			r = put(d, end, CONTEXT "/targets/%u/regions/%u/end", target, i);
	}
	return r;
}

static uint64_t bytes_of(const struct damon_target *targets, unsigned int n)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < n; i++)
		for (unsigned int k = 0; k < targets[i].ranges->len; k++) {
			const struct proc_range *r =
				&g_array_index(targets[i].ranges, struct proc_range, k);

			bytes += r->end - r->start;
		}
	return bytes;
}

/* So that about PIECES are made of all of them; of 2 MiB at least, the unit of what is placed. */
static uint64_t piece_of(uint64_t bytes)
{
	return (bytes / PIECES / PIECE_MIN + 1) * PIECE_MIN;
}

static int put_regions_min(struct damon *d, uint64_t bytes)
{
	return put_number(d, CLAMP(bytes / REGION, REGIONS_LEAST, REGIONS_MIN),
			  CONTEXT "/monitoring_attrs/nr_regions/min");
}

static int put_window(struct damon *d, uint32_t window_ms)
{
	const uint64_t window_us = (uint64_t)window_ms * 1000;
	int r;

	r = put_number(d, window_us / DAMON_SAMPLES,
		       CONTEXT "/monitoring_attrs/intervals/sample_us");
	if (r == 0)
		r = put_number(d, window_us, CONTEXT "/monitoring_attrs/intervals/aggr_us");
	return r;
}

/* All that was accessed at all in a window, of this target. */
static int put_scheme(struct damon *d, unsigned int i)
{
	static const struct {
		const char *file, *value;
	} files[] = {
		{ "action", "stat" },
		{ "access_pattern/sz/min", "0" },
		{ "access_pattern/sz/max", "18446744073709551615" },
		{ "access_pattern/nr_accesses/min", "1" },
		{ "access_pattern/nr_accesses/max", NO_LIMIT },
		{ "access_pattern/age/min", "0" },
		{ "access_pattern/age/max", NO_LIMIT },
		{ "filters/nr_filters", "1" },
		{ "filters/0/type", "target" },
		/* What does not match is left out. */
		{ "filters/0/matching", "N" },
	};
	g_autofree char *index = g_strdup_printf("%u", i);
	int r = 0;

	for (size_t k = 0; r == 0 && k < G_N_ELEMENTS(files); k++)
		r = put(d, files[k].value, CONTEXT "/schemes/%u/%s", i, files[k].file);
	return r < 0 ? r : put(d, index, CONTEXT "/schemes/%u/filters/0/damon_target_idx", i);
}

static int put_all(struct damon *d, const struct damon_target *targets, unsigned int n,
		   uint32_t window_ms)
{
	const struct {
		const char *file;
		uint64_t value;
	} first[] = {
		{ KDAMONDS "/nr_kdamonds", 1 },
		{ KDAMONDS "/0/contexts/nr_contexts", 1 },
		{ CONTEXT "/monitoring_attrs/intervals/update_us", MARK },
		{ CONTEXT "/monitoring_attrs/nr_regions/max", REGIONS_MAX },
		{ CONTEXT "/targets/nr_targets", n },
		{ CONTEXT "/schemes/nr_schemes", n },
	};
	uint64_t bytes = bytes_of(targets, n);
	int r = 0;

	for (size_t i = 0; r == 0 && i < G_N_ELEMENTS(first); i++)
		r = put_number(d, first[i].value, first[i].file);
	if (r == 0)
		r = put(d, "fvaddr", "%s", CONTEXT "/operations");
	if (r == 0)
		r = put_window(d, window_ms);
	if (r == 0)
		r = put_regions_min(d, bytes);
	for (unsigned int i = 0; r == 0 && i < n; i++) {
		g_autofree char *pid = g_strdup_printf("%d", (int)targets[i].pid);

		r = put(d, pid, CONTEXT "/targets/%u/pid_target", i);
		if (r == 0)
			r = put_ranges(d, i, targets[i].ranges, piece_of(bytes));
		if (r == 0)
			r = put_scheme(d, i);
	}
	return r;
}

static void remember(struct damon *d, const struct damon_target *targets, unsigned int n,
		     uint32_t window_ms)
{
	forget(d);
	for (unsigned int i = 0; i < n; i++) {
		d->pids[i] = targets[i].pid;
		d->ranges[i] = g_array_copy((GArray *)targets[i].ranges);
	}
	d->n = n;
	d->window_ms = window_ms;
}

static int begin(struct damon *d, const struct damon_target *targets, unsigned int n,
		 uint32_t window_ms, char text[static HELPER_TEXT_MAX])
{
	uint64_t thread;
	int r;

	if (d->running)
		give_back(d);
	r = put_all(d, targets, n, window_ms);
	if (r == 0) {
		r = put(d, "on", "%s", KDAMONDS "/0/state");
		/* Sharing is refused to whoever comes second, but not by these files. */
		if (r == -EBUSY)
			g_strlcpy(
				text,
				"DAMON is in use by somebody else (damon_reclaim, damon_lru_sort, or "
				"its old files in debugfs)",
				HELPER_TEXT_MAX);
	}
	if (r < 0) {
		if (text[0] == 0)
			g_snprintf(text, HELPER_TEXT_MAX, "DAMON cannot be set up: /%s: %s",
				   d->failed, g_strerror(-r));
		give_back(d);
		forget(d);
		return r;
	}
	d->running = true;
	d->thread = 0;
	d->thread_usec = 0;
	if (kernfile_read_u64f(d->root_fd, &thread, "%s", KDAMONDS "/0/pid") == 0)
		d->thread = (pid_t)thread;
	remember(d, targets, n, window_ms);
	return 0;
}

static bool same_processes(const struct damon *d, const struct damon_target *targets,
			   unsigned int n)
{
	if (!d->running || d->n != n)
		return false;
	for (unsigned int i = 0; i < n; i++)
		if (d->pids[i] != targets[i].pid)
			return false;
	return true;
}

static bool same_ranges(const GArray *a, const GArray *b)
{
	return a->len == b->len &&
	       memcmp(a->data, b->data, a->len * sizeof(struct proc_range)) == 0;
}

int damon_watch(struct damon *d, const struct damon_target *targets, unsigned int n,
		uint32_t window_ms, char text[static HELPER_TEXT_MAX])
{
	const uint64_t bytes = bytes_of(targets, n);
	bool changed = window_ms > d->window_ms * WINDOW_TOLERANCE ||
		       window_ms * WINDOW_TOLERANCE < d->window_ms;
	int r = 0;

	if (!same_processes(d, targets, n))
		return begin(d, targets, n, window_ms, text);
	if (changed)
		r = put_window(d, window_ms);
	else
		window_ms = d->window_ms;
	for (unsigned int i = 0; r == 0 && i < n; i++)
		if (!same_ranges(d->ranges[i], targets[i].ranges)) {
			changed = true;
			r = put_ranges(d, i, targets[i].ranges, piece_of(bytes));
		}
	if (r == 0 && changed)
		r = put_regions_min(d, bytes);
	if (r == 0 && changed)
		r = put(d, "commit", "%s", KDAMONDS "/0/state");
	if (r == 0 && changed)
		remember(d, targets, n, window_ms);
	/* It has ended meanwhile, or this kernel does not change it while it runs. */
	return r < 0 ? begin(d, targets, n, window_ms, text) : 0;
}

/* ---- what came of it ---- */

int damon_update(struct damon *d)
{
	int r = put(d, "update_schemes_tried_regions", "%s", KDAMONDS "/0/state");

	if (r < 0)
		d->running = false;
	return r == -EINVAL ? -ESRCH : r;
}

int damon_regions(struct damon *d, unsigned int target, GArray **ret_regions)
{
	g_autofree char *dir = g_strdup_printf(CONTEXT "/schemes/%u/tried_regions", target);
	g_autoptr(GArray) regions = g_array_new(FALSE, FALSE, sizeof(struct damon_region));
	g_autoptr(GArray) numbers = NULL;
	int r = kernfile_numbered(d->root_fd, dir, "", &numbers);

	for (unsigned int i = 0; r == 0 && i < numbers->len; i++) {
		int n = g_array_index(numbers, int, i);
		struct damon_region region;
		uint64_t accesses;

		r = kernfile_read_u64f(d->root_fd, &region.start, "%s/%d/start", dir, n);
		if (r == 0)
			r = kernfile_read_u64f(d->root_fd, &region.end, "%s/%d/end", dir, n);
		if (r == 0)
			r = kernfile_read_u64f(d->root_fd, &accesses, "%s/%d/nr_accesses", dir, n);
		if (r < 0 || region.start >= region.end)
			continue;
		region.accesses = (uint32_t)MIN(accesses, DAMON_SAMPLES);
		g_array_append_val(regions, region);
	}
	if (r < 0)
		return r;
	*ret_regions = g_steal_pointer(&regions);
	return 0;
}

uint64_t damon_cpu(struct damon *d)
{
	struct proc_stat stat;
	uint64_t used;

	if (d->thread <= 0 || proc_stat_read(d->root_fd, d->thread, &stat) < 0 ||
	    stat.cpu_usec < d->thread_usec)
		return 0;
	used = stat.cpu_usec - d->thread_usec;
	d->thread_usec = stat.cpu_usec;
	return used;
}
