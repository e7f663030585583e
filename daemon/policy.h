/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Policies of cgroups (docs/policy.md): what their sections say, and what follows for a cgroup. Pure: no file, no bus,
 * no clock. Everything is immutable once it is made; sets and files are referenced, on any thread.
 *
 *   setting   one line: a key and its value, and where it stands
 *   section   [cgroup PATH] of one file
 *   file      sections, in their order
 *   set       files, in their order, with an index by path
 *
 * Within one cgroup the last setting of a key counts, and what its own path says goes before what a pattern says.
 * Between cgroups the nearest one above counts, but for what is a limit (Low, High, Max, Bandwidth): the smallest above
 * holds. Weight is a cgroup's own.
 */

enum policy_field {
	POLICY_PREFER,
	POLICY_ALLOW,
	POLICY_SPREAD,
	POLICY_LOW,
	POLICY_HIGH,
	POLICY_MAX,
	POLICY_WEIGHT,
	POLICY_PAGE_SIZE,
	POLICY_MIGRATE,
	POLICY_BANDWIDTH,
	POLICY_MANAGE_ORDINARY,
	POLICY_FIELDS
};

#define POLICY_NONE UINT64_MAX /* no limit */
#define POLICY_WEIGHT_DEFAULT 100
#define POLICY_WEIGHT_MAX 10000
/* Sections whose paths have '*' or '?': each is compared with each cgroup that is asked about. */
#define POLICY_PATTERNS_MAX 256

enum policy_pages {
	POLICY_PAGES_4K,
	POLICY_PAGES_2M,
	POLICY_PAGES_MIXED, /* 2M where they fit */
};

enum policy_migrate {
	POLICY_MIGRATE_OFF,
	POLICY_MIGRATE_ON,
	POLICY_MIGRATE_DRY_RUN,
};

struct policy_section;

struct policy_setting {
	enum policy_field field;
	GRefString *tier; /* of Low, High and Max. Else NULL */
	uint64_t number;  /* bytes, a weight, a bool, or of the enums above; POLICY_NONE */
	GArray *tiers; /* of struct config_share: of Prefer, Allow, Spread; may be empty. Else NULL */
	char *key, *value; /* as they are written, spaces apart */
	unsigned int line;
	const struct policy_section *section;
};

struct policy_section {
	char *path;
	char **components; /* of path */
	unsigned int depth;
	GPtrArray *settings; /* of struct policy_setting * */
	const struct policy_file *file;
};

struct policy_file {
	gatomicrefcount refs;
	char *path;
	char *order;	     /* files are read in the order of this; equal: as they came */
	GPtrArray *sections; /* of struct policy_section * */
};

struct policy_file *policy_file_new(const char *path, const char *order);
struct policy_file *policy_file_ref(struct policy_file *f);
void policy_file_unref(struct policy_file *f); /* takes NULL */

/* The file's section of that path, made where there is none. -EINVAL: *ret_message. */
int policy_file_section(struct policy_file *f, const char *path,
			struct policy_section **ret_section, char **ret_message);
/* Is it the name of a key, with or without a right tier behind '.'? */
bool policy_is_key(const char *key);
/* One line. What the section says of the same key already is replaced. -EINVAL: *ret_message. */
int policy_section_set(struct policy_section *s, const char *key, const char *value,
		       unsigned int line, char **ret_message);
/* false: it says nothing of the key. */
bool policy_section_unset(struct policy_section *s, const char *key);
const struct policy_setting *policy_section_find(const struct policy_section *s, const char *key);
extern const char policy_known_keys[]; /* for messages */

struct policy_set;
/* files: of struct policy_file *, in any order; may be NULL. -E2BIG: *ret_message says where there are too many
 * patterns. */
int policy_set_new(const GPtrArray *files, struct policy_set **ret_set, char **ret_message);
struct policy_set *policy_set_ref(struct policy_set *s);
struct policy_set *policy_set_unref(struct policy_set *s); /* takes NULL, returns NULL */
/* The same set, but with file (may be NULL) in place of the one of that path. */
int policy_set_with(const struct policy_set *s, const char *path, struct policy_file *file,
		    struct policy_set **ret_set, char **ret_message);

/* Paths (char *) of cgroups that have sections, patterns left out: those above come before those below. */
const GPtrArray *policy_set_paths(const struct policy_set *s);
/* Of struct policy_section *, in the order of files: all that are about this path (a pattern's: its own text). */
const GPtrArray *policy_set_sections(const struct policy_set *s, const char *path);
const GPtrArray *policy_set_patterns(const struct policy_set *s); /* of struct policy_section * */
bool policy_set_is_empty(const struct policy_set *s);

/*
 * What cgroup path says itself; NULL: nothing. fields: a set of 1 << POLICY_…; of several the last one said counts. tier:
 * of Low, High, Max, else NULL.
 */
const struct policy_setting *policy_own(const struct policy_set *s, const char *path,
					unsigned int fields, const char *tier);
/* What holds for it: own or from above, as the head of this file says. *ret_from (may be NULL): the cgroup that says
 * so; g_free. Prefer and Spread are one decision: ask for both. */
const struct policy_setting *policy_effective(const struct policy_set *s, const char *path,
					      unsigned int fields, const char *tier,
					      char **ret_from);
/* All keys that a cgroup says something about itself, and that hold for it: of struct policy_setting *, ordered by
 * field and tier. */
GPtrArray *policy_own_all(const struct policy_set *s, const char *path);
GPtrArray *policy_effective_all(const struct policy_set *s, const char *path);

/*
 * A cgroup's own place in the sharing out of a tier. For budgets of all cgroups walk policy_set_paths(), or the cgroups
 * there are, from above: what a cgroup may have is never more than what is above it, which these numbers do not
 * include.
 */
struct policy_budget {
	uint64_t low;	     /* protected bytes; 0 where nothing is said */
	uint64_t high, max;  /* bytes; POLICY_NONE */
	unsigned int weight; /* of what is left over, against its siblings; 1 to 10000 */
};
void policy_budget(const struct policy_set *s, const char *path, const char *tier,
		   struct policy_budget *ret_budget);
