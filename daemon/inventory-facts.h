/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "inventory-node.h"

/* Everything one look at the machine gave, before it is judged. */
struct facts {
	struct node_facts *nodes;
	GArray *initiators; /* of int: online nodes with CPUs */
};

struct facts *facts_read(int root_fd);
struct facts *facts_free(struct facts *f); /* takes NULL, returns NULL */
