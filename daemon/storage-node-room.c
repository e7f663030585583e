/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage-node-room.h"

#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>

uint64_t meminfo_sum(int root_fd, const char *path, const char *const *names)
{
	char text[8192];
	uint64_t sum = 0;
	ssize_t n;
	int fd;

	fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return UINT64_MAX;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return UINT64_MAX;
	text[n] = '\0';
	for (; *names; names++) {
		const char *at = strstr(text, *names);

		if (at)
			sum += g_ascii_strtoull(at + strlen(*names), NULL, 10) * 1024;
	}
	return sum;
}

uint64_t node_meminfo(int root_fd, int node, const char *const *names)
{
	char path[64];

	g_snprintf(path, sizeof(path), "sys/devices/system/node/node%d/meminfo", node);
	return meminfo_sum(root_fd, path, names);
}
