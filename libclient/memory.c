// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "client.h"
#include "module.h"

#ifndef MADV_POPULATE_WRITE /* Linux 5.14; Debian 12's C library has it */
#define MADV_POPULATE_WRITE 23
#endif

/* Large enough that the system call does not show, small enough that a signal is seen soon and a
 * failure says where. */
#define POPULATE_STEP (UINT64_C(64) << 20)

/* Clip a length of 0 and check against the object, without overflow. unit: alignment wanted. */
static int check_range(morsel *m, uint64_t offset, uint64_t length, uint64_t unit,
		       uint64_t *ret_length)
{
	if (offset % unit || length % unit)
		return client_fail(m->client, -EINVAL,
				   "%s: offset %" PRIu64 " and length %" PRIu64
				   " must be multiples of %" PRIu64,
				   m->name, offset, length, unit);
	if (offset >= m->size || length > m->size - offset)
		return client_fail(m->client, -EINVAL,
				   "%s: the range of %" PRIu64 " bytes at %" PRIu64
				   " is outside its size of %" PRIu64,
				   m->name, length, offset, m->size);
	*ret_length = length ? length : m->size - offset;
	return 0;
}

static int check_ranges(morsel *m, const struct morsel_range *ranges, size_t n)
{
	uint64_t length;
	size_t i;
	int r;

	if (!m || (n > 0 && !ranges))
		return -EINVAL;
	r = client_check_pid(m->client);
	if (r < 0)
		return r;
	if (n > MORSEL_RANGES_MAX)
		return client_fail(m->client, -EINVAL, "%s: %zu ranges in one call, at most %d",
				   m->name, n, MORSEL_RANGES_MAX);
	/* All before the first is touched, so that bad input changes nothing. */
	for (i = 0; i < n; i++) {
		r = check_range(m, ranges[i].offset, ranges[i].length, PAGE_BYTES, &length);
		if (r < 0)
			return r;
	}
	return 0;
}

/* morsel.ko's mmap can be interrupted while it waits for a table. */
static void *mmap_retry(void *address, size_t length, int protection, int flags, int fd,
			off_t offset)
{
	void *p;

	do {
		p = mmap(address, length, protection, flags, fd, offset);
	} while (p == MAP_FAILED && errno == EINTR);
	return p;
}

/*
 * Map so that address and offset agree modulo 2 MiB: only then can a 2 MiB page be mapped as one.
 * The kernel aligns a shared-memory mapping by itself only in some configurations.
 */
static int map_aligned(morsel *m, uint64_t offset, uint64_t length, int protection,
		       void **ret_address)
{
	uintptr_t reserved, start, end;
	size_t total;
	void *p;
	int r;

	if (length > SIZE_MAX - HUGE_BYTES || offset > INT64_MAX)
		return -ENOMEM;
	/* Of its own mappings the module knows best where they cost the fewest faults. */
	if (length < HUGE_BYTES || m->hugetlb || m->module) {
		p = mmap_retry(NULL, length, protection, MAP_SHARED, m->fd, (off_t)offset);
		if (p != MAP_FAILED) {
			*ret_address = p;
			return 0;
		}
		if (!m->module || errno != EINVAL)
			return -errno;
	}
	total = length + HUGE_BYTES;
	p = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	reserved = (uintptr_t)p;
	end = reserved + total;
	start = reserved + ((offset - reserved) & (HUGE_BYTES - 1));
	p = mmap_retry((void *)start, length, protection, MAP_SHARED | MAP_FIXED, m->fd,
		       (off_t)offset);
	if (p == MAP_FAILED) {
		r = -errno;
		munmap((void *)reserved, total);
		return r;
	}
	if (start > reserved)
		munmap((void *)reserved, start - reserved);
	if (end > start + length)
		munmap((void *)(start + length), end - start - length);
	if (m->thp)
		madvise(p, length, MADV_HUGEPAGE); /* no THP in the kernel: 4 KiB pages will do */
	*ret_address = p;
	return 0;
}

int morsel_map(morsel *m, uint64_t offset, uint64_t length, enum morsel_access access,
	       void **ret_address)
{
	uint64_t before = 0;
	void *p;
	int r;

	if (!m || !ret_address)
		return -EINVAL;
	r = client_check_pid(m->client);
	if (r < 0)
		return r;
	if (access != MORSEL_RDONLY && access != MORSEL_RDWR)
		return client_fail(m->client, -EINVAL,
				   "%s: access is neither MORSEL_RDONLY nor MORSEL_RDWR", m->name);
	if (access == MORSEL_RDWR && m->access == MORSEL_RDONLY)
		return client_fail(m->client, -EACCES,
				   "%s: opened read-only, cannot be mapped for writing", m->name);
	r = check_range(m, offset, length, m->hugetlb ? HUGE_BYTES : PAGE_BYTES, &length);
	if (r < 0)
		return r;
	/* The module links whole tables: what lies around the range is mapped too, to the granules' ends. */
	if (m->module) {
		before = offset % HUGE_BYTES;
		offset -= before;
		length = (length + before + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
	}
	r = map_aligned(m, offset, length,
			access == MORSEL_RDWR ? PROT_READ | PROT_WRITE : PROT_READ, &p);
	if (r < 0)
		return client_fail(m->client, r, "%s: mapping %" PRIu64 " bytes: %s", m->name,
				   length, strerror(-r));
	*ret_address = (unsigned char *)p + before;
	return 0;
}

/* Is there one mapping that begins and ends there? */
static bool is_whole_mapping(uintptr_t start, uintptr_t end)
{
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/self/map_files/%" PRIxPTR "-%" PRIxPTR, start, end);
	return lstat(path, &st) == 0;
}

int morsel_unmap(void *address, uint64_t length)
{
	uintptr_t start = (uintptr_t)address, end;

	if (!address || !length || length > SIZE_MAX - HUGE_BYTES || length > UINTPTR_MAX - start)
		return -EINVAL;
	if (munmap(address, length) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	/* The module's mappings are larger than what was asked for, and only go as a whole. */
	end = start + length;
	start -= start % HUGE_BYTES;
	end = (end + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
	if ((uintptr_t)address % PAGE_BYTES || end < start || !is_whole_mapping(start, end))
		return -EINVAL;
	return munmap((void *)start, end - start) < 0 ? -errno : 0;
}

/* fallocate(2) that goes on after signals; *ret_done bytes were done in any case. */
static int fallocate_all(morsel *m, int mode, uint64_t offset, uint64_t length, uint64_t *ret_done)
{
	uint64_t done = 0, step;
	int r = 0;

	while (done < length) {
		/* shmem undoes an interrupted call: steps, so that a timer cannot stop all progress. */
		step = length - done < POPULATE_STEP ? length - done : POPULATE_STEP;
		if (fallocate(m->fd, mode, (off_t)(offset + done), (off_t)step) == 0) {
			done += step;
		} else if (errno != EINTR) {
			r = -errno;
			break;
		}
	}
	*ret_done = done;
	return r;
}

/*
 * The first touch through a mapping gives 2 MiB pages and the placement of the object's policy;
 * fallocate(2), for kernels without MADV_POPULATE_WRITE, gives 4 KiB pages on some of them.
 */
static int populate_range(morsel *m, uint64_t offset, uint64_t length, uint64_t *ret_done)
{
	uint64_t done = 0, step;
	void *p;
	int r = 0;

	while (done < length) {
		step = length - done < POPULATE_STEP ? length - done : POPULATE_STEP;
		r = map_aligned(m, offset + done, step, PROT_READ | PROT_WRITE, &p);
		if (r < 0)
			break;
		do {
			r = madvise(p, step, MADV_POPULATE_WRITE) < 0 ? -errno : 0;
		} while (r == -EINTR || r == -EAGAIN);
		munmap(p, step);
		if (r < 0)
			break;
		done += step;
	}
	*ret_done = done;
	return r;
}

/* All ranges of a checked list by the module; few at a time, for the list is copied. */
static int call_module(morsel *m, const struct morsel_range *ranges, size_t n,
		       int (*call)(int fd, const struct module_range *ranges, size_t n,
				   uint64_t *ret_bytes),
		       uint64_t *ret_done)
{
	struct module_range batch[64];
	uint64_t done, sum = 0;
	size_t i, k;
	int r = 0;

	for (i = 0; i < n && r >= 0; i += k) {
		for (k = 0; k < sizeof(batch) / sizeof(batch[0]) && i + k < n; k++) {
			batch[k].offset = ranges[i + k].offset;
			batch[k].length = ranges[i + k].length ? ranges[i + k].length
							       : m->size - ranges[i + k].offset;
		}
		r = call(m->fd, batch, k, &done);
		sum += done;
	}
	*ret_done = sum;
	return r;
}

int morsel_populate(morsel *m, const struct morsel_range *ranges, size_t n)
{
	uint64_t offset, length, done, more;
	size_t i;
	int r;

	r = check_ranges(m, ranges, n);
	if (r < 0)
		return r;
	if (n > 0 && m->access == MORSEL_RDONLY)
		return client_fail(m->client, -EACCES, "%s: opened read-only, cannot be populated",
				   m->name);
	if (m->module) {
		r = call_module(m, ranges, n, module_populate, &done);
		if (r < 0)
			return client_fail(
				m->client, r,
				"%s: no memory for all that is asked for, it ended after %" PRIu64
				" new bytes: %s",
				m->name, done, strerror(-r));
		return 0;
	}
	for (i = 0; i < n; i++) {
		offset = ranges[i].offset;
		length = ranges[i].length ? ranges[i].length : m->size - offset;
		if (m->hugetlb) {
			/* Whole pages, or the mapping is refused. */
			length += offset % HUGE_BYTES;
			offset -= offset % HUGE_BYTES;
			length = (length + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
		}
		r = populate_range(m, offset, length, &done);
		if (r == -EINVAL) {
			r = fallocate_all(m, 0, offset + done, length - done, &more);
			done += more;
		}
		/* The touch would have been a SIGBUS: no page to be had where they are allowed. */
		if (r == -EFAULT)
			r = -ENOSPC;
		if (r < 0)
			return client_fail(m->client, r,
					   "%s: no memory for all of the %" PRIu64
					   " bytes at %" PRIu64 ", it ended after %" PRIu64
					   " (in steps of %" PRIu64 "): %s",
					   m->name, length, offset, done, POPULATE_STEP,
					   strerror(-r));
	}
	return 0;
}

int morsel_evict(morsel *m, const struct morsel_range *ranges, size_t n)
{
	uint64_t length, done;
	size_t i;
	int r;

	r = check_ranges(m, ranges, n);
	if (r < 0)
		return r;
	if (n > 0 && m->access == MORSEL_RDONLY)
		return client_fail(m->client, -EACCES, "%s: opened read-only, cannot be evicted",
				   m->name);
	if (m->module) {
		r = call_module(m, ranges, n, module_evict, &done);
		if (r < 0)
			return client_fail(m->client, r,
					   "%s: not all could be given back, only %" PRIu64
					   " bytes: %s",
					   m->name, done, strerror(-r));
		return 0;
	}
	for (i = 0; i < n; i++) {
		length = ranges[i].length ? ranges[i].length : m->size - ranges[i].offset;
		r = fallocate_all(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, ranges[i].offset,
				  length, &done);
		if (r < 0)
			return client_fail(m->client, r,
					   "%s: giving back %" PRIu64 " bytes at %" PRIu64 ": %s",
					   m->name, length, ranges[i].offset, strerror(-r));
	}
	return 0;
}

/* A line of /proc/self/maps: start-end perms offset major:minor inode path. */
struct mapping {
	uint64_t start, end, offset, inode;
	unsigned int major, minor;
};

static void advise_mapping(const struct mapping *map, int advice, const struct morsel_range *ranges,
			   size_t n, uint64_t size)
{
	uint64_t map_end = map->offset + (map->end - map->start), from, to;
	size_t i;

	for (i = 0; i < n; i++) {
		from = ranges[i].offset;
		to = ranges[i].length ? from + ranges[i].length : size;
		if (from < map->offset)
			from = map->offset;
		if (to > map_end)
			to = map_end;
		if (from < to)
			madvise((void *)(uintptr_t)(map->start + (from - map->offset)),
				(size_t)(to - from), advice);
	}
}

int morsel_advise(morsel *m, enum morsel_advice advice, const struct morsel_range *ranges, size_t n)
{
	struct mapping map;
	char *line = NULL;
	size_t room = 0;
	struct stat st;
	FILE *f;
	int r;

	r = check_ranges(m, ranges, n);
	if (r < 0)
		return r;
	if (advice != MORSEL_WILLNEED && advice != MORSEL_COLD)
		return client_fail(m->client, -EINVAL, "%s: advice %d is not known", m->name,
				   (int)advice);
	/* Nothing reclaims the module's pages, and nothing swaps them. */
	if (n == 0 || m->module)
		return 0;
	/*
	 * The kernel takes both hints by mapped address, and the age of a page is in the page table
	 * of who uses it: the object's own mappings in this process are looked up. A mapping that goes
	 * meanwhile is no harm, hints change no contents.
	 */
	if (fstat(m->fd, &st) < 0)
		return client_fail(m->client, -errno, "%s: fstat: %s", m->name, strerror(errno));
	f = fopen("/proc/self/maps", "re");
	if (!f)
		return client_fail(m->client, -errno, "/proc/self/maps: %s", strerror(errno));
	while (getline(&line, &room, f) >= 0) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %x:%x %" SCNu64,
			   &map.start, &map.end, &map.offset, &map.major, &map.minor,
			   &map.inode) != 6)
			continue;
		if (map.inode == st.st_ino && map.major == major(st.st_dev) &&
		    map.minor == minor(st.st_dev))
			advise_mapping(&map, advice == MORSEL_COLD ? MADV_COLD : MADV_WILLNEED,
				       ranges, n, m->size);
	}
	free(line);
	fclose(f);
	return 0;
}
