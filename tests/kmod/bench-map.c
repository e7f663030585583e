// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What mapping costs, in a second process, against the size of what is mapped: objects of morsel.ko, with leaves of
 * 4 KiB and ("huge") of 2 MiB, against a
 * memfd with MAP_POPULATE, a file on tmpfs with huge pages and MAP_POPULATE, and hugetlb, whose page tables the
 * kernel shares where both mappings begin at a multiple of 1 GiB. All are populated by a first process, which
 * keeps its mapping. Faults, moves and harvests besides. One run, so ratios mean something under emulation too.
 *
 * bench-map [SIZE]   prints "name value" lines, for tools/bench map; peers are measured up to SIZE (4G). Run it
 * with the module loaded.
 * bench-map moves    the moves alone
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"

#define REPEATS 7
#define HUGETLB "/proc/sys/vm/nr_hugepages"
#define TMPFS "/run/morsel-bench"

enum kind {
	MORSEL,
	MORSEL_HUGE,
	MEMFD,
	TMPFS_THP,
	HUGETLBFS,
	KINDS
};
static const char *const kind_name[KINDS] = { "morsel", "huge", "memfd_populate", "tmpfs_thp",
					      "hugetlb" };

struct result {
	uint64_t touch1g, touch2m, touch4k, unmap, faults; /* ns; the least of all repeats */
};

static struct shared {
	_Atomic int ready;
	struct result result;
	_Atomic uint64_t written;
	_Atomic int write, stop;
} * shared;
static uint32_t pools[2];
static int nodes[8];
static unsigned int n_nodes;

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

/* What else runs on the machine only ever adds. */
static uint64_t least(const uint64_t *values, unsigned int n)
{
	uint64_t min = values[0];

	for (unsigned int i = 1; i < n; i++)
		min = values[i] < min ? values[i] : min;
	return min;
}

/* Memory of a node that is free, in bytes. */
static uint64_t free_of_node(int node)
{
	char path[64], line[128];
	uint64_t kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	f = fopen(path, "re");
	km_require(f, "%s", path);
	while (fgets(line, sizeof(line), f)) {
		char *at = strstr(line, "MemFree:");

		if (at)
			kib = strtoull(at + 8, NULL, 10);
	}
	fclose(f);
	return kib * KIB;
}

static void reserve_hugetlb(uint64_t bytes)
{
	int fd = open(HUGETLB, O_RDWR | O_CLOEXEC);

	km_require(fd >= 0 && dprintf(fd, "%" PRIu64 "\n", bytes / GRANULE) > 0, HUGETLB ": %s",
		   strerror(errno));
	close(fd);
}

static int open_kind(enum kind kind, uint64_t bytes, struct km_object *o)
{
	int fd = -1;

	switch (kind) {
	case MORSEL:
	case MORSEL_HUGE:
		*o = km_object(bytes, kind == MORSEL_HUGE ? MORSEL_OBJECT_HUGE : 0, 0, pools[0]);
		return o->fd;
	case MEMFD:
		fd = memfd_create("bench", MFD_CLOEXEC);
		break;
	case TMPFS_THP:
		fd = open(TMPFS "/file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		break;
	case HUGETLBFS:
		reserve_hugetlb(bytes);
		fd = memfd_create("bench", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
		break;
	case KINDS:
		break;
	}
	km_require(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, "%s: %s", kind_name[kind],
		   strerror(errno));
	return fd;
}

/* At a multiple of 1 GiB, the best case of all. */
static char *map_kind(int fd, uint64_t bytes, bool populate)
{
	static char *place;
	char *p;

	if (!place) {
		/* Found once, so that it is not measured. */
		p = mmap(NULL, 8 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			 0);
		km_require(p != MAP_FAILED);
		munmap(p, 8 * GIB);
		place = p + (-(uintptr_t)p & (GIB - 1));
	}
	p = mmap(place, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED_NOREPLACE | (populate ? MAP_POPULATE : 0), fd, 0);
	km_require(p == place, "mmap: %s", strerror(errno));
	return p;
}

static uint64_t touch_all(char *p, uint64_t bytes, uint64_t step)
{
	uint64_t sum = 0;

	for (uint64_t at = 0; at < bytes; at += step)
		sum += *(volatile uint64_t *)(p + at);
	return sum;
}

struct job {
	enum kind kind;
	int fd;
	uint64_t bytes;
};

/* The first process: writes all, stays. */
static void hold(void *argument)
{
	struct job *j = argument;
	char *p = map_kind(j->fd, j->bytes, false);

	for (uint64_t at = 0; at < j->bytes; at += PAGE)
		*(volatile uint64_t *)(p + at) = at;
	shared->ready = 1;
	for (;;)
		pause();
}

static void measure(void *argument)
{
	struct job *j = argument;
	/* hugetlb is at its best without: the first fault in a GiB takes over the shared table. */
	bool populate = j->kind == MEMFD || j->kind == TMPFS_THP;
	static const uint64_t steps[] = { GIB, GRANULE, PAGE };
	unsigned int repeats = j->kind != MEMFD ? REPEATS : j->bytes < GIB ? 3 : 1;
	uint64_t took[3][REPEATS], unmap[REPEATS], faults = 0, t, u;
	char *p;

	for (unsigned int step = 0; step < 3; step++)
		for (unsigned int i = 0; i < repeats; i++) {
			faults = km_minor_faults();
			t = km_now_ns();
			p = map_kind(j->fd, j->bytes, populate);
			touch_all(p, j->bytes, steps[step]);
			u = km_now_ns();
			took[step][i] = u - t;
			faults = km_minor_faults() - faults;
			t = km_now_ns();
			munmap(p, j->bytes);
			unmap[i] = km_now_ns() - t;
		}
	shared->result.touch1g = least(took[0], repeats);
	shared->result.touch2m = least(took[1], repeats);
	shared->result.touch4k = least(took[2], repeats);
	shared->result.unmap = least(unmap, repeats);
	shared->result.faults = faults;
}

static void kill_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static struct result bench_kind(enum kind kind, uint64_t bytes)
{
	struct km_object o = { .fd = -1 };
	struct job j = { kind, open_kind(kind, bytes, &o), bytes };
	pid_t holder;

	shared->ready = 0;
	holder = km_fork(hold, &j);
	while (!shared->ready && waitpid(holder, NULL, WNOHANG) == 0)
		km_nap_ms(5);
	km_require(shared->ready, "%s of %" PRIu64 " MiB could not be filled", kind_name[kind],
		   bytes / MIB);
	km_require(km_in_child(measure, &j));
	kill_child(holder);
	if (kind == MORSEL_HUGE) {
		if (km_object_stat(o.fd).huge_bytes != bytes)
			km_note("of %" PRIu64 " MiB %" PRIu64 " are in pages of 2 MiB", bytes / MIB,
				(uint64_t)km_object_stat(o.fd).huge_bytes / MIB);
		km_object_done(&o);
	} else if (kind == MORSEL) {
		struct morsel_object_stat s = km_object_stat(o.fd);
		struct morsel_pool_stat pool = km_pool_stat(pools[0]);
		/* The pool's state is of all of it; 8 bytes say where each block is. */
		double pool_share =
			(double)(pool.lower_bytes + pool.upper_bytes) / (double)pool.max_bytes +
			8.0 / (double)GRANULE;

		if (bytes == GIB)
			printf("metadata.1g.percent %.4f\n",
			       100 * ((double)s.table_bytes / (double)bytes + pool_share));
		if (bytes == GIB) {
			static uint64_t bits[GIB / PAGE / 64];
			struct morsel_harvest h = { .size = sizeof(h),
						    .id = o.id,
						    .length = GIB,
						    .accessed = (uintptr_t)bits };
			uint64_t took[REPEATS];

			for (unsigned int i = 0; i < REPEATS; i++) {
				uint64_t t = km_now_ns();

				km_expect(0, km_ioctl(km_control, MORSEL_IOC_HARVEST, &h));
				took[i] = km_now_ns() - t;
			}
			printf("harvest.1g.ns %" PRIu64 "\n", median(took, REPEATS));
		}
		km_object_done(&o);
	} else {
		close(j.fd);
		unlink(TMPFS "/file");
		if (kind == HUGETLBFS)
			reserve_hugetlb(0);
	}
	km_note("%s, %" PRIu64 " MiB: 1 GiB touches %" PRIu64 " ns, 2 MiB touches %" PRIu64
		" ns, 4 KiB touches %" PRIu64 " ns, unmap %" PRIu64 " ns, %" PRIu64 " faults",
		kind_name[kind], bytes / MIB, shared->result.touch1g, shared->result.touch2m,
		shared->result.touch4k, shared->result.unmap, shared->result.faults);
	return shared->result;
}

/* @prefix: "map.1g" or "map.1g.huge". */
static void print_ours(const char *prefix, const struct result *ours, const struct result *peers)
{
	printf("%s.touch1g.ns %" PRIu64 "\n", prefix, ours->touch1g);
	printf("%s.touch2m.ns %" PRIu64 "\n", prefix, ours->touch2m);
	printf("%s.touch4k.ns %" PRIu64 "\n", prefix, ours->touch4k);
	printf("%s.unmap.ns %" PRIu64 "\n", prefix, ours->unmap);
	printf("%s.faults %" PRIu64 "\n", prefix, ours->faults);
	for (unsigned int kind = MEMFD; peers && kind < KINDS; kind++) {
		printf("%s.touch1g.%s_ratio %.3f %" PRIu64 "\n", prefix, kind_name[kind],
		       (double)peers[kind].touch1g / (double)ours->touch1g, peers[kind].touch1g);
		printf("%s.touch2m.%s_ratio %.3f %" PRIu64 "\n", prefix, kind_name[kind],
		       (double)peers[kind].touch2m / (double)ours->touch2m, peers[kind].touch2m);
		printf("%s.touch4k.%s_ratio %.3f %" PRIu64 "\n", prefix, kind_name[kind],
		       (double)peers[kind].touch4k / (double)ours->touch4k, peers[kind].touch4k);
		printf("%s.unmap.%s_ratio %.3f %" PRIu64 "\n", prefix, kind_name[kind],
		       (double)peers[kind].unmap / (double)ours->unmap, peers[kind].unmap);
	}
}

static struct result bench_size(const char *name, uint64_t bytes, bool peers)
{
	char prefix[32];
	struct result r[KINDS];

	for (unsigned int kind = 0; kind < (peers ? KINDS : MEMFD); kind++)
		r[kind] = bench_kind(kind, bytes);
	snprintf(prefix, sizeof(prefix), "map.%s", name);
	print_ours(prefix, &r[MORSEL], peers ? r : NULL);
	snprintf(prefix, sizeof(prefix), "map.%s.huge", name);
	print_ours(prefix, &r[MORSEL_HUGE], peers ? r : NULL);
	return r[MORSEL];
}

static void bench_maps(uint64_t peers)
{
	static const struct {
		const char *name;
		uint64_t bytes;
	} sizes[] = {
		{ "64m", 64 * MIB }, { "256m", 256 * MIB }, { "1g", GIB }, { "4g", 4 * GIB }
	};
	struct result first = {}, last = {};

	for (unsigned int i = 0; i < 4; i++) {
		/* The kernel and the holder's own need some besides. */
		if (free_of_node(nodes[0]) < sizes[i].bytes + 300 * MIB) {
			km_note("no memory for %s", sizes[i].name);
			break;
		}
		pools[0] = km_pool(nodes[0], 0, sizes[i].bytes);
		last = bench_size(sizes[i].name, sizes[i].bytes, sizes[i].bytes <= peers);
		km_pool_destroy(pools[0]);
		if (i == 0)
			first = last;
	}
	/* One read per 2 MiB grows with the size whatever is mapped; one per GiB is what mapping itself costs. */
	printf("map.flatness %.3f\n", (double)last.touch2m / (double)first.touch2m);
	printf("map.flatness.touch1g %.3f\n", (double)last.touch1g / (double)first.touch1g);
}

#define FAULT_BYTES (64 * MIB)

static uint64_t fault_all(int fd)
{
	char *p = mmap(NULL, FAULT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t t;

	km_require(p != MAP_FAILED);
	t = km_now_ns();
	for (uint64_t at = 0; at < FAULT_BYTES; at += PAGE)
		*(volatile char *)(p + at) = 1;
	t = km_now_ns() - t;
	munmap(p, FAULT_BYTES);
	return t / (FAULT_BYTES / PAGE);
}

static void bench_faults(void)
{
	uint64_t ours[REPEATS], peer[REPEATS];
	struct morsel_pool_create c = { .size = sizeof(c),
					.kind = MORSEL_POOL_NODE,
					.node = nodes[0],
					.max_bytes = FAULT_BYTES,
					.start_bytes = FAULT_BYTES };

	/* A pool that has its memory: growing is once, faults are for ever. */
	km_require(km_ioctl(km_control, MORSEL_IOC_POOL_CREATE, &c) == 0);
	for (unsigned int i = 0; i < REPEATS; i++) {
		struct km_object o = km_object(FAULT_BYTES, 0, 0, c.pool);
		int fd = memfd_create("bench", MFD_CLOEXEC);

		km_require(fd >= 0 && ftruncate(fd, FAULT_BYTES) == 0);
		ours[i] = fault_all(o.fd);
		peer[i] = fault_all(fd);
		close(fd);
		km_object_done(&o);
	}
	km_pool_destroy(c.pool);
	printf("fault.4k.ns %" PRIu64 " %" PRIu64 "\n", median(ours, REPEATS),
	       median(peer, REPEATS));
	printf("fault.4k.memfd_ratio %.3f\n",
	       (double)median(peer, REPEATS) / (double)median(ours, REPEATS));
}

#define MOVE_BYTES (256 * MIB)
#define TURNS 4

/* Adds to a word of each page, in an order that no prefetcher likes. */
static void run_writer(void *argument)
{
	char *p = mmap(NULL, MOVE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, *(int *)argument, 0);
	uint64_t pages = MOVE_BYTES / PAGE, at = 0;

	km_require(p != MAP_FAILED);
	km_pin_cpu(1);
	while (!shared->stop) {
		if (!shared->write) {
			km_nap_ms(1);
			continue;
		}
		for (unsigned int i = 0; i < 64; i++) {
			at = (at + 40503) % pages;
			(*(volatile uint64_t *)(p + at * PAGE + 64))++;
		}
		shared->written += 64;
	}
}

static uint64_t move_ours(const struct km_object *o, unsigned int target)
{
	static struct morsel_move_range ranges[MOVE_BYTES / GRANULE];
	struct morsel_move m = { .size = sizeof(m),
				 .count = MOVE_BYTES / GRANULE,
				 .id = o->id,
				 .ranges = (uintptr_t)ranges };
	uint64_t t;

	for (unsigned int i = 0; i < MOVE_BYTES / GRANULE; i++)
		ranges[i] = (struct morsel_move_range){ .offset = i * GRANULE,
							.length = GRANULE,
							.pool = pools[target] };
	t = km_now_ns();
	km_expect(0, km_ioctl(km_control, MORSEL_IOC_MOVE, &m));
	t = km_now_ns() - t;
	for (unsigned int i = 0; i < MOVE_BYTES / GRANULE; i++)
		km_check(ranges[i].moved == GRANULE, "granule %u: %llu moved", i,
			 (unsigned long long)ranges[i].moved);
	return t;
}

static uint64_t move_theirs(char *p, int node)
{
	static void *pages[GRANULE / PAGE];
	static int to[GRANULE / PAGE], status[GRANULE / PAGE];
	uint64_t t = km_now_ns();

	for (uint64_t at = 0; at < MOVE_BYTES; at += GRANULE) {
		for (uint64_t k = 0; k < GRANULE / PAGE; k++) {
			pages[k] = p + at + k * PAGE;
			to[k] = node;
		}
		km_check(syscall(SYS_move_pages, 0, GRANULE / PAGE, pages, to, status,
				 MPOL_MF_MOVE_ALL) >= 0,
			 "%s", strerror(errno));
	}
	return km_now_ns() - t;
}

struct moved {
	uint64_t ns;	 /* median of a move */
	double slowdown; /* of the writer; 0 without */
};

static struct moved bench_mover(bool ours, bool write, uint32_t flags)
{
	struct km_object o = { .fd = -1 };
	uint64_t took[TURNS], written, t, alone_ns, alone, moving = 0, moving_ns = 0;
	struct moved m = {};
	pid_t writer = 0;
	char *p;
	int fd;

	if (ours)
		o = km_object(MOVE_BYTES, flags, 0, pools[0]);
	fd = ours ? o.fd : memfd_create("bench", MFD_CLOEXEC);
	km_require(fd >= 0 && (ours || ftruncate(fd, MOVE_BYTES) == 0));
	p = mmap(NULL, MOVE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	km_require(p != MAP_FAILED);
	for (uint64_t at = 0; at < MOVE_BYTES; at += PAGE)
		*(volatile uint64_t *)(p + at) = 1;
	if (!ours)
		move_theirs(p, nodes[0]);
	shared->written = 0;
	shared->stop = 0;
	shared->write = write;
	if (write)
		writer = km_fork(run_writer, &fd);
	km_nap_ms(300);
	written = shared->written;
	t = km_now_ns();
	km_nap_ms(write ? 1000 : 0);
	alone_ns = km_now_ns() - t;
	alone = shared->written - written;
	for (unsigned int i = 0; i < TURNS; i++) {
		unsigned int target = (i + 1) % 2;

		written = shared->written;
		took[i] = ours ? move_ours(&o, target)
			       : move_theirs(p, nodes[target ? n_nodes - 1 : 0]);
		moving += shared->written - written;
		moving_ns += took[i];
	}
	m.ns = median(took, TURNS);
	if (write) {
		m.slowdown =
			((double)alone / (double)alone_ns) / ((double)moving / (double)moving_ns);
		shared->stop = 1;
		km_check(km_wait(writer));
	}
	munmap(p, MOVE_BYTES);
	if (ours)
		km_object_done(&o);
	else
		close(fd);
	return m;
}

static void bench_moves(void)
{
	struct moved ours, theirs;

	if (n_nodes < 2) {
		km_note("one node with memory: no moves");
		return;
	}
	pools[0] = km_pool(nodes[0], 0, MOVE_BYTES + 16 * MIB);
	pools[1] = km_pool(nodes[n_nodes - 1], 1, MOVE_BYTES + 16 * MIB);
	km_pin_cpu(0);
	ours = bench_mover(true, false, 0);
	theirs = bench_mover(false, false, 0);
	printf("move.256m.ns %" PRIu64 " %" PRIu64 "\n", ours.ns, theirs.ns);
	printf("move.256m.move_pages_ratio %.3f\n", (double)theirs.ns / (double)ours.ns);
	ours = bench_mover(true, false, MORSEL_OBJECT_HUGE);
	printf("move.256m.huge.move_pages_ratio %.3f\n", (double)theirs.ns / (double)ours.ns);
	ours = bench_mover(true, true, 0);
	theirs = bench_mover(false, true, 0);
	printf("move.256m.written.move_pages_ratio %.3f\n", (double)theirs.ns / (double)ours.ns);
	printf("move.256m.writers_slowdown %.3f %.3f\n", ours.slowdown, theirs.slowdown);
	ours = bench_mover(true, true, MORSEL_OBJECT_HUGE);
	printf("move.256m.huge.written.move_pages_ratio %.3f\n",
	       (double)theirs.ns / (double)ours.ns);
	printf("move.256m.huge.writers_slowdown %.3f\n", ours.slowdown);
	km_pool_destroy(pools[0]);
	km_pool_destroy(pools[1]);
}

int main(int argc, char *argv[])
{
	bool moves = argc > 1 && strcmp(argv[1], "moves") == 0;
	uint64_t peers = argc > 1 && !moves ? km_size(argv[1]) : UINT64_MAX;

	km_begin();
	shared = km_shared(sizeof(*shared));
	n_nodes = km_nodes(nodes, 8);
	if (moves) {
		bench_moves();
		return km_failures() != 0;
	}
	mkdir(TMPFS, 0700);
	km_require(mount("bench", TMPFS, "tmpfs", 0, "huge=always,size=100%") == 0, "%s",
		   strerror(errno));
	bench_faults();
	bench_moves();
	bench_maps(peers);
	umount(TMPFS);
	rmdir(TMPFS);
	return km_failures() != 0;
}
