/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check-common.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void lab_open(struct lab *lab, unsigned int nodes)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	unsigned int n;

	g_assert_cmpint(storage_node_new(root, &lab->s), ==, 0);
	close(root);
	lab->inv = fake_inventory_new();
	n = fake_inventory_add_machine(lab->inv);
	if (n < nodes) {
		printf("1..0 # SKIP %u nodes with memory, %u are needed\n", n, nodes);
		exit(77);
	}
}

void lab_close(struct lab *lab)
{
	storage_node_free(lab->s);
	fake_inventory_free(lab->inv);
}

struct tier *lab_tier(struct lab *lab, int node)
{
	g_autofree char *name = g_strdup_printf("node%d", node);

	return inventory_tier(lab->inv, name);
}

struct storage_object *lab_create(struct lab *lab, uint64_t size, struct placement *p)
{
	struct storage_object *o;
	g_autofree char *error = NULL;

	if (lab->s->ops->create(
		    lab->s, lab->inv,
		    &(struct storage_spec){ .label = "lab", .size = size, .placement = p }, &o,
		    &error) < 0)
		g_error("create: %s", error);
	if (lab->s->ops->needs_prepare(o) && lab->s->ops->prepare(o, NULL, NULL, &error) < 0)
		g_error("prepare: %s", error);
	return o;
}

void lab_move(struct lab *lab, struct storage_object *o, int node,
	      struct storage_move_result *ret_result)
{
	g_autofree char *error = NULL;

	if (lab->s->ops->move(o, 0, o->size, lab_tier(lab, node), 0, NULL, NULL, ret_result,
			      &error) < 0)
		g_error("move: %s", error);
	g_assert_cmpuint(ret_result->moved + ret_result->already + ret_result->absent +
				 ret_result->failed,
			 ==, o->size);
}

char *lab_map(struct lab *lab, struct storage_object *o, uint64_t size)
{
	int fd = lab->s->ops->open_fd(o, true);
	char *reserved, *p;

	g_assert_cmpint(fd, >=, 0);
	reserved = mmap(NULL, size + GRANULE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p = mmap(reserved + (-(uintptr_t)reserved & (GRANULE_SIZE - 1)), size,
		 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	g_assert_true(p != MAP_FAILED);
	close(fd);
	return p;
}

uint64_t lab_bytes(struct lab *lab, struct storage_object *o, uint64_t offset, uint64_t length,
		   int node)
{
	struct storage_residency res;
	uint64_t bytes = 0;

	g_assert_cmpint(lab->s->ops->residency(o, offset, length, true, NULL, NULL, &res, NULL), ==,
			0);
	if ((unsigned int)node < res.by_node->len)
		bytes = g_array_index(res.by_node, uint64_t, node);
	storage_residency_done(&res);
	return bytes;
}

uint64_t lab_numa_maps(pid_t pid, const void *address, int node)
{
	g_autofree char *path = pid ? g_strdup_printf("/proc/%d/numa_maps", (int)pid)
				    : g_strdup("/proc/self/numa_maps");
	g_autofree char *text = NULL, *start = g_strdup_printf("%lx ", (unsigned long)address);
	g_autofree char *field = g_strdup_printf(" N%d=", node);
	g_auto(GStrv) lines = NULL;

	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		const char *pages = strstr(*line, field),
			   *size = strstr(*line, "kernelpagesize_kB=");

		if (!g_str_has_prefix(*line, start))
			continue;
		if (!pages)
			return 0;
		g_assert_nonnull(size);
		return g_ascii_strtoull(pages + strlen(field), NULL, 10) * 1024 *
		       g_ascii_strtoull(size + strlen("kernelpagesize_kB="), NULL, 10);
	}
	g_assert_not_reached();
}
