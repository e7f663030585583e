/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage-node-count.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* 64 GiB: above a program that is linked to a fixed address, below one that is not. A slot per view. */
#define LOW UINT64_C(0x1000000000)
#define SLOTS 32
#define SLOT_SIZE (UINT64_C(1) << 30)

/* The kernel stops walking mappings when it has as many bytes as are asked for: less than a line. */
#define READ_SIZE 32
/* With a mapping in each slot, and what is reserved around it, ours comes by then. */
#define LINES_MAX (3 * SLOTS + 16)

void *node_count_reserve(uint64_t length)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *p;

	for (uint64_t slot = 0; slot < SLOTS && length <= SLOT_SIZE; slot++) {
		p = mmap((void *)(uintptr_t)(LOW + slot * SLOT_SIZE), length, PROT_NONE,
			 flags | MAP_FIXED_NOREPLACE, -1, 0);
		if (p != MAP_FAILED)
			return p;
		if (errno != EEXIST)
			break;
	}
	p = mmap(NULL, length, PROT_NONE, flags, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

int node_count_parse(const char *line, const void *start, struct node_counts *ret_counts)
{
	struct node_counts counts = { .only_node = -1 };
	unsigned int nodes = 0;
	char *end;

	if (strtoull(line, &end, 16) != (uintptr_t)start || *end != ' ')
		return -ENODATA;
	/* A file's name cannot look like a count: the kernel writes its blanks and '=' in octal. */
	for (const char *at = end; (at = strstr(at, " N")); at = end) {
		unsigned long node = strtoul(at + 2, &end, 10);
		uint64_t pages;

		if (end == at + 2 || *end != '=') {
			end = (char *)at + 2;
			continue;
		}
		pages = strtoull(end + 1, &end, 10);
		counts.total += pages;
		counts.only_node = (int)node;
		nodes++;
	}
	if (nodes > 1)
		counts.only_node = -1;
	*ret_counts = counts;
	return 0;
}

int node_count(int fd, const void *start, struct node_counts *ret_counts)
{
	char text[8192];
	size_t length = 0;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return -ENODATA;
	for (unsigned int lines = 0; lines < LINES_MAX;) {
		ssize_t n;
		char *newline;

		if (length + READ_SIZE >= sizeof(text))
			return -ENODATA;
		n = read(fd, text + length, READ_SIZE);
		if (n <= 0)
			return -ENODATA;
		length += (size_t)n;
		text[length] = '\0';
		while ((newline = strchr(text, '\n'))) {
			*newline = '\0';
			if (node_count_parse(text, start, ret_counts) == 0)
				return 0;
			length -= (size_t)(newline + 1 - text);
			memmove(text, newline + 1, length + 1);
			lines++;
		}
	}
	return -ENODATA;
}
