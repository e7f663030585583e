/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A directory tree in a temporary place, for unit tests of what reads the kernel's files. */
struct tree {
	char *path;
	int fd;
};

struct tree tree_new(void);
void tree_done(struct tree *t); /* removes it */
/* Files are given below the tree; directories on the way are made. */
void tree_write(struct tree *t, const char *path, const char *text);
void tree_write_bytes(struct tree *t, const char *path, const void *data, unsigned int len);
void tree_link(struct tree *t, const char *path, const char *target);
void tree_remove(struct tree *t, const char *path); /* with all below it */

/* A node: cpulist "" for none; kib of memory; distance as in the file. */
void tree_node(struct tree *t, int id, const char *cpulist, unsigned long kib,
	       const char *distance);
/* accessC of a node: numbers of initiators[0..], ended by -1. */
void tree_access(struct tree *t, int node, int class, const int *initiators, unsigned int lat_ns,
		 unsigned int bw_mbs);
