/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>

/*
 * "512M", "4096", "2T", "8GiB": a whole number of bytes with one of the 1024-based suffixes K M G T,
 * and "B" or "iB" behind it if one likes. No fractions, signs or spaces: "1.5G" is refused, 1536M
 * is the same. Nothing but 0 means 0.
 *
 * -EINVAL: no number, or an unknown unit; -ERANGE: over 64 bits.
 */
int parse_size(const char *s, uint64_t *ret_bytes);
