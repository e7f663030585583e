/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "storage-node-room.h"
#include "storage-node.h"

/* So much by one call: between two of them a cancel is seen. */
#define STEP (UINT64_C(32) << 20)

/* What must be left over: the kernel's own watermarks, and others' page faults meanwhile. */
#define MARGIN (UINT64_C(32) << 20)

/*
 * Bytes that can be had without driving anybody out: of the nodes that the object may use, when it may use
 * only some, else of the system. The kernel would not refuse at the end of them but call its
 * out-of-memory killer, in the daemon's own name.
 */
static uint64_t room(const struct storage_object *o)
{
	static const char *const of_node[] = { "MemFree:", "Active(file):", "Inactive(file):",
					       NULL };
	static const char *const of_system[] = { "MemAvailable:", NULL };
	uint64_t sum = 0;

	if (!o->placement || o->placement->allow->len == 0)
		return meminfo_sum(o->node->root_fd, "proc/meminfo", of_system);
	for (int node = 0; node < NODES_MAX; node++) {
		uint64_t bytes;

		if (!nodeset_has(&o->allow, node))
			continue;
		bytes = node_meminfo(o->node->root_fd, node, of_node);
		if (bytes == UINT64_MAX)
			return bytes;
		sum += bytes;
	}
	return sum;
}

static int populate_step(struct storage_object *o, uint64_t at, uint64_t end)
{
	off_t hole = lseek(o->fd, (off_t)at, SEEK_HOLE);
	uint64_t free_bytes;
	void *address;
	int r;

	if (o->backing != PAGES_HUGETLB) {
		if (hole >= 0 && (uint64_t)hole >= end)
			return 0; /* all there; only swapped perhaps */
		free_bytes = room(o);
		if (free_bytes < MARGIN || free_bytes - MARGIN < end - at)
			return -ENOMEM;
	}
	address = mmap(NULL, end - at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, o->fd,
		       (off_t)at);
	if (address == MAP_FAILED)
		return -errno;
	r = o->node->sys->madvise(address, end - at, NODE_MADV_POPULATE_WRITE);
	munmap(address, end - at);
	/* What no page can be had for is a bus error, which madvise calls EFAULT. */
	return r == -EFAULT ? -ENOMEM : r;
}

int node_populate(struct storage_object *o, uint64_t offset, uint64_t length,
		  storage_progress_t progress, void *userdata, char **ret_error)
{
	uint64_t next, end = offset + length;
	int r;

	r = node_check_range(o, offset, length, ret_error);
	if (r < 0)
		return r;
	for (uint64_t at = offset; at < end; at = next) {
		if (progress && !progress(at - offset, length, userdata)) {
			*ret_error = g_strdup_printf("allocating '%s' was cancelled", o->label);
			return -ECANCELED;
		}
		next = MIN(end, at + STEP);
		r = populate_step(o, at, next);
		if (r < 0) {
			*ret_error = g_strdup_printf(
				"cannot allocate '%s' beyond offset %" PRIu64 ": %s%s", o->label,
				at, g_strerror(-r),
				r == -ENOMEM ? " (of the memory it may use)" : "");
			return r;
		}
	}
	if (progress)
		progress(length, length, userdata);
	return 0;
}
