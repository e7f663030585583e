/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "users.h"

/*
 * What clients have of what is limited, charged twice over: to the user, and to every cgroup above the
 * client that has a limit (docs/quotas.md says which). All limits hold; a charge that goes
 * over one of them is not made at all.
 *
 * An account is one user in one cgroup. It is what a charge is made to and taken back from: a client that
 * changes user or cgroup afterwards keeps its old charges where they were made. New limits (a
 * new configuration, more memory) count for the next charge; what is over them stays.
 *
 * Event loop's thread only.
 */
struct quota;
struct quota_account;

struct quota *quota_new(struct users *users);
/* Accounts that are left must be let go of before. Takes NULL, returns NULL. */
struct quota *quota_free(struct quota *q);
/* capacity: bytes that shares are of. */
void quota_configure(struct quota *q, const struct config *config, uint64_t capacity);

/* cgroup: "/user.slice/…", or "" where it is not known: then only "/" counts. A reference. */
struct quota_account *quota_account_get(struct quota *q, uid_t uid, const char *cgroup);
struct quota_account *quota_account_ref(struct quota_account *a);
struct quota_account *quota_account_unref(struct quota_account *a); /* takes NULL, returns NULL */

/*
 * Charges and uncharges hold a reference on the account: it stays as long as it has something.
 * -EDQUOT: *ret_text says which limit, how much is used and how to raise it; what: the object
 * ("morsel 'x' of 4096 bytes"), or NULL.
 */
int quota_charge(struct quota_account *a, enum quota_kind kind, uint64_t n, const char *what,
		 char **ret_text);
/* Has the user no room for one more, whatever the cgroup? Cheap: for what may be asked very often. */
bool quota_user_is_full(struct quota *q, uid_t uid, enum quota_kind kind);
/* For what is there already: over limits too. */
void quota_charge_anyway(struct quota_account *a, enum quota_kind kind, uint64_t n);
void quota_uncharge(struct quota_account *a, enum quota_kind kind, uint64_t n);
/* Of the bytes charged, those of destroyed morsels that somebody still holds; 1 morsel each. */
void quota_linger(struct quota_account *a, int64_t bytes);

bool quota_lingers(const struct quota_account *a); /* anything of its user's */

/* One line of what an account is charged to: its user first, then its cgroups, outermost first. */
struct quota_line {
	const char *scope; /* "user", "cgroup" */
	const char *name;  /* borrowed until the next call of anything here */
	uint64_t used[QUOTA_KINDS], limit[QUOTA_KINDS]; /* QUOTA_NONE: no limit */
	uint64_t lingering_bytes;
};
/* false: there is no line i. */
bool quota_line(struct quota_account *a, unsigned int i, struct quota_line *ret_line);

/* All users and cgroups that have something, for the dump. */
void quota_dump(struct quota *q, GString *s);
