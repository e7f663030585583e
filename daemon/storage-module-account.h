/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "storage-module.h"

/*
 * Accounts of the module, for cgroups (v2). A cgroup's account has the cgroup's number (its directory's inode, which the
 * kernel never uses again in one boot), its parent's above it, and its limits by tier. Below it is the account that
 * objects have: one of each daemon and cgroup, whose number has a mark of the daemon, so that it tells whose an object is that no
 * registry knows. It has no limits.
 *
 *   1 ── 2711 ── 4099 ── mark | 4099        /, /system.slice, /system.slice/a.service, what is made from there
 *
 * All other functions of this file want m->lock to be held, but for module_accounts_collect().
 */

struct module_cgroup {
	uint64_t id;
	char *path;    /* NULL: it is of an earlier life, and nobody has come from there since */
	uint64_t leaf; /* the account of objects; 0: not looked for yet */
	uint32_t limit_known;		  /* bit n: limit[n] is what the module has */
	uint64_t limit[MORSEL_MAX_TIERS]; /* bytes; MORSEL_NO_LIMIT */
};

GHashTable *module_cgroups_new(void);

/*
 * The account for objects made from a cgroup, with those above it. path: "" where it is not known. id: the cgroup's number
 * when that was seen, 0: unknown; if there is another one at its path by now, or none, the next above counts.
 * fresh: do not believe what was seen before. -errno with a text.
 */
int module_account_get(struct module_storage *m, const char *path, uint64_t id, bool fresh,
		       uint64_t *ret_account, char **ret_error);
/* Is it the account of an object that this daemon made? */
bool module_account_is_ours(const struct module_storage *m, uint64_t account);
/* The tier has a number now, if it had none: its limits hold. */
void module_account_tier(struct module_storage *m, uint32_t number, const char *name);
/* What policies say of where a cgroup's objects should lie, for a placement program: no tiers: nothing. */
void module_policy_of(const struct module_storage *m, const char *path,
		      struct morsel_policy *ret_policy);
/* Tell whoever wants to know. */
void module_policy_tell(struct module_storage *m, const struct module_cgroup *c);
/* What there is of ours from earlier lives. */
void module_accounts_scan(struct module_storage *m);
/* Give back those of cgroups that are gone, if nothing is charged to them. Not more often than that is of use. */
void module_accounts_collect(struct module_storage *m);
/* All, as far as they are free. */
void module_accounts_release(struct module_storage *m);
