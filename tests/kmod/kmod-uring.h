/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/*
 * The least of io_uring, by its system calls: buffers that the kernel pins for as long as they are registered, and
 * one read or write at a time with them.
 */
struct km_uring {
	int fd;
	void *rings, *entries;
	size_t rings_bytes, entries_bytes;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	void *cqes;
};

/* 0 or a negative error. */
int km_uring_init(struct km_uring *u);
void km_uring_done(struct km_uring *u);
/* Pins [p, p + bytes), at most 1 GiB. Without buffers: unpins. */
int km_uring_register(struct km_uring *u, void *p, size_t bytes);
int km_uring_unregister(struct km_uring *u);
/* Between a file and the registered buffer: what read or write would give. */
ssize_t km_uring_rw(struct km_uring *u, int file, void *p, size_t bytes, uint64_t offset,
		    int write);
