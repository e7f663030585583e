// SPDX-License-Identifier: GPL-2.0-or-later
#include "ordinary-session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "damon.h"
#include "procfile.h"

#define PAGE UINT64_C(4096)
#define GRANULE (UINT64_C(2) << 20)
#define CHUNK (GRANULE * ORDINARY_CHUNK)
#define PAGES 512u
/* One page in so many is asked for its place: enough to know where most of a granule is. */
#define QUERY_STEP 8u
/* Ranges of one process, so that those of all are within the regions that the sampler may have. */
#define RANGES_MAX 48u

static_assert(DAMON_SAMPLES == ORDINARY_SAMPLES, "the same samples");

struct process {
	pid_t pid;
	uint64_t start;
	int result;
	unsigned int left_out;
	GArray *ranges; /* of struct proc_range */
};

struct chunk {
	uint64_t base; /* CHUNK-aligned address */
	uint64_t start;
	pid_t pid;
	uint32_t serial;
	uint16_t process; /* index, of this look */
	bool used, seen;
};

struct ordinary_session {
	int root_fd;
	struct damon damon;
	unsigned int n;
	struct process process[HELPER_PROCESSES_MAX];
	struct chunk chunk[ORDINARY_SLOTS];
	uint32_t serial;
	uint32_t cursor; /* of what is asked for in turn: a granule's number */
	uint64_t cpu_usec;
};

static void forget(struct ordinary_session *o)
{
	for (unsigned int i = 0; i < o->n; i++)
		g_clear_pointer(&o->process[i].ranges, g_array_unref);
	o->n = 0;
}

struct ordinary_session *ordinary_session_new(int root_fd)
{
	struct ordinary_session *o = g_new0(struct ordinary_session, 1);

	o->root_fd = root_fd;
	damon_init(&o->damon, root_fd);
	return o;
}

struct ordinary_session *ordinary_session_free(struct ordinary_session *o)
{
	if (!o)
		return NULL;
	damon_done(&o->damon);
	forget(o);
	g_free(o);
	return NULL;
}

/* ---- processes and their memory ---- */

/* Is it still the same one? */
static int check(const struct ordinary_session *o, const struct process *p)
{
	struct proc_stat stat;
	int r = proc_stat_read(o->root_fd, p->pid, &stat);

	if (r < 0)
		return r;
	return stat.start != p->start || stat.kernel ? -ESRCH : 0;
}

static void read_ranges(const struct ordinary_session *o, struct process *p)
{
	g_clear_pointer(&p->ranges, g_array_unref);
	p->result = check(o, p);
	if (p->result == 0)
		p->result =
			proc_maps_read(o->root_fd, p->pid, RANGES_MAX, &p->ranges, &p->left_out);
	/* The pid was somebody else's by then. */
	if (p->result == 0)
		p->result = check(o, p);
	if (p->result < 0)
		g_clear_pointer(&p->ranges, g_array_unref);
}

static struct chunk *find_chunk(struct ordinary_session *o, const struct process *p, uint64_t base)
{
	for (unsigned int i = 0; i < ORDINARY_SLOTS; i++) {
		struct chunk *c = &o->chunk[i];

		if (c->used && c->base == base && c->pid == p->pid && c->start == p->start)
			return c;
	}
	return NULL;
}

static struct chunk *make_chunk(struct ordinary_session *o, const struct process *p, uint64_t base)
{
	for (unsigned int i = 0; i < ORDINARY_SLOTS; i++)
		if (!o->chunk[i].used) {
			o->chunk[i] = (struct chunk){ .base = base,
						      .pid = p->pid,
						      .start = p->start,
						      .serial = ++o->serial,
						      .used = true };
			return &o->chunk[i];
		}
	return NULL;
}

static void mark_range(struct ordinary_session *o, unsigned int process,
		       const struct proc_range *range, bool make)
{
	struct process *p = &o->process[process];
	uint64_t at = range->start / CHUNK * CHUNK;

	/* Sparse memory of terabytes: what can have no slot is not looked at. */
	for (unsigned int n = 0; n < ORDINARY_SLOTS && at < range->end; n++, at += CHUNK) {
		struct chunk *c = find_chunk(o, p, at);

		if (!c && make)
			c = make_chunk(o, p, at);
		if (!c) {
			p->left_out += make;
			continue;
		}
		c->seen = true;
		c->process = (uint16_t)process;
	}
}

static void mark_all(struct ordinary_session *o, bool make)
{
	for (unsigned int i = 0; i < o->n; i++) {
		const GArray *ranges = o->process[i].ranges;

		for (unsigned int k = 0; ranges && k < ranges->len; k++)
			mark_range(o, i, &g_array_index(ranges, struct proc_range, k), make);
	}
}

/* Gives slots to what is there. What is gone goes first, for its slots may be wanted. */
static void number_chunks(struct ordinary_session *o)
{
	for (unsigned int i = 0; i < ORDINARY_SLOTS; i++)
		o->chunk[i].seen = false;
	mark_all(o, false);
	for (unsigned int i = 0; i < ORDINARY_SLOTS; i++)
		o->chunk[i].used = o->chunk[i].used && o->chunk[i].seen;
	mark_all(o, true);
}

/* The part of a granule, from at on, that is the process's own memory: every step-th page of it. */
static unsigned int pages_of(const GArray *ranges, uint64_t at, unsigned int step,
			     void *pages[static PAGES], uint64_t *ret_bytes)
{
	unsigned int n = 0;

	*ret_bytes = 0;
	for (unsigned int i = 0; ranges && i < ranges->len; i++) {
		const struct proc_range *range = &g_array_index(ranges, struct proc_range, i);
		uint64_t start = MAX(range->start, at), end = MIN(range->end, at + GRANULE);

		if (range->start >= at + GRANULE)
			break;
		if (start >= end)
			continue;
		*ret_bytes += end - start;
		for (; start < end; start += PAGE)
			if (start / PAGE % step == 0)
				pages[n++] = (void *)start;
	}
	return n;
}

/* ---- where pages are ---- */

static int move_pages(const struct process *p, unsigned int n, void *const *pages, const int *nodes,
		      int *status)
{
	return syscall(SYS_move_pages, p->pid, (unsigned long)n, pages, nodes, status,
		       nodes ? MPOL_MF_MOVE : 0) < 0
		       ? -errno
		       : 0;
}

static void query(const struct process *p, unsigned int n, void *const *pages,
		  struct ordinary_granule *g)
{
	uint16_t count[HELPER_NODES] = {};
	unsigned int there = 0, best = 0;
	int status[PAGES];

	if (n == 0 || move_pages(p, n, pages, NULL, status) < 0)
		return;
	for (unsigned int i = 0; i < n; i++)
		if (status[i] >= 0 && status[i] < (int)HELPER_NODES) {
			there++;
			if (++count[status[i]] > count[best])
				best = (unsigned int)status[i];
		}
	g->pages = (uint16_t)MIN(there * QUERY_STEP, PAGES);
	g->node = (uint16_t)best;
}

/* ---- what was accessed ---- */

static gint by_start(gconstpointer a, gconstpointer b)
{
	uint64_t x = ((const struct damon_region *)a)->start,
		 y = ((const struct damon_region *)b)->start;

	return x < y ? -1 : x > y;
}

/* Of samples × 256: the mean over the part of the granule that is the process's own. */
static uint16_t seen_in(const GArray *regions, uint64_t at, uint64_t bytes)
{
	unsigned int low = 0, high = regions ? regions->len : 0, n = high;
	unsigned __int128 sum = 0;

	/* The first one that ends behind at. */
	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (g_array_index(regions, struct damon_region, middle).end <= at)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < n; low++) {
		const struct damon_region *r = &g_array_index(regions, struct damon_region, low);

		if (r->start >= at + GRANULE)
			break;
		sum += (unsigned __int128)(MIN(r->end, at + GRANULE) - MAX(r->start, at)) *
		       r->accesses;
	}
	return bytes > 0 ? (uint16_t)MIN(sum * 256 / bytes, ORDINARY_SAMPLES * 256) : 0;
}

/* ---- one look ---- */

/* Takes over nothing. A sealed copy of data. */
static int give(const GByteArray *data, int *ret_fd)
{
	/* MFD_NOEXEC_SEAL, which Debian 12's headers lack, as the kernel wants it from 6.3 on. */
	int fd = memfd_create("morsel-ordinary", MFD_CLOEXEC | MFD_ALLOW_SEALING | 0x8u);
	int r = 0;

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("morsel-ordinary", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (write(fd, data->data, data->len) != (ssize_t)data->len)
		r = -EIO;
	else if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static void put(GByteArray *data, const void *what, size_t size)
{
	g_byte_array_append(data, what, (guint)size);
}

static void put_granules(struct ordinary_session *o, GByteArray *data, struct ordinary_head *head,
			 GArray *const *regions, uint32_t budget)
{
	uint32_t first = o->cursor, last = first;

	for (unsigned int i = 0; i < ORDINARY_SLOTS; i++) {
		const struct chunk *c = &o->chunk[i];
		const struct process *p = &o->process[c->process];

		for (unsigned int k = 0; c->used && k < ORDINARY_CHUNK; k++) {
			struct ordinary_granule g = { .granule = i * ORDINARY_CHUNK + k,
						      .node = ORDINARY_NODE_UNKNOWN };
			void *pages[PAGES];
			uint64_t bytes;
			unsigned int n = pages_of(p->ranges, c->base + k * GRANULE, QUERY_STEP,
						  pages, &bytes);

			if (bytes == 0)
				continue;
			g.seen = seen_in(regions[c->process], c->base + k * GRANULE, bytes);
			if (g.granule >= first && budget > 0) {
				query(p, n, pages, &g);
				budget--;
				last = g.granule + 1;
			}
			put(data, &g, sizeof(g));
			head->n_granules++;
		}
	}
	/* All were asked for: from the beginning. */
	o->cursor = budget > 0 ? 0 : last;
}

static int answer_look(struct ordinary_session *o, GArray *const *regions, uint32_t window_ms,
		       uint32_t budget, uint64_t began, int *ret_fd)
{
	struct ordinary_head head = { .magic = ORDINARY_MAGIC,
				      .n_processes = o->n,
				      .window_ms = window_ms };
	g_autoptr(GByteArray) data = g_byte_array_new();

	put(data, &head, sizeof(head));
	for (unsigned int i = 0; i < o->n; i++) {
		const struct ordinary_process p = { o->process[i].result, o->process[i].left_out };

		put(data, &p, sizeof(p));
	}
	for (unsigned int i = 0; i < ORDINARY_SLOTS; i++)
		if (o->chunk[i].used) {
			const struct ordinary_chunk c = { (uint16_t)i, o->chunk[i].process,
							  o->chunk[i].serial };

			put(data, &c, sizeof(c));
			head.n_chunks++;
		}
	put_granules(o, data, &head, regions, budget);
	head.cpu_usec =
		o->cpu_usec + damon_cpu(&o->damon) + now_of(CLOCK_THREAD_CPUTIME_ID) - began;
	o->cpu_usec = 0;
	memcpy(data->data, &head, sizeof(head));
	return give(data, ret_fd);
}

static void take_processes(struct ordinary_session *o, const struct helper_look *look)
{
	forget(o);
	o->n = look->n;
	for (unsigned int i = 0; i < look->n; i++) {
		o->process[i] = (struct process){ .pid = (pid_t)look->process[i].pid,
						  .start = look->process[i].start };
		read_ranges(o, &o->process[i]);
	}
	number_chunks(o);
}

/* Samples those that have memory; the target of each in target, or -1. */
static int sample(struct ordinary_session *o, uint32_t window_ms,
		  int target[static HELPER_PROCESSES_MAX], char text[static HELPER_TEXT_MAX])
{
	struct damon_target targets[HELPER_PROCESSES_MAX];
	unsigned int n = 0;
	int r;

	r = damon_take(&o->damon, text);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < o->n; i++) {
		const struct process *p = &o->process[i];

		target[i] = -1;
		if (!p->ranges || p->ranges->len == 0)
			continue;
		targets[n] = (struct damon_target){ p->pid, p->ranges };
		target[i] = (int)n++;
	}
	if (n == 0)
		return 0;
	r = damon_watch(&o->damon, targets, n, window_ms, text);
	if (r < 0)
		return r;
	r = damon_update(&o->damon);
	/* All of them have ended: the next look finds others. */
	if (r == -ESRCH)
		for (unsigned int i = 0; i < o->n; i++)
			target[i] = -1;
	else if (r < 0)
		g_snprintf(text, HELPER_TEXT_MAX, "DAMON tells nothing: %s", g_strerror(-r));
	return r == -ESRCH ? 0 : r;
}

int ordinary_session_look(struct ordinary_session *o, const struct helper_look *look, int *ret_fd,
			  char text[static HELPER_TEXT_MAX])
{
	uint64_t began = now_of(CLOCK_THREAD_CPUTIME_ID);
	GArray *regions[HELPER_PROCESSES_MAX] = {};
	int target[HELPER_PROCESSES_MAX], r;

	take_processes(o, look);
	if (look->n == 0) {
		damon_done(&o->damon);
		*ret_fd = -1;
		return 0;
	}
	r = sample(o, look->window_ms, target, text);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < o->n; i++) {
		if (target[i] >= 0)
			(void)damon_regions(&o->damon, (unsigned int)target[i], &regions[i]);
		if (regions[i])
			g_array_sort(regions[i], by_start);
		/* It ended while it was sampled, and the pid may be another's now. */
		if (o->process[i].result == 0)
			o->process[i].result = check(o, &o->process[i]);
		if (o->process[i].result < 0)
			g_clear_pointer(&o->process[i].ranges, g_array_unref);
	}
	r = answer_look(o, regions, o->damon.window_ms, look->query, began, ret_fd);
	for (unsigned int i = 0; i < HELPER_PROCESSES_MAX; i++)
		if (regions[i])
			g_array_unref(regions[i]);
	if (r < 0)
		g_snprintf(text, HELPER_TEXT_MAX, "memory for the answer: %s", g_strerror(-r));
	return r;
}

/* ---- moves ---- */

/*
 * The kernel takes a pid, so between the look at whose it is and the call it could become another's. That needs all pids to be given
 * out once in these microseconds; and what would be moved then are pages that nobody else maps, to a node
 * that their cpuset allows.
 */
static struct ordinary_shifted shift_granule(const struct ordinary_session *o,
					     const struct process *p, uint64_t at, int node)
{
	void *all[PAGES], *pages[PAGES];
	struct ordinary_shifted done = {};
	int status[PAGES], nodes[PAGES];
	unsigned int n, left = 0;
	uint64_t bytes;

	n = pages_of(p->ranges, at, 1, all, &bytes);
	if (n == 0 || check(o, p) < 0 || move_pages(p, n, all, NULL, status) < 0)
		return done;
	for (unsigned int i = 0; i < n; i++) {
		if (status[i] == node)
			done.there++;
		if (status[i] < 0 || status[i] == node)
			continue;
		nodes[left] = node;
		pages[left++] = all[i];
	}
	if (left == 0 || check(o, p) < 0 || move_pages(p, left, pages, nodes, status) < 0)
		return done;
	/* Asked again: of a huge page only the first one's status tells. */
	if (check(o, p) < 0 || move_pages(p, left, pages, NULL, status) < 0)
		return done;
	for (unsigned int i = 0; i < left; i++)
		done.moved += status[i] == node;
	return done;
}

int ordinary_session_shift(struct ordinary_session *o, const struct helper_shift *shifts,
			   uint32_t n, int *ret_fd, char text[static HELPER_TEXT_MAX])
{
	uint64_t began = now_of(CLOCK_THREAD_CPUTIME_ID);
	struct ordinary_head head = { .magic = ORDINARY_MAGIC, .n_shifts = n };
	g_autoptr(GByteArray) data = g_byte_array_new();
	bool fresh[HELPER_PROCESSES_MAX] = {};
	int r;

	put(data, &head, sizeof(head));
	for (uint32_t i = 0; i < n; i++) {
		const struct chunk *c = &o->chunk[shifts[i].granule / ORDINARY_CHUNK];
		struct ordinary_shifted done = {};

		if (c->used && c->process < o->n) {
			struct process *p = &o->process[c->process];

			/* What was a heap at the last look may be a mapped file by now. */
			if (!fresh[c->process])
				read_ranges(o, p);
			fresh[c->process] = true;
			done = shift_granule(o, p,
					     c->base + shifts[i].granule % ORDINARY_CHUNK * GRANULE,
					     (int)shifts[i].node);
		}
		put(data, &done, sizeof(done));
	}
	r = give(data, ret_fd);
	if (r < 0)
		g_snprintf(text, HELPER_TEXT_MAX, "memory for the answer: %s", g_strerror(-r));
	/* Counted with the next look's. */
	o->cpu_usec += now_of(CLOCK_THREAD_CPUTIME_ID) - began;
	return r;
}
