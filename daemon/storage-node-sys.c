/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage-node-sys.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "storage-node-room.h"

#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450 /* the same number on every architecture */
#endif

static int real_memfd_create(const char *name, unsigned int flags)
{
	int fd = memfd_create(name, flags);

	return fd < 0 ? -errno : fd;
}

static int real_mbind(void *address, uint64_t length, int mode, const struct nodeset *nodes,
		      int flags)
{
	/* The kernel looks at one bit fewer than it is told. */
	return syscall(SYS_mbind, address, length, mode, nodes ? nodes->bits : NULL,
		       nodes ? NODES_MAX + 1 : 0, flags) < 0
		       ? -errno
		       : 0;
}

static int real_set_home_node(void *address, uint64_t length, int node)
{
	return syscall(SYS_set_mempolicy_home_node, address, length, node, 0) < 0 ? -errno : 0;
}

static long real_move_pages(size_t n, void *const *pages, const int *nodes, int *status, int flags)
{
	long r = syscall(SYS_move_pages, 0, n, pages, nodes, status, flags);

	return r < 0 ? -errno : r;
}

static int real_madvise(void *address, uint64_t length, int advice)
{
	return madvise(address, length, advice) < 0 ? -errno : 0;
}

static uint64_t real_node_free(int root_fd, int node)
{
	static const char *const free_kb[] = { "MemFree:", NULL };
	uint64_t bytes = node_meminfo(root_fd, node, free_kb);

	return bytes == UINT64_MAX ? 0 : bytes;
}

const struct node_sys node_sys_real = {
	.memfd_create = real_memfd_create,
	.mbind = real_mbind,
	.set_home_node = real_set_home_node,
	.move_pages = real_move_pages,
	.madvise = real_madvise,
	.node_free = real_node_free,
};

static bool have_cap_sys_nice(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	return data[CAP_TO_INDEX(CAP_SYS_NICE)].effective & CAP_TO_MASK(CAP_SYS_NICE);
}

void node_caps_probe(const struct node_sys *sys, struct node_caps *ret_caps)
{
	size_t length = (size_t)sysconf(_SC_PAGESIZE);
	struct node_caps caps = { .mbind = -ENOMEM, .move_pages = -ENOMEM };
	struct nodeset nodes = {};
	int node = -1;
	void *page;

	page = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED) {
		*ret_caps = caps;
		return;
	}

	*(volatile char *)page = 1;
	caps.mbind = sys->mbind(page, length, MPOL_DEFAULT, NULL, 0);
	caps.move_pages = (int)sys->move_pages(1, &page, NULL, &node, 0);
	caps.move_shared = have_cap_sys_nice();
	if (caps.mbind == 0) {
		/* The node that this very page is on takes pages for certain. */
		nodeset_add(&nodes, node >= 0 ? node : 0);
		caps.preferred_many =
			sys->mbind(page, length, NODE_MPOL_PREFERRED_MANY, &nodes, 0) == 0;
		caps.home_node = sys->mbind(page, length, MPOL_BIND, &nodes, 0) == 0 &&
				 sys->set_home_node(page, length, node >= 0 ? node : 0) == 0;
	}
	caps.populate = sys->madvise(page, length, NODE_MADV_POPULATE_READ) == 0;
	munmap(page, length);
	caps.numa_maps = access("/proc/self/numa_maps", R_OK) == 0;

	*ret_caps = caps;
}
