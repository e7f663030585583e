/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "fake-inventory.h"
#include "fake-module.h"
#include "storage-module.h"
#include "test-tree.h"

/* A storage over the model of the module, for tests. Four tiers: dram0 (node 0, with CPUs), hbm0 (1), slow0 (2 and 3),
 * dax0 (none). Everything asserts. */
struct fixture {
	struct storage *s;
	struct inventory *inv;
	struct tree tree;
};

#define FIXTURE_ADD(name, function)                                                         \
	g_test_add("/storage-module/" name, struct fixture, NULL, fixture_set_up, function, \
		   fixture_tear_down)

void fixture_set_up(struct fixture *f, gconstpointer data);
void fixture_tear_down(struct fixture *f, gconstpointer data);
/* As the next daemon begins; the storage before must be freed. */
void fixture_new_storage(struct fixture *f);
/* Frees it, and begins anew with what opens the dax device. */
void fixture_restart(struct fixture *f);
/* Opens the dax device, as the helper does: a module_opener's. */
int fixture_open_dax(const char *path, char **ret_text, void *userdata);

/* Of a morsel of user 1000; id: its first half. */
struct storage_spec fixture_spec(uint64_t id, uint64_t size, struct placement *p);
/* Their ids are 100 and what follows. p: NULL, or borrowed. */
int fixture_try_create(struct fixture *f, uint64_t size, struct placement *p,
		       struct storage_object **ret, char **ret_error);
struct storage_object *fixture_create(struct fixture *f, uint64_t size, struct placement *p);
struct placement *fixture_prefer(const char *tier);
void fixture_populate(struct fixture *f, struct storage_object *o, uint64_t offset,
		      uint64_t length);
/* storage_move_result_done. */
void fixture_move(struct fixture *f, struct storage_object *o, const char *tier, uint64_t offset,
		  uint64_t length, struct storage_move_result *ret);
