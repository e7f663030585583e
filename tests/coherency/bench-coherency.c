/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "format.h"
#include "llfree.h"

/*
 * The protocol on this CPU: what a held acquire and release costs, how many compare-and-swaps a transition,
 * and how long write-back and invalidate take. Prints lines "name value" for tools/bench-format.
 */

#define SIZE (1ull << 30)
#define ROUNDS 2000000u

static struct morsel_mem cpu;

static double now(void)
{
	struct timespec t;

	/* Of this thread: other work on the machine is not ours. */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* -1 where the machine has no counter (most guests). */
static int instructions_open(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_HARDWARE,
					.size = sizeof(attr),
					.config = PERF_COUNT_HW_INSTRUCTIONS,
					.disabled = 1,
					.exclude_kernel = 1 };

	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

/* Counts what the protocol asks of memory. */
static unsigned cas_count;

static uint64_t c_load(struct morsel_mem *mem, const uint64_t *p)
{
	return *p;
}

static void c_store(struct morsel_mem *mem, uint64_t *p, uint64_t v)
{
	*p = v;
}

static bool c_cas(struct morsel_mem *mem, uint64_t *p, uint64_t *expected, uint64_t desired)
{
	cas_count++;
	if (*p != *expected) {
		*expected = *p;
		return false;
	}
	*p = desired;
	return true;
}

static void c_nothing(struct morsel_mem *mem)
{
}

static void c_range(struct morsel_mem *mem, const void *p, size_t n)
{
}

static const struct morsel_mem_ops counting = { c_load,	 c_store, c_cas,    c_nothing,
						c_range, c_range, c_nothing };

static void one_loop(struct coh_client *c, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++)
		if (coh_acquire(c, 0, 4, 7, 1, COH_W) || coh_release(c, 0))
			abort();
}

int main(int argc, char **argv)
{
	struct format_params p = { .uuid = { 1, 2 } };
	struct llfree_config config = { .frames = format_frames(SIZE),
					.flags = LLFREE_PERSISTENT,
					.classes = 1,
					.slots = 1,
					.owners = COH_HOSTS };
	struct format_layout layout;
	struct coh_pool pool;
	struct coh_local *local = calloc(SIZE >> MORSEL_COH_EXTENT_SHIFT, sizeof(*local));
	static struct coh_hold_page page;
	struct coh_hold_page *pages[1] = { &page };
	struct morsel_mem count = { &counting };
	struct coh_host h = { .mem = &cpu, .local = local, .pages = pages, .pages_n = 1 };
	struct coh_client c = { .mem = &cpu, .page = &page, .local = local, .count = 8 };
	double runs[15], t;
	uint64_t ins = 0;
	unsigned worst = 0;
	int fd;
	uint8_t *base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED || !local ||
	    llfree_sizes(&config, &p.lower_size, &p.upper_size) < 0 ||
	    format_create(&cpu, base, SIZE, &p, &layout) < 0)
		abort();
	format_pool(base, &layout, &pool);
	h.pool = &pool;
	if (coh_join(&h, p.uuid) < 0 || coh_claim(&h, 4, 7) < 0 || coh_prepare(&h, 4, 1, COH_W) < 0)
		abort();
	c.extents = pool.extents;
	c.host_state = &pool.hosts[h.slot].state;
	c.alive = h.alive;

	/* With an argument: so many rounds and nothing else, for a tool that counts instructions. */
	if (argc > 1) {
		one_loop(&c, (unsigned)strtoul(argv[1], NULL, 10));
		return 0;
	}

	/* Held: the fast path. The median of 15, and the counter if there is one. */
	one_loop(&c, ROUNDS / 10);
	for (unsigned i = 0; i < 15; i++) {
		t = now();
		one_loop(&c, ROUNDS / 10);
		runs[i] = (now() - t) / (ROUNDS / 10.0);
	}
	qsort(runs, 15, sizeof(runs[0]), compare);
	printf("coherency.acquire_held.ns %.1f\n", runs[7]);
	fd = instructions_open();
	if (fd >= 0) {
		ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
		one_loop(&c, ROUNDS);
		ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
		if (read(fd, &ins, sizeof(ins)) == sizeof(ins) && ins)
			printf("coherency.acquire_held.instructions %.1f\n", (double)ins / ROUNDS);
		close(fd);
	}

	/* Uncontended transitions, counted. */
	h.mem = &count;
	for (unsigned i = 0; i < 4; i++) {
		cas_count = 0;
		switch (i) {
		case 0:
			coh_downgrade(&h, 4);
			break;
		case 1:
			coh_fetch(&h, 4, 7, COH_W, false);
			break;
		case 2:
			coh_drop(&h, 4);
			break;
		default:
			coh_fetch(&h, 4, 7, COH_R, false);
			break;
		}
		worst = cas_count > worst ? cas_count : worst;
	}
	printf("coherency.transition.cas %u\n", worst);
	printf("coherency.range.share %.7f\n", (double)layout.coherent_size / (double)layout.size);

	/* Write-back and invalidate, dirty lines, fence included. */
	for (unsigned i = 0; i < 3; i++) {
		static const struct {
			const char *name;
			size_t n;
		} what[3] = { { "4k", 4096 }, { "32k", 32768 }, { "2m", 2u << 20 } };
		uint8_t *at = base + 8 * COH_EXTENT_SIZE;

		for (unsigned both = 0; both < 2; both++) {
			for (unsigned k = 0; k < 15; k++) {
				memset(at, (int)k + 1, what[i].n);
				t = now();
				if (both)
					morsel_mem_invalidate(&cpu, at, what[i].n);
				else
					morsel_mem_write_back(&cpu, at, what[i].n);
				morsel_mem_fence(&cpu);
				runs[k] = (now() - t) / 1000;
			}
			qsort(runs, 15, sizeof(runs[0]), compare);
			printf("coherency.%s_%s.us %.3f\n", both ? "invalidate" : "write_back",
			       what[i].name, runs[7]);
		}
	}
	return 0;
}
