/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "placement.h"
#include "policy.h"

struct config;
struct manager;

/*
 * The policies of cgroups that are in force: the manager's side of policy.h. Event loop's thread only.
 *
 * Read from [cgroup] sections of morseld.conf, then from policy.d beside it, in the runtime directory and, for the
 * machine's own daemon, in /usr/lib/morsel: of files of one name the first of these counts, and all are read in the
 * order of their names.
 */
#define POLICY_VENDOR_DIR "/usr/lib/morsel/policy.d"
/* Of what SetPolicy writes: a setting for this boot goes before a lasting one. */
#define POLICY_DROPIN "50-morselctl-"
#define POLICY_DROPIN_RUNTIME "51-morselctl-"

char *policies_dir(const struct manager *m); /* where lasting ones are written */
char *policies_runtime_dir(
	const struct manager *m); /* and where those until the next boot; both to be freed */

/* What config and the directories say. A negative errno: *ret_text names file and line. */
int policies_read(const struct manager *m, const struct config *config, struct policy_set **ret_set,
		  char **ret_text);
/* From now on; set is taken over. Logs what of it cannot be. */
void policies_apply(struct manager *m, struct policy_set *set);
/* Tiers have changed, or the default policy has. */
void policies_refresh(struct manager *m);

/* What a morsel gets that is created from a cgroup ("": unknown) and says nothing. Borrowed until the next change. */
struct cgroup_placement {
	struct placement *placement;
	char *source; /* "policy of cgroup /a (FILE:LINE)", "default policy of FILE" */
};
const struct cgroup_placement *policies_placement(struct manager *m, const char *cgroup);

/* A tier's name → uint64_t * bytes, of all tiers there are; to be freed. */
GHashTable *policies_capacity(const struct manager *m);
/* Does the module hold cgroups to their limits? */
bool policies_enforced(const struct manager *m);
/* 1: there is such a cgroup, 0: there is not, -1: no cgroups (v2) can be seen. */
int policies_cgroup_exists(const struct manager *m, const char *cgroup);
/* What is above Max already, and whether Max is enforced: adds to warnings (warnings.h). */
void policies_check_use(const struct manager *m, const char *cgroup, GPtrArray *warnings);
