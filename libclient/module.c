// SPDX-License-Identifier: LGPL-2.1-or-later
#include "module.h"

#include <assert.h>
#include <errno.h>
#include <linux/morsel.h>
#include <sys/ioctl.h>

static_assert(sizeof(struct module_range) == sizeof(struct morsel_extent) &&
		      offsetof(struct module_range, length) ==
			      offsetof(struct morsel_extent, length),
	      "ranges are handed on as they are");

static int call(int fd, unsigned long request, const struct module_range *ranges, size_t n,
		uint64_t *ret_bytes)
{
	int r = 0;

	*ret_bytes = 0;
	while (n > 0 && r == 0) {
		uint32_t count = n < MORSEL_MAX_BATCH ? (uint32_t)n : MORSEL_MAX_BATCH;
		struct morsel_ranges arg;

		/* What was done before a signal is passed over the next time. */
		do {
			arg = (struct morsel_ranges){ .size = sizeof(arg),
						      .count = count,
						      .ranges = (uintptr_t)ranges };
			r = ioctl(fd, request, &arg) < 0 ? -errno : 0;
			*ret_bytes += arg.bytes;
		} while (r == -EINTR);
		ranges += count;
		n -= count;
	}
	return r;
}

int module_populate(int fd, const struct module_range *ranges, size_t n, uint64_t *ret_bytes)
{
	return call(fd, MORSEL_IOC_POPULATE, ranges, n, ret_bytes);
}

int module_evict(int fd, const struct module_range *ranges, size_t n, uint64_t *ret_bytes)
{
	return call(fd, MORSEL_IOC_EVICT, ranges, n, ret_bytes);
}

int module_allocated(int fd, uint64_t *ret_bytes)
{
	struct morsel_object_stat stat = { .size = sizeof(stat) };

	if (ioctl(fd, MORSEL_IOC_OBJECT_STAT, &stat) < 0)
		return -errno;
	*ret_bytes = stat.used_bytes;
	return 0;
}
