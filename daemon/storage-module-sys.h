/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <linux/morsel.h>

/*
 * How the module is asked: by ioctl(2), or by what a test has in its place. Returns 0 or a negative errno; argument
 * is the structure of the request (include/uapi/linux/morsel.h), with its size set.
 */
struct module_sys {
	int (*call)(int fd, unsigned long request, void *argument);
};

extern const struct module_sys module_sys_real;
