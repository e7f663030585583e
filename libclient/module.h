/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Calls of the kernel module on an object's descriptor, for handles whose storage is "module". Kept apart, so that
 * nothing else of the library sees the kernel's header, whose names are like those of morsel.h.
 */
struct module_range {
	uint64_t offset, length; /* checked, length not 0 */
};

/* So many ranges at once are enough, whatever n is. A signal that comes does not end them; *ret_bytes: allocated, or
 * given back, on failure too. */
int module_populate(int fd, const struct module_range *ranges, size_t n, uint64_t *ret_bytes);
int module_evict(int fd, const struct module_range *ranges, size_t n, uint64_t *ret_bytes);
/* Bytes that exist. */
int module_allocated(int fd, uint64_t *ret_bytes);
