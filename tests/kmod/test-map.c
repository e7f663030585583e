// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Objects and their mappings: shared between processes at one fault per GiB, zero when first seen, fork and
 * exec, unmapping, odd offsets and lengths, read-only descriptors.
 *
 * test-map [SIZE]   of the object that is shared, with a suffix K, M or G (1G)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"

#define SEED 0x5eed

static uint64_t size = GIB;
static uint32_t pool;
static struct km_object big;

/* Sees that a read loop has its code and stack before faults are counted. */
static void warm_up(void)
{
	char *p = mmap(NULL, GRANULE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	km_fill(p, GRANULE, SEED);
	km_check(km_filled(p, GRANULE, SEED) == GRANULE / PAGE);
	munmap(p, GRANULE);
	km_object_stat(big.fd);
	km_minor_faults();
}

static void read_all(void *unused)
{
	/* One fault links what lies in 16 GiB, GiBs by one entry each; the rest of a GiB has a fault of its own. */
	uint64_t most = (size / GIB + 15) / 16 + (size % GIB != 0), faults, wrong;
	uint64_t links = size / GIB + size % GIB / GRANULE;
	struct morsel_object_stat before, after;
	int fd = km_object_open(big.id, 0);
	char *p;

	km_require(fd >= 0, "%s", strerror(-fd));
	warm_up();
	before = km_object_stat(fd);
	p = km_map(fd, size, PROT_READ | PROT_WRITE);
	faults = km_minor_faults();
	wrong = km_filled(p, size, SEED);
	faults = km_minor_faults() - faults;
	after = km_object_stat(fd);
	km_check(wrong == size / PAGE, "page %" PRIu64 " is another", wrong);
	km_check(faults <= most, "%" PRIu64 " minor faults", faults);
	km_check(after.faults - before.faults <= most, "%llu",
		 (unsigned long long)(after.faults - before.faults));
	km_check(after.links - before.links == links, "%llu links",
		 (unsigned long long)(after.links - before.links));
	km_check(after.mappings == before.mappings + 1, "%llu", (unsigned long long)after.mappings);
	km_note("%" PRIu64 " MiB read in a second process: %" PRIu64
		" minor faults, %llu counted, %llu links",
		size / MIB, faults, (unsigned long long)(after.faults - before.faults),
		(unsigned long long)(after.links - before.links));
	*(uint64_t *)(p + size - 8) = 77;
}

static void test_share(void)
{
	struct morsel_object_stat s;
	uint64_t bytes;
	char *p;

	big = km_object(size, 0, 0, pool);
	km_expect(0, km_populate(big.fd, 0, size, &bytes));
	km_check(bytes == size, "%" PRIu64, bytes);
	km_expect(0, km_populate(big.fd, 0, size, &bytes));
	km_check(bytes == 0, "%" PRIu64 " populated twice", bytes);
	s = km_object_stat(big.fd);
	km_check(s.used_bytes == size && s.pool_bytes[pool] == size, "%llu, %llu",
		 (unsigned long long)s.used_bytes, (unsigned long long)s.pool_bytes[pool]);
	km_check(s.id == big.id && s.bytes == size && s.account == 0 &&
		 !(s.flags & MORSEL_STAT_RDONLY));
	km_note("tables of %" PRIu64 " MiB: %llu bytes", size / MIB,
		(unsigned long long)s.table_bytes);

	p = km_map(big.fd, size, PROT_READ | PROT_WRITE);
	km_fill(p, size, SEED);
	km_check(km_in_child(read_all, NULL));
	km_check(*(uint64_t *)(p + size - 8) == 77, "the second process's write is not seen");
	km_unmap(p, size);
	km_check(km_object_stat(big.fd).mappings == 0);
}

static void test_zero(void)
{
	uint64_t bytes = size < 256 * MIB ? size : 256 * MIB, dirty;
	struct km_object o = km_object(bytes, 0, 0, pool);
	char *p = km_map(o.fd, bytes, PROT_READ | PROT_WRITE);

	for (int round = 0; round < 2; round++) {
		/* By faults, then by populate. */
		if (round == 1)
			km_expect(0, km_populate(o.fd, 0, bytes, NULL));
		dirty = km_first_nonzero(p, bytes);
		km_check(dirty == bytes, "byte %" PRIu64 " in round %d", dirty, round);
		memset(p, 0xa5, bytes);
		km_unmap(p, bytes);
		km_object_done(&o);
		o = km_object(bytes, round ? MORSEL_OBJECT_HUGE : 0, 0, pool);
		p = km_map(o.fd, bytes, PROT_READ | PROT_WRITE);
	}
	/* Huge frames by faults, and evicted ones that come back. */
	for (int round = 0; round < 2; round++) {
		dirty = km_first_nonzero(p, bytes);
		km_check(dirty == bytes, "byte %" PRIu64 ", huge, round %d", dirty, round);
		memset(p, 0x5a, bytes);
		km_expect(0, km_evict(o.fd, 0, bytes, &dirty));
		km_check(dirty == bytes, "%" PRIu64 " evicted", dirty);
	}
	km_unmap(p, bytes);
	km_object_done(&o);
}

struct small {
	struct km_object o;
	char *p;
};

static void small_new(struct small *s, uint64_t bytes)
{
	s->o = km_object(bytes, 0, 0, pool);
	s->p = km_map(s->o.fd, bytes, PROT_READ | PROT_WRITE);
	km_fill(s->p, bytes, SEED);
}

static void small_done(struct small *s)
{
	km_unmap(s->p, s->o.bytes);
	km_object_done(&s->o);
}

static void child_writes(void *argument)
{
	struct small *s = argument;

	km_check(km_filled(s->p, s->o.bytes, SEED) == s->o.bytes / PAGE);
	s->p[GRANULE + 8 * 511] = 42;
	/* And its own child. */
	if (s->p[8 * 511] == 0) {
		s->p[8 * 511] = 1;
		km_check(km_in_child(child_writes, s));
	}
}

static void test_fork(void)
{
	struct small s;
	char *p;

	small_new(&s, 8 * MIB);
	km_check(km_in_child(child_writes, &s));
	km_check(s.p[GRANULE + 8 * 511] == 42 && s.p[8 * 511] == 1, "child's writes are not seen");
	/* Even if the parent was never linked, or asks to have it otherwise. */
	km_expect(0, km_error(madvise(s.p, s.o.bytes, MADV_KEEPONFORK)));
	s.p[GRANULE + 8 * 511] = 0;
	km_check(km_in_child(child_writes, &s));
	km_check(s.p[GRANULE + 8 * 511] == 42, "after MADV_KEEPONFORK");
	p = km_map(s.o.fd, s.o.bytes, PROT_READ | PROT_WRITE);
	s.p[GRANULE + 8 * 511] = 0;
	km_check(km_in_child(child_writes, &s));
	km_check(p[GRANULE + 8 * 511] == 42, "in a second mapping");
	km_unmap(p, s.o.bytes);
	km_check(km_filled(s.p, s.o.bytes, SEED) == s.o.bytes / PAGE);
	km_check(km_object_stat(s.o.fd).mappings == 1, "%llu mappings",
		 (unsigned long long)km_object_stat(s.o.fd).mappings);
	small_done(&s);
}

static void execs(void *argument)
{
	struct small *s = argument;

	km_touch(s->p, false);
	execl("/bin/true", "true", NULL);
	_exit(1);
}

static void test_exec(void)
{
	struct small s;

	small_new(&s, 4 * MIB);
	km_check(km_in_child(execs, &s));
	km_check(km_object_stat(s.o.fd).mappings == 1);
	km_check(km_filled(s.p, s.o.bytes, SEED) == s.o.bytes / PAGE);
	small_done(&s);
}

/* What is mapped lives on without descriptor and id. */
static void test_destroyed(void)
{
	struct small s;
	int fd;

	small_new(&s, 4 * MIB);
	close(s.o.fd);
	fd = km_object_open(s.o.id, 0);
	km_require(fd >= 0);
	km_expect(0, km_object_destroy(s.o.id));
	km_expect(-ENOENT, km_object_destroy(s.o.id));
	km_expect(-ENOENT, km_object_open(s.o.id, 0));
	km_check(km_object_stat(fd).flags & MORSEL_STAT_DESTROYED);
	km_check(km_filled(s.p, s.o.bytes, SEED) == s.o.bytes / PAGE);
	close(fd);
	km_check(km_filled(s.p, s.o.bytes, SEED) == s.o.bytes / PAGE, "without a descriptor");
	s.p[0] = 1;
	km_check(km_pool_stat(pool).used_bytes >= 4 * MIB);
	km_unmap(s.p, s.o.bytes);
}

static void test_unmap(void)
{
	struct small s;
	char *p;

	small_new(&s, 8 * MIB);
	/* A page, a granule, the first, the middle and the last: refused, and nothing is lost. */
	km_expect(-EINVAL, km_error(munmap(s.p, PAGE)));
	km_expect(-EINVAL, km_error(munmap(s.p + PAGE, PAGE)));
	km_expect(-EINVAL, km_error(munmap(s.p + s.o.bytes - PAGE, PAGE)));
	km_check(km_filled(s.p, s.o.bytes, SEED) == s.o.bytes / PAGE);
	/* Something else over a part of it. */
	p = mmap(s.p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	km_check(p == MAP_FAILED, "MAP_FIXED over one page of a mapping");
	/* Whole and again, in the same place. */
	p = s.p;
	km_unmap(s.p, s.o.bytes);
	km_check(!km_touch(p, false), "still there after munmap");
	s.p = mmap(p, s.o.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, s.o.fd,
		   0);
	km_require(s.p == p, "%s", strerror(errno));
	km_check(km_filled(s.p, s.o.bytes, SEED) == s.o.bytes / PAGE);
	/* Another mapping of it over it. */
	p = mmap(s.p, s.o.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s.o.fd, 0);
	km_check(p == s.p, "%s", strerror(errno));
	km_check(km_filled(s.p, s.o.bytes, SEED) == s.o.bytes / PAGE);
	km_check(km_object_stat(s.o.fd).mappings == 1);
	/* Ordinary memory over all of it. */
	p = mmap(s.p, s.o.bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	km_check(p == s.p, "%s", strerror(errno));
	km_check(km_first_nonzero(p, s.o.bytes) == s.o.bytes, "what was mapped before is seen");
	km_check(km_object_stat(s.o.fd).mappings == 0);
	munmap(p, s.o.bytes);
	km_object_done(&s.o);
}

/* Whatever mmap takes must show just that part, and nothing beyond the object. */
static void try_map(struct small *s, uint64_t offset, uint64_t length, bool must)
{
	uint64_t end = offset + length < s->o.bytes ? offset + length : s->o.bytes;
	char *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, s->o.fd, (off_t)offset);

	if (p == MAP_FAILED) {
		km_check(!must && (errno == EINVAL || errno == EOVERFLOW || errno == ENXIO ||
				   errno == ENOMEM),
			 "mmap of %" PRIu64 " at %" PRIu64 ": %s", length, offset, strerror(errno));
		return;
	}
	for (uint64_t at = offset; at < end; at += PAGE)
		if (memcmp(p + (at - offset), s->p + at, PAGE) != 0) {
			km_check(false,
				 "mmap of %" PRIu64 " at %" PRIu64 ": another page at %" PRIu64,
				 length, offset, at);
			break;
		}
	if (offset + length > s->o.bytes)
		for (uint64_t at = end > offset ? end : offset; at < offset + length; at += PAGE)
			if (km_touch(p + (at - offset), true)) {
				km_check(false,
					 "mmap of %" PRIu64 " at %" PRIu64 ": %" PRIu64 " exists",
					 length, offset, at);
				break;
			}
	km_unmap(p, length);
}

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + GRANULE - 1) / GRANULE * GRANULE;
}

static void test_odd(void)
{
	static const uint64_t sizes[] = { PAGE,		  3 * PAGE,
					  GRANULE - PAGE, GRANULE,
					  GRANULE + PAGE, 2 * GRANULE,
					  5 * GRANULE,	  5 * GRANULE + 7 * PAGE };
	static const uint64_t offsets[] = { 0,		PAGE,		GRANULE - PAGE,
					    GRANULE,	GRANULE + PAGE, 2 * GRANULE,
					    3 * GRANULE };
	static const uint64_t lengths[] = { 1,	     PAGE,	     2 * PAGE,	  GRANULE - PAGE,
					    GRANULE, GRANULE + PAGE, 2 * GRANULE, 8 * GRANULE };
	struct small s;
	uint64_t whole;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		s.o = km_object(sizes[i], 0, 0, pool);
		/* Tables are mapped as wholes: what is beyond the end gives SIGBUS. */
		whole = round_up(sizes[i]);
		s.p = km_map(s.o.fd, whole, PROT_READ | PROT_WRITE);
		km_fill(s.p, sizes[i], SEED);
		km_check(km_object_stat(s.o.fd).used_bytes == sizes[i]);
		for (size_t k = 0; k < sizeof(offsets) / sizeof(*offsets); k++)
			for (size_t m = 0; m < sizeof(lengths) / sizeof(*lengths); m++)
				try_map(&s, offsets[k], lengths[m],
					offsets[k] % GRANULE == 0 && lengths[m] % GRANULE == 0 &&
						offsets[k] + lengths[m] <= round_up(sizes[i]));
		/* Somewhere odd in the address space, then what is no place at all. */
		try_map(&s, UINT64_C(1) << 46, GRANULE, false);
		try_map(&s, INT64_MAX / GRANULE * GRANULE, GRANULE, false);
		km_check(km_filled(s.p, sizes[i], SEED) == sizes[i] / PAGE);
		km_unmap(s.p, whole);
		km_object_done(&s.o);
	}
	small_new(&s, 4 * MIB);
	{
		char *hole = mmap(NULL, 16 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		     *p;
		char *odd = hole + 4 * MIB - ((uintptr_t)hole & (GRANULE - 1)) + 3 * PAGE;

		/* Three pages off: tables cannot be linked there. */
		p = mmap(odd, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s.o.fd, 0);
		km_check(p == MAP_FAILED && errno == EINVAL, "%s", strerror(errno));
		munmap(hole, 16 * MIB);
		p = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, s.o.fd, 0);
		km_check(p == MAP_FAILED, "a private mapping");
		p = mmap(NULL, 4 * MIB, PROT_READ | PROT_EXEC, MAP_SHARED, s.o.fd, 0);
		/* EPERM: newer kernels do not let it come as far as the module. */
		km_check(p == MAP_FAILED && (errno == EACCES || errno == EPERM), "executable: %s",
			 strerror(errno));
	}
	km_check(km_filled(s.p, s.o.bytes, SEED) == s.o.bytes / PAGE);
	small_done(&s);
}

struct readonly {
	struct small s;
	char *ro;
	int fd;
	volatile int *step;
};

static void read_only_child(void *argument)
{
	struct readonly *r = argument;

	for (unsigned int ms = 0; *r->step == 0 && ms < 30000; ms++)
		km_nap_ms(1);
	km_check(r->ro[5] == 'w', "%d", r->ro[5]);
	*r->step = 2;
	for (;;)
		pause();
}

static void test_read_only(void)
{
	struct readonly r = { .step = km_shared(4096) };
	struct iovec local, remote;
	char *rw, word[8] = "12345678";
	int mem, status;
	pid_t pid;

	small_new(&r.s, 4 * MIB);
	r.fd = km_object_open(r.s.o.id, MORSEL_OPEN_RDONLY);
	km_require(r.fd >= 0, "%s", strerror(-r.fd));
	km_check(km_object_stat(r.fd).flags & MORSEL_STAT_RDONLY);
	rw = mmap(NULL, r.s.o.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, 0);
	km_check(rw == MAP_FAILED && errno == EACCES, "%s", strerror(errno));
	rw = mmap(NULL, r.s.o.bytes, PROT_WRITE, MAP_SHARED, r.fd, 0);
	km_check(rw == MAP_FAILED && errno == EACCES, "%s", strerror(errno));
	r.ro = km_map(r.fd, r.s.o.bytes, PROT_READ);
	km_check(km_filled(r.ro, r.s.o.bytes, SEED) == r.s.o.bytes / PAGE);
	km_check(!km_touch(r.ro, true), "written through a read-only descriptor");
	km_check(!km_touch(r.ro + GRANULE, true), "written through a read-only descriptor");
	km_check(mprotect(r.ro, r.s.o.bytes, PROT_READ | PROT_WRITE) < 0, "mprotect");
	km_check(madvise(r.ro, r.s.o.bytes, MADV_POPULATE_WRITE) < 0, "MADV_POPULATE_WRITE");
	km_check(km_populate(r.fd, 0, PAGE, NULL) < 0, "populated");
	km_check(km_evict(r.fd, 0, PAGE, NULL) < 0, "evicted");
	km_check(km_filled(r.s.p, r.s.o.bytes, SEED) == r.s.o.bytes / PAGE);

	/* The kernel as the writer. */
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	km_check(pwrite(mem, word, 8, (off_t)(uintptr_t)r.ro) < 0, "/proc/self/mem");
	close(mem);
	local = (struct iovec){ word, 8 };
	remote = (struct iovec){ r.ro, 8 };
	km_check(process_vm_writev(getpid(), &local, 1, &remote, 1, 0) < 0, "process_vm_writev");
	mem = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	km_check(read(mem, r.ro, 8) < 0 && errno == EFAULT, "read() into it: %s", strerror(errno));
	close(mem);

	/* In another process: the writer's stores at once, ptrace not at all. */
	pid = km_fork(read_only_child, &r);
	r.s.p[5] = 'w';
	*r.step = 1;
	for (unsigned int ms = 0; *r.step != 2 && ms < 30000; ms++)
		km_nap_ms(1);
	km_check(*r.step == 2, "the reader did not see the write");
	r.s.p[5] = 0;
	km_check(r.ro[5] == 0);
	km_require(ptrace(PTRACE_ATTACH, pid, 0, 0) == 0, "%s", strerror(errno));
	waitpid(pid, &status, 0);
	errno = 0;
	km_check(ptrace(PTRACE_PEEKDATA, pid, r.ro, 0) == *(long *)r.s.p && errno == 0);
	km_check(ptrace(PTRACE_POKEDATA, pid, r.ro, 1L) < 0, "ptrace wrote");
	ptrace(PTRACE_DETACH, pid, 0, 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	km_check(*(uint64_t *)r.ro == *(uint64_t *)r.s.p);

	/* Frames that the writer makes later are seen, too; holes are the reader's to fill or to bear. */
	km_expect(0, km_evict(r.s.o.fd, GRANULE, GRANULE, NULL));
	r.s.p[GRANULE + 100] = 7;
	km_check(r.ro[GRANULE + 100] == 7, "%d", r.ro[GRANULE + 100]);
	if (km_touch(r.ro + GRANULE + PAGE, false)) {
		km_check(r.ro[GRANULE + PAGE] == 0);
		r.s.p[GRANULE + PAGE] = 9;
		km_check(r.ro[GRANULE + PAGE] == 9, "%d", r.ro[GRANULE + PAGE]);
	} else
		km_note("a hole gives a reader SIGBUS");
	km_unmap(r.ro, r.s.o.bytes);
	close(r.fd);
	small_done(&r.s);
}

static void test_list(void)
{
	struct km_object o[5];
	uint64_t ids[8];
	struct morsel_object_list list = { .size = sizeof(list), .ids = (uintptr_t)ids };

	for (unsigned int i = 0; i < 5; i++)
		o[i] = km_object(PAGE, 0, 0, pool);
	list.count = 3;
	km_expect(0, km_ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &list));
	km_check(list.count == 3 && ids[0] < ids[1] && ids[1] < ids[2]);
	list.after = ids[2];
	list.count = 8;
	km_expect(0, km_ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &list));
	km_check(list.count == 3 && ids[0] > list.after, "%u", list.count);
	list.after = ~0ULL;
	list.count = 8;
	km_expect(0, km_ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &list));
	km_check(list.count == 0);
	for (unsigned int i = 0; i < 5; i++)
		km_object_done(&o[i]);
}

int main(int argc, char *argv[])
{
	if (argc > 1)
		size = km_size(argv[1]);
	km_begin();
	pool = km_pool(0, 0, size + 64 * MIB);
	km_test("shared between processes at one fault per GiB", test_share);
	km_test("list", test_list);
	km_object_done(&big);
	km_test("zero when first seen", test_zero);
	km_test("fork", test_fork);
	km_test("exec", test_exec);
	km_test("mapped after its end", test_destroyed);
	km_test("munmap", test_unmap);
	km_test("odd offsets and lengths", test_odd);
	km_test("read-only descriptors", test_read_only);
	km_pool_destroy(pool);
	return km_end();
}
