/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What holds for every machine: run with the directory of all fixtures. What each is seen as is pinned
 * in tests/topology. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "inventory.h"
#include "numlist.h"

static void check_tier(const struct tier *t, const struct inventory *inv)
{
	const GArray *initiators = inventory_initiators(inv);

	g_assert_nonnull(t->name);
	g_assert_nonnull(t->evidence_detail);
	g_assert_cmpstr(t->evidence_detail, !=, "");
	g_assert_true(g_utf8_validate(t->evidence_detail, -1, NULL));
	g_assert_true(g_utf8_validate(t->state_reason, -1, NULL));
	/* Whatever is not simply online says why. */
	g_assert_cmpint(t->state == TIER_ONLINE, ==, t->state_reason[0] == 0);
	g_assert_cmpint(t->evidence == EVIDENCE_NONE, ==, t->kind == TIER_MEMORY_ONLY);
	g_assert_cmpint(t->backing == BACKING_NODE, ==, t->device == NULL);
	g_assert_cmpint(t->backing == BACKING_NODE, ==, t->nodes->len > 0);
	g_assert_cmpuint(t->capacity, >, 0);
	g_assert_cmpuint(t->free, <=, t->capacity);
	g_assert_true(inventory_tier(inv, t->name) == t);
	for (unsigned int i = 0; i < t->nodes->len; i++)
		g_assert_true(inventory_tier_of_node(inv, g_array_index(t->nodes, int, i)) == t);

	g_assert_cmpuint(t->perf->len, ==, initiators->len);
	for (unsigned int i = 0; i < t->perf->len; i++) {
		const struct tier_perf *p = &g_array_index(t->perf, struct tier_perf, i);

		g_assert_cmpint(p->initiator, ==, g_array_index(initiators, int, i));
		g_assert_cmpint(p->lat_source == PERF_UNKNOWN, ==,
				p->read_lat_ns == 0 && p->write_lat_ns == 0);
		g_assert_cmpint(p->bw_source == PERF_UNKNOWN, ==,
				p->read_bw_mbs == 0 && p->write_bw_mbs == 0);
	}
	for (unsigned int i = 0; i < t->warnings->len; i++)
		g_assert_true(g_utf8_validate(t->warnings->pdata[i], -1, NULL));
}

static void test_fixture(gconstpointer data)
{
	struct inventory *inv;
	bool changed;
	int fd;

	fd = open(data, O_PATH | O_DIRECTORY | O_CLOEXEC);
	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(inventory_new(fd, false, &inv), ==, 0);
	close(fd);
	g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, &changed), ==, 0);
	g_assert_true(changed);
	g_assert_cmpuint(inventory_tiers(inv)->len, >, 0);
	for (unsigned int i = 0; i < inventory_tiers(inv)->len; i++)
		check_tier(inventory_tiers(inv)->pdata[i], inv);
	for (unsigned int i = 0; i < inventory_warnings(inv)->len; i++)
		g_assert_true(g_utf8_validate(inventory_warnings(inv)->pdata[i], -1, NULL));

	/* The same machine looks the same, names included. */
	for (int i = 0; i < 3; i++) {
		g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, &changed), ==, 0);
		g_assert_false(changed);
	}
	g_assert_cmpint(inventory_refresh_free(inv), ==, 0);
	inventory_free(inv);
}

int main(int argc, char **argv)
{
	const char *name;
	GDir *dir;

	g_test_init(&argc, &argv, NULL);
	if (argc != 2)
		g_error("usage: test-inventory-fixtures DIR");
	dir = g_dir_open(argv[1], 0, NULL);
	g_assert_nonnull(dir);
	while ((name = g_dir_read_name(dir)) != NULL) {
		g_autofree char *path = g_strconcat("/inventory/fixture/", name, NULL);

		g_test_add_data_func_full(path, g_build_filename(argv[1], name, NULL), test_fixture,
					  g_free);
	}
	g_dir_close(dir);
	return g_test_run();
}
