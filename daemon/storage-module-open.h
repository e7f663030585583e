/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "ebpf/placement-policy.h"
#include "storage.h"

struct module_sys;

/* The module storage, as the manager has it: whether it is to be had, and what is its alone. */

enum module_state {
	MODULE_READY,
	MODULE_NOT_LASTING, /* nothing of this daemon lasts, but the module's objects would */
	MODULE_ABSENT,	    /* no /dev/morsel */
	MODULE_CLOSED,	    /* it cannot be opened: error */
	MODULE_OTHER,	    /* it is not the module's: error */
	MODULE_VERSION,	    /* it speaks another version of its interface: version, 0: unknown */
	MODULE_FAILED,	    /* it does not do what it should: error */
	MODULE_STATE_MAX
};

struct module_probe {
	enum module_state state;
	int error; /* negative errno, or 0 */
	uint32_t version;
	bool test_build;
	uint64_t features; /* MORSEL_FEATURE_* */
};

/*
 * Who opens a device for us: "dev/morsel", or a dax device that is morsel's ("dev/dax0.0"). A descriptor or -errno, with a
 * text or NULL; -ENOENT: nobody does. Any thread.
 */
struct module_opener {
	int (*open)(const char *path, char **ret_text, void *userdata);
	void *userdata;
};

/*
 * Open the module's device, by opener (may be NULL) where this process may not, and see who answers. Dax devices
 * are opened by it alone. state_fd: the state directory, -1: none. *ret_storage: NULL unless the state is
 * MODULE_READY.
 */
void storage_module_open(int root_fd, int state_fd, const struct module_opener *opener,
			 struct module_probe *ret_probe, struct storage **ret_storage);
/* fd: the control descriptor, taken over on failure too. instance: which daemon we are, 31 bits. */
int storage_module_new_with(int root_fd, int fd, uint32_t instance, const struct module_sys *sys,
			    struct storage **ret_storage);
/* Of the module: MORSEL_FEATURE_*. Before anything is created. */
void storage_module_set_features(struct storage *s, uint64_t features);
void storage_module_set_opener(struct storage *s, const struct module_opener *opener);
/* What the tiers' devices are, so that pools are known for theirs: after each refresh of the inventory. */
void storage_module_learn(struct storage *s, const struct inventory *inv);
/* Bytes of a tier that is a pool (tier_is_pool()) that no morsel has: all, before there is one. */
uint64_t storage_module_tier_free(struct storage *s, const struct tier *tier);
/* Limits of cgroups by tier (Max.TIER), from now on. policies: referenced; NULL: none. Event loop. */
void storage_module_set_policies(struct storage *s, struct policy_set *policies);
/*
 * Who is told what holds for objects of an account, from now on: a placement program's map. Called with locks of the storage held, on any
 * thread; NULL: nobody.
 */
typedef void (*storage_module_place_t)(uint64_t account, const struct morsel_policy *policy,
				       void *userdata);
void storage_module_set_placer(struct storage *s, storage_module_place_t place, void *userdata);
/* How deep the module's tree may be, of which the last one is the daemon's. What is deeper shares the account of the
 * cgroup above it that has one. */
#define MODULE_CGROUPS_DEPTH 15
/* What a cgroup, and all below it, has and may have in frames of the module. */
struct storage_module_tier {
	const char *name;
	uint64_t used, limit; /* bytes; QUOTA_NONE: no limit */
};
/* Of struct storage_module_tier: tiers with something, or a limit. */
GArray *storage_module_cgroup_tiers(struct storage *s, const char *path);
/* Let go of the devices of pools that nothing lies on, nor may come to lie on. */
void storage_module_release_devices(struct storage *s);
/* Gives back what is empty, so that the module can be unloaded. Takes NULL, returns NULL. */
struct storage *storage_module_free(struct storage *s);

/* The object of a morsel that was destroyed, if somebody still has it: for storage_ops.gone and free. NULL: it has
 * gone. */
struct storage_object *storage_module_lingering(struct storage *s, sd_id128_t id);

uint64_t storage_module_object_id(const struct storage_object *o);

/* Objects in the kernel that no morsel claims. */
struct storage_module_strays {
	unsigned int destroyed;		    /* made by this daemon in an earlier life: gone now */
	unsigned int left;		    /* the same, and still there */
	unsigned int foreign;		    /* made by somebody else, and left alone */
	uint64_t left_bytes, foreign_bytes; /* in memory */
};
/* destroy: those that this daemon made. */
int storage_module_strays(struct storage *s, bool (*claimed)(uint64_t id, void *userdata),
			  void *userdata, bool destroy, struct storage_module_strays *ret_strays);
