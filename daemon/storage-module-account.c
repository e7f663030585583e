// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage-module-account.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup-path.h"
#include "clock.h"

/* Accounts with this bit are objects': a cgroup's number (kernfs) does not come so far. */
#define ACCOUNT_OBJECTS (UINT64_C(1) << 63)

/* Of numbers that another cgroup's account may have. */
#define TRIES 64

#define COLLECT_USEC (10 * UINT64_C(1000000))

static void cgroup_free(gpointer p)
{
	struct module_cgroup *c = p;

	g_free(c->path);
	g_free(c);
}

GHashTable *module_cgroups_new(void)
{
	return g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, cgroup_free);
}

static uint64_t object_account(const struct module_storage *m, uint32_t number)
{
	return ACCOUNT_OBJECTS | (uint64_t)m->instance << 32 | number;
}

bool module_account_is_ours(const struct module_storage *m, uint64_t account)
{
	return account & ACCOUNT_OBJECTS && (account & ~ACCOUNT_OBJECTS) >> 32 == m->instance;
}

static int account_create(struct module_storage *m, uint64_t id, uint64_t parent)
{
	struct morsel_account_create create = { .size = sizeof(create),
						.id = id,
						.parent = parent };

	return m->sys->call(m->fd, MORSEL_IOC_ACCOUNT_CREATE, &create);
}

static int account_destroy(struct module_storage *m, uint64_t id)
{
	struct morsel_id which = { .size = sizeof(which), .id = id };

	return m->sys->call(m->fd, MORSEL_IOC_ACCOUNT_DESTROY, &which);
}

static int account_stat(struct module_storage *m, uint64_t id, uint32_t flags,
			struct morsel_account_stat *ret_stat)
{
	*ret_stat =
		(struct morsel_account_stat){ .size = sizeof(*ret_stat), .flags = flags, .id = id };
	return m->sys->call(m->fd, MORSEL_IOC_ACCOUNT_STAT, ret_stat);
}

/* --- Limits --------------------------------------------------------------------------------- */

/* Of tier number; nothing is said twice. */
static void set_limit(struct module_storage *m, struct module_cgroup *c, uint32_t number)
{
	const struct policy_setting *max =
		m->policies
			? policy_own(m->policies, c->path, 1u << POLICY_MAX, m->tier_names[number])
			: NULL;
	struct morsel_account_limit limit = {
		.size = sizeof(limit),
		.tier = number,
		.id = c->id,
		.limit_bytes = max ? max->number : MORSEL_NO_LIMIT,
	};

	if (c->limit_known & UINT32_C(1) << number && c->limit[number] == limit.limit_bytes)
		return;
	if (m->sys->call(m->fd, MORSEL_IOC_ACCOUNT_LIMIT, &limit) < 0)
		return;
	c->limit[number] = limit.limit_bytes;
	c->limit_known |= UINT32_C(1) << number;
}

static void set_limits(struct module_storage *m, struct module_cgroup *c)
{
	/* Of an earlier life: its limits stay until it is known again whose it is. */
	if (!c->path)
		return;
	for (uint32_t n = 0; n < MORSEL_MAX_TIERS; n++)
		if (m->tier_names[n])
			set_limit(m, c, n);
}

void storage_module_set_policies(struct storage *s, struct policy_set *policies)
{
	struct module_storage *m = (struct module_storage *)s;
	GHashTableIter iter;
	gpointer c;

	pthread_mutex_lock(&m->lock);
	policy_set_unref(m->policies);
	m->policies = policies ? policy_set_ref(policies) : NULL;
	g_hash_table_iter_init(&iter, m->cgroups);
	while (g_hash_table_iter_next(&iter, NULL, &c)) {
		set_limits(m, c);
		module_policy_tell(m, c);
	}
	pthread_mutex_unlock(&m->lock);
}

void module_account_tier(struct module_storage *m, uint32_t number, const char *name)
{
	GHashTableIter iter;
	gpointer c;

	if (number >= MORSEL_MAX_TIERS || g_strcmp0(m->tier_names[number], name) == 0)
		return;
	g_free(m->tier_names[number]);
	m->tier_names[number] = g_strdup(name);
	g_hash_table_iter_init(&iter, m->cgroups);
	while (g_hash_table_iter_next(&iter, NULL, &c)) {
		struct module_cgroup *cgroup = c;

		cgroup->limit_known &= ~(UINT32_C(1) << number);
		if (cgroup->path)
			set_limit(m, cgroup, number);
		module_policy_tell(m, cgroup);
	}
}

/* --- Making --------------------------------------------------------------------------------- */

static struct module_cgroup *cgroup_add(struct module_storage *m, uint64_t id)
{
	struct module_cgroup *c = g_hash_table_lookup(m->cgroups, &id);

	if (c)
		return c;
	c = g_new0(struct module_cgroup, 1);
	c->id = id;
	g_hash_table_insert(m->cgroups, &c->id, c);
	return c;
}

static bool has_cgroups(const struct module_storage *m)
{
	return faccessat(m->root_fd, CGROUP_DIR "/cgroup.controllers", F_OK, 0) == 0;
}

/* *at: the account above; then this one. */
static int add_level(struct module_storage *m, const char *path, uint64_t id, bool fresh,
		     struct module_cgroup **at)
{
	struct module_cgroup *c = g_hash_table_lookup(m->cgroups, &id);
	int r;

	if (c && c->path && !fresh) {
		*at = c;
		return 0;
	}
	r = account_create(m, id, *at ? (*at)->id : 0);
	if (r < 0 && r != -EEXIST)
		return r;
	c = cgroup_add(m, id);
	g_free(c->path);
	c->path = g_strdup(path);
	/* It may be another account than before. */
	c->limit_known = 0;
	set_limits(m, c);
	*at = c;
	return 0;
}

/* Down from the root, as far as there are cgroups and the module lets us. */
static int add_levels(struct module_storage *m, const char *path, uint64_t id, bool fresh,
		      struct module_cgroup **ret)
{
	struct module_cgroup *at = NULL;
	g_autofree char *prefix = g_strdup(path);
	char *p = prefix;
	int r;

	r = add_level(m, "/", cgroup_number(m->root_fd, ""), fresh, &at);
	/* "/..": above what we see. */
	if (strstr(path, "/.."))
		p = NULL;
	for (unsigned int depth = 1; r >= 0 && p && *p == '/' && p[1]; depth++) {
		uint64_t number;

		p = strchr(p + 1, '/');
		if (p)
			*p = '\0';
		number = cgroup_number(m->root_fd, prefix);
		if (number == 0 || depth >= MODULE_CGROUPS_DEPTH || (!p && id && number != id))
			break;
		r = add_level(m, prefix, number, fresh, &at);
		if (p)
			*p = '/';
	}
	*ret = at;
	return r;
}

/* The number is found again by any daemon of this mark: its parent says whose it is. */
static int find_leaf(struct module_storage *m, uint64_t parent, uint64_t *ret)
{
	uint32_t number = (uint32_t)(parent ^ parent >> 32);

	for (unsigned int i = 0; i < TRIES; i++) {
		uint64_t id = object_account(m, number + i);
		struct morsel_account_stat stat;
		int r = account_create(m, id, parent);

		if (r < 0 && r != -EEXIST)
			return r;
		if (r == -EEXIST && (account_stat(m, id, 0, &stat) < 0 || stat.parent != parent))
			continue;
		*ret = id;
		return 0;
	}
	return -EEXIST;
}

int module_account_get(struct module_storage *m, const char *path, uint64_t id, bool fresh,
		       uint64_t *ret_account, char **ret_error)
{
	struct module_cgroup *c = id ? g_hash_table_lookup(m->cgroups, &id) : NULL;
	int r = 0;

	if (c && c->leaf && !fresh) {
		*ret_account = c->leaf;
		return 0;
	}
	c = NULL;
	if (has_cgroups(m))
		r = add_levels(m, path, id, fresh, &c);
	if (r >= 0 && c && c->leaf && !fresh)
		*ret_account = c->leaf;
	else if (r >= 0)
		r = find_leaf(m, c ? c->id : 0, ret_account);
	if (r >= 0 && c) {
		c->leaf = *ret_account;
		module_policy_tell(m, c);
	}
	if (r < 0)
		*ret_error = g_strdup_printf("the module makes no account of cgroup '%s': %s", path,
					     g_strerror(-r));
	return r;
}

/* --- What there is, and its end -------------------------------------------------------------- */

static void add_above(struct module_storage *m, uint64_t id)
{
	struct morsel_account_stat stat;

	for (unsigned int i = 0; id && i <= MODULE_CGROUPS_DEPTH; i++) {
		cgroup_add(m, id);
		if (account_stat(m, id, 0, &stat) < 0)
			break;
		id = stat.parent;
	}
}

void module_accounts_scan(struct module_storage *m)
{
	struct morsel_account_stat stat;

	for (uint64_t at = ACCOUNT_OBJECTS - 1;
	     account_stat(m, at, MORSEL_ACCOUNT_NEXT, &stat) >= 0 && stat.id > at; at = stat.id)
		if (module_account_is_ours(m, stat.id))
			add_above(m, stat.parent);
}

/* Numbers of all cgroups below a directory, itself included. */
static void find_live(int parent, const char *name, GHashTable *live, unsigned int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;
	uint64_t *id;

	if (fd >= 0 && !dir)
		close(fd);
	if (!dir)
		return;
	if (fstat(fd, &st) == 0) {
		id = g_new(uint64_t, 1);
		*id = st.st_ino;
		g_hash_table_add(live, id);
	}
	while (depth < MODULE_CGROUPS_DEPTH && (e = readdir(dir)))
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0)
			find_live(fd, e->d_name, live, depth + 1);
	closedir(dir);
}

/* live: NULL: let all go. */
static void let_go(struct module_storage *m, GHashTable *live)
{
	struct morsel_account_stat stat;
	bool some = true;

	for (uint64_t at = ACCOUNT_OBJECTS - 1;
	     account_stat(m, at, MORSEL_ACCOUNT_NEXT, &stat) >= 0 && stat.id > at; at = stat.id) {
		struct module_cgroup *c = g_hash_table_lookup(m->cgroups, &stat.parent);

		if (!module_account_is_ours(m, stat.id) ||
		    (live && g_hash_table_contains(live, &stat.parent)))
			continue;
		if (account_destroy(m, stat.id) < 0)
			continue;
		if (m->place)
			m->place(stat.id, &(struct morsel_policy){}, m->place_userdata);
		if (c)
			c->leaf = 0;
	}
	/* Whatever has nothing below it, until that is no more. */
	while (some) {
		GHashTableIter iter;
		gpointer p;

		some = false;
		g_hash_table_iter_init(&iter, m->cgroups);
		while (g_hash_table_iter_next(&iter, NULL, &p)) {
			struct module_cgroup *c = p;
			int r;

			if (live && g_hash_table_contains(live, &c->id))
				continue;
			r = account_destroy(m, c->id);
			if (r < 0 && r != -ENOENT)
				continue;
			g_hash_table_iter_remove(&iter);
			some = true;
		}
	}
}

void module_accounts_collect(struct module_storage *m)
{
	g_autoptr(GHashTable) live = NULL;
	uint64_t now = now_monotonic();
	bool due;

	pthread_mutex_lock(&m->lock);
	due = m->collected == 0 || now - m->collected >= COLLECT_USEC;
	if (due)
		m->collected = now;
	pthread_mutex_unlock(&m->lock);
	if (!due || !has_cgroups(m))
		return;
	live = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	find_live(m->root_fd, CGROUP_DIR, live, 0);
	pthread_mutex_lock(&m->lock);
	let_go(m, live);
	pthread_mutex_unlock(&m->lock);
}

void module_accounts_release(struct module_storage *m)
{
	let_go(m, NULL);
}

/* --- For whoever asks ------------------------------------------------------------------------ */

GArray *storage_module_cgroup_tiers(struct storage *s, const char *path)
{
	struct module_storage *m = (struct module_storage *)s;
	GArray *tiers = g_array_new(false, true, sizeof(struct storage_module_tier));
	struct morsel_account_stat stat;
	uint64_t id = cgroup_number(m->root_fd, strcmp(path, "/") == 0 ? "" : path);

	pthread_mutex_lock(&m->lock);
	for (uint32_t n = 0; id && account_stat(m, id, 0, &stat) >= 0 && n < MORSEL_MAX_TIERS;
	     n++) {
		struct storage_module_tier t = { .used = stat.use_bytes[n],
						 .limit = stat.limit_bytes[n] };

		t.name = m->tier_names[n] ? g_intern_string(m->tier_names[n]) : NULL;
		if (t.name && (t.used > 0 || t.limit != MORSEL_NO_LIMIT))
			g_array_append_val(tiers, t);
	}
	pthread_mutex_unlock(&m->lock);
	return tiers;
}
