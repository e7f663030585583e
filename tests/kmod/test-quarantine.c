// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Frames that something outside still refers to when they are freed: they wait, charged and counted, and
 * nobody else gets them. Must fail with MORSEL_BREAK_QUARANTINE.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"
#include "kmod-uring.h"

#define ACCOUNT 500
#define POOL (8 * MIB)
#define SIZE (4 * MIB)
#define SECRET 0xa5
#define OTHERS 0x77
#define LATER 0xee
/* A granule's end and the next one's begin. */
#define FIRST (GRANULE - 16 * PAGE)
#define PINNED (32 * PAGE)

static uint32_t pool;
static unsigned int nobody = 65534;

static uint64_t differs(const char *p, uint64_t bytes, int value)
{
	for (uint64_t i = 0; i < bytes; i++)
		if ((unsigned char)p[i] != value)
			return i;
	return bytes;
}

struct other {
	struct km_object o;
	char *p;
	uint64_t had;
	volatile int *step;
};

/* Another user takes all frames that can be had, finds zeroes, writes; then looks whether it stays so. */
static void take_all(void *argument)
{
	struct other *b = argument;
	uint64_t *pages = calloc(POOL / PAGE, sizeof(*pages)), n = 0;

	km_require(setgroups(0, NULL) == 0 && setresgid(nobody, nobody, nobody) == 0 &&
		   setresuid(nobody, nobody, nobody) == 0);
	b->p = km_map(b->o.fd, POOL, PROT_READ | PROT_WRITE);
	for (uint64_t at = 0; at < POOL; at += PAGE)
		if (km_touch(b->p + at, false))
			pages[n++] = at;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t d = km_first_nonzero(b->p + pages[i], PAGE);

		km_check(d == PAGE, "another user sees %02x at %" PRIu64,
			 (unsigned char)b->p[pages[i] + d], pages[i] + d);
		memset(b->p + pages[i], OTHERS, PAGE);
	}
	b->step[1] = (int)n;
	b->step[0] = 1;
	while (b->step[0] != 2)
		km_nap_ms(1);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t d = differs(b->p + pages[i], PAGE, OTHERS);

		if (d < PAGE) {
			km_check(false, "another user's memory is %02x at %" PRIu64,
				 (unsigned char)b->p[pages[i] + d], pages[i] + d);
			break;
		}
	}
}

struct pin {
	struct km_object o;
	char *p;
	struct km_uring u;
	int file, used;
};

static void pin_new(struct pin *a, uint32_t flags)
{
	char name[] = "/var/tmp/kmod-test.XXXXXX";

	a->o = km_object(SIZE, flags, ACCOUNT, pool);
	a->p = km_map(a->o.fd, SIZE, PROT_READ | PROT_WRITE);
	memset(a->p, SECRET, SIZE);
	km_require(km_uring_init(&a->u) == 0);
	km_require(km_uring_register(&a->u, a->p + FIRST, PINNED) == 0);
	a->file = mkostemp(name, O_CLOEXEC);
	km_require(a->file >= 0 && unlink(name) == 0);
}

/* The owner's own bytes are in the buffer, and it can be written, seen by nobody. */
static void pin_use(struct pin *a, char *address)
{
	static char copy[PINNED];
	uint64_t d;

	km_check(km_uring_rw(&a->u, a->file, address, PINNED, 0, true) == (ssize_t)PINNED);
	km_check(pread(a->file, copy, PINNED, 0) == (ssize_t)PINNED);
	d = differs(copy, PINNED, SECRET);
	km_check(d == PINNED, "the buffer holds %02x at %" PRIu64, (unsigned char)copy[d % PINNED],
		 d);
	memset(copy, LATER, PINNED);
	km_check(pwrite(a->file, copy, PINNED, 0) == (ssize_t)PINNED);
	km_check(km_uring_rw(&a->u, a->file, address, PINNED, 0, false) == (ssize_t)PINNED);
}

static void destroyed(uint32_t flags, uint64_t held)
{
	uint32_t pools[2] = { pool, 0 };
	struct other b = { .step = km_shared(4096) };
	struct morsel_pool_stat s;
	struct pin a;
	char *was;
	pid_t pid;

	pin_new(&a, flags);
	was = a.p + FIRST;
	km_unmap(a.p, SIZE);
	km_object_done(&a.o);
	s = km_pool_stat(pool);
	km_check(s.quarantine_bytes == held, "%llu in quarantine",
		 (unsigned long long)s.quarantine_bytes);
	km_check(s.used_bytes == held, "%llu used", (unsigned long long)s.used_bytes);
	km_check(km_account_stat(ACCOUNT).use_bytes[0] == held, "%llu charged",
		 (unsigned long long)km_account_stat(ACCOUNT).use_bytes[0]);
	if (s.quarantine_bytes > 0)
		km_check(km_ioctl(km_control, MORSEL_IOC_POOL_DESTROY,
				  &(struct morsel_id){ .size = sizeof(struct morsel_id),
						       .id = pool }) == -EBUSY,
			 "the pool could be destroyed");

	km_require(km_object_try(POOL, flags, 0, pools, &b.o) == 0);
	pid = km_fork(take_all, &b);
	while (b.step[0] != 1 && waitpid(pid, NULL, WNOHANG) == 0)
		km_nap_ms(1);
	km_check((uint64_t)b.step[1] * PAGE == POOL - held,
		 "another user got %d pages, not %" PRIu64, b.step[1], (POOL - held) / PAGE);
	pin_use(&a, was);
	b.step[0] = 2;
	km_check(km_wait(pid));
	km_object_done(&b.o);

	/* Let go: free, and clean for the next. */
	km_expect(0, km_uring_unregister(&a.u));
	km_check(km_quarantine_empties(pool), "the quarantine does not empty");
	km_check(km_account_stat(ACCOUNT).use_bytes[0] == 0, "still charged");
	km_check(km_pool_stat(pool).used_bytes == 0);
	b.step[0] = 0;
	km_require(km_object_try(POOL, flags, 0, pools, &b.o) == 0);
	pid = km_fork(take_all, &b);
	while (b.step[0] != 1 && waitpid(pid, NULL, WNOHANG) == 0)
		km_nap_ms(1);
	km_check((uint64_t)b.step[1] * PAGE == POOL, "%d pages afterwards", b.step[1]);
	b.step[0] = 2;
	km_check(km_wait(pid));
	km_object_done(&b.o);
	km_uring_done(&a.u);
	close(a.file);
}

static void test_destroy(void)
{
	destroyed(0, PINNED);
}

static void test_destroy_huge(void)
{
	uint64_t before = km_stats().quarantined;

	/* As small pieces or whole ones, as the module holds them; FIRST lies over two. */
	struct pin a;
	uint64_t held;

	pin_new(&a, MORSEL_OBJECT_HUGE);
	km_unmap(a.p, SIZE);
	km_object_done(&a.o);
	held = km_pool_stat(pool).quarantine_bytes;
	km_check(held >= PINNED && held <= 2 * GRANULE, "%" PRIu64, held);
	km_check(km_stats().quarantined > before);
	km_uring_done(&a.u);
	close(a.file);
	km_check(km_quarantine_empties(pool), "after the ring's end");
	destroyed(MORSEL_OBJECT_HUGE, held);
}

static void test_evict(void)
{
	uint64_t bytes;
	struct pin a;

	pin_new(&a, 0);
	km_expect(0, km_evict(a.o.fd, 0, SIZE, &bytes));
	km_check(bytes == SIZE, "%" PRIu64 " evicted", bytes);
	km_check(km_first_nonzero(a.p, SIZE) == SIZE, "evicted pages are not zero");
	/* The owner's bytes are in the buffer still, which is not the object's any more. */
	km_check(km_pool_stat(pool).quarantine_bytes == PINNED);
	km_check(km_account_stat(ACCOUNT).use_bytes[0] == SIZE + PINNED);
	pin_use(&a, a.p + FIRST);
	km_check(km_first_nonzero(a.p, SIZE) == SIZE, "the buffer is the object's");
	km_expect(0, km_uring_unregister(&a.u));
	km_expect(0, km_evict(a.o.fd, 0, SIZE, NULL));
	km_check(km_first_nonzero(a.p, SIZE) == SIZE);
	km_unmap(a.p, SIZE);
	km_object_done(&a.o);
	km_uring_done(&a.u);
	close(a.file);
}

/* A reference that is no pin: pages in a pipe. */
static void test_pipe(void)
{
	uint32_t pools[2] = { pool, 0 };
	struct km_object a = km_object(SIZE, 0, ACCOUNT, pool);
	char *p = km_map(a.fd, SIZE, PROT_READ | PROT_WRITE), copy[4 * PAGE];
	struct iovec v = { p + FIRST, sizeof(copy) };
	struct other b = { .step = km_shared(4096) };
	int pipes[2];
	pid_t pid;

	memset(p, SECRET, SIZE);
	km_require(pipe2(pipes, O_CLOEXEC) == 0);
	km_require(vmsplice(pipes[1], &v, 1, 0) == sizeof(copy));
	km_unmap(p, SIZE);
	km_object_done(&a);
	km_check(km_pool_stat(pool).quarantine_bytes == sizeof(copy), "%llu in quarantine",
		 (unsigned long long)km_pool_stat(pool).quarantine_bytes);
	km_require(km_object_try(POOL, 0, 0, pools, &b.o) == 0);
	pid = km_fork(take_all, &b);
	while (b.step[0] != 1 && waitpid(pid, NULL, WNOHANG) == 0)
		km_nap_ms(1);
	km_check(read(pipes[0], copy, sizeof(copy)) == sizeof(copy));
	km_check(differs(copy, sizeof(copy), SECRET) == sizeof(copy), "%02x comes out of the pipe",
		 (unsigned char)copy[0]);
	b.step[0] = 2;
	km_check(km_wait(pid));
	km_object_done(&b.o);
	close(pipes[0]);
	close(pipes[1]);
	km_check(km_quarantine_empties(pool), "after the pipe's end");
	km_check(km_account_stat(ACCOUNT).use_bytes[0] == 0);
}

static void pin_and_die(void *unused)
{
	struct pin a;

	pin_new(&a, 0);
	kill(getpid(), SIGKILL);
}

static void test_killed(void)
{
	struct morsel_object_list list = { .size = sizeof(list), .count = 1 };
	uint64_t id = 0;

	km_check(!km_in_child(pin_and_die, NULL));
	list.ids = (uintptr_t)&id;
	km_expect(0, km_ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &list));
	km_require(list.count == 1);
	km_expect(0, km_object_destroy(id));
	km_check(km_quarantine_empties(pool), "after the owner's death");
	km_check(km_pool_stat(pool).used_bytes == 0);
}

int main(void)
{
	km_begin();
	pool = km_pool(0, 0, POOL);
	km_expect(0, km_account_create(ACCOUNT, 0));
	km_test("registered buffer of an object that is destroyed", test_destroy);
	km_test("the same in pieces of 2 MiB", test_destroy_huge);
	km_test("registered buffer and evict", test_evict);
	km_test("pages in a pipe", test_pipe);
	km_test("the owner is killed", test_killed);
	km_expect(0, km_account_destroy(ACCOUNT));
	km_pool_destroy(pool);
	return km_end();
}
