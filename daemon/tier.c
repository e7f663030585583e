/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tier.h"

#include <errno.h>
#include <string.h>

static const char *const kind_names[TIER_KIND_MAX] = {
	[TIER_DRAM] = "dram", [TIER_HBM] = "hbm", [TIER_CXL] = "cxl",
	[TIER_NVM] = "nvm",   [TIER_GPU] = "gpu", [TIER_MEMORY_ONLY] = "memory-only",
};

static const char *const evidence_names[EVIDENCE_MAX] = {
	[EVIDENCE_CONFIGURED] = "configured",
	[EVIDENCE_CXL_REGION] = "cxl-region",
	[EVIDENCE_NFIT] = "nfit",
	[EVIDENCE_CEDT] = "cedt",
	[EVIDENCE_CPU_NODE] = "cpu-node",
	[EVIDENCE_HMAT_GUESS] = "hmat-guess",
	[EVIDENCE_DEVICE] = "device",
	[EVIDENCE_NONE] = "none",
};

static const char *const state_names[TIER_STATE_MAX] = {
	[TIER_ONLINE] = "online",     [TIER_DRAINING] = "draining", [TIER_OFFLINE] = "offline",
	[TIER_DEGRADED] = "degraded", [TIER_MISSING] = "missing",
};

static const char *const backing_names[BACKING_MAX] = {
	[BACKING_NODE] = "node",     [BACKING_DAX] = "dax",   [BACKING_PMEM] = "pmem",
	[BACKING_DEVICE] = "device", [BACKING_FILE] = "file",
};

static const char *const source_names[PERF_SOURCE_MAX] = {
	[PERF_UNKNOWN] = "unknown",
	[PERF_HMAT] = "hmat",
	[PERF_CDAT] = "cdat",
	[PERF_MEASURED] = "measured",
	[PERF_CONFIGURED] = "configured",
};

static const char *name_of(const char *const *names, unsigned int n, unsigned int i)
{
	return i < n ? names[i] : "invalid";
}

const char *tier_kind_to_string(enum tier_kind k)
{
	return name_of(kind_names, TIER_KIND_MAX, k);
}

int tier_kind_from_string(const char *s, enum tier_kind *ret_kind)
{
	for (unsigned int i = 0; i < TIER_KIND_MAX; i++)
		if (strcmp(s, kind_names[i]) == 0) {
			*ret_kind = i;
			return 0;
		}
	return -EINVAL;
}

const char *tier_evidence_to_string(enum tier_evidence e)
{
	return name_of(evidence_names, EVIDENCE_MAX, e);
}

const char *tier_state_to_string(enum tier_state s)
{
	return name_of(state_names, TIER_STATE_MAX, s);
}

const char *tier_backing_to_string(enum tier_backing b)
{
	return name_of(backing_names, BACKING_MAX, b);
}

const char *perf_source_to_string(enum perf_source s)
{
	return name_of(source_names, PERF_SOURCE_MAX, s);
}

struct tier *tier_new(void)
{
	struct tier *t = g_new0(struct tier, 1);

	g_atomic_ref_count_init(&t->refs);
	t->kind = TIER_MEMORY_ONLY;
	t->evidence = EVIDENCE_NONE;
	t->evidence_detail = g_strdup("");
	t->state_reason = g_strdup("");
	t->nodes = g_array_new(FALSE, FALSE, sizeof(int));
	t->target_node = -1;
	t->place = -1;
	t->memory_tier = -1;
	t->perf = g_array_new(FALSE, TRUE, sizeof(struct tier_perf));
	t->warnings = g_ptr_array_new_with_free_func(g_free);
	return t;
}

struct tier *tier_ref(struct tier *t)
{
	g_atomic_ref_count_inc(&t->refs);
	return t;
}

struct tier *tier_unref(struct tier *t)
{
	if (t == NULL || !g_atomic_ref_count_dec(&t->refs))
		return NULL;
	g_free(t->name);
	g_free(t->evidence_detail);
	g_free(t->state_reason);
	g_free(t->device);
	g_free(t->uuid);
	g_array_unref(t->nodes);
	g_array_unref(t->perf);
	g_ptr_array_unref(t->warnings);
	g_free(t);
	return NULL;
}

struct tier *tier_copy(const struct tier *t)
{
	struct tier *c = g_new0(struct tier, 1);

	*c = *t;
	g_atomic_ref_count_init(&c->refs);
	c->name = g_strdup(t->name);
	c->evidence_detail = g_strdup(t->evidence_detail);
	c->state_reason = g_strdup(t->state_reason);
	c->device = g_strdup(t->device);
	c->uuid = g_strdup(t->uuid);
	/* Nobody changes a tier's arrays once it was handed out: both may hold them. */
	g_array_ref(c->nodes);
	g_array_ref(c->perf);
	g_ptr_array_ref(c->warnings);
	return c;
}

static bool arrays_equal(const GArray *a, const GArray *b, size_t size)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len * size) == 0);
}

bool tier_equal(const struct tier *a, const struct tier *b)
{
	if (strcmp(a->name, b->name) != 0 || a->kind != b->kind || a->evidence != b->evidence ||
	    strcmp(a->evidence_detail, b->evidence_detail) != 0 || a->state != b->state ||
	    strcmp(a->state_reason, b->state_reason) != 0 || a->backing != b->backing ||
	    g_strcmp0(a->device, b->device) != 0 || a->target_node != b->target_node ||
	    g_strcmp0(a->uuid, b->uuid) != 0 || a->start != b->start || a->place != b->place ||
	    a->pool != b->pool || a->capacity != b->capacity || a->memory_tier != b->memory_tier ||
	    !arrays_equal(a->nodes, b->nodes, sizeof(int)) ||
	    !arrays_equal(a->perf, b->perf, sizeof(struct tier_perf)) ||
	    a->warnings->len != b->warnings->len)
		return false;
	for (unsigned int i = 0; i < a->warnings->len; i++)
		if (strcmp(a->warnings->pdata[i], b->warnings->pdata[i]) != 0)
			return false;
	return true;
}
