// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "users.h"

/* Users remembered; a machine has fewer, and what a directory holds is not copied here. */
#define USERS_MAX 65536

struct users {
	struct worker_pool *pool;
	GHashTable *by_uid;  /* uid → char * */
	GHashTable *by_name; /* borrowed name → uid */
	grefcount refs;	     /* one of the owner, one of each question on its way */
	bool gone;
};

struct question {
	struct work work;
	struct users *users;
	uid_t uid;
	char *name;
};

static void users_unref(struct users *u)
{
	if (!g_ref_count_dec(&u->refs))
		return;
	g_hash_table_unref(u->by_name);
	g_hash_table_unref(u->by_uid);
	g_free(u);
}

struct users *users_new(struct worker_pool *pool)
{
	struct users *u = g_new0(struct users, 1);

	u->pool = pool;
	u->by_uid = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	u->by_name = g_hash_table_new(g_str_hash, g_str_equal);
	g_ref_count_init(&u->refs);
	return u;
}

struct users *users_free(struct users *u)
{
	if (u) {
		u->gone = true;
		users_unref(u);
	}
	return NULL;
}

static void forget(struct users *u, uid_t uid)
{
	const char *old = g_hash_table_lookup(u->by_uid, GUINT_TO_POINTER(uid));

	if (old && g_hash_table_lookup(u->by_name, old) == GUINT_TO_POINTER(uid))
		g_hash_table_remove(u->by_name, old);
	g_hash_table_remove(u->by_uid, GUINT_TO_POINTER(uid));
}

static const char *remember(struct users *u, uid_t uid, const char *name)
{
	char *copy = g_strdup(name);

	forget(u, uid);
	if (g_hash_table_size(u->by_uid) >= USERS_MAX) {
		g_hash_table_remove_all(u->by_name);
		g_hash_table_remove_all(u->by_uid);
	}
	g_hash_table_insert(u->by_uid, GUINT_TO_POINTER(uid), copy);
	/* The first uid keeps a name that two have. */
	if (!g_hash_table_contains(u->by_name, copy))
		g_hash_table_insert(u->by_name, copy, GUINT_TO_POINTER(uid));
	return copy;
}

static void question_run(struct work *w)
{
	struct question *q = (struct question *)w;
	struct passwd pwd, *found = NULL;
	char buffer[4096];

	if (getpwuid_r(q->uid, &pwd, buffer, sizeof(buffer), &found) == 0 && found)
		q->name = g_strdup(found->pw_name);
}

static void question_done(struct work *w, bool ran)
{
	struct question *q = (struct question *)w;

	if (q->name && !q->users->gone && g_utf8_validate(q->name, -1, NULL))
		remember(q->users, q->uid, q->name);
	users_unref(q->users);
	g_free(q->name);
	g_free(q);
}

static bool find_in_file(uid_t uid, char name[static 256])
{
	FILE *f = fopen("/etc/passwd", "re");
	struct passwd pwd, *p;
	char buffer[4096];
	bool found = false;

	if (!f)
		return false;
	while (!found && fgetpwent_r(f, &pwd, buffer, sizeof(buffer), &p) == 0)
		if (p->pw_uid == uid && g_utf8_validate(p->pw_name, -1, NULL)) {
			g_strlcpy(name, p->pw_name, 256);
			found = true;
		}
	fclose(f);
	return found;
}

const char *users_name(struct users *u, uid_t uid)
{
	const char *known = g_hash_table_lookup(u->by_uid, GUINT_TO_POINTER(uid));
	struct question *q;
	char name[256];

	if (known)
		return known;
	if (find_in_file(uid, name))
		return remember(u, uid, name);

	if (u->pool) {
		q = g_new0(struct question, 1);
		q->work.run = question_run;
		q->work.done = question_done;
		q->work.owner = uid;
		q->users = u;
		q->uid = uid;
		g_ref_count_inc(&u->refs);
		worker_pool_submit(u->pool, &q->work);
	}
	g_snprintf(name, sizeof(name), "%u", uid);
	return remember(u, uid, name);
}

bool users_find(struct users *u, const char *name, uid_t *ret_uid)
{
	gpointer uid;
	guint64 n;

	if (g_ascii_string_to_unsigned(name, 10, 0, UINT32_MAX - 1, &n, NULL)) {
		*ret_uid = n;
		return true;
	}
	if (!g_hash_table_lookup_extended(u->by_name, name, NULL, &uid))
		return false;
	*ret_uid = GPOINTER_TO_UINT(uid);
	return true;
}
