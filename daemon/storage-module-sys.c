// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage-module-sys.h"

#include <errno.h>
#include <sys/ioctl.h>

static int real_call(int fd, unsigned long request, void *argument)
{
	return ioctl(fd, request, argument) < 0 ? -errno : 0;
}

const struct module_sys module_sys_real = { .call = real_call };
