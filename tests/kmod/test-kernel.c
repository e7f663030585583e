// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What else in the kernel touches a mapping: advice, locks, the walkers of /proc, get_user_pages in all its
 * users. It works or is refused, and what the object holds stays.
 *
 * test-kernel [huge]   of an object with pages of 2 MiB
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"
#include "kmod-uring.h"

#define SEED 0xfeed
#define SIZE (8 * MIB)
#define PAGES (SIZE / PAGE)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static uint32_t pool;
static struct km_object o;
static char *p;

static void whole(const char *after)
{
	uint64_t at = km_filled(p, SIZE, SEED);

	km_check(at == PAGES, "page %" PRIu64 " is lost after %s", at, after);
}

static void test_advice(void)
{
	static const struct {
		int advice;
		const char *name;
		bool works;
	} all[] = {
		{ MADV_NORMAL, "NORMAL", true },
		{ MADV_RANDOM, "RANDOM", false },
		{ MADV_SEQUENTIAL, "SEQUENTIAL", false },
		{ MADV_WILLNEED, "WILLNEED", false },
		{ MADV_DONTNEED, "DONTNEED", false },
		{ MADV_DONTNEED_LOCKED, "DONTNEED_LOCKED", false },
		{ MADV_FREE, "FREE", false },
		{ MADV_COLD, "COLD", false },
		{ MADV_PAGEOUT, "PAGEOUT", false },
		{ MADV_HUGEPAGE, "HUGEPAGE", false },
		{ MADV_NOHUGEPAGE, "NOHUGEPAGE", false },
		{ MADV_COLLAPSE, "COLLAPSE", false },
		{ MADV_MERGEABLE, "MERGEABLE", false },
		{ MADV_UNMERGEABLE, "UNMERGEABLE", false },
		{ MADV_POPULATE_READ, "POPULATE_READ", true },
		{ MADV_POPULATE_WRITE, "POPULATE_WRITE", true },
		{ MADV_DONTDUMP, "DONTDUMP", false },
		{ MADV_DODUMP, "DODUMP", false },
		{ MADV_DONTFORK, "DONTFORK", false },
		{ MADV_DOFORK, "DOFORK", false },
		{ MADV_WIPEONFORK, "WIPEONFORK", false },
		{ MADV_KEEPONFORK, "KEEPONFORK", false },
		{ MADV_REMOVE, "REMOVE", false },
	};
	uint64_t lengths[] = { SIZE, PAGE, GRANULE };
	/* Newer kernels do not take DONTFORK of such mappings back: children would lack it. */
	bool back = madvise(p, SIZE, MADV_DOFORK) == 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		for (size_t k = 0; k < sizeof(lengths) / sizeof(*lengths); k++) {
			int r;

			if (all[i].advice == MADV_DONTFORK && !back)
				continue;
			r = km_error(madvise(p, lengths[k], all[i].advice));
			km_check(r == 0 || !all[i].works, "%s of %" PRIu64 ": %s", all[i].name,
				 lengths[k], strerror(-r));
			whole(all[i].name);
			/* For writing as well. */
			km_check(km_touch(p + 8 * 511, true) && km_touch(p + SIZE - 1, true), "%s",
				 all[i].name);
			if (k == 0)
				km_note("MADV_%s: %s", all[i].name, r ? strerror(-r) : "done");
		}
}

static void test_locks(void)
{
	km_note("mlock: %s", mlock(p, SIZE) == 0 ? "done" : strerror(errno));
	whole("mlock");
	km_note("mlock2: %s", syscall(SYS_mlock2, p, SIZE, 1) == 0 ? "done" : strerror(errno));
	munlock(p, SIZE);
	whole("munlock");
	km_note("mlockall: %s", mlockall(MCL_CURRENT | MCL_FUTURE) == 0 ? "done" : strerror(errno));
	whole("mlockall");
	munlockall();
	whole("munlockall");
	km_note("msync: %s", msync(p, SIZE, MS_SYNC) == 0 ? "done" : strerror(errno));
	km_check(mprotect(p, SIZE, PROT_READ) < 0, "mprotect of all");
	km_check(mprotect(p, PAGE, PROT_READ) < 0, "mprotect of a page");
	km_check(mprotect(p + GRANULE, GRANULE, PROT_NONE) < 0, "mprotect of a granule");
	whole("mprotect");
	km_check(km_touch(p + 8 * 511, true));
}

static void test_mremap(void)
{
	char *q = mremap(p, SIZE, 2 * SIZE, 0), *hole;

	km_check(q == MAP_FAILED, "it grew");
	q = mremap(p, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
	km_check(q == MAP_FAILED, "it grew elsewhere");
	q = mremap(p, SIZE, SIZE / 2, 0);
	km_check(q == MAP_FAILED, "it shrank");
	whole("refused mremaps");
	hole = mmap(NULL, 4 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	hole += -(uintptr_t)hole & (GRANULE - 1);
	q = mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, hole);
	km_note("mremap to another granule: %s", q == MAP_FAILED ? strerror(errno) : "done");
	if (q != MAP_FAILED) {
		km_check(!km_touch(p, false), "still at the old place");
		p = q;
		whole("mremap to another place");
	}
	q = mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, hole + SIZE + 5 * PAGE);
	km_check(q == MAP_FAILED, "moved half a granule away");
	if (q != MAP_FAILED)
		p = mremap(q, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, hole);
	/* A second mapping of the same, by length 0. */
	q = mremap(p, 0, SIZE, MREMAP_MAYMOVE);
	km_note("mremap of length 0: %s", q == MAP_FAILED ? strerror(errno) : "done");
	if (q != MAP_FAILED) {
		km_check(((uintptr_t)q & (GRANULE - 1)) == 0);
		km_check(km_filled(q, SIZE, SEED) == PAGES);
		km_unmap(q, SIZE);
	}
	q = mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	km_note("mremap MREMAP_DONTUNMAP: %s", q == MAP_FAILED ? strerror(errno) : "done");
	if (q != MAP_FAILED) {
		km_check(km_filled(q, SIZE, SEED) == PAGES);
		km_unmap(p, SIZE);
		p = q;
	}
	whole("mremap");
}

static void read_file(const char *path)
{
	char buffer[65536];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	km_require(fd >= 0, "%s: %s", path, strerror(errno));
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		;
	km_check(n == 0, "%s: %s", path, strerror(errno));
	close(fd);
	whole(path);
}

static void test_walkers(void)
{
	static const char *const clear[] = { "1", "2", "3", "4", "5" };
	static uint64_t entries[PAGES];
	static unsigned char resident[PAGES];
	uint64_t present = 0;
	int fd;

	read_file("/proc/self/smaps");
	read_file("/proc/self/smaps_rollup");
	read_file("/proc/self/maps");
	read_file("/proc/self/numa_maps");
	read_file("/proc/self/status");
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	km_check(pread(fd, entries, sizeof(entries), (off_t)((uintptr_t)p / PAGE * 8)) ==
		 (ssize_t)sizeof(entries));
	close(fd);
	for (uint64_t i = 0; i < PAGES; i++)
		present += entries[i] >> 63;
	km_note("pagemap: %" PRIu64 " of %" PRIu64 " pages present", present, PAGES);
	whole("pagemap");
	for (size_t i = 0; i < sizeof(clear) / sizeof(*clear); i++) {
		fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
		if (write(fd, clear[i], 1) != 1)
			km_note("clear_refs %s: %s", clear[i], strerror(errno));
		close(fd);
		whole("clear_refs");
		km_check(km_touch(p + 8 * 511, true), "after clear_refs %s", clear[i]);
	}
	km_note("mincore: %s", mincore(p, SIZE, resident) == 0 ? "done" : strerror(errno));
	whole("mincore");
	{
		void *pages[2] = { p, p + GRANULE };
		int nodes[2] = { 0, 0 }, status[2] = { 99, 99 };
		unsigned long mask = 1;
		long r = syscall(SYS_move_pages, 0, 2ul, pages, nodes, status, 2);

		km_note("move_pages: %ld, %d, %d", r < 0 ? -(long)errno : r, status[0], status[1]);
		whole("move_pages");
		r = syscall(SYS_mbind, p, SIZE, 2, &mask, 64ul, 7);
		km_note("mbind: %s", r < 0 ? strerror(errno) : "done");
		whole("mbind");
		mask = 3;
		r = syscall(SYS_migrate_pages, 0, 64ul, &mask, &(unsigned long){ 1 });
		km_note("migrate_pages: %ld", r < 0 ? -(long)errno : r);
		whole("migrate_pages");
	}
}

/* A page and a piece over the border of two granules. */
#define BORDER (GRANULE - 4 * PAGE)
#define PIECE (8 * PAGE)

static void waits(void *unused)
{
	km_touch(p, false);
	for (;;)
		pause();
}

static void test_other_process(void)
{
	static char copy[PIECE], sent[PIECE];
	struct iovec local = { copy, PIECE }, remote = { p + BORDER, PIECE };
	pid_t pid = km_fork(waits, NULL);
	int status, mem;
	char path[64];
	long word;

	km_check(process_vm_readv(pid, &local, 1, &remote, 1, 0) == PIECE, "%s", strerror(errno));
	km_check(memcmp(copy, p + BORDER, PIECE) == 0);
	for (size_t i = 0; i < PIECE; i++)
		sent[i] = (char)(i * 7 + 3);
	local.iov_base = sent;
	km_check(process_vm_writev(pid, &local, 1, &remote, 1, 0) == PIECE, "%s", strerror(errno));
	km_check(memcmp(sent, p + BORDER, PIECE) == 0, "process_vm_writev");
	memset(p + BORDER, 0, PIECE);
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	km_check(pwrite(mem, sent, PIECE, (off_t)(uintptr_t)(p + BORDER)) == PIECE, "%s",
		 strerror(errno));
	km_check(memcmp(sent, p + BORDER, PIECE) == 0, "/proc/PID/mem");
	close(mem);
	km_require(ptrace(PTRACE_ATTACH, pid, 0, 0) == 0, "%s", strerror(errno));
	waitpid(pid, &status, 0);
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, p + BORDER + 64, 0);
	km_check(errno == 0 && word == *(long *)(p + BORDER + 64), "peek %lx: %s", word,
		 strerror(errno));
	km_check(ptrace(PTRACE_POKEDATA, pid, p + BORDER + 64, 0x1234567812345678) == 0, "%s",
		 strerror(errno));
	km_check(*(long *)(p + BORDER + 64) == 0x1234567812345678, "poke");
	ptrace(PTRACE_DETACH, pid, 0, 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	km_fill(p, SIZE, SEED);
}

static int file_of(char *name, char first)
{
	char text[PIECE];
	int fd;

	strcpy(name, "/var/tmp/kmod-test.XXXXXX");
	fd = mkostemp(name, O_CLOEXEC);
	km_require(fd >= 0, "%s", strerror(errno));
	for (size_t i = 0; i < PIECE; i++)
		text[i] = (char)(first + i * 11);
	km_require(write(fd, text, PIECE) == PIECE && fsync(fd) == 0, "%s", strerror(errno));
	close(fd);
	fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
	km_require(fd >= 0, "%s", strerror(errno));
	return fd;
}

static bool is_of(const char *text, char first)
{
	for (size_t i = 0; i < PIECE; i++)
		if (text[i] != (char)(first + i * 11))
			return false;
	return true;
}

static void test_direct(void)
{
	char name[64], *q = p + BORDER;
	int fd = file_of(name, 1);

	km_check(pread(fd, q, PIECE, 0) == PIECE, "%s", strerror(errno));
	km_check(is_of(q, 1), "read with O_DIRECT");
	for (size_t i = 0; i < PIECE; i++)
		q[i] = (char)(2 + i * 11);
	km_check(pwrite(fd, q, PIECE, 0) == PIECE, "%s", strerror(errno));
	memset(q, 0, PIECE);
	/* Into pages that have no frame yet. */
	km_expect(0, km_evict(o.fd, BORDER, PIECE, NULL));
	km_check(pread(fd, q, PIECE, 0) == PIECE, "%s", strerror(errno));
	km_check(is_of(q, 2), "read with O_DIRECT after a write");
	unlink(name);
	close(fd);
	km_fill(p, SIZE, SEED);
}

static void test_uring(void)
{
	char name[64], *q = p + BORDER;
	int fd = file_of(name, 5);
	struct km_uring u;

	km_require(km_uring_init(&u) == 0);
	km_expect(0, km_uring_register(&u, p, SIZE));
	km_check(km_uring_rw(&u, fd, q, PIECE, 0, false) == PIECE);
	km_check(is_of(q, 5), "READ_FIXED");
	for (size_t i = 0; i < PIECE; i++)
		q[i] = (char)(9 + i * 11);
	km_check(km_uring_rw(&u, fd, q, PIECE, 0, true) == PIECE);
	memset(q, 0, PIECE);
	km_check(pread(fd, q, PIECE, 0) == PIECE && is_of(q, 9), "WRITE_FIXED");
	km_expect(0, km_uring_unregister(&u));
	km_uring_done(&u);
	unlink(name);
	close(fd);
	km_fill(p, SIZE, SEED);
}

static void test_splice(void)
{
	char copy[4 * PAGE];
	struct iovec v = { p + BORDER, sizeof(copy) };
	int pipes[2];

	km_require(pipe2(pipes, O_CLOEXEC) == 0);
	km_check(vmsplice(pipes[1], &v, 1, 0) == sizeof(copy), "%s", strerror(errno));
	km_check(read(pipes[0], copy, sizeof(copy)) == sizeof(copy));
	km_check(memcmp(copy, p + BORDER, sizeof(copy)) == 0);
	close(pipes[0]);
	close(pipes[1]);
	whole("vmsplice");
}

/* userfaultfd has no say here; what it refuses or takes must not hurt. */
static void test_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		km_note("no userfaultfd: %s", strerror(errno));
		return;
	}
	km_check(ioctl(fd, UFFDIO_API, &api) == 0, "%s", strerror(errno));
	for (unsigned int mode = 1; mode < 8; mode++) {
		struct uffdio_register r = { .range = { (uintptr_t)p, SIZE }, .mode = mode };
		int e = km_error(ioctl(fd, UFFDIO_REGISTER, &r));

		km_check(e < 0, "registered with mode %u", mode);
		if (e == 0)
			ioctl(fd, UFFDIO_UNREGISTER, &r.range);
	}
	close(fd);
	whole("userfaultfd");
}

/* Writes a file of the cgroup file system. */
static bool cgroup_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

#define CPUSET "/sys/fs/cgroup/morsel-test"

static void bound_touches(void *data)
{
	const struct km_object *far = data;
	char *q, pid[16];
	int moved;

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	moved = cgroup_put(CPUSET "/cgroup.procs", pid);
	km_check(moved, "%s", strerror(errno));
	q = km_map(far->fd, SIZE, PROT_READ | PROT_WRITE);
	q[0] = 1;
	km_expect(0, km_populate(far->fd, 0, SIZE, NULL));
	munmap(q, SIZE);
}

/* A task whose cpuset has only node 0 makes a pool of another node grow. */
static void test_cpuset(void)
{
	struct km_object far;
	uint32_t far_pool;
	int nodes[4];
	unsigned int n = km_nodes(nodes, 4);

	if (n < 2 || !cgroup_put("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset") ||
	    mkdir(CPUSET, 0700) < 0) {
		km_note("no cpusets, or one node: %s", strerror(errno));
		return;
	}
	km_check(cgroup_put(CPUSET "/cpuset.mems", "0"), "%s", strerror(errno));
	far_pool = km_pool(nodes[n - 1], 1, 64 * MIB);
	far = km_object(SIZE, 0, 0, far_pool);
	km_check(km_in_child(bound_touches, &far));
	km_check(km_pool_stat(far_pool).used_bytes == SIZE);
	km_object_done(&far);
	km_pool_destroy(far_pool);
	km_check(rmdir(CPUSET) == 0, "%s", strerror(errno));
}

static void other_reads(void *unused)
{
	whole("all of it, in another process");
}

int main(int argc, char **argv)
{
	bool huge = argc > 1 && strcmp(argv[1], "huge") == 0;

	km_begin();
	pool = km_pool(0, 0, 64 * MIB);
	o = km_object(SIZE, huge ? MORSEL_OBJECT_HUGE : 0, 0, pool);
	p = km_map(o.fd, SIZE, PROT_READ | PROT_WRITE);
	km_fill(p, SIZE, SEED);
	km_test("madvise", test_advice);
	km_test("mlock, msync, mprotect", test_locks);
	km_test("mremap", test_mremap);
	km_test("walkers", test_walkers);
	km_test("process_vm, /proc/PID/mem, ptrace", test_other_process);
	km_test("O_DIRECT", test_direct);
	km_test("io_uring's registered buffers", test_uring);
	km_test("vmsplice", test_splice);
	km_test("userfaultfd", test_userfaultfd);
	km_test("a cpuset without the pool's node", test_cpuset);
	km_check(km_in_child(other_reads, NULL));
	/* All but the two of which a part was evicted. */
	km_check(km_object_stat(o.fd).huge_bytes == (huge ? SIZE - 2 * GRANULE : 0),
		 "%" PRIu64 " in huge pages", (uint64_t)km_object_stat(o.fd).huge_bytes);
	km_unmap(p, SIZE);
	km_object_done(&o);
	km_pool_destroy(pool);
	return km_end();
}
