/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdint.h>

#include "morsel.h"
#include "users.h"

/*
 * All morsels: by id, by owner and name, by name, and in the order of their creation (all, and each
 * owner's), so that no call's cost depends on how many there are by more than a logarithm.
 * Holds one reference on each. Event loop's thread only.
 */

/* What one uid has, and may have. Borrowed pointers are good until the uid has nothing left: take one
 * with registry_user_get(), give it back with registry_user_put(). */
struct user {
	uid_t uid;
	unsigned int uses;
	uint32_t morsels;
	uint64_t bytes;
	unsigned int jobs;  /* queued or running */
	unsigned int calls; /* answered by a worker, not yet answered */
	GSequence *owned;   /* of struct morsel, by seq */
};

struct registry_limits {
	uint64_t bytes_per_user;
	uint32_t morsels_per_user;
};

/* Called when the last reference of a morsel with an object goes: m->object must be freed (it may
 * take long: its pages go with it). */
typedef void (*registry_release_t)(struct morsel *m, void *userdata);

struct registry *registry_new(struct users *users, registry_release_t release, void *userdata);
struct registry *registry_free(struct registry *r); /* takes NULL, returns NULL */

/*
 * Reserve m's name, bytes and place for its owner and give it an id; it cannot be found until
 * registry_publish(). -EEXIST, -EDQUOT: *ret_text names object and limit. m stays the caller's.
 */
int registry_add(struct registry *r, struct morsel *m, const struct registry_limits *limits,
		 char **ret_text);
void registry_publish(struct registry *r, struct morsel *m);
/* Take it out, published or not; its name is free at once. Drops the registry's reference. */
void registry_remove(struct registry *r, struct morsel *m);

enum registry_scope {
	SCOPE_OWN, /* a bare name is the caller's own */
	SCOPE_ANY, /* for root: of whoever, if there is only one */
};
/*
 * The morsel that arg means to caller (see MORSEL in org.parperos.Morsel1.xml). Borrowed.
 * -ENOENT, -EINVAL (more than one): *ret_text says what was looked for.
 */
int registry_find(struct registry *r, const struct caller *caller, const char *arg,
		  enum registry_scope scope, struct morsel **ret_morsel, char **ret_text);

/* The published morsel created next after the one with seq (0: the first one), of owner only if not
 * NULL; NULL at the end. O(log n). */
struct morsel *registry_after(struct registry *r, const uid_t *owner, uint64_t seq);

unsigned int registry_morsels(const struct registry *r); /* published */
uint64_t registry_bytes(const struct registry *r);

struct user *registry_user_get(struct registry *r, uid_t uid);
void registry_user_put(struct registry *r, struct user *u);

/* For morsel.c. */
void registry_release_object(struct registry *r, struct morsel *m);
