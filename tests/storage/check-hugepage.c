/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the lab: 2 MiB pages, transparent and reserved ones. Run as root; restores what it sets in /sys. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check-common.h"

#define SHMEM_ENABLED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static struct lab lab;

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		g_error("%s: %s", path, g_strerror(errno));
	close(fd);
}

static uint64_t reserve(int node, unsigned int pages)
{
	g_autofree char *path = NULL, *text = g_strdup_printf("%u", pages), *got = NULL;

	path = g_strdup_printf("/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/"
			       "nr_hugepages",
			       node);
	write_text(path, text);
	g_assert_true(g_file_get_contents(path, &got, NULL, NULL));
	return g_ascii_strtoull(got, NULL, 10);
}

static uint64_t huge_bytes(struct storage_object *o)
{
	struct storage_residency res;
	uint64_t huge;

	g_assert_cmpint(lab.s->ops->residency(o, 0, o->size, true, NULL, NULL, &res, NULL), ==, 0);
	huge = res.huge;
	storage_residency_done(&res);
	return huge;
}

static struct placement *wanted(int node)
{
	struct placement *p = placement_new();

	p->page_size = GRANULE_SIZE;
	g_ptr_array_add(p->prefer, g_strdup_printf("node%d", node));
	return p;
}

static void test_transparent(void)
{
	g_autoptr(Placement) p = wanted(1);
	struct storage_move_result res;
	struct storage_object *o;
	char *map;

	write_text(SHMEM_ENABLED, "advise");
	o = lab_create(&lab, 16 * MIB, p);
	g_assert_cmpint(lab.s->ops->page_backing(o), ==, PAGES_THP);
	map = lab_map(&lab, o, o->size);
	g_assert_cmpint(madvise(map, o->size, MADV_HUGEPAGE), ==, 0);
	memset(map, 3, o->size);
	g_assert_cmpuint(lab_bytes(&lab, o, 0, o->size, 1), ==, o->size);
	g_assert_cmpuint(huge_bytes(o), ==, o->size);

	/* Whole, at once, and they stay whole. */
	lab_move(&lab, o, 2, &res);
	g_assert_cmpuint(res.moved, ==, o->size);
	storage_move_result_done(&res);
	g_assert_cmpuint(lab_bytes(&lab, o, 0, o->size, 2), ==, o->size);
	g_assert_cmpuint(huge_bytes(o), ==, o->size);
	g_assert_cmpuint(lab_numa_maps(0, map, 2), ==, o->size);
	for (uint64_t at = 0; at < o->size; at += 512)
		g_assert_cmpint(map[at], ==, 3);
	munmap(map, o->size);
	lab.s->ops->free(o);
	write_text(SHMEM_ENABLED, "never");
}

static void test_neither(void)
{
	g_autoptr(Placement) p = wanted(1);
	g_autofree char *error = NULL;
	struct storage_object *o = NULL;

	g_assert_cmpint(lab.s->ops->create(lab.s, lab.inv,
					   &(struct storage_spec){
						   .label = "x", .size = 64 * MIB, .placement = p },
					   &o, &error),
			==, -EOPNOTSUPP);
	g_assert_nonnull(strstr(error, "shmem_enabled: never"));
	g_assert_nonnull(strstr(error, "it needs 32"));
	g_assert_nonnull(strstr(error, "nr_hugepages"));
}

static void test_reserved(void)
{
	g_autoptr(Placement) p = wanted(1);
	struct storage_move_result res;
	struct storage_object *o;
	uint64_t bytes;
	char *map;

	if (reserve(1, 8) < 8) {
		reserve(1, 0);
		g_test_skip("node 1 has no 8 free huge pages in one piece");
		return;
	}
	o = lab_create(&lab, 16 * MIB, p);
	g_assert_cmpint(lab.s->ops->page_backing(o), ==, PAGES_HUGETLB);
	g_assert_cmpint(lab.s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, o->size);
	map = lab_map(&lab, o, o->size);
	for (uint64_t at = 0; at < o->size; at += PAGE)
		g_assert_cmpint(map[at], ==, 0);
	memset(map, 5, o->size);
	g_assert_cmpuint(lab_bytes(&lab, o, 0, o->size, 1), ==, o->size);
	g_assert_cmpuint(huge_bytes(o), ==, o->size);
	g_assert_cmpuint(lab_numa_maps(0, map, 1), ==, o->size);

	lab_move(&lab, o, 2, &res);
	g_assert_cmpuint(res.moved, ==, o->size);
	g_assert_cmpint(res.policy_error, ==, -EOPNOTSUPP);
	storage_move_result_done(&res);
	g_assert_cmpuint(lab_bytes(&lab, o, 0, o->size, 2), ==, o->size);
	for (uint64_t at = 0; at < o->size; at += 512)
		g_assert_cmpint(map[at], ==, 5);
	munmap(map, o->size);
	lab.s->ops->free(o);
	reserve(1, 0);
	reserve(2, 0);
}

/* Enough when it was asked, taken by others when it is filled: said, and nothing kept. */
static void test_taken_meanwhile(void)
{
	g_autoptr(Placement) p = wanted(1);
	g_autofree char *error = NULL;
	struct storage_object *o = NULL;
	uint64_t bytes;

	if (reserve(1, 8) < 8) {
		reserve(1, 0);
		g_test_skip("node 1 has no 8 free huge pages in one piece");
		return;
	}
	g_assert_cmpint(lab.s->ops->create(lab.s, lab.inv,
					   &(struct storage_spec){
						   .label = "x", .size = 16 * MIB, .placement = p },
					   &o, &error),
			==, 0);
	g_assert_true(lab.s->ops->needs_prepare(o));
	reserve(1, 4);
	g_assert_cmpint(lab.s->ops->prepare(o, NULL, NULL, &error), ==, -ENOMEM);
	g_assert_nonnull(strstr(error, "8 huge pages of 'x'"));
	g_assert_nonnull(strstr(error, "4 free"));
	g_assert_cmpint(lab.s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 0);
	lab.s->ops->free(o);
	reserve(1, 0);
}

int main(int argc, char *argv[])
{
	g_autofree char *before = NULL;
	const char *chosen;
	int r;

	g_test_init(&argc, &argv, NULL);
	lab_open(&lab, 3);
	g_assert_true(g_file_get_contents(SHMEM_ENABLED, &before, NULL, NULL));
	chosen = strchr(before, '[');
	g_assert_nonnull(chosen);
	*strchr(chosen, ']') = '\0';
	write_text(SHMEM_ENABLED, "never");

	g_test_add_func("/hugepage/transparent", test_transparent);
	g_test_add_func("/hugepage/neither", test_neither);
	g_test_add_func("/hugepage/reserved", test_reserved);
	g_test_add_func("/hugepage/taken-meanwhile", test_taken_meanwhile);
	r = g_test_run();
	write_text(SHMEM_ENABLED, chosen + 1);
	return r;
}
