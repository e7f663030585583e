/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sys/mman.h>

#include "storage-node.h"

/* So much by one call: between two of them a cancel is seen. */
#define STEP (UINT64_C(32) << 20)

int node_populate(struct storage_object *o, uint64_t offset, uint64_t length,
		  storage_progress_t progress, void *userdata, char **ret_error)
{
	uint64_t next, end = offset + length;
	int r;

	r = node_check_range(o, offset, length, ret_error);
	for (uint64_t at = offset; r >= 0 && at < end; at = next) {
		void *address;

		if (progress && !progress(at - offset, length, userdata)) {
			*ret_error = g_strdup_printf("allocating '%s' was cancelled", o->label);
			return -ECANCELED;
		}
		next = MIN(end, at + STEP);
		address = mmap(NULL, next - at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			       o->fd, (off_t)at);
		if (address == MAP_FAILED) {
			r = -errno;
		} else {
			r = o->node->sys->madvise(address, next - at, NODE_MADV_POPULATE_WRITE);
			munmap(address, next - at);
		}
		/* What no page can be had for is a bus error, which madvise calls EFAULT. */
		if (r == -EFAULT)
			r = -ENOMEM;
		if (r < 0)
			*ret_error = g_strdup_printf("cannot allocate '%s' beyond offset %" PRIu64
						     ": %s",
						     o->label, at, g_strerror(-r));
	}
	if (r >= 0 && progress)
		progress(length, length, userdata);
	return r;
}
