/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-id128.h>

#include "caller.h"
#include "storage.h"

struct registry;
struct user;

/* Why a range of a morsel is where it is (or was sent where it was sent). */
struct placement_record {
	uint64_t offset, length; /* bytes */
	const char *tiers;   /* wanted ones, best first, joined by spaces; "": anywhere. Interned */
	GRefString *rule;    /* "policy prefer=hbm0 dram0", "default policy", "move" */
	GRefString *reason;  /* "at creation", "moved to hbm0 by uid 1000 (job 7)" */
	uint64_t since_usec; /* real-time clock */
};

/* Records of a morsel are cut to this many by joining the two neighbours that are oldest. */
#define MORSEL_RECORDS_MAX 1024

/*
 * A morsel: what the daemon knows of one. Referenced; touched on the event loop only, except for object,
 * on which workers call while they hold a reference taken by the loop.
 */
struct morsel {
	grefcount refs;
	sd_id128_t id;
	char *name;
	uid_t owner;
	gid_t group;
	mode_t mode;	       /* 0666 at most */
	uint64_t size;	       /* bytes */
	uint64_t created_usec; /* real-time clock */
	GRefString *account;   /* cgroup of the creator, or "" */
	uint64_t cgroup_id;    /* its number, in the life that it was created in; 0: unknown */
	struct quota_account *charged; /* with one morsel and its bytes; NULL: nobody */
	struct placement *placement;
	GArray *initiators; /* of int; NULL: none given */
	GArray *records; /* of struct placement_record, by offset, covering the morsel; NULL: not yet */
	struct storage *storage;
	struct storage_object *object; /* NULL until it is there */

	/* The registry's. */
	struct registry *registry;
	struct user *user;
	uint64_t seq;
	GSequenceIter *in_all, *in_user;
	struct morsel *next_same_name, *prev_same_name;
	bool destroyed; /* no longer under its name */

	unsigned int moves; /* jobs that move it now (0 or 1) */
};

/* What its storage is told of it: borrowed from m. */
struct storage_spec morsel_spec(const struct morsel *m);

#define MORSEL_ID_LENGTH 32

/* NULL: a good name; else what is wrong with it ("is empty", …). Static. */
const char *morsel_name_check(const char *name);

struct morsel *morsel_new(const char *name, uid_t owner, gid_t group, mode_t mode, uint64_t size);
/* Charges the account with it: the morsel's until its memory is free. -EDQUOT: *ret_text. */
int morsel_charge(struct morsel *m, struct quota_account *account, char **ret_text);
/* Takes m's charge back from account, which need not be m->charged. */
void morsel_uncharge(const struct morsel *m, struct quota_account *account);
/* The same for what is there already, by owner and account, whatever the limits are. */
void morsel_charge_anyway(struct morsel *m, struct quota *quota);
struct morsel *morsel_ref(struct morsel *m);
struct morsel *morsel_unref(struct morsel *m); /* takes NULL, returns NULL */
typedef struct morsel Morsel;
static inline void morsel_unrefp(Morsel *m)
{
	morsel_unref(m);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Morsel, morsel_unrefp)

char *morsel_id_string(const struct morsel *m, char buffer[static MORSEL_ID_LENGTH + 1]);

enum {
	MORSEL_READ = 4,
	MORSEL_WRITE = 2
};
/* As for files: the owner's bits for the owner, the group's for its members, else the others'; root
 * may everything. want: MORSEL_READ, MORSEL_WRITE or both. */
bool morsel_may(const struct morsel *m, const struct caller *c, unsigned int want);
/* What one may not read does not exist, but for its owner. */
bool morsel_visible(const struct morsel *m, const struct caller *c);
bool morsel_is_owner(const struct morsel *m, const struct caller *c); /* or root */

/* The range was placed by a new rule: replaces what the records said of it. offset + length must be within
 * the morsel. tiers is copied; rule and reason are referenced. */
void morsel_record(struct morsel *m, uint64_t offset, uint64_t length, const char *tiers,
		   GRefString *rule, GRefString *reason, uint64_t now_usec);
/* A copy of its records, joined to at most max as MORSEL_RECORDS_MAX has it. Never NULL. */
GArray *morsel_records_copy(const struct morsel *m, unsigned int max);
