// SPDX-License-Identifier: GPL-2.0-or-later
#include "procfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/kernfile.h"

#define PAGE UINT64_C(4096)
#define PF_KTHREAD 0x00200000u
/* Smaller ones are not worth a region of the sampler's. */
#define RANGE_MIN (64 << 10)
/* Lines that are read of one process. Beyond that a program has more mappings than the kernel allows by default. */
#define LINES_MAX (1u << 17)

int proc_stat_parse(const char *text, struct proc_stat *ret_stat)
{
	/* Behind the last ')', for the name may hold one. */
	const char *at = strrchr(text, ')');
	uint64_t user, system, start;
	unsigned int flags;
	int64_t pages;

	if (!at ||
	    sscanf(at + 1,
		   " %*c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
		   " %*d %*d %*d %*d %*d %*d %" SCNu64 " %*u %" SCNd64,
		   &flags, &user, &system, &start, &pages) != 5 ||
	    pages < 0)
		return -EBADMSG;
	*ret_stat = (struct proc_stat){ .start = start,
					.cpu_usec = (user + system) *
						    (1000000 / (uint64_t)sysconf(_SC_CLK_TCK)),
					.pages = (uint64_t)pages,
					.kernel = flags & PF_KTHREAD };
	return 0;
}

int proc_stat_read(int root_fd, pid_t pid, struct proc_stat *ret_stat)
{
	char path[32], text[2048];
	ssize_t n;
	int fd, r;

	g_snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
	fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, text, sizeof(text) - 1);
	r = n < 0 ? -errno : 0;
	close(fd);
	if (r < 0)
		return r;
	text[n] = 0;
	return proc_stat_parse(text, ret_stat);
}

static bool is_own(const char *name)
{
	return name[0] == 0 || g_str_equal(name, "[heap]") || g_str_has_prefix(name, "[stack") ||
	       g_str_has_prefix(name, "[anon:");
}

int proc_maps_parse(const char *line, struct proc_range *ret_range)
{
	unsigned int major, minor;
	uint64_t start, end, inode;
	char mode[5];
	int n = 0;

	if (sscanf(line, "%16" SCNx64 "-%16" SCNx64 " %4s %*x %x:%x %" SCNu64 "%n", &start, &end,
		   mode, &major, &minor, &inode, &n) != 6 ||
	    strlen(mode) != 4 || start >= end || start % PAGE != 0 || end % PAGE != 0)
		return -EBADMSG;
	line += n + strspn(line + n, " \t");
	if (mode[3] != 'p' || inode != 0 || major != 0 || minor != 0 || !is_own(line))
		return -ENODATA;
	*ret_range = (struct proc_range){ start, end };
	return 0;
}

static gint larger_first(gconstpointer a, gconstpointer b)
{
	const struct proc_range *x = a, *y = b;
	uint64_t m = x->end - x->start, n = y->end - y->start;

	return m > n ? -1 : m < n;
}

static gint lower_first(gconstpointer a, gconstpointer b)
{
	uint64_t x = ((const struct proc_range *)a)->start,
		 y = ((const struct proc_range *)b)->start;

	return x < y ? -1 : x > y;
}

int proc_maps_read(int root_fd, pid_t pid, unsigned int max, GArray **ret_ranges,
		   unsigned int *ret_left_out)
{
	g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(struct proc_range));
	char path[32], *line = NULL;
	unsigned int lines = 0;
	size_t size = 0;
	FILE *file;
	ssize_t n;
	int fd;

	g_snprintf(path, sizeof(path), "proc/%d/maps", (int)pid);
	fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	file = fdopen(fd, "re");
	while (lines++ < LINES_MAX && (n = getline(&line, &size, file)) > 0) {
		struct proc_range range, *last;

		line[n - 1] = 0;
		if (proc_maps_parse(line, &range) < 0)
			continue;
		last = ranges->len > 0 ? &g_array_index(ranges, struct proc_range, ranges->len - 1)
				       : NULL;
		if (last && last->end == range.start)
			last->end = range.end;
		else
			g_array_append_val(ranges, range);
	}
	free(line);
	(void)fclose(file);
	for (unsigned int i = ranges->len; i-- > 0;) {
		const struct proc_range *range = &g_array_index(ranges, struct proc_range, i);

		if (range->end - range->start < RANGE_MIN)
			g_array_remove_index(ranges, i);
	}
	g_array_sort(ranges, larger_first);
	*ret_left_out = ranges->len > max ? ranges->len - max : 0;
	g_array_set_size(ranges, MIN(ranges->len, max));
	g_array_sort(ranges, lower_first);
	*ret_ranges = g_steal_pointer(&ranges);
	return 0;
}
