/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-facts.h"

struct facts *facts_read(int root_fd)
{
	struct facts *f = g_new0(struct facts, 1);

	f->nodes = node_facts_read(root_fd);
	f->initiators = g_array_new(FALSE, FALSE, sizeof(int));
	for (unsigned int i = 0; i < f->nodes->nodes->len; i++) {
		const struct node_fact *n = f->nodes->nodes->pdata[i];

		if (n->has_cpu)
			g_array_append_val(f->initiators, n->id);
	}
	return f;
}

struct facts *facts_free(struct facts *f)
{
	if (f == NULL)
		return NULL;
	node_facts_free(f->nodes);
	g_array_unref(f->initiators);
	g_free(f);
	return NULL;
}
