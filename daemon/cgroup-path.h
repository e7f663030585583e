/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Where the file system of cgroups lies, below the root. */
#define CGROUP_DIR "sys/fs/cgroup"

/* Paths of cgroups as configuration names them: "/", "/user.slice/user-*.slice", each component a glob. */

/* Absolute, UTF-8, without empty components, "." and "..". */
bool cgroup_path_valid(const char *path);
bool cgroup_path_is_pattern(const char *path);
/* components: of a pattern's path behind its first '/', depth of them (0: "/"). Is path one that it means (not: below
 * one)? */
bool cgroup_path_matches(char *const *components, unsigned int depth, const char *path);
/* The number that the kernel tells one cgroup from another of the same name by; path: "" or "/…". 0: there is none. */
uint64_t cgroup_number(int root_fd, const char *path);
