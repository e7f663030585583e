/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory-override.h"

#include <string.h>

#include "inventory-draft.h"
#include "numlist.h"
#include "warnings.h"

static struct draft *draft_with_node(GPtrArray *drafts, int node)
{
	for (unsigned int i = 0; i < drafts->len; i++) {
		struct draft *d = drafts->pdata[i];

		if (numlist_contains(d->tier->nodes, node))
			return d;
	}
	return NULL;
}

static struct draft *draft_with_device(GPtrArray *drafts, const char *device)
{
	const char *slash = strrchr(device, '/');
	const char *base = slash ? slash + 1 : device;

	for (unsigned int i = 0; i < drafts->len; i++) {
		struct draft *d = drafts->pdata[i];

		for (unsigned int k = 0; k < d->devices->len; k++)
			if (strcmp(d->devices->pdata[k], base) == 0)
				return d;
	}
	return NULL;
}

static struct draft *draft_with_uuid(GPtrArray *drafts, const char *uuid)
{
	for (unsigned int i = 0; i < drafts->len; i++) {
		struct draft *d = drafts->pdata[i];

		if (g_strcmp0(d->tier->uuid, uuid) == 0)
			return d;
	}
	return NULL;
}

static uint32_t worst_latency(uint32_t a, uint32_t b)
{
	return a == 0 || b == 0 ? 0 : MAX(a, b);
}

static uint32_t worst_bandwidth(uint32_t a, uint32_t b)
{
	return a == 0 || b == 0 ? 0 : MIN(a, b);
}

/* A morsel in a joined tier may lie on any of its nodes: only the worst of them can be promised. */
static void join_perf(GArray *perf, const GArray *other)
{
	for (unsigned int i = 0; i < perf->len && i < other->len; i++) {
		struct tier_perf *p = &g_array_index(perf, struct tier_perf, i);
		const struct tier_perf *o = &g_array_index(other, struct tier_perf, i);

		p->read_lat_ns = worst_latency(p->read_lat_ns, o->read_lat_ns);
		p->write_lat_ns = worst_latency(p->write_lat_ns, o->write_lat_ns);
		p->read_bw_mbs = worst_bandwidth(p->read_bw_mbs, o->read_bw_mbs);
		p->write_bw_mbs = worst_bandwidth(p->write_bw_mbs, o->write_bw_mbs);
		if (p->read_lat_ns == 0 && p->write_lat_ns == 0)
			p->lat_source = PERF_UNKNOWN;
		if (p->read_bw_mbs == 0 && p->write_bw_mbs == 0)
			p->bw_source = PERF_UNKNOWN;
		p->distance = p->distance == 0 || o->distance == 0 ? 0
								   : MAX(p->distance, o->distance);
	}
}

static int compare_ints(gconstpointer a, gconstpointer b)
{
	return *(const int *)a - *(const int *)b;
}

static void join(struct draft *d, struct draft *other)
{
	struct tier *t = d->tier, *o = other->tier;

	if (t->kind != o->kind) {
		warnings_add(t->warnings, "joins memory of kind %s and of kind %s",
			     tier_kind_to_string(t->kind), tier_kind_to_string(o->kind));
	}
	g_array_append_vals(t->nodes, o->nodes->data, o->nodes->len);
	g_array_sort(t->nodes, compare_ints);
	t->capacity += o->capacity;
	t->free += o->free;
	if (t->memory_tier != o->memory_tier)
		t->memory_tier = -1;
	if (o->evidence_detail[0] != 0)
		draft_set_detail(d, "%s; %s", t->evidence_detail, o->evidence_detail);
	if (o->state != TIER_ONLINE) {
		g_autofree char *reason = g_strdup(o->state_reason);

		draft_set_state(d, t->state == o->state ? t->state : TIER_DEGRADED, "%s%s%s",
				t->state_reason, t->state_reason[0] ? "; " : "", reason);
	}
	join_perf(t->perf, o->perf);
	warnings_add_all(t->warnings, o->warnings);
	for (unsigned int k = 0; k < other->keys->len; k++)
		draft_add_key(d, "%s", (const char *)other->keys->pdata[k]);
	for (unsigned int k = 0; k < other->devices->len; k++)
		draft_add_device(d, other->devices->pdata[k]);
}

/* A tier for a section that fits nothing. */
static struct draft *draft_missing(const struct config_tier *ct, const GArray *initiators)
{
	struct draft *d = draft_new();

	d->tier->backing = ct->device != NULL || ct->uuid != NULL ? BACKING_DAX : BACKING_NODE;
	d->tier->device = g_strdup(ct->device);
	draft_set_detail(d, "only %s speaks of it", ct->origin);
	for (unsigned int i = 0; i < initiators->len; i++) {
		struct tier_perf p;

		memset(&p, 0, sizeof(p));
		p.initiator = g_array_index(initiators, int, i);
		g_array_append_val(d->tier->perf, p);
	}
	return d;
}

static void set_name(struct draft *d, const struct config_tier *ct)
{
	g_free(d->tier->name);
	d->tier->name = g_strdup(ct->name);
	d->named = true;
}

static void apply_nodes(GPtrArray *drafts, const struct config_tier *ct, const GArray *initiators)
{
	g_autoptr(GString) absent = g_string_new(NULL);
	struct draft *first = NULL;

	for (unsigned int i = 0; i < ct->nodes->len; i++) {
		int node = g_array_index(ct->nodes, int, i);
		struct draft *d = draft_with_node(drafts, node);

		if (d == NULL) {
			g_string_append_printf(absent, "%s%d", absent->len ? ", " : "", node);
		} else if (first == NULL) {
			first = d;
		} else if (d != first) {
			join(first, d);
			g_ptr_array_remove(drafts, d);
		}
	}
	if (first == NULL) {
		first = draft_missing(ct, initiators);
		draft_set_state(first, TIER_MISSING,
				"node %s, which %s names, does not exist or has no memory",
				absent->str, ct->origin);
		g_ptr_array_add(drafts, first);
	} else if (absent->len > 0) {
		g_autofree char *before = g_strdup(first->tier->state_reason);

		draft_set_state(first,
				first->tier->state == TIER_ONLINE ? TIER_DEGRADED
								  : first->tier->state,
				"node %s, which %s names, does not exist or has no memory%s%s",
				absent->str, ct->origin, before[0] ? "; " : "", before);
	}
	set_name(first, ct);
}

static void apply_device(GPtrArray *drafts, const struct config_tier *ct, const GArray *initiators)
{
	struct draft *d = ct->device ? draft_with_device(drafts, ct->device)
				     : draft_with_uuid(drafts, ct->uuid);

	if (d == NULL) {
		d = draft_missing(ct, initiators);
		draft_set_state(d, TIER_MISSING, "%s%s, which %s names, %s",
				ct->device ? "" : "the namespace ",
				ct->device ? ct->device : ct->uuid, ct->origin,
				ct->device ? "does not exist"
					   : "is no dax device here: ndctl list -N says how it is");
		g_ptr_array_add(drafts, d);
	} else if (d->named) {
		warnings_add(d->tier->warnings, "%s gives %s a second name, %s: ignoring",
			     ct->origin, ct->device ? ct->device : ct->uuid, ct->name);
		return;
	}
	set_name(d, ct);
}

void override_before_names(GPtrArray *drafts, const struct config *config, const GArray *initiators)
{
	for (unsigned int i = 0; config != NULL && i < config->tiers->len; i++) {
		const struct config_tier *ct = config->tiers->pdata[i];

		if (ct->nodes->len > 0)
			apply_nodes(drafts, ct, initiators);
		else if (ct->device != NULL || ct->uuid != NULL)
			apply_device(drafts, ct, initiators);
		/* The kind decides the numbers of the others, too. */
		for (unsigned int j = 0; j < drafts->len; j++) {
			struct draft *d = drafts->pdata[j];

			if (d->named && strcmp(d->tier->name, ct->name) == 0 && ct->has_kind)
				d->tier->kind = ct->kind;
		}
	}
}

static void apply_perf(struct tier *t, const struct config_perf *cp)
{
	for (unsigned int i = 0; i < t->perf->len; i++) {
		struct tier_perf *p = &g_array_index(t->perf, struct tier_perf, i);

		if (cp->initiator >= 0 && cp->initiator != p->initiator)
			continue;
		if (cp->lat_ns != 0) {
			p->read_lat_ns = p->write_lat_ns = cp->lat_ns;
			p->lat_source = PERF_CONFIGURED;
		}
		if (cp->bw_mbs != 0) {
			p->read_bw_mbs = p->write_bw_mbs = cp->bw_mbs;
			p->bw_source = PERF_CONFIGURED;
		}
	}
}

static void apply_section(struct draft *d, const struct config_tier *ct, const GArray *initiators)
{
	struct tier *t = d->tier;

	if (ct->has_kind) {
		t->kind = ct->kind;
		t->evidence = EVIDENCE_CONFIGURED;
		draft_set_detail(d, "%s says so", ct->origin);
	}
	/* First what holds for all initiators, so that Latency.0= wins wherever it stands. */
	for (int pass = 0; pass < 2; pass++)
		for (unsigned int i = 0; i < ct->perf->len; i++) {
			const struct config_perf *cp =
				&g_array_index(ct->perf, struct config_perf, i);

			if ((cp->initiator >= 0) == (pass == 1))
				apply_perf(t, cp);
			if (pass == 1 && cp->initiator >= 0 &&
			    !numlist_contains(initiators, cp->initiator))
				warnings_add(
					t->warnings,
					"%s has numbers from node %d, which has no CPUs: ignoring",
					ct->origin, cp->initiator);
		}
	if (!ct->enabled && t->state != TIER_MISSING) {
		g_autofree char *before = g_strdup(t->state_reason);

		draft_set_state(d, TIER_OFFLINE, "switched off by %s (Enabled=no)%s%s", ct->origin,
				before[0] ? "; " : "", before);
	}
}

void override_after_names(GPtrArray *drafts, const struct config *config, const GArray *initiators)
{
	for (unsigned int i = 0; config != NULL && i < config->tiers->len; i++) {
		const struct config_tier *ct = config->tiers->pdata[i];
		struct draft *d = NULL;

		for (unsigned int j = 0; j < drafts->len && d == NULL; j++) {
			struct draft *c = drafts->pdata[j];

			if (strcmp(c->tier->name, ct->name) == 0)
				d = c;
		}
		if (d == NULL) {
			/* A second name for a device was warned of. */
			if (ct->device != NULL || ct->uuid != NULL || ct->nodes->len > 0)
				continue;
			d = draft_missing(ct, initiators);
			draft_set_state(
				d, TIER_MISSING,
				"no memory here has this name, and %s gives it neither Node= nor "
				"Device=",
				ct->origin);
			set_name(d, ct);
			g_ptr_array_add(drafts, d);
		}
		apply_section(d, ct, initiators);
	}
}
