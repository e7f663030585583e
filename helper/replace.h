/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Puts a file with that content in place of dir's file of that name, or leaves the old one: written aside, synced,
 * renamed, and the directory synced. A negative errno on failure. */
int replace_file(const char *dir, const char *name, const char *text, size_t length, mode_t mode);
