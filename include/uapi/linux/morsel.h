/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* The interface of morsel.ko. */
#ifndef _UAPI_LINUX_MORSEL_H
#define _UAPI_LINUX_MORSEL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#endif
