// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bus-error.h"
#include "registry.h"

/* Same names of different owners looked at for a hint: they may be many. */
#define HINT_LOOKS 64
#define CANDIDATES_MAX 5

/* The morsels of one uid; there while it has some. */
struct user {
	uid_t uid;
	unsigned int uses;
	GSequence *owned; /* of struct morsel, by seq */
};

struct registry {
	GHashTable *by_id;    /* of struct morsel, a set keyed by id */
	GHashTable *by_owner; /* of struct morsel, a set keyed by owner and name */
	GHashTable *by_name;  /* borrowed name → first struct morsel of that name */
	GHashTable *by_uid;   /* uid → struct user */
	GSequence *all;	      /* of struct morsel, by seq */
	uint64_t last_seq;
	uint64_t bytes;
	struct users *users;
	registry_release_t release;
	void *userdata;
};

static guint id_hash(gconstpointer p)
{
	/* Random bits: any of them are as good as all. */
	return ((const struct morsel *)p)->id.qwords[0];
}

static gboolean id_equal(gconstpointer a, gconstpointer b)
{
	return sd_id128_equal(((const struct morsel *)a)->id, ((const struct morsel *)b)->id);
}

static guint owner_hash(gconstpointer p)
{
	const struct morsel *m = p;

	return g_str_hash(m->name) ^ (m->owner * 2654435761u);
}

static gboolean owner_equal(gconstpointer a, gconstpointer b)
{
	const struct morsel *m = a, *n = b;

	return m->owner == n->owner && strcmp(m->name, n->name) == 0;
}

struct registry *registry_new(struct users *users, registry_release_t release, void *userdata)
{
	struct registry *r = g_new0(struct registry, 1);

	r->by_id = g_hash_table_new(id_hash, id_equal);
	r->by_owner = g_hash_table_new(owner_hash, owner_equal);
	r->by_name = g_hash_table_new(g_str_hash, g_str_equal);
	r->by_uid = g_hash_table_new(NULL, NULL);
	r->all = g_sequence_new(NULL);
	r->users = users;
	r->release = release;
	r->userdata = userdata;
	return r;
}

struct registry *registry_free(struct registry *r)
{
	GHashTableIter iter;
	gpointer key;

	if (!r)
		return NULL;
	for (;;) {
		g_hash_table_iter_init(&iter, r->by_owner);
		if (!g_hash_table_iter_next(&iter, &key, NULL))
			break;
		registry_remove(r, key);
	}
	g_sequence_free(r->all);
	g_hash_table_unref(r->by_id);
	g_hash_table_unref(r->by_owner);
	g_hash_table_unref(r->by_name);
	g_hash_table_unref(r->by_uid);
	g_free(r);
	return NULL;
}

static struct user *user_get(struct registry *r, uid_t uid)
{
	struct user *u = g_hash_table_lookup(r->by_uid, GUINT_TO_POINTER(uid));

	if (!u) {
		u = g_new0(struct user, 1);
		u->uid = uid;
		u->owned = g_sequence_new(NULL);
		g_hash_table_insert(r->by_uid, GUINT_TO_POINTER(uid), u);
	}
	u->uses++;
	return u;
}

static void user_put(struct registry *r, struct user *u)
{
	if (--u->uses > 0)
		return;
	g_hash_table_remove(r->by_uid, GUINT_TO_POINTER(u->uid));
	g_sequence_free(u->owned);
	g_free(u);
}

static gint compare_seq(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct morsel *m = a, *n = b;

	return m->seq < n->seq ? -1 : m->seq > n->seq;
}

static int refuse_name(struct registry *r, const struct morsel *m, uid_t owner, char **ret_text)
{
	g_autofree char *name = quote(m->name);

	*ret_text =
		g_strdup_printf("%s already has a morsel %s", users_name(r->users, owner), name);
	return -EEXIST;
}

static void enter(struct registry *r, struct morsel *m)
{
	struct morsel *first;

	m->registry = r;
	m->user = user_get(r, m->owner);
	g_hash_table_add(r->by_owner, morsel_ref(m));

	first = g_hash_table_lookup(r->by_name, m->name);
	m->next_same_name = first;
	if (first)
		first->prev_same_name = m;
	g_hash_table_replace(r->by_name, m->name, m);
}

int registry_add(struct registry *r, struct morsel *m, char **ret_text)
{
	int k;

	if (g_hash_table_contains(r->by_owner, m))
		return refuse_name(r, m, m->owner, ret_text);
	do {
		k = sd_id128_randomize(&m->id);
		if (k < 0) {
			*ret_text = g_strdup("no random numbers for an id");
			return k;
		}
	} while (g_hash_table_contains(r->by_id, m));
	enter(r, m);
	return 0;
}

int registry_restore(struct registry *r, struct morsel *m, char **ret_text)
{
	if (g_hash_table_contains(r->by_id, m)) {
		*ret_text = g_strdup("its id is another one's");
		return -EEXIST;
	}
	if (g_hash_table_contains(r->by_owner, m))
		return refuse_name(r, m, m->owner, ret_text);
	r->last_seq = MAX(r->last_seq, m->seq);
	enter(r, m);
	return 0;
}

void registry_number(struct registry *r, struct morsel *m)
{
	m->seq = ++r->last_seq;
}

void registry_publish(struct registry *r, struct morsel *m)
{
	g_hash_table_add(r->by_id, m);
	/* Mostly the last, but not where a keeper went away in between. */
	m->in_all = g_sequence_insert_sorted(r->all, m, compare_seq, NULL);
	m->in_user = g_sequence_insert_sorted(m->user->owned, m, compare_seq, NULL);
	r->bytes += m->size;
}

struct morsel *registry_by_id(struct registry *r, sd_id128_t id)
{
	struct morsel key = { .id = id };

	return g_hash_table_lookup(r->by_id, &key);
}

int registry_set_owner(struct registry *r, struct morsel *m, uid_t owner, char **ret_text)
{
	struct morsel key = { .owner = owner, .name = m->name };

	if (owner == m->owner)
		return 0;
	if (g_hash_table_contains(r->by_owner, &key))
		return refuse_name(r, m, owner, ret_text);
	/* The table's key is the morsel itself. */
	g_hash_table_remove(r->by_owner, m);
	g_sequence_remove(m->in_user);
	user_put(r, m->user);
	m->owner = owner;
	m->user = user_get(r, owner);
	m->in_user = g_sequence_insert_sorted(m->user->owned, m, compare_seq, NULL);
	g_hash_table_add(r->by_owner, m);
	return 0;
}

void registry_remove(struct registry *r, struct morsel *m)
{
	m->destroyed = true;
	if (m->in_all) {
		g_sequence_remove(m->in_all);
		g_sequence_remove(m->in_user);
		m->in_all = m->in_user = NULL;
		g_hash_table_remove(r->by_id, m);
		r->bytes -= m->size;
	}

	if (m->next_same_name)
		m->next_same_name->prev_same_name = m->prev_same_name;
	if (m->prev_same_name)
		m->prev_same_name->next_same_name = m->next_same_name;
	else if (m->next_same_name) /* the key is the first one's own string */
		g_hash_table_replace(r->by_name, m->next_same_name->name, m->next_same_name);
	else
		g_hash_table_remove(r->by_name, m->name);
	m->next_same_name = m->prev_same_name = NULL;

	user_put(r, m->user);
	m->user = NULL;

	g_hash_table_remove(r->by_owner, m);
	morsel_unref(m);
}

void registry_release_object(struct registry *r, struct morsel *m)
{
	r->release(m, r->userdata);
}

static bool parse_id(const char *arg, sd_id128_t *ret_id)
{
	return strlen(arg) == MORSEL_ID_LENGTH && sd_id128_from_string(arg, ret_id) >= 0;
}

static struct morsel *find_owned(struct registry *r, uid_t owner, const char *name)
{
	struct morsel key = { .owner = owner, .name = (char *)name };
	struct morsel *m = g_hash_table_lookup(r->by_owner, &key);

	return m && m->in_all ? m : NULL;
}

/* root's bare name, or a hint for others: who else has one? */
static int find_foreign(struct registry *r, const struct caller *caller, const char *name,
			bool resolve, struct morsel **ret_morsel, char **ret_text)
{
	g_autofree char *quoted = quote(name);
	g_autoptr(GString) candidates = g_string_new(NULL);
	struct morsel *m = g_hash_table_lookup(r->by_name, name);
	struct morsel *only = NULL;
	unsigned int n = 0;

	for (unsigned int looks = 0; m && looks < HINT_LOOKS; m = m->next_same_name, looks++) {
		if (!m->in_all || m->owner == caller->uid || !morsel_visible(m, caller))
			continue;
		only = m;
		n++;
		if (n > CANDIDATES_MAX) {
			g_string_append(candidates, ", …");
			break;
		}
		g_string_append_printf(candidates, "%s%s:%s", n > 1 ? ", " : "",
				       users_name(r->users, m->owner), name);
	}

	if (n == 0) {
		*ret_text = g_strdup_printf("no morsel %s", quoted);
		return -ENOENT;
	}
	if (resolve && n == 1) {
		*ret_morsel = only;
		return 0;
	}
	if (candidates->len > 1024)
		g_string_truncate(candidates, 0);
	if (resolve) {
		*ret_text = g_strdup_printf("%s is the name of more than one morsel: say which: %s",
					    quoted, candidates->str);
		return -EINVAL;
	}
	*ret_text =
		g_strdup_printf("no morsel %s of your own; there is: %s", quoted, candidates->str);
	return -ENOENT;
}

int registry_find(struct registry *r, const struct caller *caller, const char *arg,
		  enum registry_scope scope, struct morsel **ret_morsel, char **ret_text)
{
	const char *colon = strchr(arg, ':');
	g_autofree char *quoted = NULL;
	struct morsel *m = NULL;
	struct morsel key;
	uid_t owner;

	if (parse_id(arg, &key.id)) {
		m = g_hash_table_lookup(r->by_id, &key);
	} else if (colon) {
		g_autofree char *user = g_strndup(arg, colon - arg);

		if (users_find(r->users, user, &owner))
			m = find_owned(r, owner, colon + 1);
	} else {
		m = find_owned(r, caller->uid, arg);
		if (!m)
			return find_foreign(r, caller, arg,
					    scope == SCOPE_ANY && caller_is_root(caller),
					    ret_morsel, ret_text);
	}

	if (!m || !morsel_visible(m, caller)) {
		quoted = quote(arg);
		*ret_text = g_strdup_printf("no morsel %s", quoted);
		return -ENOENT;
	}
	*ret_morsel = m;
	return 0;
}

struct morsel *registry_after(struct registry *r, const uid_t *owner, uint64_t seq)
{
	struct morsel key = { .seq = seq };
	GSequence *sequence = r->all;
	GSequenceIter *iter;
	struct user *u;

	if (owner) {
		u = g_hash_table_lookup(r->by_uid, GUINT_TO_POINTER(*owner));
		if (!u)
			return NULL;
		sequence = u->owned;
	}
	/* Returns the place behind all that are equal: the next one's. */
	iter = g_sequence_search(sequence, &key, compare_seq, NULL);
	return g_sequence_iter_is_end(iter) ? NULL : g_sequence_get(iter);
}

unsigned int registry_morsels(const struct registry *r)
{
	return g_hash_table_size(r->by_id);
}

uint64_t registry_bytes(const struct registry *r)
{
	return r->bytes;
}
