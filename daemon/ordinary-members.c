// SPDX-License-Identifier: GPL-2.0-or-later
#include "ordinary-members.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cgroup-path.h"
#include "helper/procfile.h"

#define CGROUPS_MAX 65536u
#define DEPTH_MAX 64u

struct walk {
	int root_fd;
	const struct policy_set *policies;
	unsigned int cgroups;
	GArray *members;
};

static const struct policy_setting *says(const struct policy_section *s)
{
	for (unsigned int i = 0; i < s->settings->len; i++) {
		const struct policy_setting *setting = s->settings->pdata[i];

		if (setting->field == POLICY_MANAGE_ORDINARY && setting->number)
			return setting;
	}
	return NULL;
}

static bool patterns_want(const struct policy_set *policies)
{
	const GPtrArray *patterns = policy_set_patterns(policies);

	for (unsigned int i = 0; i < patterns->len; i++)
		if (says(patterns->pdata[i]))
			return true;
	return false;
}

static bool path_wants(const struct policy_set *policies, const char *path)
{
	const struct policy_setting *s =
		policy_own(policies, path, 1u << POLICY_MANAGE_ORDINARY, NULL);

	return s && s->number;
}

bool ordinary_is_wanted(const struct policy_set *policies)
{
	const GPtrArray *paths = policy_set_paths(policies);

	for (unsigned int i = 0; i < paths->len; i++)
		if (path_wants(policies, paths->pdata[i]))
			return true;
	return patterns_want(policies);
}

enum policy_migrate ordinary_migrate(const struct policy_set *policies, const char *cgroup)
{
	const struct policy_setting *manage =
		policy_effective(policies, cgroup, 1u << POLICY_MANAGE_ORDINARY, NULL, NULL);
	const struct policy_setting *migrate;

	if (!manage || !manage->number)
		return POLICY_MIGRATE_OFF;
	migrate = policy_effective(policies, cgroup, 1u << POLICY_MIGRATE, NULL, NULL);
	return migrate ? (enum policy_migrate)migrate->number : POLICY_MIGRATE_ON;
}

static void clear_member(gpointer p)
{
	g_clear_pointer(&((struct ordinary_member *)p)->cgroup, g_ref_string_release);
}

static void take_processes(struct walk *w, int dir, const char *path, enum policy_migrate migrate)
{
	g_autoptr(GRefString) cgroup = g_ref_string_new(path);
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	FILE *file = fd >= 0 ? fdopen(fd, "re") : NULL;
	char line[32];

	if (!file) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		struct ordinary_member m = { .migrate = migrate };
		struct proc_stat stat;

		/* 0: of another pid namespace. */
		m.pid = (pid_t)g_ascii_strtoll(line, NULL, 10);
		if (m.pid <= 1 || proc_stat_read(w->root_fd, m.pid, &stat) < 0 || stat.kernel ||
		    stat.start == 0)
			continue;
		m.start = stat.start;
		m.pages = stat.pages;
		m.cgroup = g_ref_string_acquire(cgroup);
		g_array_append_val(w->members, m);
	}
	(void)fclose(file);
}

static void walk_cgroup(struct walk *w, const char *path, unsigned int depth)
{
	g_autofree char *name = g_strconcat(CGROUP_DIR, path, NULL);
	enum policy_migrate migrate = ordinary_migrate(w->policies, path);
	int fd = openat(w->root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (migrate != POLICY_MIGRATE_OFF)
		take_processes(w, fd, path, migrate);
	while (depth < DEPTH_MAX && (e = readdir(dir))) {
		g_autofree char *below = NULL;

		if (e->d_type != DT_DIR || e->d_name[0] == '.' || w->cgroups >= CGROUPS_MAX)
			continue;
		w->cgroups++;
		below = g_strconcat(path[1] ? path : "", "/", e->d_name, NULL);
		/* Policies are of UTF-8 names; of another name nothing can be said. */
		if (cgroup_path_valid(below))
			walk_cgroup(w, below, depth + 1);
	}
	closedir(dir);
}

static bool is_below(const char *path, const char *above)
{
	size_t n = strlen(above);

	return above[1] == 0 || (strncmp(path, above, n) == 0 && (path[n] == '/' || path[n] == 0));
}

static gint larger_first(gconstpointer a, gconstpointer b)
{
	const struct ordinary_member *x = a, *y = b;

	if (x->pages != y->pages)
		return x->pages > y->pages ? -1 : 1;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

GArray *ordinary_members(int root_fd, const struct policy_set *policies, unsigned int max,
			 unsigned int *ret_more)
{
	struct walk w = { .root_fd = root_fd, .policies = policies };
	const GPtrArray *paths = policy_set_paths(policies);
	g_autoptr(GPtrArray) walked = g_ptr_array_new();

	w.members = g_array_new(FALSE, FALSE, sizeof(struct ordinary_member));
	g_array_set_clear_func(w.members, clear_member);
	if (patterns_want(policies)) {
		walk_cgroup(&w, "/", 0);
	} else {
		for (unsigned int i = 0; i < paths->len; i++) {
			const char *path = paths->pdata[i];
			bool again = false;

			/* Those above come before those below. */
			for (unsigned int k = 0; k < walked->len && !again; k++)
				again = is_below(path, walked->pdata[k]);
			if (again || !path_wants(policies, path))
				continue;
			g_ptr_array_add(walked, (gpointer)path);
			walk_cgroup(&w, path, 0);
		}
	}
	g_array_sort(w.members, larger_first);
	*ret_more = w.members->len > max ? w.members->len - max : 0;
	g_array_set_size(w.members, MIN(w.members->len, max));
	return w.members;
}
