/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The system calls by which the node storage rules memory, as a table, so that a test can make one of
 * them fail (a full kernel, a seccomp filter) and see what is left behind. All return 0 or a count, or a
 * negative errno. Called directly rather than through libnuma, which sets no home node and whose wrappers
 * hide errno values that the texts for people depend on.
 */

/* The kernel's largest MAX_NUMNODES (CONFIG_NODES_SHIFT=10). */
#define NODES_MAX 1024
#define NODES_BITS_PER_WORD (8 * sizeof(unsigned long))

struct nodeset {
	unsigned long bits[NODES_MAX / NODES_BITS_PER_WORD];
};

static inline void nodeset_add(struct nodeset *s, int node)
{
	s->bits[(unsigned int)node / NODES_BITS_PER_WORD] |=
		1UL << ((unsigned int)node % NODES_BITS_PER_WORD);
}

static inline bool nodeset_has(const struct nodeset *s, int node)
{
	return node >= 0 && node < NODES_MAX &&
	       s->bits[(unsigned int)node / NODES_BITS_PER_WORD] >>
			       ((unsigned int)node % NODES_BITS_PER_WORD) &
		       1;
}

struct node_sys {
	int (*memfd_create)(const char *name, unsigned int flags);
	/* flags: 0 or MPOL_MF_MOVE…: then pages elsewhere go too, as far as they can */
	int (*mbind)(void *address, uint64_t length, int mode, const struct nodeset *nodes,
		     int flags);
	int (*set_home_node)(void *address, uint64_t length, int node);
	/* nodes NULL: only tell, in status, where the pages are. flags: MPOL_MF_MOVE… */
	long (*move_pages)(size_t n, void *const *pages, const int *nodes, int *status, int flags);
	int (*madvise)(void *address, uint64_t length, int advice);
	/* Bytes free on a node, without making room; 0 if it cannot be told. root_fd: of / */
	uint64_t (*node_free)(int root_fd, int node);
};
extern const struct node_sys node_sys_real;

/*
 * What this process may and this kernel can do, found by trying (never by version). Without NUMA calls
 * (seccomp, a kernel without NUMA) objects work and placements are refused with that reason.
 */
struct node_caps {
	int mbind;	     /* 0, or the negative errno that it answers */
	int move_pages;	     /* likewise, for asking where a page is */
	bool move_shared;    /* CAP_SYS_NICE: pages that clients map can be moved */
	bool preferred_many; /* 5.15: several preferred nodes */
	bool home_node;	     /* 5.17: which of several comes first */
	bool populate;	     /* 5.14: MADV_POPULATE_READ and _WRITE */
	bool numa_maps;	     /* /proc/self/numa_maps can be read: pages are counted by it */
};
void node_caps_probe(const struct node_sys *sys, struct node_caps *ret_caps);

/* Numbers of the kernel's interface that Debian 12's headers lack. */
#define NODE_MPOL_PREFERRED_MANY 5
#define NODE_MADV_POPULATE_READ 22
#define NODE_MADV_POPULATE_WRITE 23
#define NODE_MFD_NOEXEC_SEAL 0x0008U
#define NODE_MFD_HUGE_2MB (21U << 26)
