/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kmod-uring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int km_uring_init(struct km_uring *u)
{
	struct io_uring_params p = {};
	size_t sq, cq;
	char *rings;

	*u = (struct km_uring){};
	u->fd = (int)syscall(SYS_io_uring_setup, 4u, &p);
	if (u->fd < 0)
		return -errno;
	sq = p.sq_off.array + p.sq_entries * sizeof(unsigned int);
	cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	/* One mapping for both (IORING_FEAT_SINGLE_MMAP, since 5.4). */
	u->rings_bytes = sq > cq ? sq : cq;
	u->entries_bytes = p.sq_entries * sizeof(struct io_uring_sqe);
	u->rings = mmap(NULL, u->rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			u->fd, IORING_OFF_SQ_RING);
	u->entries = mmap(NULL, u->entries_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			  u->fd, IORING_OFF_SQES);
	if (u->rings == MAP_FAILED || u->entries == MAP_FAILED) {
		close(u->fd);
		return -ENOMEM;
	}
	rings = u->rings;
	u->sq_tail = (unsigned int *)(rings + p.sq_off.tail);
	u->sq_mask = (unsigned int *)(rings + p.sq_off.ring_mask);
	u->sq_array = (unsigned int *)(rings + p.sq_off.array);
	u->cq_head = (unsigned int *)(rings + p.cq_off.head);
	u->cq_tail = (unsigned int *)(rings + p.cq_off.tail);
	u->cq_mask = (unsigned int *)(rings + p.cq_off.ring_mask);
	u->cqes = rings + p.cq_off.cqes;
	return 0;
}

void km_uring_done(struct km_uring *u)
{
	munmap(u->rings, u->rings_bytes);
	munmap(u->entries, u->entries_bytes);
	close(u->fd);
	u->fd = -1;
}

int km_uring_register(struct km_uring *u, void *p, size_t bytes)
{
	struct iovec v = { .iov_base = p, .iov_len = bytes };

	return syscall(SYS_io_uring_register, u->fd, IORING_REGISTER_BUFFERS, &v, 1) < 0 ? -errno
											 : 0;
}

int km_uring_unregister(struct km_uring *u)
{
	return syscall(SYS_io_uring_register, u->fd, IORING_UNREGISTER_BUFFERS, NULL, 0) < 0
		       ? -errno
		       : 0;
}

ssize_t km_uring_rw(struct km_uring *u, int file, void *p, size_t bytes, uint64_t offset, int write)
{
	unsigned int tail = *u->sq_tail, slot = tail & *u->sq_mask, head;
	struct io_uring_sqe *sqe = (struct io_uring_sqe *)u->entries + slot;
	ssize_t r;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
	sqe->fd = file;
	sqe->addr = (uintptr_t)p;
	sqe->len = (uint32_t)bytes;
	sqe->off = offset;
	u->sq_array[slot] = slot;
	__atomic_store_n(u->sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, u->fd, 1u, 1u, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -errno;
	head = *u->cq_head;
	if (head == __atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE))
		return -EIO;
	r = ((struct io_uring_cqe *)u->cqes)[head & *u->cq_mask].res;
	__atomic_store_n(u->cq_head, head + 1, __ATOMIC_RELEASE);
	return r;
}
