// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy-file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf-file.h"
#include "helper/replace.h"

/* Of a name that a file system takes, what is left after prefix and suffix, and for a mark. */
#define ESCAPED_MAX 180

struct reading {
	struct policy_file *file;
	struct policy_section *section;
};

static int take_entry(const char *path, unsigned int line, const char *section, const char *key,
		      const char *value, void *userdata, char **ret_message)
{
	struct reading *r = userdata;
	const char *name = section + strlen("cgroup");

	if (key)
		return policy_section_set(r->section, key, value, line, ret_message);
	if (!g_str_has_prefix(section, "cgroup") || (*name != ' ' && *name != '\t')) {
		*ret_message = g_strdup("unknown section; files of policies have [cgroup PATH]"
					" only");
		return -EINVAL;
	}
	return policy_file_section(r->file, name + strspn(name, " \t"), &r->section, ret_message);
}

static struct reading begin(const char *path)
{
	const char *base = strrchr(path, '/');

	return (struct reading){ .file = policy_file_new(path, base ? base + 1 : path) };
}

static int end(struct reading *reading, int r, struct policy_file **ret_file)
{
	if (r < 0)
		policy_file_unref(reading->file);
	else
		*ret_file = reading->file;
	return r;
}

int policy_file_read(const char *path, struct policy_file **ret_file, char **ret_message)
{
	struct reading reading = begin(path);

	return end(&reading, conf_file_read(path, take_entry, &reading, ret_message), ret_file);
}

int policy_file_parse(const char *path, char *text, struct policy_file **ret_file,
		      char **ret_message)
{
	struct reading reading = begin(path);

	return end(&reading,
		   conf_text_read(path, text, strlen(text), take_entry, &reading, ret_message),
		   ret_file);
}

int policy_files_read(const char *const *dirs, GPtrArray *files, char **ret_message)
{
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	int r = 0;

	for (unsigned int d = 0; r >= 0 && dirs[d]; d++) {
		g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

		r = conf_dir_list(dirs[d], names, ret_message);
		for (unsigned int i = 0; r >= 0 && i < names->len; i++) {
			g_autofree char *path = g_build_filename(dirs[d], names->pdata[i], NULL);
			struct policy_file *f;

			if (!g_hash_table_add(seen, g_strdup(names->pdata[i])))
				continue;
			r = policy_file_read(path, &f, ret_message);
			if (r >= 0)
				g_ptr_array_add(files, f);
			/* It went away since the listing, or is a dangling link. */
			else if (r == -ENOENT)
				r = 0;
		}
	}
	return r;
}

/* --- Drop-ins of our own ---------------------------------------------------------------------- */

/* As units' names are made of paths: "/a/b-c" is "a-b\x2dc", "/" is "-". */
char *policy_dropin_name(const char *prefix, const char *cgroup)
{
	g_autoptr(GString) s = g_string_new(NULL);

	for (const char *p = cgroup + 1; *p; p++)
		if (*p == '/')
			g_string_append_c(s, '-');
		else if (g_ascii_isalnum(*p) || *p == '_' || *p == ':' ||
			 (*p == '.' && p > cgroup + 1))
			g_string_append_c(s, *p);
		else
			g_string_append_printf(s, "\\x%02x", (unsigned char)*p);
	if (s->len == 0)
		g_string_append_c(s, '-');
	if (s->len > ESCAPED_MAX) {
		g_autofree char *mark =
			g_compute_checksum_for_string(G_CHECKSUM_SHA256, cgroup, -1);

		g_string_truncate(s, ESCAPED_MAX - 34);
		g_string_append_printf(s, "--%.32s", mark);
	}
	return g_strdup_printf("%s%s.conf", prefix, s->str);
}

static char *make_text(const struct policy_section *s)
{
	GString *text = g_string_new("# Written by \"morselctl policy set\"; \"morselctl policy "
				     "unset\" takes it back.\n");

	g_string_append_printf(text, "[cgroup %s]\n", s->path);
	for (unsigned int i = 0; i < s->settings->len; i++) {
		const struct policy_setting *setting = s->settings->pdata[i];

		g_string_append_printf(text, "%s=%s\n", setting->key, setting->value);
	}
	return g_string_free(text, FALSE);
}

/* Does file say what section does, and no more? */
static bool is_same(const struct policy_file *file, const struct policy_section *section)
{
	const struct policy_section *s = file->sections->len == 1 ? file->sections->pdata[0] : NULL;

	if (!s || !g_str_equal(s->path, section->path) ||
	    s->settings->len != section->settings->len)
		return false;
	for (unsigned int i = 0; i < s->settings->len; i++) {
		const struct policy_setting *a = s->settings->pdata[i],
					    *b = section->settings->pdata[i];

		if (!g_str_equal(a->key, b->key) || !g_str_equal(a->value, b->value))
			return false;
	}
	return true;
}

static int write_dropin(const struct policy_edit *e, const char *path,
			const struct policy_section *section, struct policy_file **ret_file,
			char **ret_message)
{
	g_autofree char *text = make_text(section), *copy = g_strdup(text);
	struct policy_file *f;
	int r;

	r = policy_file_parse(path, copy, &f, ret_message);
	if (r < 0 || !is_same(f, section)) {
		if (r >= 0) {
			policy_file_unref(f);
			*ret_message = g_strdup("a file cannot have such a path or value: it has "
						"']', control characters, or spaces at its ends");
		}
		return -EINVAL;
	}
	/* Others read it too, whatever the umask. */
	if (access(e->dir, F_OK) < 0 && g_mkdir_with_parents(e->dir, 0755) == 0)
		(void)chmod(e->dir, 0755);
	r = replace_file(e->dir, e->name, text, strlen(text), 0644);
	if (r < 0) {
		policy_file_unref(f);
		*ret_message = g_strdup_printf("%s cannot be written: %s", path, g_strerror(-r));
		return r;
	}
	*ret_file = f;
	return 0;
}

static int remove_dropin(const char *path, char **ret_message)
{
	if (unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR)
		return 0;
	*ret_message = g_strdup_printf("%s cannot be removed: %s", path, g_strerror(errno));
	return -errno;
}

/* What the drop-in says now. Another one's file of that name is replaced, but not without a word. */
static int read_dropin(const struct policy_edit *e, const char *path, struct policy_file *into,
		       struct policy_section **ret_section, char **ret_message)
{
	struct policy_file *old = NULL;
	int r;

	r = policy_file_section(into, e->cgroup, ret_section, ret_message);
	if (r < 0)
		return r;
	r = policy_file_read(path, &old, ret_message);
	if (r == -ENOENT)
		return 0;
	for (unsigned int i = 0; r >= 0 && i < old->sections->len; i++) {
		const struct policy_section *s = old->sections->pdata[i];

		if (!g_str_equal(s->path, e->cgroup)) {
			*ret_message = g_strdup_printf("%s has a section [cgroup %s]: it is not "
						       "morselctl's any more, edit it",
						       path, s->path);
			r = -EINVAL;
		}
		for (unsigned int k = 0; r >= 0 && k < s->settings->len; k++) {
			const struct policy_setting *setting = s->settings->pdata[k];

			r = policy_section_set(*ret_section, setting->key, setting->value, 0,
					       ret_message);
		}
	}
	policy_file_unref(old);
	return r;
}

int policy_dropin_edit(const struct policy_edit *e, struct policy_file **ret_file,
		       char **ret_message)
{
	g_autofree char *path = g_build_filename(e->dir, e->name, NULL);
	struct policy_file *f = policy_file_new(path, e->name);
	struct policy_section *section;
	struct policy_file *written = NULL;
	int r;

	r = read_dropin(e, path, f, &section, ret_message);
	if (r >= 0 && e->all)
		g_ptr_array_set_size(section->settings, 0);
	for (unsigned int i = 0; r >= 0 && e->keys && i < e->keys->len; i++)
		r = policy_section_set(section, e->keys->pdata[i], e->values->pdata[i], 0,
				       ret_message);
	for (unsigned int i = 0; r >= 0 && e->unset && i < e->unset->len; i++)
		(void)policy_section_unset(section, e->unset->pdata[i]);
	if (r >= 0)
		r = section->settings->len > 0
			    ? write_dropin(e, path, section, &written, ret_message)
			    : remove_dropin(path, ret_message);
	policy_file_unref(f);
	if (r >= 0)
		*ret_file = written;
	return r;
}
