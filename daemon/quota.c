// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bus-error.h"
#include "quota.h"

/* A user, or a cgroup that a section of the configuration is about. */
struct group {
	struct quota *quota;
	grefcount refs; /* one of each account in it */
	char *key;	/* "1000", "/user.slice" */
	bool is_user;
	uid_t uid;
	uint64_t used[QUOTA_KINDS];
	uint64_t lingering;
	uint64_t limit[QUOTA_KINDS];
};

struct quota_account {
	struct quota *quota;
	grefcount refs;
	uid_t uid;
	char *cgroup;
	uint64_t used[QUOTA_KINDS];
	uint64_t lingering;
	GPtrArray *groups; /* of struct group: the user's, then the cgroups', outermost first */
};

struct quota {
	struct users *users;
	const struct config *config;
	uint64_t capacity;
	GHashTable *accounts; /* a set, by uid and cgroup */
	GHashTable *groups;   /* key → struct group */
};

static guint account_hash(gconstpointer p)
{
	const struct quota_account *a = p;

	return g_str_hash(a->cgroup) ^ (a->uid * 2654435761u);
}

static gboolean account_equal(gconstpointer p, gconstpointer q)
{
	const struct quota_account *a = p, *b = q;

	return a->uid == b->uid && strcmp(a->cgroup, b->cgroup) == 0;
}

struct quota *quota_new(struct users *users)
{
	struct quota *q = g_new0(struct quota, 1);

	q->users = users;
	q->accounts = g_hash_table_new(account_hash, account_equal);
	q->groups = g_hash_table_new(g_str_hash, g_str_equal);
	return q;
}

struct quota *quota_free(struct quota *q)
{
	if (q) {
		g_hash_table_unref(q->accounts);
		g_hash_table_unref(q->groups);
		g_free(q);
	}
	return NULL;
}

/* --- Groups --------------------------------------------------------------------------------- */

static uint64_t resolve(const struct quota *q, const struct config_limit *l)
{
	if (!l->percent)
		return l->value;
	return (unsigned __int128)q->capacity * l->value / 100;
}

static void take_limits(struct group *g, const struct config_limits *limits)
{
	for (unsigned int k = 0; k < QUOTA_KINDS; k++)
		if (limits->of[k].set)
			g->limit[k] = resolve(g->quota, &limits->of[k]);
}

static void find_limits(struct group *g)
{
	const struct config *c = g->quota->config;

	for (unsigned int k = 0; k < QUOTA_KINDS; k++)
		g->limit[k] = QUOTA_NONE;
	if (!c)
		return;
	if (g->is_user)
		take_limits(g, &c->user_limits);
	for (unsigned int i = 0; i < c->quotas->len; i++) {
		const struct config_quota *s = c->quotas->pdata[i];

		if (g->is_user ? !s->cgroup && s->uid == g->uid
			       : s->cgroup && config_quota_matches(s, g->key))
			take_limits(g, &s->limits);
	}
}

static void group_unref(gpointer p)
{
	struct group *g = p;

	if (!g_ref_count_dec(&g->refs))
		return;
	g_hash_table_remove(g->quota->groups, g->key);
	g_free(g->key);
	g_free(g);
}

static void join(struct quota_account *a, bool is_user, const char *key)
{
	struct group *g = g_hash_table_lookup(a->quota->groups, key);

	if (g) {
		g_ref_count_inc(&g->refs);
	} else {
		g = g_new0(struct group, 1);
		g_ref_count_init(&g->refs);
		g->quota = a->quota;
		g->key = g_strdup(key);
		g->is_user = is_user;
		g->uid = a->uid;
		find_limits(g);
		g_hash_table_insert(a->quota->groups, g->key, g);
	}
	for (unsigned int k = 0; k < QUOTA_KINDS; k++)
		g->used[k] += a->used[k];
	g->lingering += a->lingering;
	g_ptr_array_add(a->groups, g);
}

static bool some_section_matches(const struct quota *q, const char *prefix)
{
	for (unsigned int i = 0; i < q->config->quotas->len; i++) {
		const struct config_quota *s = q->config->quotas->pdata[i];

		if (s->cgroup && config_quota_matches(s, prefix))
			return true;
	}
	return false;
}

static void join_all(struct quota_account *a)
{
	g_autofree char *user = g_strdup_printf("%u", a->uid);
	g_autofree char *path = g_strdup(a->cgroup);
	unsigned int depth = 0, deepest = 0;

	join(a, true, user);
	if (!a->quota->config)
		return;
	for (unsigned int i = 0; i < a->quota->config->quotas->len; i++) {
		const struct config_quota *s = a->quota->config->quotas->pdata[i];

		if (s->cgroup)
			deepest = MAX(deepest, s->depth);
	}
	if (some_section_matches(a->quota, "/"))
		join(a, false, "/");
	/* Nobody makes this dear by nesting cgroups: what is deeper than any section is not looked at. */
	for (char *p = path; p && *p == '/' && p[1] && depth < deepest; depth++) {
		p = strchr(p + 1, '/');
		if (p)
			*p = '\0';
		if (some_section_matches(a->quota, path))
			join(a, false, path);
		if (p)
			*p = '/';
	}
}

static void leave_all(struct quota_account *a)
{
	for (unsigned int i = 0; i < a->groups->len; i++) {
		struct group *g = a->groups->pdata[i];

		for (unsigned int k = 0; k < QUOTA_KINDS; k++)
			g->used[k] -= a->used[k];
		g->lingering -= a->lingering;
	}
	g_ptr_array_set_size(a->groups, 0);
}

void quota_configure(struct quota *q, const struct config *config, uint64_t capacity)
{
	GHashTableIter iter;
	gpointer a;

	q->config = config;
	q->capacity = capacity;
	/* Other sections make other groups. All leave before the first joins: a group's limits are found
	 * when it is made. */
	g_hash_table_iter_init(&iter, q->accounts);
	while (g_hash_table_iter_next(&iter, &a, NULL))
		leave_all(a);
	g_hash_table_iter_init(&iter, q->accounts);
	while (g_hash_table_iter_next(&iter, &a, NULL))
		join_all(a);
}

/* --- Accounts ------------------------------------------------------------------------------- */

struct quota_account *quota_account_get(struct quota *q, uid_t uid, const char *cgroup)
{
	struct quota_account key = { .uid = uid, .cgroup = (char *)cgroup };
	struct quota_account *a = g_hash_table_lookup(q->accounts, &key);

	if (a)
		return quota_account_ref(a);
	a = g_new0(struct quota_account, 1);
	g_ref_count_init(&a->refs);
	a->quota = q;
	a->uid = uid;
	a->cgroup = g_strdup(cgroup);
	a->groups = g_ptr_array_new_with_free_func(group_unref);
	g_hash_table_add(q->accounts, a);
	join_all(a);
	return a;
}

struct quota_account *quota_account_ref(struct quota_account *a)
{
	g_ref_count_inc(&a->refs);
	return a;
}

struct quota_account *quota_account_unref(struct quota_account *a)
{
	if (!a || !g_ref_count_dec(&a->refs))
		return NULL;
	g_hash_table_remove(a->quota->accounts, a);
	leave_all(a);
	g_ptr_array_unref(a->groups);
	g_free(a->cgroup);
	g_free(a);
	return NULL;
}

/* --- Charges -------------------------------------------------------------------------------- */

static const struct {
	const char *unit, *user_key, *key;
} kinds[QUOTA_KINDS] = {
	[QUOTA_BYTES] = { "bytes of morsels", "BytesPerUser", "Bytes" },
	[QUOTA_MORSELS] = { "morsels", "MorselsPerUser", "Morsels" },
	[QUOTA_JOBS] = { "jobs queued or running", "JobsPerUser", "Jobs" },
	[QUOTA_CALLS] = { "calls that wait for their answers", "CallsPerUser", "Calls" },
	[QUOTA_CONNECTIONS] = { "connections", "ConnectionsPerUser", "Connections" },
};

static char *explain(const struct group *g, enum quota_kind kind, const char *what)
{
	g_autofree char *who = NULL, *held = NULL, *how = NULL;

	if (g->is_user) {
		const char *name = users_name(g->quota->users, g->uid);

		who = g_strdup(name);
		how = g_strdup_printf("%s= in [quota], or %s= in [user %s]", kinds[kind].user_key,
				      kinds[kind].key, name);
	} else {
		g_autofree char *quoted = quote(g->key);

		who = g_strdup_printf("cgroup %s", quoted);
		how = g_strdup_printf("%s= in a section [cgroup %s]", kinds[kind].key, g->key);
	}
	if (g->lingering > 0 && kind <= QUOTA_MORSELS)
		held = g_strdup_printf(" (some destroyed, but still open or mapped by a process:"
				       " %" PRIu64 " bytes)",
				       g->lingering);
	return g_strdup_printf("%s%s%s has %" PRIu64 " %s%s; the limit is %" PRIu64
			       " (%s of morseld.conf)",
			       what ? what : "", what ? ": " : "", who, g->used[kind],
			       kinds[kind].unit, held ? held : "", g->limit[kind], how);
}

int quota_charge(struct quota_account *a, enum quota_kind kind, uint64_t n, const char *what,
		 char **ret_text)
{
	for (unsigned int i = 0; i < a->groups->len; i++) {
		const struct group *g = a->groups->pdata[i];

		if (g->limit[kind] == QUOTA_NONE ||
		    (g->used[kind] <= g->limit[kind] && n <= g->limit[kind] - g->used[kind]))
			continue;
		*ret_text = explain(g, kind, what);
		return -EDQUOT;
	}
	quota_charge_anyway(a, kind, n);
	return 0;
}

bool quota_user_is_full(struct quota *q, uid_t uid, enum quota_kind kind)
{
	const struct group *g;
	char key[16];

	g_snprintf(key, sizeof(key), "%u", uid);
	g = g_hash_table_lookup(q->groups, key);
	return g && g->used[kind] >= g->limit[kind];
}

void quota_charge_anyway(struct quota_account *a, enum quota_kind kind, uint64_t n)
{
	quota_account_ref(a);
	a->used[kind] += n;
	for (unsigned int i = 0; i < a->groups->len; i++)
		((struct group *)a->groups->pdata[i])->used[kind] += n;
}

void quota_uncharge(struct quota_account *a, enum quota_kind kind, uint64_t n)
{
	g_assert(a->used[kind] >= n);
	a->used[kind] -= n;
	for (unsigned int i = 0; i < a->groups->len; i++)
		((struct group *)a->groups->pdata[i])->used[kind] -= n;
	quota_account_unref(a);
}

void quota_linger(struct quota_account *a, int64_t bytes)
{
	a->lingering += (uint64_t)bytes;
	for (unsigned int i = 0; i < a->groups->len; i++)
		((struct group *)a->groups->pdata[i])->lingering += (uint64_t)bytes;
}

bool quota_lingers(const struct quota_account *a)
{
	return ((const struct group *)a->groups->pdata[0])->lingering > 0;
}

static void make_line(const struct group *g, struct quota_line *ret_line)
{
	ret_line->scope = g->is_user ? "user" : "cgroup";
	ret_line->name = g->is_user ? users_name(g->quota->users, g->uid) : g->key;
	memcpy(ret_line->used, g->used, sizeof(g->used));
	memcpy(ret_line->limit, g->limit, sizeof(g->limit));
	ret_line->lingering_bytes = g->lingering;
}

bool quota_line(struct quota_account *a, unsigned int i, struct quota_line *ret_line)
{
	if (i >= a->groups->len)
		return false;
	make_line(a->groups->pdata[i], ret_line);
	return true;
}

void quota_dump(struct quota *q, GString *s)
{
	GHashTableIter iter;
	gpointer g;

	g_hash_table_iter_init(&iter, q->groups);
	while (g_hash_table_iter_next(&iter, NULL, &g)) {
		struct quota_line line;

		make_line(g, &line);
		g_string_append_printf(s, "  %s %s:", line.scope, line.name);
		for (unsigned int k = 0; k < QUOTA_KINDS; k++)
			if (line.limit[k] == QUOTA_NONE)
				g_string_append_printf(s, " %s %" PRIu64, kinds[k].key,
						       line.used[k]);
			else
				g_string_append_printf(s, " %s %" PRIu64 "/%" PRIu64, kinds[k].key,
						       line.used[k], line.limit[k]);
		g_string_append_printf(s, ", lingering %" PRIu64 " bytes\n", line.lingering_bytes);
	}
}
