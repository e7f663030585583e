/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file of policies, what follows from it, and the same written again. */
#include <glib.h>
#include <string.h>

#include "fuzz.h"
#include "policy-check.h"
#include "policy-file.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

static void look_at(const struct policy_set *s, const char *path, GHashTable *capacity)
{
	g_autoptr(GPtrArray) own = policy_own_all(s, path);
	g_autoptr(GPtrArray) all = policy_effective_all(s, path);
	g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);

	for (unsigned int i = 0; i < own->len; i++) {
		const struct policy_setting *setting = own->pdata[i];

		g_assert_cmpuint(setting->line, >=, 1);
		g_assert_true(policy_is_key(setting->key));
		/* A limit from above is never larger than one's own. */
		for (unsigned int k = 0; k < all->len; k++) {
			const struct policy_setting *e = all->pdata[k];

			if (e->field == POLICY_MAX && setting->field == POLICY_MAX &&
			    e->tier == setting->tier)
				g_assert_cmpuint(e->number, <=, setting->number);
		}
		if (setting->tier) {
			struct policy_budget b;

			policy_budget(s, path, setting->tier, &b);
			g_assert_cmpuint(b.weight, >=, 1);
			g_assert_cmpuint(b.weight, <=, POLICY_WEIGHT_MAX);
		}
	}
	policy_check_all(s, capacity, warnings);
	g_assert_cmpuint(warnings->len, <=, 16);
}

/* What was read can be written, and is read as the same. */
static void again(const struct policy_file *f)
{
	g_autoptr(GString) text = g_string_new(NULL);
	struct policy_file *g = NULL;
	char *message = NULL;

	for (unsigned int i = 0; i < f->sections->len; i++) {
		const struct policy_section *s = f->sections->pdata[i];

		g_string_append_printf(text, "[cgroup %s]\n", s->path);
		for (unsigned int k = 0; k < s->settings->len; k++) {
			const struct policy_setting *setting = s->settings->pdata[k];

			g_string_append_printf(text, "%s=%s\n", setting->key, setting->value);
		}
	}
	g_assert_cmpint(policy_file_parse("again", text->str, &g, &message), ==, 0);
	g_assert_cmpuint(g->sections->len, ==, f->sections->len);
	for (unsigned int i = 0; i < f->sections->len; i++) {
		const struct policy_section *s = f->sections->pdata[i], *t = g->sections->pdata[i];

		g_assert_cmpstr(s->path, ==, t->path);
		g_assert_cmpuint(s->settings->len, ==, t->settings->len);
	}
	policy_file_unref(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GHashTable)
		capacity = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
	g_autoptr(GPtrArray)
		files = g_ptr_array_new_with_free_func((GDestroyNotify)policy_file_unref);
	g_autofree char *text = g_strndup((const char *)data, size);
	struct policy_set *set = NULL;
	struct policy_file *f = NULL;
	char *message = NULL;
	uint64_t bytes = UINT64_C(1) << 26;

	if (policy_file_parse("f", text, &f, &message) < 0) {
		g_assert_null(f);
		g_assert_true(g_str_has_prefix(message, "f:"));
		g_assert_true(g_utf8_validate(message, -1, NULL));
		for (const char *p = message; *p; p++)
			g_assert_false(g_ascii_iscntrl(*p));
		g_free(message);
		return 0;
	}
	g_assert_null(message);
	g_ptr_array_add(files, f);
	if (policy_set_new(files, &set, &message) < 0) {
		g_assert_nonnull(message);
		g_free(message);
		return 0;
	}
	g_hash_table_insert(capacity, (gpointer) "hbm0", g_memdup2(&bytes, sizeof(bytes)));
	for (unsigned int i = 0; i < f->sections->len && i < 8; i++) {
		const struct policy_section *s = f->sections->pdata[i];
		g_autofree char *name = policy_dropin_name("50-", s->path);

		g_assert_cmpuint(strlen(name), <=, 240);
		g_assert_null(strchr(name, '/'));
		look_at(set, s->path, capacity);
	}
	again(f);
	policy_set_unref(set);
	return 0;
}
