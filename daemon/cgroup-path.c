// SPDX-License-Identifier: GPL-2.0-or-later
#include "cgroup-path.h"

#include <glib.h>
#include <string.h>
#include <sys/stat.h>

/* "." and "..": as paths of files they would be of something else. */
static bool has_dots(const char *path)
{
	g_auto(GStrv) components = g_strsplit(path + 1, "/", -1);
	static const char *const dots[] = { ".", "..", NULL };

	for (char **c = components; *c; c++)
		if (g_strv_contains(dots, *c))
			return true;
	return false;
}

bool cgroup_path_valid(const char *path)
{
	return path[0] == '/' && strlen(path) < 4096 && g_utf8_validate(path, -1, NULL) &&
	       !strstr(path, "//") && (path[1] == '\0' || !g_str_has_suffix(path, "/")) &&
	       !has_dots(path);
}

bool cgroup_path_is_pattern(const char *path)
{
	return strpbrk(path, "*?") != NULL;
}

bool cgroup_path_matches(char *const *components, unsigned int depth, const char *path)
{
	const char *p = path + 1;

	if (depth == 0)
		return path[1] == '\0';
	if (path[1] == '\0')
		return false;
	for (unsigned int i = 0; i < depth; i++) {
		size_t length = strcspn(p, "/");
		g_autofree char *component = g_strndup(p, length);

		if (!g_pattern_match_simple(components[i], component))
			return false;
		p += length;
		if (i + 1 < depth) {
			if (*p != '/')
				return false;
			p++;
		}
	}
	return *p == '\0';
}

uint64_t cgroup_number(int root_fd, const char *path)
{
	g_autofree char *dir = g_strconcat(CGROUP_DIR, path, NULL);
	struct stat st;

	return fstatat(root_fd, dir, &st, 0) == 0 && S_ISDIR(st.st_mode) ? st.st_ino : 0;
}
