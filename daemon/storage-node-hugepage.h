/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "storage-node.h"

/*
 * Where 2 MiB pages come from. Transparent ones first: they share the object's policy, come with the first
 * touch, can be swapped and moved, and take nothing from a pool that the operator reserved for somebody
 * else. hugetlb only where the kernel gives none to shared memory; refused, with advice, where
 * there is neither: a client that asked for 2 MiB would rather know than get 4 KiB.
 */

/*
 * Decide for an object of size bytes with that plan. root_fd: for sys/kernel/mm and
 * sys/devices/system/node. -EOPNOTSUPP with a text.
 */
int hugepage_choose(int root_fd, const char *label, uint64_t size, const struct policy_plan *plan,
		    enum page_backing *ret_backing, char **ret_error);

/* Does the kernel give transparent huge pages to memfds? ret_how (may be NULL; a constant): "always",
 * "within_size", "advise", "force", or why not: "never", "deny", "absent". */
bool hugepage_transparent(int root_fd, const char **ret_how);

/* Free huge pages of one node (−1: of all), and the path of the file that raises their number. */
uint64_t hugepage_free_pages(int root_fd, int node, char **ret_path);

/*
 * Allocate all of a hugetlb object by its plan (its memory has no shared policy, so this is where the
 * plan takes effect). On failure nothing stays allocated; -ENOMEM: the text says how many huge pages the
 * nodes have free and which file to write.
 */
int hugepage_fill(struct storage_object *o, storage_progress_t progress, void *userdata,
		  char **ret_error);
