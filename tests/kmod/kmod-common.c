/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kmod-common.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEVICE "/dev/morsel"
#define WAIT_MS 20000
#define ACCOUNTS_MAX 256

int km_control = -1;

static struct {
	_Atomic uint64_t failures;
} * shared;
static unsigned int tests;
static pid_t main_pid;
/* For the end. */
static uint64_t accounts[ACCOUNTS_MAX];
static unsigned int n_accounts;

static __thread sigjmp_buf fault_jump;
static __thread volatile bool fault_expected;

void km_note(const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	printf("# %s\n", line);
	fflush(stdout);
}

static void fail_text(const char *file, int line, const char *text)
{
	/* A test that fails a million times need not say so. */
	if (atomic_fetch_add(&shared->failures, 1) < 50)
		km_note("%s:%d: %s", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line,
			text);
}

bool km_fail(const char *file, int line, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fail_text(file, line, text);
	return true;
}

void km_failed(const char *file, int line, const char *condition, const char *format, ...)
{
	char text[512];
	va_list args;
	int n;

	n = snprintf(text, sizeof(text) / 2, "not %s:", condition);
	if (n > (int)sizeof(text) / 2)
		n = sizeof(text) / 2;
	va_start(args, format);
	vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
	va_end(args);
	fail_text(file, line, text);
}

uint64_t km_failures(void)
{
	return shared->failures;
}

void km_expect_at(const char *file, int line, const char *what, int want, int got)
{
	if (want != got)
		km_fail(file, line, "%s: %s, not %s", what, got < 0 ? strerror(-got) : "no error",
			want < 0 ? strerror(-want) : "success");
}

static void clean_up(void)
{
	struct morsel_object_list list = { .size = sizeof(list), .count = 64 };
	uint64_t ids[64];

	list.ids = (uintptr_t)ids;
	while (ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &list) == 0 && list.count > 0) {
		for (unsigned int i = 0; i < list.count; i++)
			km_object_destroy(ids[i]);
		list.after = ids[list.count - 1];
		list.count = 64;
	}
	for (uint32_t pool = 1; pool <= MORSEL_MAX_POOLS; pool++) {
		struct morsel_id id = { .size = sizeof(id), .id = pool };

		ioctl(km_control, MORSEL_IOC_POOL_DESTROY, &id);
	}
	/* Children first. */
	for (unsigned int pass = 0; pass < 16; pass++)
		for (unsigned int i = n_accounts; i-- > 0;)
			km_account_destroy(accounts[i]);
}

void km_give_up(void)
{
	if (getpid() != main_pid)
		_exit(1);
	printf("Bail out!\n");
	fflush(stdout);
	clean_up();
	_exit(1);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	if (fault_expected) {
		fault_expected = false;
		siglongjmp(fault_jump, 1);
	}
	/* As a shell tells it; without a core, and without a line in the kernel's log. */
	_exit(128 + number);
}

void km_begin(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct rlimit no_core = {};
	struct morsel_hello hello = { .size = sizeof(hello), .version = MORSEL_UAPI_VERSION };

	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_CORE, &no_core);
	main_pid = getpid();
	shared = km_shared(sizeof(*shared));
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	km_control = open(DEVICE, O_RDWR | O_CLOEXEC);
	km_require(km_control >= 0, "%s: %s", DEVICE, strerror(errno));
	km_require(ioctl(km_control, MORSEL_IOC_HELLO, &hello) == 0, "%s", strerror(errno));
	km_require(hello.version == MORSEL_UAPI_VERSION, "%u", hello.version);
}

int km_end(void)
{
	struct morsel_stats s;
	uint64_t before = shared->failures;

	/* Tables are freed when no walker can be in them any more. */
	for (unsigned int ms = 0; ms < WAIT_MS; ms += 10) {
		s = km_stats();
		if (s.tables == 0)
			break;
		km_nap_ms(10);
	}
	km_check(s.pools == 0, "%llu", (unsigned long long)s.pools);
	km_check(s.accounts == 0, "%llu", (unsigned long long)s.accounts);
	km_check(s.objects == 0, "%llu", (unsigned long long)s.objects);
	km_check(s.descriptors == 0, "%llu", (unsigned long long)s.descriptors);
	km_check(s.mappings == 0, "%llu", (unsigned long long)s.mappings);
	km_check(s.tables == 0, "%llu", (unsigned long long)s.tables);
	printf("%s %u - nothing is left\n", shared->failures == before ? "ok" : "not ok", ++tests);
	clean_up();
	printf("1..%u\n", tests);
	fflush(stdout);
	return shared->failures != 0;
}

void km_test(const char *name, void (*run)(void))
{
	uint64_t before = shared->failures, began = km_now_ns();

	run();
	printf("%s %u - %s # %.1f s\n", shared->failures == before ? "ok" : "not ok", ++tests, name,
	       (double)(km_now_ns() - began) / 1e9);
	fflush(stdout);
}

int km_error(long r)
{
	return r == -1 ? -errno : 0;
}

int km_ioctl(int fd, unsigned long request, void *argument)
{
	int r = ioctl(fd, request, argument);

	return r < 0 ? -errno : r;
}

int km_pool_try(int node, uint32_t tier, uint64_t max, uint64_t start, uint32_t *ret_pool)
{
	struct morsel_pool_create c = {
		.size = sizeof(c),
		.kind = MORSEL_POOL_NODE,
		.tier = tier,
		.node = node,
		.max_bytes = max,
		.start_bytes = start,
	};
	int r = km_ioctl(km_control, MORSEL_IOC_POOL_CREATE, &c);

	if (r == 0)
		*ret_pool = c.pool;
	return r;
}

uint32_t km_pool(int node, uint32_t tier, uint64_t max)
{
	uint32_t pool = 0;
	int r = km_pool_try(node, tier, max, 0, &pool);

	km_require(r == 0 && pool > 0, "pool of %" PRIu64 " MiB on node %d: %s", max / MIB, node,
		   strerror(-r));
	return pool;
}

uint32_t km_dax_pool(const char *path, uint32_t tier, uint64_t bytes)
{
	return km_device_pool(path, MORSEL_POOL_DAX, tier, bytes);
}

uint32_t km_device_pool(const char *path, uint32_t kind, uint32_t tier, uint64_t bytes)
{
	struct morsel_pool_create c = {
		.size = sizeof(c),
		.kind = kind,
		.tier = tier,
		.node = -1,
		.max_bytes = bytes,
	};
	int fd = open(path, O_RDWR | O_CLOEXEC), r;
	void *p;

	km_require(fd >= 0, "%s: %s", path, strerror(errno));
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	km_require(p != MAP_FAILED, "%s: %s", path, strerror(errno));
	c.address = (uintptr_t)p;
	r = km_ioctl(km_control, MORSEL_IOC_POOL_CREATE, &c);
	munmap(p, bytes);
	close(fd);
	if (r == -EOPNOTSUPP)
		return 0;
	km_require(r == 0, "pool over %s: %s", path, strerror(-r));
	return c.pool;
}

struct morsel_pool_stat km_pool_stat(uint32_t pool)
{
	struct morsel_pool_stat s = { .size = sizeof(s), .pool = pool };
	int r = km_ioctl(km_control, MORSEL_IOC_POOL_STAT, &s);

	km_require(r == 0, "pool %u: %s", pool, strerror(-r));
	return s;
}

bool km_quarantine_empties(uint32_t pool)
{
	for (unsigned int ms = 0; ms < WAIT_MS; ms += 20) {
		if (km_pool_stat(pool).quarantine_bytes == 0)
			return true;
		km_nap_ms(20);
	}
	return false;
}

void km_pool_destroy(uint32_t pool)
{
	struct morsel_id id = { .size = sizeof(id), .id = pool };
	struct morsel_pool_stat s;
	int r;

	km_quarantine_empties(pool);
	s = km_pool_stat(pool);
	r = km_ioctl(km_control, MORSEL_IOC_POOL_DESTROY, &id);
	km_check(r == 0, "pool %u with %llu bytes used, %llu in quarantine: %s", pool,
		 (unsigned long long)s.used_bytes, (unsigned long long)s.quarantine_bytes,
		 strerror(-r));
}

int km_account_create(uint64_t id, uint64_t parent)
{
	struct morsel_account_create c = { .size = sizeof(c), .id = id, .parent = parent };
	int r = km_ioctl(km_control, MORSEL_IOC_ACCOUNT_CREATE, &c);

	if (r == 0 && n_accounts < ACCOUNTS_MAX)
		accounts[n_accounts++] = id;
	return r;
}

int km_account_limit(uint64_t id, uint32_t tier, uint64_t bytes)
{
	struct morsel_account_limit l = {
		.size = sizeof(l), .tier = tier, .id = id, .limit_bytes = bytes
	};

	return km_ioctl(km_control, MORSEL_IOC_ACCOUNT_LIMIT, &l);
}

int km_account_destroy(uint64_t id)
{
	struct morsel_id i = { .size = sizeof(i), .id = id };

	return km_ioctl(km_control, MORSEL_IOC_ACCOUNT_DESTROY, &i);
}

struct morsel_account_stat km_account_stat(uint64_t id)
{
	struct morsel_account_stat s = { .size = sizeof(s), .id = id };
	int r = km_ioctl(km_control, MORSEL_IOC_ACCOUNT_STAT, &s);

	km_require(r == 0, "account %" PRIu64 ": %s", id, strerror(-r));
	return s;
}

int km_object_try(uint64_t bytes, uint32_t flags, uint64_t account, const uint32_t *pools,
		  struct km_object *ret)
{
	struct morsel_object_create c = {
		.size = sizeof(c), .flags = flags, .bytes = bytes, .account = account
	};
	int r;

	for (unsigned int i = 0; i < MORSEL_MAX_TIERS && pools[i]; i++)
		c.placement.pools[i] = pools[i];
	r = km_ioctl(km_control, MORSEL_IOC_OBJECT_CREATE, &c);
	if (r == 0)
		*ret = (struct km_object){ .id = c.id, .bytes = bytes, .fd = c.fd };
	return r;
}

struct km_object km_object(uint64_t bytes, uint32_t flags, uint64_t account, uint32_t pool)
{
	uint32_t pools[2] = { pool, 0 };
	struct km_object o = {};
	int r = km_object_try(bytes, flags, account, pools, &o);

	km_require(r == 0, "object of %" PRIu64 " KiB: %s", bytes / KIB, strerror(-r));
	km_require(o.id != 0 && o.fd > 2, "id %" PRIu64 ", descriptor %d", o.id, o.fd);
	return o;
}

int km_object_open(uint64_t id, uint32_t flags)
{
	struct morsel_object_open o = { .size = sizeof(o), .flags = flags, .id = id };
	int r = km_ioctl(km_control, MORSEL_IOC_OBJECT_OPEN, &o);

	return r < 0 ? r : o.fd;
}

int km_object_destroy(uint64_t id)
{
	struct morsel_id i = { .size = sizeof(i), .id = id };

	return km_ioctl(km_control, MORSEL_IOC_OBJECT_DESTROY, &i);
}

void km_object_done(struct km_object *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
	km_expect(0, km_object_destroy(o->id));
}

struct morsel_object_stat km_object_stat(int fd)
{
	struct morsel_object_stat s = { .size = sizeof(s) };
	int r = km_ioctl(fd, MORSEL_IOC_OBJECT_STAT, &s);

	km_require(r == 0, "%s", strerror(-r));
	return s;
}

struct morsel_stats km_stats(void)
{
	struct morsel_stats s = { .size = sizeof(s) };
	int r = km_ioctl(km_control, MORSEL_IOC_STATS, &s);

	km_require(r == 0, "%s", strerror(-r));
	return s;
}

static int on_range(int fd, unsigned long request, uint64_t offset, uint64_t length,
		    uint64_t *ret_bytes)
{
	struct morsel_extent range = { .offset = offset, .length = length };
	struct morsel_ranges all = { .size = sizeof(all), .count = 1, .ranges = (uintptr_t)&range };
	int r = km_ioctl(fd, request, &all);

	if (ret_bytes)
		*ret_bytes = all.bytes;
	return r;
}

int km_populate(int fd, uint64_t offset, uint64_t length, uint64_t *ret_bytes)
{
	return on_range(fd, MORSEL_IOC_POPULATE, offset, length, ret_bytes);
}

int km_evict(int fd, uint64_t offset, uint64_t length, uint64_t *ret_bytes)
{
	return on_range(fd, MORSEL_IOC_EVICT, offset, length, ret_bytes);
}

int km_move(uint64_t id, uint64_t offset, uint64_t length, uint32_t pool,
	    struct morsel_move_range *ret)
{
	struct morsel_move_range range = { .offset = offset, .length = length, .pool = pool };
	struct morsel_move m = {
		.size = sizeof(m), .count = 1, .id = id, .ranges = (uintptr_t)&range
	};
	int r = km_ioctl(km_control, MORSEL_IOC_MOVE, &m);

	if (ret)
		*ret = range;
	return r < 0 ? r : range.result;
}

char *km_map(int fd, uint64_t bytes, int protection)
{
	char *p;

	do
		p = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
	while (p == MAP_FAILED && errno == EINTR);
	km_require(p != MAP_FAILED, "mmap of %" PRIu64 " KiB: %s", bytes / KIB, strerror(errno));
	return p;
}

void km_unmap(void *p, uint64_t bytes)
{
	km_expect(0, km_error(munmap(p, bytes)));
}

bool km_touch(volatile void *p, bool write)
{
	volatile char *c = p;

	if (sigsetjmp(fault_jump, 1) != 0)
		return false;
	fault_expected = true;
	if (write)
		*c = (char)(*c + 1);
	else
		(void)*c;
	fault_expected = false;
	return true;
}

bool km_load(volatile uint64_t *p, uint64_t *ret)
{
	if (sigsetjmp(fault_jump, 1) != 0)
		return false;
	fault_expected = true;
	*ret = *p;
	fault_expected = false;
	return true;
}

bool km_store(volatile uint64_t *p, uint64_t value)
{
	if (sigsetjmp(fault_jump, 1) != 0)
		return false;
	fault_expected = true;
	*p = value;
	fault_expected = false;
	return true;
}

uint64_t km_first_nonzero(const void *p, uint64_t bytes)
{
	const uint64_t *words = p;

	for (uint64_t i = 0; i < bytes / 8; i++)
		if (words[i] != 0)
			return i * 8;
	return bytes;
}

static uint64_t page_word(uint64_t page, uint64_t seed)
{
	return (page + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ seed;
}

void km_fill(char *p, uint64_t bytes, uint64_t seed)
{
	for (uint64_t at = 0; at < bytes; at += PAGE)
		*(uint64_t *)(p + at + (at / PAGE % 511) * 8) = page_word(at / PAGE, seed);
}

uint64_t km_filled(const char *p, uint64_t bytes, uint64_t seed)
{
	for (uint64_t at = 0; at < bytes; at += PAGE)
		if (*(const volatile uint64_t *)(p + at + (at / PAGE % 511) * 8) !=
		    page_word(at / PAGE, seed))
			return at / PAGE;
	return bytes / PAGE;
}

uint64_t km_minor_faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return (uint64_t)u.ru_minflt;
}

pid_t km_fork(void (*run)(void *argument), void *argument)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	km_require(pid >= 0, "fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(argument);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

bool km_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return status == 0;
}

bool km_in_child(void (*run)(void *argument), void *argument)
{
	return km_wait(km_fork(run, argument));
}

void *km_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		_exit(1);
	}
	return p;
}

void km_nap_ms(unsigned int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

uint64_t km_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

unsigned int km_nodes(int *nodes, unsigned int max)
{
	char text[256] = "", *at = text, *end;
	unsigned int n = 0;
	FILE *f = fopen("/sys/devices/system/node/has_memory", "re");

	km_require(f && fgets(text, sizeof(text), f), "has_memory: %s", strerror(errno));
	fclose(f);
	/* "0-2,4" */
	while (*at >= '0' && *at <= '9') {
		long first = strtol(at, &end, 10), last = first;

		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		for (long node = first; node <= last && n < max; node++)
			nodes[n++] = (int)node;
		at = *end == ',' ? end + 1 : end;
	}
	return n;
}

void km_pin_cpu(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % km_cpus(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

unsigned int km_cpus(void)
{
	return (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
}

uint64_t km_random(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t km_size(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	switch (*end) {
	case 'G':
		return n * GIB;
	case 'M':
		return n * MIB;
	case 'K':
		return n * KIB;
	case '\0':
		return n;
	}
	fprintf(stderr, "'%s' is no size\n", text);
	exit(2);
}
