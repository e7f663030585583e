/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * test-llfree SUITE…: the allocator's tests. Built twice: as shipped, and with MORSEL_TEST_HOOKS,
 * where schedules, power cuts and faults can be chosen. MORSEL_LLFREE_BREAK=NAME switches one of
 * the faults of llfree-fault.h on; `test-llfree --faults` does so with each and expects a failure.
 */
#include "test-llfree.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

unsigned test_scale = 1;
uint64_t test_seed = 0x5eed;

void (*test_on_point)(void);
void (*test_on_writeback)(const void *line);
void (*test_on_fence)(void);

void test_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: failed: %s (seed %#llx)\n", file, line, what,
		(unsigned long long)test_seed);
	_exit(1);
}

static const struct suite {
	const char *name;
	void (*run)(void);
} suites[] = {
	{ "basic", suite_basic },	{ "orders", suite_orders },
	{ "model", suite_model },	{ "defect1", suite_defect1 },
	{ "defect2", suite_defect2 },	{ "defect3", suite_defect3 },
	{ "defect4", suite_defect4 },	{ "defect5", suite_defect5 },
	{ "defect6", suite_defect6 },	{ "defect7", suite_defect7 },
	{ "defect8", suite_defect8 },	{ "defect9", suite_defect9 },
	{ "input", suite_input },	{ "classes", suite_classes },
	{ "zeroed", suite_zeroed },	{ "offline", suite_offline },
	{ "bad", suite_bad },		{ "owner", suite_owner },
	{ "stats", suite_stats },	{ "grow", suite_grow },
	{ "large", suite_large },	{ "recover", suite_recover },
	{ "flips", suite_flips },	{ "kill", suite_kill },
	{ "threads", suite_threads },	{ "split-threads", suite_split_threads },
	{ "contract", suite_contract }, { "owner-threads", suite_owner_threads },
	{ "attach", suite_attach },
#ifdef MORSEL_TEST_HOOKS
	{ "rollback", suite_rollback }, { "interleave", suite_interleave },
	{ "crash", suite_crash },
#endif
};

#ifdef MORSEL_TEST_HOOKS
static const struct {
	const char *name, *suite, *what;
} breaks[] = {
#define X(name, suite, what) { #name, suite, what },
	LLFREE_BREAK_SITES(X)
#undef X
};

static struct {
	unsigned skip, times, seen;
} forced[LLFREE_FORCE_MAX];
static int broken = -1;

void test_force(int site, unsigned skip, unsigned times)
{
	forced[site].skip = skip;
	forced[site].times = times;
	forced[site].seen = 0;
}

unsigned test_forced(int site)
{
	return forced[site].seen;
}

bool plat_test_force(int site)
{
	if (!forced[site].times)
		return false;
	if (forced[site].skip) {
		forced[site].skip--;
		return false;
	}
	forced[site].times--;
	forced[site].seen++;
	return true;
}

bool plat_test_break(int site)
{
	return plat_unlikely(site == broken);
}

void plat_test_point(void)
{
	if (test_on_point)
		test_on_point();
}

void plat_test_writeback(const void *line)
{
	if (test_on_writeback)
		test_on_writeback(line);
}

void plat_test_fence(void)
{
	if (test_on_fence)
		test_on_fence();
}

static int break_by_name(const char *name)
{
	for (unsigned i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++)
		if (!strcmp(breaks[i].name, name))
			return LLFREE_FORCE_MAX + 1 + (int)i;
	return -1;
}

static int run_self(const char *self, const char *suite, const char *fault)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();

	if (pid == 0) {
		if (fault)
			setenv("MORSEL_LLFREE_BREAK", fault, 1);
		else
			unsetenv("MORSEL_LLFREE_BREAK");
		if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout))
			_exit(0);
		/* What is broken may also never end. */
		alarm(120);
		execl(self, self, suite, (char *)NULL);
		_exit(0);
	}
	check(pid > 0 && waitpid(pid, &status, 0) == pid);
	return status;
}

/* Each fault must make its suite fail, which must pass without. One line for each. */
static int faults(const char *self, const char *only)
{
	unsigned missed = 0, tried = 0;

	for (unsigned i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++) {
		bool first = true, noticed;

		if (only && strcmp(only, breaks[i].name))
			continue;
		for (unsigned k = 0; k < i && !only; k++)
			first &= strcmp(breaks[k].suite, breaks[i].suite) != 0;
		if (first && run_self(self, breaks[i].suite, NULL)) {
			printf("fails without a fault: %s\n", breaks[i].suite);
			return 1;
		}
		tried++;
		noticed = run_self(self, breaks[i].suite, breaks[i].name) != 0;
		missed += !noticed;
		printf("%s by %s: %s (%s)\n", noticed ? "noticed" : "NOT NOTICED", breaks[i].suite,
		       breaks[i].name, breaks[i].what);
	}
	printf("%u faults, %u not noticed\n", tried, missed);
	return missed || !tried;
}
#endif

uint64_t test_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

struct llfree_config config_of(uint64_t frames, unsigned classes, unsigned slots, unsigned flags)
{
	return (struct llfree_config){
		.frames = frames,
		.flags = flags,
		.classes = classes,
		.slots = slots,
		.owners = 1,
		.writeback = flags & LLFREE_PERSISTENT ? PLAT_WB_CLWB : PLAT_WB_NONE,
	};
}

#define GUARD 256

void pool_buffers(struct pool *p, const struct llfree_config *config)
{
	memset(p, 0, sizeof(*p));
	p->config = *config;
	check_eq(llfree_sizes(config, &p->meta.lower_size, &p->meta.upper_size), 0);
	p->meta.lower = aligned_alloc(128, (p->meta.lower_size + GUARD + 127) / 128 * 128);
	p->meta.upper = aligned_alloc(128, (p->meta.upper_size + GUARD + 127) / 128 * 128);
	check(p->meta.lower && p->meta.upper);
	/* init must not count on zeroed memory */
	memset(p->meta.lower, 0xa5, p->meta.lower_size + GUARD);
	memset(p->meta.upper, 0xa5, p->meta.upper_size + GUARD);
}

void pool_new(struct pool *p, const struct llfree_config *config)
{
	pool_buffers(p, config);
	check_eq(llfree_init(&p->a, config, &p->meta), 0);
}

void pool_done(struct pool *p)
{
	for (unsigned i = 0; i < GUARD; i++) {
		check_eq(((unsigned char *)p->meta.lower)[p->meta.lower_size + i], 0xa5);
		check_eq(((unsigned char *)p->meta.upper)[p->meta.upper_size + i], 0xa5);
	}
	free(p->meta.lower);
	free(p->meta.upper);
}

int main(int argc, char **argv)
{
	unsigned ran = 0;

	if (getenv("MORSEL_TEST_SEED"))
		test_seed = strtoull(getenv("MORSEL_TEST_SEED"), NULL, 0) | 1;
#ifdef MORSEL_TEST_HOOKS
	if (argc > 1 && !strcmp(argv[1], "--faults"))
		return faults(argv[0], argc > 2 ? argv[2] : NULL);
	if (getenv("MORSEL_LLFREE_BREAK")) {
		broken = break_by_name(getenv("MORSEL_LLFREE_BREAK"));
		if (broken < 0) {
			fprintf(stderr, "no fault %s\n", getenv("MORSEL_LLFREE_BREAK"));
			return 2;
		}
	}
#endif
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--long")) {
			test_scale = 50;
			continue;
		}
		bool known = false;

		for (unsigned s = 0; s < sizeof(suites) / sizeof(suites[0]); s++) {
			if (strcmp(argv[i], suites[s].name) && strcmp(argv[i], "all"))
				continue;
			known = true;
			ran++;
			suites[s].run();
			printf("ok %s\n", suites[s].name);
		}
		if (!known) {
			fprintf(stderr, "no suite '%s'\n", argv[i]);
			return 2;
		}
	}
	if (!ran) {
		fprintf(stderr, "usage: test-llfree [--long] SUITE… | all\n");
		for (unsigned s = 0; s < sizeof(suites) / sizeof(suites[0]); s++)
			fprintf(stderr, "  %s\n", suites[s].name);
		return 2;
	}
	return 0;
}
