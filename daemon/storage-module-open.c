// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage-module-open.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage-module-sys.h"

#define DEVICE "dev/morsel"

/*
 * Which daemon we are: a state directory is one. Its inode's number stays while the machine runs, which is as long as
 * objects of the module can last, and no other directory has it.
 */
static uint32_t instance_of(int state_fd)
{
	struct stat st;
	uint64_t x;

	if (fstat(state_fd, &st) < 0)
		return 0;
	x = (uint64_t)st.st_ino ^ (uint64_t)st.st_dev << 40;
	x *= UINT64_C(0x9e3779b97f4a7c15); /* Fibonacci hashing: the upper bits are the good ones */
	return (uint32_t)(x >> 33);
}

static int open_device(int root_fd, const struct module_opener *opener)
{
	int fd = openat(root_fd, DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		fd = -errno;
	if ((fd == -EACCES || fd == -EPERM) && opener) {
		g_autofree char *text = NULL;
		int theirs = opener->open(DEVICE, &text, opener->userdata);

		/* Without a helper what matters is why we could not. */
		if (theirs != -ENOENT)
			fd = theirs;
	}
	return fd;
}

static void say_hello(int fd, struct module_probe *probe)
{
	struct morsel_hello hello = { .size = sizeof(hello), .version = MORSEL_UAPI_VERSION };
	int r = module_sys_real.call(fd, MORSEL_IOC_HELLO, &hello);

	if (r == -EPROTONOSUPPORT) {
		probe->state = MODULE_VERSION;
		probe->version = hello.version == MORSEL_UAPI_VERSION ? 0 : hello.version;
	} else if (r < 0) {
		probe->state = MODULE_OTHER;
		probe->error = r;
	} else {
		probe->version = hello.version;
		probe->test_build = hello.features & MORSEL_FEATURE_TEST;
		probe->features = hello.features;
		if (hello.version != MORSEL_UAPI_VERSION)
			probe->state = MODULE_VERSION;
	}
}

void storage_module_open(int root_fd, int state_fd, const struct module_opener *opener,
			 struct module_probe *ret_probe, struct storage **ret_storage)
{
	struct module_probe probe = { .state = MODULE_READY };
	int fd, r;

	*ret_storage = NULL;
	fd = open_device(root_fd, opener);
	if (fd < 0) {
		probe.state = fd == -ENOENT ? MODULE_ABSENT : MODULE_CLOSED;
		probe.error = fd;
	} else {
		say_hello(fd, &probe);
		if (probe.state == MODULE_READY && state_fd < 0)
			probe.state = MODULE_NOT_LASTING;
		if (probe.state != MODULE_READY)
			close(fd);
	}
	if (probe.state == MODULE_READY) {
		r = storage_module_new_with(root_fd, fd, instance_of(state_fd), &module_sys_real,
					    ret_storage);
		if (r < 0) {
			probe.state = MODULE_FAILED;
			probe.error = r;
		} else {
			storage_module_set_features(*ret_storage, probe.features);
			if (opener)
				storage_module_set_opener(*ret_storage, opener);
		}
	}
	*ret_probe = probe;
}
