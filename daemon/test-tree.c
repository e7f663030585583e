/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test-tree.h"

#include <fcntl.h>
#include <ftw.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree tree_new(void)
{
	struct tree t = { .path = g_dir_make_tmp("morsel-tree-XXXXXX", NULL) };

	g_assert_nonnull(t.path);
	t.fd = open(t.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	g_assert_cmpint(t.fd, >=, 0);
	return t;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void tree_remove(struct tree *t, const char *path)
{
	g_autofree char *full = g_build_filename(t->path, path, NULL);

	g_assert_cmpint(nftw(full, remove_one, 16, FTW_DEPTH | FTW_PHYS), ==, 0);
}

void tree_done(struct tree *t)
{
	tree_remove(t, "");
	close(t->fd);
	g_free(t->path);
}

static char *prepare(struct tree *t, const char *path)
{
	char *full = g_build_filename(t->path, path, NULL);
	g_autofree char *dir = g_path_get_dirname(full);

	g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
	return full;
}

void tree_write_bytes(struct tree *t, const char *path, const void *data, unsigned int len)
{
	g_autofree char *full = prepare(t, path);

	g_assert_true(g_file_set_contents(full, data, len, NULL));
}

void tree_write(struct tree *t, const char *path, const char *text)
{
	tree_write_bytes(t, path, text, (unsigned int)strlen(text));
}

void tree_link(struct tree *t, const char *path, const char *target)
{
	g_autofree char *full = prepare(t, path);

	g_assert_cmpint(symlink(target, full), ==, 0);
}

static void write_node_file(struct tree *t, int id, const char *name, const char *text)
{
	g_autofree char *path = g_strdup_printf("sys/devices/system/node/node%d/%s", id, name);

	tree_write(t, path, text);
}

void tree_node(struct tree *t, int id, const char *cpulist, unsigned long kib, const char *distance)
{
	g_autofree char *meminfo = g_strdup_printf("Node %d MemTotal:       %lu kB\n"
						   "Node %d MemFree:        %lu kB\n"
						   "Node %d MemUsed:        %lu kB\n",
						   id, kib, id, kib / 2, id, kib - kib / 2);

	write_node_file(t, id, "cpulist", cpulist);
	write_node_file(t, id, "meminfo", meminfo);
	write_node_file(t, id, "distance", distance);
}

void tree_access(struct tree *t, int node, int class, const int *initiators, unsigned int lat_ns,
		 unsigned int bw_mbs)
{
	g_autofree char *lat = g_strdup_printf("%u\n", lat_ns);
	g_autofree char *bw = g_strdup_printf("%u\n", bw_mbs);
	static const char *const attrs[] = { "read_latency", "write_latency", "read_bandwidth",
					     "write_bandwidth" };

	for (unsigned int i = 0; i < G_N_ELEMENTS(attrs); i++) {
		g_autofree char *name = g_strdup_printf("access%d/initiators/%s", class, attrs[i]);

		write_node_file(t, node, name, i < 2 ? lat : bw);
	}
	for (; *initiators >= 0; initiators++) {
		g_autofree char *path =
			g_strdup_printf("sys/devices/system/node/node%d/access%d/initiators/node%d",
					node, class, *initiators);
		g_autofree char *target = g_strdup_printf("../../../node%d", *initiators);

		tree_link(t, path, target);
	}
}
