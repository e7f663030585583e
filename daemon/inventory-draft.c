/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-draft.h"

#include <limits.h>
#include <stdarg.h>

struct draft *draft_new(void)
{
	struct draft *d = g_new0(struct draft, 1);

	d->tier = tier_new();
	d->keys = g_ptr_array_new_with_free_func(g_free);
	d->devices = g_ptr_array_new_with_free_func(g_free);
	return d;
}

void draft_free(void *draft)
{
	struct draft *d = draft;

	if (d == NULL)
		return;
	tier_unref(d->tier);
	g_ptr_array_unref(d->keys);
	g_ptr_array_unref(d->devices);
	g_free(d);
}

void draft_add_key(struct draft *d, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	g_ptr_array_add(d->keys, g_strdup_vprintf(format, ap));
	va_end(ap);
}

void draft_add_device(struct draft *d, const char *name)
{
	g_ptr_array_add(d->devices, g_strdup(name));
}

void draft_set_detail(struct draft *d, const char *format, ...)
{
	va_list ap;

	g_free(d->tier->evidence_detail);
	va_start(ap, format);
	d->tier->evidence_detail = g_strdup_vprintf(format, ap);
	va_end(ap);
}

void draft_set_state(struct draft *d, enum tier_state state, const char *format, ...)
{
	va_list ap;

	d->tier->state = state;
	g_free(d->tier->state_reason);
	va_start(ap, format);
	d->tier->state_reason = g_strdup_vprintf(format, ap);
	va_end(ap);
}

int draft_order(const struct draft *d)
{
	if (d->tier->nodes->len > 0)
		return g_array_index(d->tier->nodes, int, 0);
	return d->tier->target_node >= 0 ? d->tier->target_node : INT_MAX;
}
