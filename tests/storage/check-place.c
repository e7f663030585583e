/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the lab: placements rule where pages come to lie, whoever touches them first. */
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check-common.h"

static struct lab lab;

static void add(GPtrArray *names, int node)
{
	g_ptr_array_add(names, g_strdup_printf("node%d", node));
}

/* Touched by another process, which has a policy of its own for its memory: none. */
static void touch_elsewhere(struct storage_object *o)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		char *p = lab_map(&lab, o, o->size);

		memset(p, 1, o->size);
		_exit(0);
	}
	g_assert_cmpint(waitpid(child, &status, 0), ==, child);
	g_assert_cmpint(status, ==, 0);
}

static void test_prefer(void)
{
	for (int node = 0; node < 3; node++) {
		g_autoptr(Placement) p = placement_new();
		struct storage_object *o;
		char *map;

		add(p->prefer, node);
		add(p->prefer, (node + 1) % 3);
		o = lab_create(&lab, 8 * MIB, p);
		touch_elsewhere(o);
		g_assert_cmpuint(lab_bytes(&lab, o, 0, o->size, node), ==, o->size);
		/* As a client sees it that maps it later. */
		map = lab_map(&lab, o, o->size);
		for (uint64_t at = 0; at < o->size; at += PAGE)
			*(volatile char *)(map + at);
		g_assert_cmpuint(lab_numa_maps(0, map, node), ==, o->size);
		munmap(map, o->size);
		lab.s->ops->free(o);
	}
}

static void test_allow(void)
{
	g_autoptr(Placement) p = placement_new();
	struct storage_object *o;

	/* The CPUs' node is not among them. */
	add(p->allow, 1);
	add(p->allow, 2);
	add(p->prefer, 2);
	o = lab_create(&lab, 4 * MIB, p);
	touch_elsewhere(o);
	g_assert_cmpuint(lab_bytes(&lab, o, 0, o->size, 2), ==, o->size);
	lab.s->ops->free(o);

	g_ptr_array_set_size(p->prefer, 0);
	o = lab_create(&lab, 4 * MIB, p);
	touch_elsewhere(o);
	g_assert_cmpuint(lab_bytes(&lab, o, 0, o->size, 0), ==, 0);
	lab.s->ops->free(o);
}

static void test_spread(void)
{
	static const unsigned int weights[] = { 4, 1, 3 };
	const uint64_t size = 64 * MIB; /* four periods of eight granules */
	g_autoptr(Placement) p = placement_new();
	g_autoptr(GArray) runs = NULL;
	struct storage_residency res;
	struct storage_object *o;

	for (int i = 0; i < 3; i++) {
		g_autofree char *name = g_strdup_printf("node%d", i);

		placement_add_spread(p, name, weights[i]);
	}
	o = lab_create(&lab, size, p);
	touch_elsewhere(o);
	g_assert_cmpint(lab.s->ops->residency(o, 0, size, true, NULL, NULL, &res, &runs), ==, 0);
	for (unsigned int i = 0; i < 3; i++)
		g_assert_cmpuint(g_array_index(res.by_node, uint64_t, i), ==,
				 size / 8 * weights[i]);
	for (unsigned int i = 0; i < runs->len; i++) {
		const struct storage_run *run = &g_array_index(runs, struct storage_run, i);

		for (uint64_t at = run->offset; at < run->offset + run->length; at += GRANULE_SIZE)
			g_assert_cmpint(run->node, ==, policy_plan_at(o->plan, at)->home);
	}
	storage_residency_done(&res);
	lab.s->ops->free(o);
}

/* More policies than create may set; a page of each granule; the sample against all of it. */
static void test_spread_long(void)
{
	const uint64_t size = 4096 * MIB;
	g_autoptr(Placement) p = placement_new();
	struct storage_residency res;
	struct storage_object *o;
	char *map;
	uint64_t all;

	placement_add_spread(p, "node0", 3);
	placement_add_spread(p, "node1", 1);
	o = lab_create(&lab, size, p);
	map = lab_map(&lab, o, size);
	for (uint64_t at = 0; at < size; at += GRANULE_SIZE)
		map[at] = 1;
	all = size / GRANULE_SIZE * PAGE;
	g_assert_cmpuint(lab_bytes(&lab, o, 0, size, 0), ==, all / 4 * 3);
	g_assert_cmpuint(lab_bytes(&lab, o, 0, size, 1), ==, all / 4);

	g_assert_cmpint(lab.s->ops->residency(o, 0, size, false, NULL, NULL, &res, NULL), ==, 0);
	g_assert_true(res.sampled);
	g_assert_cmpuint(g_array_index(res.by_node, uint64_t, 0), >, all / 100 * 68);
	g_assert_cmpuint(g_array_index(res.by_node, uint64_t, 0), <, all / 100 * 82);
	g_assert_cmpuint(res.absent, >=, size - all);
	storage_residency_done(&res);
	munmap(map, size);
	lab.s->ops->free(o);
}

int main(int argc, char *argv[])
{
	g_test_init(&argc, &argv, NULL);
	lab_open(&lab, 3);
	g_test_add_func("/place/prefer", test_prefer);
	g_test_add_func("/place/allow", test_allow);
	g_test_add_func("/place/spread", test_spread);
	g_test_add_func("/place/spread-long", test_spread_long);
	return g_test_run();
}
