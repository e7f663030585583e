// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The order of pools that follows from a policy: as plain C, and, where the kernel lets us, as the BPF program that it is,
 * against a slow one that is written as the comment says.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#ifdef HAVE_BPF
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#endif

#include "test-placement-policy.h"

#define CASES 20000

/* Of pools with a listed tier first: tiers in turn, and within one of them as many turns on as rounds are over. */
static void reference(struct order_test *t)
{
	const struct morsel_policy *p = &t->policy;
	unsigned int first = 0;
	bool listed[MORSEL_POLICY_TIERS] = {};

	if (p->weights)
		for (guint64 turn = t->granule % p->weights; turn >= p->weight[first]; first++)
			turn -= p->weight[first];
	t->n = 0;
	for (unsigned int k = 0; k < p->count; k++) {
		unsigned int at = k == 0 ? first : k <= first ? k - 1 : k;
		unsigned int mine[MORSEL_PLACE_POOLS], n = 0;

		listed[p->tier[at]] = true;
		for (unsigned int i = 0; i < t->count; i++)
			if (t->tiers[i] == p->tier[at])
				mine[n++] = t->pools[i];
		for (unsigned int i = 0; i < n; i++)
			t->order[t->n++] =
				mine[(i + (p->weights ? t->granule / p->weights : 0)) % n];
	}
	for (unsigned int i = 0; i < t->count && !(p->flags & MORSEL_POLICY_ONLY); i++)
		if (!listed[t->tiers[i]])
			t->order[t->n++] = t->pools[i];
}

static void invent(struct order_test *t)
{
	struct morsel_policy *p = &t->policy;
	guint32 some = 0;

	memset(t, 0, sizeof(*t));
	p->count = g_test_rand_int_range(1, MORSEL_POLICY_TIERS + 1);
	p->flags = g_test_rand_bit() ? MORSEL_POLICY_ONLY : 0;
	for (unsigned int i = 0; i < p->count; i++) {
		do
			p->tier[i] = g_test_rand_int_range(0, MORSEL_POLICY_TIERS);
		while (some & 1u << p->tier[i]);
		some |= 1u << p->tier[i];
	}
	if (g_test_rand_bit())
		for (unsigned int i = 0; i < p->count; i++) {
			p->weight[i] = g_test_rand_int_range(0, 4) * g_test_rand_int_range(1, 86);
			p->weights += p->weight[i];
		}
	t->granule = (guint64)g_test_rand_int() << g_test_rand_int_range(0, 24);
	t->count = g_test_rand_int_range(1, MORSEL_PLACE_POOLS + 1);
	for (unsigned int i = 0; i < t->count; i++) {
		t->pools[i] = 100 * (i + 1) + g_test_rand_int_range(0, 100);
		t->tiers[i] = g_test_rand_int_range(0, g_test_rand_bit() ? 4 : MORSEL_POLICY_TIERS);
	}
}

static void compare(const struct order_test *got, const struct order_test *want)
{
	g_assert_cmpuint(got->n, ==, want->n);
	for (unsigned int i = 0; i < want->n; i++)
		g_assert_cmpuint(got->order[i], ==, want->order[i]);
}

static void test_plain(void)
{
	for (unsigned int i = 0; i < CASES; i++) {
		struct order_test want, got;

		invent(&want);
		got = want;
		reference(&want);
		got.n = morsel_policy_order(&got.policy, got.granule, got.pools, got.tiers,
					    got.count, got.order);
		compare(&got, &want);
	}
}

/* What no daemon writes: nothing is read or written beyond its array. */
static void test_rubbish(void)
{
	for (unsigned int i = 0; i < CASES; i++) {
		struct order_test t;
		guint32 *words = (guint32 *)&t;

		for (unsigned int k = 0; k < sizeof(t) / sizeof(*words); k++)
			words[k] = g_test_rand_int();
		t.count = g_test_rand_int_range(0, MORSEL_PLACE_POOLS + 1);
		t.n = morsel_policy_order(&t.policy, t.granule, t.pools, t.tiers, t.count, t.order);
		g_assert_cmpuint(t.n, <=, t.count);
	}
}

#ifdef HAVE_BPF
static int load(struct bpf_object **ret_object)
{
	struct bpf_program *program;
	int r;

	*ret_object = bpf_object__open_file(g_getenv("MORSEL_TEST_BPF"), NULL);
	g_assert_nonnull(*ret_object);
	r = bpf_object__load(*ret_object);
	if (r < 0)
		return r;
	program = bpf_object__find_program_by_name(*ret_object, "order");
	g_assert_nonnull(program);
	return bpf_program__fd(program);
}

static void test_program(void)
{
	struct bpf_object *object;
	int fd = load(&object);

	if (fd == -EPERM || fd == -EACCES) {
		bpf_object__close(object);
		g_test_skip("bpf() is refused: it needs CAP_BPF and CAP_PERFMON");
		return;
	}
	g_assert_cmpint(fd, >, 0);
	for (unsigned int i = 0; i < CASES / 10; i++) {
		struct order_test want, got;
		LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &got, .ctx_size_in = sizeof(got));

		invent(&want);
		got = want;
		g_assert_cmpint(bpf_prog_test_run_opts(fd, &run), ==, 0);
		g_assert_cmpuint(run.retval, ==, 0);
		reference(&want);
		compare(&got, &want);
	}
	bpf_object__close(object);
}
#else
static void test_program(void)
{
	g_test_skip("built without BPF: no clang, or no libbpf");
}
#endif

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/placement-policy/plain", test_plain);
	g_test_add_func("/placement-policy/rubbish", test_rubbish);
	g_test_add_func("/placement-policy/program", test_program);
	return g_test_run();
}
