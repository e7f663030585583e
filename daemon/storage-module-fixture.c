// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "storage-module-fixture.h"
#include "storage-module-open.h"
#include "storage-module-place.h"

void fixture_new_storage(struct fixture *f)
{
	g_assert_cmpint(storage_module_new_with(f->tree.fd, open("/dev/null", O_RDWR | O_CLOEXEC),
						7, &fake_sys, &f->s),
			==, 0);
}

void fixture_set_up(struct fixture *f, gconstpointer data)
{
	memset(&fake, 0, sizeof(fake));
	fake.pinned = 1;
	f->tree = tree_new();
	for (int node = 0; node < 4; node++)
		tree_node(&f->tree, node, node == 0 ? "0-1" : "", 4096 * 1024, "10");
	f->inv = fake_inventory_new();
	fake_inventory_add(f->inv, "dram0", TIER_ONLINE, (const int[]){ 0 }, 1);
	fake_inventory_add(f->inv, "hbm0", TIER_ONLINE, (const int[]){ 1 }, 1);
	fake_inventory_add(f->inv, "slow0", TIER_ONLINE, (const int[]){ 2, 3 }, 2);
	fake_inventory_add(f->inv, "dax0", TIER_OFFLINE, NULL, 0);
	fixture_new_storage(f);
}

void fixture_tear_down(struct fixture *f, gconstpointer data)
{
	storage_module_free(f->s);
	while (fake.n_objects > 0) {
		fake.objects[0].held = false;
		fake_destroy(&fake.objects[0]);
	}
	fake_inventory_free(f->inv);
	tree_done(&f->tree);
}

struct storage_spec fixture_spec(uint64_t id, uint64_t size, struct placement *p)
{
	return (struct storage_spec){ .id = { .qwords = { id, 1 } },
				      .label = "test",
				      .owner = 1000,
				      .size = size,
				      .placement = p };
}

int fixture_try_create(struct fixture *f, uint64_t size, struct placement *p,
		       struct storage_object **ret, char **ret_error)
{
	struct storage_spec spec = fixture_spec(100 + fake.n_objects, size, p);

	return f->s->ops->create(f->s, f->inv, &spec, ret, ret_error);
}

struct storage_object *fixture_create(struct fixture *f, uint64_t size, struct placement *p)
{
	g_autofree char *error = NULL;
	struct storage_object *o;

	if (fixture_try_create(f, size, p, &o, &error) < 0)
		g_error("create: %s", error);
	return o;
}

struct placement *fixture_prefer(const char *tier)
{
	struct placement *p = placement_new();

	g_ptr_array_add(p->prefer, g_strdup(tier));
	return p;
}

void fixture_populate(struct fixture *f, struct storage_object *o, uint64_t offset, uint64_t length)
{
	g_autofree char *error = NULL;

	if (f->s->ops->populate(o, offset, length, NULL, NULL, &error) < 0)
		g_error("populate: %s", error);
}

void fixture_move(struct fixture *f, struct storage_object *o, const char *tier, uint64_t offset,
		  uint64_t length, struct storage_move_result *ret)
{
	g_autofree char *error = NULL;

	if (f->s->ops->move(o, offset, length, inventory_tier(f->inv, tier), 0, NULL, NULL, ret,
			    &error) < 0)
		g_error("move: %s", error);
	g_assert_cmpuint(ret->moved + ret->already + ret->absent + ret->failed, ==, length);
}

int fixture_open_dax(const char *path, char **ret_text, void *userdata)
{
	g_assert_cmpstr(path, ==, "dev/dax0.0");
	fake.opened++;
	if (fake.open_error) {
		*ret_text = g_strdup("dax0.0 is in use");
		return fake.open_error;
	}
	return memfd_create("dax", MFD_CLOEXEC);
}

void fixture_restart(struct fixture *f)
{
	storage_module_free(f->s);
	fixture_new_storage(f);
	storage_module_set_opener(f->s, &(struct module_opener){ fixture_open_dax, NULL });
	storage_module_learn(f->s, f->inv);
}
