/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage-node-hugepage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define THP_DIR "sys/kernel/mm/transparent_hugepage/"
#define NR_FREE "hugepages/hugepages-2048kB/free_hugepages"

/* The small file's first line; "" when it cannot be read. */
static void read_line(int root_fd, const char *path, char *line, size_t size)
{
	int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd >= 0) {
		n = read(fd, line, size - 1);
		close(fd);
	}
	line[n > 0 ? n : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
}

/* Of "always within_size [never]": the word in brackets, as one of our constants; NULL: none. */
static const char *chosen(const char *line)
{
	static const char *const words[] = { "always", "within_size", "advise", "inherit",
					     "never",  "deny",	      "force" };
	const char *open = strchr(line, '[');

	for (size_t i = 0; open && i < G_N_ELEMENTS(words); i++) {
		size_t n = strlen(words[i]);

		if (strncmp(open + 1, words[i], n) == 0 && open[n + 1] == ']')
			return words[i];
	}
	return NULL;
}

bool hugepage_transparent(int root_fd, const char **ret_how)
{
	char line[128];
	const char *all, *size, *how;

	read_line(root_fd, THP_DIR "shmem_enabled", line, sizeof(line));
	all = chosen(line);
	/* 6.11 on: a switch for each size; "inherit" is the 2 MiB one's default. */
	read_line(root_fd, THP_DIR "hugepages-2048kB/shmem_enabled", line, sizeof(line));
	size = chosen(line) ?: "inherit";

	if (!all)
		how = "absent";
	else if (g_str_equal(all, "deny") || g_str_equal(all, "force") ||
		 g_str_equal(size, "inherit"))
		how = all;
	else
		how = size;
	if (ret_how)
		*ret_how = how;
	return !g_str_equal(how, "absent") && !g_str_equal(how, "never") &&
	       !g_str_equal(how, "deny");
}

static uint64_t read_count(int root_fd, const char *path)
{
	char line[32];

	read_line(root_fd, path, line, sizeof(line));
	return g_ascii_strtoull(line, NULL, 10);
}

uint64_t hugepage_free_pages(int root_fd, int node, char **ret_path)
{
	g_autofree char *dir = node < 0 ? g_strdup("sys/kernel/mm/")
					: g_strdup_printf("sys/devices/system/node/node%d/", node);
	g_autofree char *path = g_strconcat(dir, NR_FREE, NULL);

	if (ret_path)
		*ret_path = g_strconcat("/", dir, "hugepages/hugepages-2048kB/nr_hugepages", NULL);
	return read_count(root_fd, path);
}

/* Bytes that each policy of the plan is to get. */
static GArray *wanted(const struct policy_plan *plan, uint64_t size)
{
	GArray *bytes = g_array_new(false, true, sizeof(uint64_t));
	uint64_t at, length;

	g_array_set_size(bytes, plan->stripe ? plan->policies->len : 1);
	if (plan->stripe == 0) {
		g_array_index(bytes, uint64_t, 0) = size;
		return bytes;
	}
	for (at = 0; at < size; at += length) {
		length = MIN(plan->stripe, size - at);
		g_array_index(bytes, uint64_t, plan->order[at / plan->stripe % plan->period]) +=
			length;
	}
	return bytes;
}

static bool binding(const struct policy_plan *plan, const struct node_policy *policy)
{
	return plan->stripe > 0 || policy->mode == MPOL_BIND ||
	       policy->mode == NODE_MPOL_PREFERRED_MANY;
}

/* Huge pages that are free where policy wants them; text says it node by node. */
static uint64_t free_for(int root_fd, const struct policy_plan *plan,
			 const struct node_policy *policy, GString *text)
{
	uint64_t sum = 0;
	g_autofree char *path = NULL;

	if (!plan->any || !binding(plan, policy)) {
		sum = hugepage_free_pages(root_fd, -1, &path);
		g_string_append_printf(text, "; %" PRIu64 " free in all (%s)", sum, path);
		return sum;
	}
	for (int node = 0; node < NODES_MAX; node++) {
		g_autofree char *node_path = NULL;
		uint64_t n;

		if (!nodeset_has(&policy->nodes, node))
			continue;
		n = hugepage_free_pages(root_fd, node, &node_path);
		sum += n;
		g_string_append_printf(text, "; node %d has %" PRIu64 " free (%s)", node, n,
				       node_path);
	}
	return sum;
}

/* Are there enough free ones for each part of the plan? text: what was counted. */
static bool enough_free(int root_fd, uint64_t size, const struct policy_plan *plan, GString *text)
{
	g_autoptr(GArray) bytes = wanted(plan, size);
	bool enough = hugepage_free_pages(root_fd, -1, NULL) >= size / GRANULE_SIZE;

	for (unsigned int i = 0; i < bytes->len; i++) {
		const struct node_policy *policy =
			plan->stripe ? &g_array_index(plan->policies, struct node_policy, i)
				     : &plan->base;
		uint64_t n = free_for(root_fd, plan, policy, text);

		if (n < g_array_index(bytes, uint64_t, i) / GRANULE_SIZE)
			enough = false;
	}
	return enough;
}

int hugepage_choose(int root_fd, const char *label, uint64_t size, const struct policy_plan *plan,
		    enum page_backing *ret_backing, char **ret_error)
{
	g_autoptr(GString) counted = g_string_new(NULL);
	const char *how;

	if (hugepage_transparent(root_fd, &how)) {
		*ret_backing = PAGES_THP;
		return 0;
	}
	if (enough_free(root_fd, size, plan, counted)) {
		*ret_backing = PAGES_HUGETLB;
		return 0;
	}
	*ret_error = g_strdup_printf(
		"'%s' cannot have 2 MiB pages: transparent ones are off for shared "
		"memory (/" THP_DIR "shmem_enabled: %s; write advise there), and of "
		"reserved ones it needs %" PRIu64 "%s",
		label, how, size / GRANULE_SIZE, counted->str);
	return -EOPNOTSUPP;
}

static int fill(struct storage_object *o, char *window, uint64_t step, storage_progress_t progress,
		void *userdata)
{
	uint64_t next;

	for (uint64_t at = 0; at < o->size; at = next) {
		int r;

		if (progress && !progress(at, o->size, userdata))
			return -ECANCELED;
		next = MIN(o->size, at + step);
		if (o->plan->stripe > 0)
			next = MIN(next, (at / o->plan->stripe + 1) * o->plan->stripe);
		if (mmap(window, next - at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, o->fd,
			 (off_t)at) == MAP_FAILED)
			return -errno;
		if (o->plan->any) {
			r = node_policy_set(policy_plan_at(o->plan, at), o->node->sys, window,
					    next - at);
			if (r < 0)
				return r;
		}
		r = o->node->sys->madvise(window, next - at, NODE_MADV_POPULATE_WRITE);
		if (r < 0)
			return r;
	}
	return 0;
}

int hugepage_fill(struct storage_object *o, storage_progress_t progress, void *userdata,
		  char **ret_error)
{
	uint64_t step = UINT64_C(32) << 20;
	g_autoptr(GString) counted = g_string_new(NULL);
	char *reserved, *window;
	int r;

	reserved = mmap(NULL, step + GRANULE_SIZE, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED) {
		r = -errno;
		*ret_error =
			g_strdup_printf("cannot map '%s' to fill it: %s", o->label, g_strerror(-r));
		return r;
	}
	window = reserved + (-(uintptr_t)reserved & (GRANULE_SIZE - 1));
	r = fill(o, window, step, progress, userdata);
	munmap(reserved, step + GRANULE_SIZE);
	if (r >= 0)
		return 0;

	/* The pages go back at once, not with the last descriptor. */
	fallocate(o->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)o->size);
	if (r == -ECANCELED) {
		*ret_error = g_strdup_printf("creating '%s' was cancelled", o->label);
		return r;
	}
	/* A fault without a free huge page is a bus error, which madvise calls EFAULT. */
	if (r == -EFAULT)
		r = -ENOMEM;
	enough_free(o->node->root_fd, o->size, o->plan, counted);
	*ret_error = g_strdup_printf("cannot allocate the %" PRIu64 " huge pages of '%s': %s%s",
				     o->size / GRANULE_SIZE, o->label, g_strerror(-r),
				     counted->str);
	return r;
}
