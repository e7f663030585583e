// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "placement.h"
#include "registry.h"

struct world {
	struct users *users;
	struct registry *registry;
	unsigned int released;
};

static void on_release(struct morsel *m, void *userdata)
{
	struct world *w = userdata;

	w->released++;
	m->object = NULL;
}

static void begin(struct world *w)
{
	*w = (struct world){};
	w->users = users_new(NULL);
	w->registry = registry_new(w->users, on_release, w);
}

static void end(struct world *w)
{
	registry_free(w->registry);
	users_free(w->users);
}

static int try_add(struct world *w, const char *name, uid_t owner, mode_t mode, char **ret_text)
{
	g_autoptr(Morsel) m = morsel_new(name, owner, owner, mode, 4096);
	int r;

	m->placement = placement_new();
	r = registry_add(w->registry, m, ret_text);
	if (r < 0)
		return r;
	/* Never looked into: only its release is counted. */
	m->object = (struct storage_object *)w;
	registry_number(w->registry, m);
	registry_publish(w->registry, m);
	return 0;
}

static void add(struct world *w, const char *name, uid_t owner, mode_t mode)
{
	char *text = NULL;

	g_assert_cmpint(try_add(w, name, owner, mode, &text), ==, 0);
}

static struct morsel *find(struct world *w, uid_t uid, const char *arg, enum registry_scope scope)
{
	g_autoptr(Caller) c = caller_new(uid, uid, 0);
	g_autofree char *text = NULL;
	struct morsel *m = NULL;

	if (registry_find(w->registry, c, arg, scope, &m, &text) < 0)
		g_assert_nonnull(text);
	return m;
}

static void must_say(struct world *w, uid_t uid, const char *arg, int error, const char *words)
{
	g_autoptr(Caller) c = caller_new(uid, uid, 0);
	g_autofree char *text = NULL;
	struct morsel *m;

	g_assert_cmpint(registry_find(w->registry, c, arg, SCOPE_ANY, &m, &text), ==, error);
	if (!strstr(text, words))
		g_error("'%s' does not contain '%s'", text, words);
}

static void test_names(void)
{
	char id[MORSEL_ID_LENGTH + 1];
	struct world w;
	char *text = NULL;

	begin(&w);
	add(&w, "a", 3001000, 0600);
	add(&w, "a", 3001001, 0600);
	g_assert_cmpint(try_add(&w, "a", 3001000, 0600, &text), ==, -EEXIST);
	g_clear_pointer(&text, g_free);

	g_assert_cmpint(find(&w, 3001000, "a", SCOPE_OWN)->owner, ==, 3001000);
	g_assert_cmpint(find(&w, 3001001, "a", SCOPE_ANY)->owner, ==, 3001001);
	g_assert_cmpint(find(&w, 3001000, "3001000:a", SCOPE_OWN)->owner, ==, 3001000);
	morsel_id_string(find(&w, 3001000, "a", SCOPE_OWN), id);
	g_assert_true(find(&w, 3001000, id, SCOPE_OWN) == find(&w, 3001000, "a", SCOPE_OWN));
	g_assert_null(find(&w, 3001001, id, SCOPE_OWN));
	g_assert_null(find(&w, 3001001, "3001000:a", SCOPE_ANY));

	/* root: two others have it; then one; then it is root's own. */
	must_say(&w, 0, "a", -EINVAL, "3001000:a");
	must_say(&w, 0, "a", -EINVAL, "3001001:a");
	registry_remove(w.registry, find(&w, 3001001, "a", SCOPE_OWN));
	g_assert_cmpint(find(&w, 0, "a", SCOPE_ANY)->owner, ==, 3001000);
	g_assert_null(find(&w, 0, "a", SCOPE_OWN));
	add(&w, "a", 0, 0600);
	g_assert_cmpint(find(&w, 0, "a", SCOPE_OWN)->owner, ==, 0);
	registry_remove(w.registry, find(&w, 3001000, "a", SCOPE_OWN));
	registry_remove(w.registry, find(&w, 0, "a", SCOPE_OWN));
	must_say(&w, 0, "a", -ENOENT, "no morsel 'a'");
	g_assert_cmpuint(w.released, ==, 3);

	/* More candidates than are named. */
	for (uid_t uid = 2000; uid < 2020; uid++)
		add(&w, "b", uid, 0604);
	must_say(&w, 0, "b", -EINVAL, ", …");
	must_say(&w, 3000, "b", -ENOENT, "of your own; there is: ");
	end(&w);
	g_assert_cmpuint(w.released, ==, 23);
}

static void test_rights(void)
{
	g_autoptr(Caller) owner = caller_new(3001000, 3001000, 0);
	g_autoptr(Caller) member = caller_new(3001001, 3001001, 0);
	g_autoptr(Caller) other = caller_new(3001002, 3001002, 0);
	g_autoptr(Caller) root = caller_new(0, 0, 0);
	g_autoptr(Morsel) m = morsel_new("x", 3001000, 50, 0, 4096);
	gid_t group = 50;

	g_array_append_val(member->groups, group);
	m->mode = 0642;
	g_assert_true(morsel_may(m, owner, MORSEL_READ | MORSEL_WRITE));
	g_assert_true(morsel_may(m, member, MORSEL_READ));
	g_assert_false(morsel_may(m, member, MORSEL_WRITE));
	g_assert_true(morsel_may(m, other, MORSEL_WRITE));
	g_assert_false(morsel_may(m, other, MORSEL_READ));
	g_assert_false(morsel_visible(m, other));
	/* As for files: a member gets the group's bits, not the others'. */
	m->mode = 0406;
	g_assert_false(morsel_visible(m, member));
	g_assert_true(morsel_may(m, other, MORSEL_READ | MORSEL_WRITE));
	g_assert_false(morsel_may(m, owner, MORSEL_WRITE));
	g_assert_true(morsel_may(m, root, MORSEL_READ | MORSEL_WRITE));
	g_assert_true(morsel_is_owner(m, root) && morsel_is_owner(m, owner));
	g_assert_false(morsel_is_owner(m, member));
}

/* Not published: its name is taken, but it cannot be found, nor listed. */
static void test_reserved(void)
{
	g_autoptr(Morsel) m = morsel_new("x", 1, 1, 0644, 4096);
	char *text = NULL;
	struct world w;

	begin(&w);
	g_assert_cmpint(registry_add(w.registry, m, &text), ==, 0);
	g_assert_null(find(&w, 1, "x", SCOPE_OWN));
	g_assert_null(find(&w, 0, "x", SCOPE_ANY));
	must_say(&w, 2, "x", -ENOENT, "no morsel 'x'");
	g_assert_null(registry_after(w.registry, NULL, 0));
	g_assert_cmpint(try_add(&w, "x", 1, 0600, &text), ==, -EEXIST);
	g_clear_pointer(&text, g_free);
	registry_remove(w.registry, m);
	add(&w, "x", 1, 0600);
	end(&w);
}

/* Against a list: random creations and removals, then the order of both sequences. */
static void test_order(void)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(7);
	struct world w;
	unsigned int live = 0;

	begin(&w);
	for (unsigned int i = 0; i < 5000; i++) {
		g_autofree char *name = g_strdup_printf("m%d", g_rand_int_range(rand, 0, 300));
		uid_t owner = 1 + g_rand_int_range(rand, 0, 3);
		struct morsel *m = find(&w, owner, name, SCOPE_OWN);

		if (m) {
			registry_remove(w.registry, m);
			live--;
		} else {
			add(&w, name, owner, 0600);
			live++;
		}
	}
	g_assert_cmpuint(registry_morsels(w.registry), ==, live);
	for (uid_t owner = 0; owner <= 3; owner++) {
		uint64_t seq = 0;

		for (struct morsel *m = registry_after(w.registry, owner ? &owner : NULL, 0); m;
		     m = registry_after(w.registry, owner ? &owner : NULL, seq)) {
			g_assert_cmpuint(m->seq, >, seq);
			g_assert_true(!owner || m->owner == owner);
			seq = m->seq;
			live -= owner > 0;
		}
		g_assert_null(registry_after(w.registry, owner ? &owner : NULL, UINT64_MAX));
	}
	g_assert_cmpuint(live, ==, 0);
	end(&w);
}

static void record(struct morsel *m, uint64_t offset, uint64_t length, const char *tier,
		   uint64_t now)
{
	GRefString *rule = g_ref_string_new("move");
	GRefString *reason = g_ref_string_new(tier);

	morsel_record(m, offset, length, tier, rule, reason, now);
	g_ref_string_release(rule);
	g_ref_string_release(reason);
}

static char *records(const struct morsel *m)
{
	GString *s = g_string_new(NULL);

	for (unsigned int i = 0; i < m->records->len; i++) {
		const struct placement_record *r =
			&g_array_index(m->records, struct placement_record, i);

		g_string_append_printf(s, "%s%d+%d:%s", i ? " " : "", (int)r->offset,
				       (int)r->length, r->tiers);
	}
	return g_string_free(s, FALSE);
}

static void test_records(void)
{
	g_autoptr(Morsel) m = morsel_new("x", 1, 1, 0600, 1000000);
	g_autofree char *a = NULL, *b = NULL, *c = NULL;
	uint64_t covered = 0;

	record(m, 0, 1000000, "a", 1);
	record(m, 100, 100, "b", 2);
	record(m, 150, 100, "c", 3);
	a = records(m);
	g_assert_cmpstr(a, ==, "0+100:a 100+50:b 150+100:c 250+999750:a");
	record(m, 50, 150, "d", 4);
	b = records(m);
	g_assert_cmpstr(b, ==, "0+50:a 50+150:d 200+50:c 250+999750:a");
	record(m, 0, 1000000, "e", 5);
	c = records(m);
	g_assert_cmpstr(c, ==, "0+1000000:e");

	/* However many there are: bounded, without a gap, the newest as it was recorded. */
	for (uint64_t i = 0; i < 5000; i++)
		record(m, i * 200, 100, "f", 10 + i);
	g_assert_cmpuint(m->records->len, ==, MORSEL_RECORDS_MAX);
	for (unsigned int i = 0; i < m->records->len; i++) {
		const struct placement_record *r =
			&g_array_index(m->records, struct placement_record, i);

		g_assert_cmpuint(r->offset, ==, covered);
		g_assert_cmpuint(r->length, >, 0);
		covered += r->length;
	}
	g_assert_cmpuint(covered, ==, 1000000);
	{
		const struct placement_record *r =
			&g_array_index(m->records, struct placement_record, m->records->len - 2);

		g_assert_cmpuint(r->offset, ==, 4999 * 200);
		g_assert_cmpuint(r->length, ==, 100);
		g_assert_cmpuint(r->since_usec, ==, 10 + 4999);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/registry/names", test_names);
	g_test_add_func("/registry/rights", test_rights);
	g_test_add_func("/registry/reserved", test_reserved);
	g_test_add_func("/registry/order", test_order);
	g_test_add_func("/registry/records", test_records);
	return g_test_run();
}
