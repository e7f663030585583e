// SPDX-License-Identifier: GPL-2.0-or-later
/* Moves, and where pages are. */
#include <errno.h>

#include "storage-module-fixture.h"

static void test_populate_and_move(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = fixture_create(f, 65 * MIB, NULL);
	struct storage_move_result result;
	uint64_t bytes;

	fake.interrupt = 2;
	fixture_populate(f, o, 0, 63 * MIB);
	g_assert_cmpint(f->s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 63 * MIB);

	fake.interrupt = 3;
	fixture_move(f, o, "hbm0", 0, 65 * MIB, &result);
	g_assert_cmpuint(result.moved, ==, 63 * MIB);
	g_assert_cmpuint(result.absent, ==, 2 * MIB);
	g_assert_cmpint(result.policy_error, ==, 0);
	storage_move_result_done(&result);
	fake_want_list(&fake.objects[0].list, "1 0 2 3");

	/* Of a part the module has no list of its own. */
	fixture_move(f, o, "dram0", MIB, 2 * MIB, &result);
	g_assert_cmpuint(result.moved, ==, 2 * MIB);
	g_assert_cmpint(result.policy_error, ==, -EOPNOTSUPP);
	storage_move_result_done(&result);
	fake_want_list(&fake.objects[0].list, "1 0 2 3");

	fake.pinned = 8 * MIB;
	fixture_move(f, o, "dram0", 0, 65 * MIB, &result);
	g_assert_cmpuint(result.already, ==, 2 * MIB);
	g_assert_cmpuint(result.failed, ==, PAGE);
	g_assert_cmpuint(*(uint64_t *)g_hash_table_lookup(result.reasons, GINT_TO_POINTER(EBUSY)),
			 ==, PAGE);
	storage_move_result_done(&result);
	f->s->ops->free(o);
}

/* A tier of two nodes: what is on the one stays, what the one has no room for goes to the other. */
static void test_move_two_nodes(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = fixture_prefer("slow0");
	struct storage_object *o = fixture_create(f, 64 * MIB, p);
	struct storage_move_result result;

	fake.room[fake_pool_of(2)] = 0;
	fixture_populate(f, o, 0, 4 * MIB); /* on node 3 */
	fake.room[fake_pool_of(2)] = 20 * MIB;
	fake.room[fake_pool_of(3)] = 0;
	fixture_populate(f, o, 4 * MIB, 60 * MIB); /* 20 on node 2, the others on node 0 */
	fake.room[fake_pool_of(2)] = 8 * MIB;
	fake.room[fake_pool_of(3)] = 24 * MIB;
	fixture_move(f, o, "slow0", 0, 64 * MIB, &result);
	g_assert_cmpuint(result.already, ==, 24 * MIB);
	g_assert_cmpuint(result.failed, ==, 8 * MIB);
	g_assert_cmpuint(result.moved, ==, 32 * MIB);
	g_assert_cmpuint(*(uint64_t *)g_hash_table_lookup(result.reasons, GINT_TO_POINTER(ENOMEM)),
			 ==, 8 * MIB);
	storage_move_result_done(&result);
	f->s->ops->free(o);
}

static bool stop_at(uint64_t done, uint64_t total, void *userdata)
{
	return done < *(uint64_t *)userdata;
}

static void test_move_refused(struct fixture *f, gconstpointer data)
{
	g_autoptr(Placement) p = placement_new();
	struct storage_move_result result;
	struct storage_object *o;
	struct {
		const char *tier;
		uint64_t offset, length;
		int want;
	} cases[] = {
		{ "dram0", 0, 0, -EINVAL },	      { "dram0", 1, PAGE, -EINVAL },
		{ "dram0", 0, PAGE + 1, -EINVAL },    { "dram0", 64 * MIB, PAGE, -EINVAL },
		{ "dram0", PAGE, 64 * MIB, -EINVAL }, { "dax0", 0, PAGE, -ENODEV },
		{ "hbm0", 0, PAGE, -EINVAL },	      { "slow0", 0, 64 * MIB, -EIO },
	};
	uint64_t at = 33 * MIB;
	g_autofree char *text = NULL;

	g_ptr_array_add(p->allow, g_strdup("dram0"));
	g_ptr_array_add(p->allow, g_strdup("slow0"));
	g_ptr_array_add(p->allow, g_strdup("dax0"));
	o = fixture_create(f, 64 * MIB, p);
	fake.fail_request = MORSEL_IOC_MOVE;
	fake.fail_with = -EIO;
	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *error = NULL;

		g_assert_cmpint(f->s->ops->move(o, cases[i].offset, cases[i].length,
						inventory_tier(f->inv, cases[i].tier), 0, NULL,
						NULL, &result, &error),
				==, cases[i].want);
		g_assert_nonnull(error);
	}
	fake.fail_with = 0;
	fixture_populate(f, o, 0, 64 * MIB);
	g_assert_cmpint(f->s->ops->move(o, 0, 64 * MIB, inventory_tier(f->inv, "dram0"), 0, stop_at,
					&at, &result, &text),
			==, -ECANCELED);
	g_assert_cmpuint(result.moved, ==, 64 * MIB);
	storage_move_result_done(&result);
	g_clear_pointer(&text, g_free);
	at = 1;
	g_assert_cmpint(f->s->ops->move(o, 0, 64 * MIB, inventory_tier(f->inv, "slow0"), 0, stop_at,
					&at, &result, &text),
			==, -ECANCELED);
	g_assert_cmpuint(result.moved, ==, 32 * MIB);
	storage_move_result_done(&result);
	f->s->ops->free(o);
}

/* 8 MiB a second for 4 MiB: half a second, in pieces of one granule. */
static void test_move_bandwidth(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = fixture_create(f, 4 * MIB, NULL);
	struct storage_move_result result;
	g_autofree char *error = NULL;
	gint64 begin = g_get_monotonic_time(), took;

	fixture_populate(f, o, 0, 4 * MIB);
	g_assert_cmpint(f->s->ops->move(o, 0, 4 * MIB, inventory_tier(f->inv, "hbm0"), 8 * MIB,
					NULL, NULL, &result, &error),
			==, 0);
	took = g_get_monotonic_time() - begin;
	g_assert_cmpint(took, >=, 450000);
	g_assert_cmpuint(fake.moves, ==, 2);
	storage_move_result_done(&result);
	f->s->ops->free(o);
}

static uint64_t on_node(const struct storage_residency *res, unsigned int node)
{
	return node < res->by_node->len ? g_array_index(res->by_node, uint64_t, node) : 0;
}

static void test_residency(struct fixture *f, gconstpointer data)
{
	struct storage_object *o = fixture_create(f, 11 * MIB + 2 * PAGE, NULL);
	struct storage_move_result result;
	struct storage_residency res;
	g_autoptr(GArray) runs = NULL;
	const struct storage_run *run;

	fixture_populate(f, o, 0, 6 * MIB);
	fixture_populate(f, o, 10 * MIB, MIB + PAGE);
	fixture_move(f, o, "hbm0", 3 * MIB, 3 * MIB, &result);
	storage_move_result_done(&result);
	fake.interrupt = 1;
	g_assert_cmpint(f->s->ops->residency(o, 0, 100 * MIB, true, NULL, NULL, &res, &runs), ==,
			0);
	g_assert_cmpuint(res.length, ==, 11 * MIB + 2 * PAGE);
	g_assert_cmpuint(res.looked_at, ==, res.length);
	g_assert_false(res.sampled);
	g_assert_cmpuint(on_node(&res, 0), ==, 4 * MIB + PAGE);
	g_assert_cmpuint(on_node(&res, 1), ==, 3 * MIB);
	g_assert_cmpuint(res.absent, ==, 4 * MIB + PAGE);
	storage_residency_done(&res);

	g_assert_cmpuint(runs->len, ==, 5);
	run = (const struct storage_run *)runs->data;
	g_assert_cmpint(run[0].node, ==, 0);
	g_assert_cmpuint(run[0].length, ==, 2 * MIB);
	g_assert_cmpint(run[1].node, ==, RUN_MIXED);
	g_assert_cmpuint(run[1].offset, ==, 2 * MIB);
	g_assert_cmpuint(run[1].length, ==, 2 * MIB);
	g_assert_cmpuint(g_array_index(run[1].by_node, uint64_t, 0), ==, MIB);
	g_assert_cmpuint(g_array_index(run[1].by_node, uint64_t, 1), ==, MIB);
	g_assert_cmpint(run[2].node, ==, 1);
	g_assert_cmpuint(run[2].present, ==, 2 * MIB);
	g_assert_cmpint(run[3].node, ==, RUN_ABSENT);
	g_assert_cmpuint(run[3].length, ==, 4 * MIB);
	g_assert_cmpint(run[4].node, ==, 0);
	g_assert_cmpuint(run[4].present, ==, MIB + PAGE);
	g_assert_cmpuint(run[4].offset + run[4].length, ==, 11 * MIB + 2 * PAGE);

	/* From within a granule to within another one. */
	g_clear_pointer(&runs, g_array_unref);
	g_assert_cmpint(f->s->ops->residency(o, 5 * MIB, 5 * MIB + 2 * PAGE, true, NULL, NULL, &res,
					     &runs),
			==, 0);
	g_assert_cmpuint(on_node(&res, 1), ==, MIB);
	g_assert_cmpuint(on_node(&res, 0), ==, 2 * PAGE);
	g_assert_cmpuint(res.absent, ==, 4 * MIB);
	g_assert_cmpuint(runs->len, ==, 3);
	storage_residency_done(&res);
	/* A part of a mixed granule: as mixed as the whole. */
	g_assert_cmpint(f->s->ops->residency(o, 2 * MIB, MIB, true, NULL, NULL, &res, NULL), ==, 0);
	g_assert_cmpuint(on_node(&res, 0) + on_node(&res, 1), ==, MIB);
	g_assert_cmpuint(on_node(&res, 1), ==, MIB / 2);
	storage_residency_done(&res);

	g_assert_cmpint(f->s->ops->residency(o, 1, MIB, true, NULL, NULL, &res, NULL), ==, -EINVAL);
	g_assert_cmpint(f->s->ops->residency(o, 0, 0, true, NULL, NULL, &res, NULL), ==, -EINVAL);
	g_assert_cmpint(f->s->ops->residency(o, 12 * MIB, MIB, true, NULL, NULL, &res, NULL), ==,
			-EINVAL);
	fake.fail_request = MORSEL_IOC_RESIDENCY;
	fake.fail_with = -EIO;
	g_assert_cmpint(f->s->ops->residency(o, 0, MIB, true, NULL, NULL, &res, NULL), ==, -EIO);
	fake.fail_with = 0;
	f->s->ops->free(o);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	FIXTURE_ADD("populate-and-move", test_populate_and_move);
	FIXTURE_ADD("move-two-nodes", test_move_two_nodes);
	FIXTURE_ADD("move-refused", test_move_refused);
	FIXTURE_ADD("move-bandwidth", test_move_bandwidth);
	FIXTURE_ADD("residency", test_residency);
	return g_test_run();
}
