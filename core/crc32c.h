/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_CRC32C_H
#define MORSEL_CORE_CRC32C_H

#include "platform.h"

/* CRC32C (Castagnoli, RFC 3720 B.4) of N bytes at P; SEED is 0 or the result for what came before. Pure. */
uint32_t crc32c(uint32_t seed, const void *p, size_t n);

#endif
