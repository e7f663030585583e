/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>

/* Paths of cgroups as configuration names them: "/", "/user.slice/user-*.slice", each component a glob. */

/* Absolute, UTF-8, without empty components, "." and "..". */
bool cgroup_path_valid(const char *path);
bool cgroup_path_is_pattern(const char *path);
/* components: of a pattern's path behind its first '/', depth of them (0: "/"). Is path one that it means (not: below
 * one)? */
bool cgroup_path_matches(char *const *components, unsigned int depth, const char *path);
