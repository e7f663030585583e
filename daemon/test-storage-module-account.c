// SPDX-License-Identifier: GPL-2.0-or-later
/* Accounts of cgroups, and their limits. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cgroup-path.h"
#include "storage-module-account.h"
#include "storage-module-fixture.h"
#include "storage-module-open.h"

static uint64_t make_cgroup(struct fixture *f, const char *path)
{
	g_autofree char *dir = g_strconcat(f->tree.path, "/" CGROUP_DIR, path, NULL);
	struct stat st;

	g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
	g_assert_cmpint(stat(dir, &st), ==, 0);
	return st.st_ino;
}

static void remove_cgroup(struct fixture *f, const char *path)
{
	g_autofree char *dir = g_strconcat(CGROUP_DIR, path, NULL);

	tree_remove(&f->tree, dir);
}

static struct storage_object *create_from(struct fixture *f, const char *cgroup, uint64_t id)
{
	struct storage_spec spec = fixture_spec(200 + fake.n_objects, MIB, NULL);
	g_autofree char *error = NULL;
	struct storage_object *o;

	spec.cgroup = cgroup;
	spec.cgroup_id = id;
	if (f->s->ops->create(f->s, f->inv, &spec, &o, &error) < 0)
		g_error("create: %s", error);
	return o;
}

static uint64_t account_of(const struct storage_object *o)
{
	return fake_find(o->id)->account;
}

static uint64_t above(uint64_t account)
{
	g_assert_nonnull(fake_account_find(account));
	return fake_account_find(account)->parent;
}

/* Of an older daemon, too. */
static void done(struct fixture *f, struct storage_object *o)
{
	fake_destroy(fake_find(o->id));
	f->s->ops->free(o);
}

static void collect(struct fixture *f)
{
	((struct module_storage *)f->s)->collected = 0;
	module_accounts_collect((struct module_storage *)f->s);
}

static void test_cgroups(struct fixture *f, gconstpointer data)
{
	uint64_t root = make_cgroup(f, ""), slice = make_cgroup(f, "/a.slice");
	uint64_t one = make_cgroup(f, "/a.slice/one"), two = make_cgroup(f, "/a.slice/two");
	struct storage_object *a, *b, *c, *other;
	uint64_t leaf, theirs;

	tree_write(&f->tree, CGROUP_DIR "/cgroup.controllers", "memory\n");
	a = create_from(f, "/a.slice/one", one);
	leaf = account_of(a);
	g_assert_cmpuint(above(leaf), ==, one);
	g_assert_cmpuint(above(one), ==, slice);
	g_assert_cmpuint(above(slice), ==, root);
	g_assert_cmpuint(above(root), ==, 0);
	/* Another user of it has the same, another cgroup its own. */
	b = create_from(f, "/a.slice/one", one);
	g_assert_cmpuint(account_of(b), ==, leaf);
	c = create_from(f, "/a.slice/two", two);
	g_assert_cmpuint(above(account_of(c)), ==, two);
	g_assert_cmpuint(fake.n_accounts, ==, 6);

	/* The next daemon finds and makes the same; one of another mark has a leaf of its own. */
	fixture_restart(f);
	f->s->ops->free(b);
	b = create_from(f, "/a.slice/one", one);
	g_assert_cmpuint(account_of(b), ==, leaf);
	storage_module_free(f->s);
	g_assert_cmpint(storage_module_new_with(f->tree.fd, open("/dev/null", O_RDWR | O_CLOEXEC),
						8, &fake_sys, &f->s),
			==, 0);
	other = create_from(f, "/a.slice/one", one);
	g_assert_cmpuint(account_of(other), !=, leaf);
	theirs = account_of(other);
	g_assert_cmpuint(above(theirs), ==, one);
	done(f, other);
	fixture_restart(f);

	/* One that is gone, or is another one by the same name: the next above is charged. */
	other = create_from(f, "/a.slice/gone", 4711);
	g_assert_cmpuint(above(account_of(other)), ==, slice);
	done(f, other);
	other = create_from(f, "/a.slice/two", two + 1000);
	g_assert_cmpuint(above(account_of(other)), ==, slice);
	done(f, other);
	/* Unknown, or above what we see: the whole machine's. */
	other = create_from(f, "", 0);
	g_assert_cmpuint(above(account_of(other)), ==, root);
	done(f, other);
	other = create_from(f, "/../x", 0);
	g_assert_cmpuint(above(account_of(other)), ==, root);
	done(f, other);

	/* They go when the cgroup has and nothing is charged to them. */
	remove_cgroup(f, "/a.slice/two");
	collect(f);
	g_assert_nonnull(fake_account_find(two));
	done(f, c);
	collect(f);
	g_assert_null(fake_account_find(two));
	g_assert_nonnull(fake_account_find(one));
	g_assert_nonnull(fake_account_find(slice));
	/* What a kill left is known by its mark, and goes the same way. */
	done(f, b);
	for (unsigned int i = 0; i < fake.n_objects; i++)
		fake.objects[i].account = 0;
	fixture_restart(f);
	remove_cgroup(f, "/a.slice");
	collect(f);
	g_assert_null(fake_account_find(leaf));
	/* The other daemon's holds it. */
	g_assert_nonnull(fake_account_find(one));
	g_assert_cmpint(fake_account_destroy(theirs), ==, 0);
	collect(f);
	g_assert_null(fake_account_find(one));
	g_assert_null(fake_account_find(slice));
	f->s->ops->free(a);
}

/* What is deeper than the module's tree shares the lowest account that there is. */
static void test_deep_cgroups(struct fixture *f, gconstpointer data)
{
	g_autoptr(GString) path = g_string_new(NULL);
	struct storage_object *a, *b;
	uint64_t id = make_cgroup(f, ""), ids[20];

	tree_write(&f->tree, CGROUP_DIR "/cgroup.controllers", "memory\n");
	for (unsigned int i = 0; i < 20; i++) {
		g_string_append_printf(path, "/%u", i);
		ids[i] = id = make_cgroup(f, path->str);
	}
	a = create_from(f, path->str, id);
	g_assert_cmpuint(above(account_of(a)), ==, ids[MODULE_CGROUPS_DEPTH - 2]);
	g_string_truncate(path, path->len - strlen("/19"));
	b = create_from(f, path->str, ids[18]);
	g_assert_cmpuint(account_of(b), ==, account_of(a));
	done(f, a);
	done(f, b);
}

static uint64_t limit_on(uint64_t account, unsigned int tier)
{
	g_assert_nonnull(fake_account_find(account));
	return fake_account_find(account)->limit[tier];
}

static void configure(struct fixture *f, const char *text)
{
	g_autofree char *path = g_build_filename(f->tree.path, "morseld.conf", NULL),
			*message = NULL;
	struct config *config = NULL;
	struct policy_set *set = NULL;

	tree_write(&f->tree, "morseld.conf", text);
	if (config_load(path, &config, &message) < 0 ||
	    policy_set_new(config->policies, &set, &message) < 0)
		g_error("%s", message);
	storage_module_set_policies(f->s, set);
	policy_set_unref(set);
	config_free(config);
}

static void test_limits(struct fixture *f, gconstpointer data)
{
	uint64_t slice, one, two;
	struct storage_object *a, *b;
	g_autoptr(GArray) tiers = NULL;
	const struct storage_module_tier *t;

	(void)make_cgroup(f, "");
	slice = make_cgroup(f, "/a.slice");
	one = make_cgroup(f, "/a.slice/one");
	two = make_cgroup(f, "/a.slice/two");
	tree_write(&f->tree, CGROUP_DIR "/cgroup.controllers", "memory\n");
	configure(
		f,
		"[cgroup /a.slice]\nMax.hbm0=1G\n[cgroup /a.slice/*]\nMax.hbm0=64M\nMax.dram0=8M\n"
		"[cgroup /a.slice/two]\nMax.hbm0=none\n");
	/* The first pools are made with it: dram0 is the module's tier 0, hbm0 1. */
	a = create_from(f, "/a.slice/one", one);
	b = create_from(f, "/a.slice/two", two);
	g_assert_cmpuint(limit_on(one, 0), ==, 8 * MIB);
	g_assert_cmpuint(limit_on(one, 1), ==, 64 * MIB);
	g_assert_cmpuint(limit_on(slice, 1), ==, 1024 * MIB);
	g_assert_cmpuint(limit_on(slice, 0), ==, MORSEL_NO_LIMIT);
	g_assert_cmpuint(limit_on(two, 1), ==, MORSEL_NO_LIMIT);
	g_assert_cmpuint(limit_on(two, 0), ==, 8 * MIB);
	g_assert_cmpuint(limit_on(account_of(a), 1), ==, MORSEL_NO_LIMIT);
	/* Others, at once. */
	configure(f, "[cgroup /a.slice/one]\nMax.hbm0=0\n");
	g_assert_cmpuint(limit_on(one, 1), ==, 0);
	g_assert_cmpuint(limit_on(one, 0), ==, MORSEL_NO_LIMIT);
	g_assert_cmpuint(limit_on(two, 0), ==, MORSEL_NO_LIMIT);
	tiers = storage_module_cgroup_tiers(f->s, "/a.slice/one");
	g_assert_cmpuint(tiers->len, ==, 1);
	t = &g_array_index(tiers, struct storage_module_tier, 0);
	g_assert_cmpstr(t->name, ==, "hbm0");
	g_assert_cmpuint(t->limit, ==, 0);

	/* The next daemon has another configuration: it holds for what it finds. */
	f->s->ops->free(a);
	storage_module_free(f->s);
	fixture_new_storage(f);
	configure(f, "[cgroup /a.slice/one]\nMax.hbm0=32M\n");
	/* Not known again yet. */
	g_assert_cmpuint(limit_on(one, 1), ==, 0);
	{
		struct storage_spec spec = fixture_spec(200, MIB, NULL);
		g_autofree char *error = NULL;

		spec.cgroup = "/a.slice/one";
		g_assert_cmpint(f->s->ops->adopt(f->s, f->inv, &spec, PAGES_4K, -1, &a, &error), ==,
				0);
	}
	g_assert_cmpuint(limit_on(one, 1), ==, 32 * MIB);
	f->s->ops->free(b);
	f->s->ops->free(a);
	storage_module_set_policies(f->s, NULL);
}

/* What a placement program is told: the last word on an account, or, with only, on that one. */
struct told {
	uint64_t account, only;
	struct morsel_policy policy;
	unsigned int times;
};

static void on_place(uint64_t account, const struct morsel_policy *policy, void *userdata)
{
	struct told *t = userdata;

	if (t->only > 0 && account != t->only)
		return;
	t->account = account;
	t->policy = *policy;
	t->times++;
}

static void want_policy(const struct told *t, const char *want)
{
	g_autoptr(GString) s = g_string_new(NULL);
	uint32_t sum = 0;

	for (uint32_t i = 0; i < t->policy.count; i++) {
		g_string_append_printf(s, "%s%u", i > 0 ? " " : "", t->policy.tier[i]);
		if (t->policy.weights > 0)
			g_string_append_printf(s, "=%u", t->policy.weight[i]);
		sum += t->policy.weight[i];
	}
	if (t->policy.flags & MORSEL_POLICY_ONLY)
		g_string_append(s, " only");
	g_assert_cmpstr(s->str, ==, want);
	g_assert_cmpuint(t->policy.weights, ==, sum);
}

static void test_placement_policies(struct fixture *f, gconstpointer data)
{
	struct storage_object *a, *own;
	struct told told = {};
	uint64_t one;

	(void)make_cgroup(f, "");
	one = make_cgroup(f, "/a.slice/one");
	tree_write(&f->tree, CGROUP_DIR "/cgroup.controllers", "memory\n");
	configure(f, "[cgroup /a.slice]\nPrefer=hbm0 slow0\n");
	storage_module_set_placer(f->s, on_place, &told);
	storage_module_set_features(f->s, MORSEL_FEATURE_PLACED);
	g_assert_cmpuint(told.times, ==, 0);
	/* Pools, and with them numbers of tiers, come with it: dram0 is 0, hbm0 1, slow0 2. */
	a = create_from(f, "/a.slice/one", one);
	g_assert_cmpuint(told.account, ==, account_of(a));
	/* Cgroups come in no order. */
	told.only = told.account;
	want_policy(&told, "1 2");
	g_assert_cmpuint(fake_find(a->id)->flags, ==, 0);
	configure(f, "[cgroup /a.slice/one]\nSpread=slow0:3 hbm0:1\n");
	want_policy(&told, "2=3 1=1");
	/* Of a tier that may not be used, and of one that has no pool, nothing is said. */
	configure(
		f,
		"[cgroup /a.slice/one]\nPrefer=hbm0 slow0 nvm0\n[cgroup /a.slice]\nAllow=dram0 slow0 nvm0\n");
	want_policy(&told, "2 0 only");
	configure(f, "[cgroup /a.slice/one]\nAllow=nvm0\n");
	want_policy(&told, "");
	configure(f, "[cgroup /a.slice/one]\nPrefer=dram0\nAllow=\n");
	want_policy(&told, "0");
	configure(f, "");
	want_policy(&told, "");

	/* One that has wishes of its own is marked, at creation and by a move of all of it. */
	{
		struct storage_spec spec = fixture_spec(300, MIB, NULL);
		g_autofree char *error = NULL;

		spec.placed = true;
		g_assert_cmpint(f->s->ops->create(f->s, f->inv, &spec, &own, &error), ==, 0);
	}
	g_assert_cmpuint(fake_find(own->id)->flags, ==, MORSEL_OBJECT_PLACED);
	{
		struct storage_move_result result;

		fixture_move(f, a, "slow0", 0, MIB, &result);
		storage_move_result_done(&result);
	}
	g_assert_cmpuint(fake_find(a->id)->flags, ==, MORSEL_OBJECT_PLACED);

	/* When its account goes, nothing is said of it any more. */
	configure(f, "[cgroup /a.slice/one]\nPrefer=dram0\n");
	want_policy(&told, "0");
	done(f, a);
	done(f, own);
	remove_cgroup(f, "/a.slice");
	collect(f);
	want_policy(&told, "");
	storage_module_set_placer(f->s, NULL, NULL);
	storage_module_set_policies(f->s, NULL);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	FIXTURE_ADD("cgroups", test_cgroups);
	FIXTURE_ADD("deep-cgroups", test_deep_cgroups);
	FIXTURE_ADD("limits", test_limits);
	FIXTURE_ADD("placement-policies", test_placement_policies);
	return g_test_run();
}
