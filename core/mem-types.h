/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_MEM_TYPES_H
#define MORSEL_CORE_MEM_TYPES_H

#include "platform.h"

/* Linux's numbers; core has no errno and no libc to take them from. */
#ifndef EPERM
#define EPERM 1
#define ENOENT 2
#define EAGAIN 11
#define EBUSY 16
#define EEXIST 17
#define EINVAL 22
#define ENOSPC 28
#define ENOBUFS 105
#define ERANGE 34
#define EDEADLK 35
#define EOPNOTSUPP 95
#define EHOSTDOWN 112
#define ESTALE 116
#define EUCLEAN 117
#endif

#endif
