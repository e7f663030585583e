/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>

#include "ebpf/placement-policy.h"
#include "protocol.h"

/*
 * A placement program, registered with morsel.ko by this process: it is asked until attach_end(), or the end of the
 * process. One thread.
 */
struct attached;

/*
 * The operator's program if there is one at ATTACH_OWN below root_fd (root's file, which nobody else can write), else morsel's.
 * What the process may, it may no more when this was done. -EBUSY: another one is registered; -EOPNOTSUPP: built
 * without; another negative errno. text: which program it is, or what is wrong.
 */
#define ATTACH_OWN "etc/morsel/placement.bpf.o"
int attach_program(int root_fd, struct attached **ret_attached, char text[static HELPER_TEXT_MAX]);

/*
 * What the program's map says of an account; of no tiers: nothing. 0 where the program has no such map: it is an
 * operator's, which has no use for it.
 */
int attach_policy(struct attached *a, uint64_t account, const struct morsel_policy *policy);

/* It is asked no more when this returns. Takes NULL, returns NULL. */
struct attached *attach_end(struct attached *a);
