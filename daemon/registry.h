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

/* Called when the last reference of a morsel with an object goes: m->object must be freed (it may
 * take long: its pages go with it). */
typedef void (*registry_release_t)(struct morsel *m, void *userdata);

struct registry *registry_new(struct users *users, registry_release_t release, void *userdata);
struct registry *registry_free(struct registry *r); /* takes NULL, returns NULL */

/*
 * Reserve m's name and place for its owner and give it an id; it cannot be found until
 * registry_publish(). -EEXIST: *ret_text names it. m stays the caller's.
 */
int registry_add(struct registry *r, struct morsel *m, char **ret_text);
/* Give it its number, in the order of which it is listed: before registry_publish(). */
void registry_number(struct registry *r, struct morsel *m);
void registry_publish(struct registry *r, struct morsel *m);
/* One of before the start, instead of registry_add(): with its id and number. -EEXIST: there is one of that id,
 * or of that owner and name (*ret_text). */
int registry_restore(struct registry *r, struct morsel *m, char **ret_text);
/* The published one with that id, or NULL. Borrowed. */
struct morsel *registry_by_id(struct registry *r, sd_id128_t id);
/* Take it out, published or not; its name is free at once. Drops the registry's reference. */
void registry_remove(struct registry *r, struct morsel *m);

/* A published morsel gets another owner. -EEXIST: who has one of that name already (*ret_text). */
int registry_set_owner(struct registry *r, struct morsel *m, uid_t owner, char **ret_text);

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

/* For morsel.c. */
void registry_release_object(struct registry *r, struct morsel *m);
