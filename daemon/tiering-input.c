// SPDX-License-Identifier: GPL-2.0-or-later
#include "tiering-input.h"

#include <string.h>

#define PAGE UINT64_C(4096)
#define DEPTH_MAX 64
#define ROUNDS_KEPT 256

static uint32_t plan_state_of(const struct tier *t)
{
	switch (t->state) {
	case TIER_ONLINE:
		return PLAN_ONLINE;
	case TIER_DEGRADED:
		return PLAN_DEGRADED;
	case TIER_DRAINING:
		return PLAN_DRAINING;
	default:
		return PLAN_OFFLINE;
	}
}

static void add_paths(struct tiering_tiers *t, const struct tier *tier, struct plan_tier *plan)
{
	for (unsigned int i = 0; i < tier->perf->len; i++) {
		const struct tier_perf *p = &g_array_index(tier->perf, struct tier_perf, i);

		for (unsigned int k = 0; k < t->n_initiators; k++)
			if (t->initiator[k] == p->initiator)
				plan->from[k] =
					(struct plan_path){ .latency_ns = p->read_lat_ns,
							    .bandwidth_mbs = p->read_bw_mbs };
	}
}

void tiering_tiers_init(struct tiering_tiers *t, const struct inventory *inv)
{
	const GPtrArray *tiers = inventory_tiers(inv);
	const GArray *initiators = inventory_initiators(inv);

	memset(t, 0, sizeof(*t));
	for (unsigned int i = 0; i < initiators->len && t->n_initiators < PLAN_MAX_INITIATORS; i++)
		t->initiator[t->n_initiators++] = g_array_index(initiators, int, i);
	for (unsigned int i = 0; i < tiers->len && t->n < PLAN_ABSENT; i++) {
		struct tier *tier = tiers->pdata[i];

		if (!tier_has_pages(tier) && !tier_is_pool(tier) && tier->state != TIER_DRAINING)
			continue;
		t->plan[t->n].state = plan_state_of(tier);
		add_paths(t, tier, &t->plan[t->n]);
		t->tier[t->n++] = tier_ref(tier);
	}
}

void tiering_tiers_done(struct tiering_tiers *t)
{
	while (t->n > 0)
		tier_unref(t->tier[--t->n]);
}

unsigned int tiering_tier_of(const struct tiering_tiers *t, int place)
{
	for (unsigned int i = 0; i < t->n; i++)
		for (unsigned int k = 0; k < tier_n_places(t->tier[i]); k++)
			if (tier_place(t->tier[i], k) == place)
				return i;
	return PLAN_ABSENT;
}

void tiering_accounts_init(struct tiering_accounts *a)
{
	*a = (struct tiering_accounts){
		.plan = g_array_new(false, true, sizeof(struct plan_account)),
		.migrate = g_array_new(false, true, sizeof(struct tiering_migrate)),
		.paths = g_ptr_array_new_with_free_func(g_free),
		.index = g_hash_table_new(g_str_hash, g_str_equal),
		.tiers = g_ptr_array_new_with_free_func(g_free),
	};
}

void tiering_accounts_done(struct tiering_accounts *a)
{
	if (!a->plan)
		return;
	g_array_unref(a->plan);
	g_array_unref(a->migrate);
	g_hash_table_unref(a->index);
	g_ptr_array_unref(a->paths);
	g_ptr_array_unref(a->tiers);
	policy_set_unref(a->policies);
	a->policies = NULL;
	a->plan = NULL;
}

static bool are_of(const struct tiering_accounts *a, const struct policy_set *policies,
		   const struct tiering_tiers *tiers)
{
	if (a->policies != policies || a->tiers->len != tiers->n || a->rounds >= ROUNDS_KEPT)
		return false;
	for (unsigned int i = 0; i < tiers->n; i++)
		if (!g_str_equal(a->tiers->pdata[i], tiers->tier[i]->name))
			return false;
	return true;
}

void tiering_accounts_begin(struct tiering_accounts *a, struct policy_set *policies,
			    const struct tiering_tiers *tiers)
{
	a->rounds++;
	if (are_of(a, policies, tiers))
		return;
	tiering_accounts_done(a);
	tiering_accounts_init(a);
	a->policies = policy_set_ref(policies);
	for (unsigned int i = 0; i < tiers->n; i++)
		g_ptr_array_add(a->tiers, g_strdup(tiers->tier[i]->name));
}

static uint64_t limit(uint64_t bytes)
{
	return bytes == POLICY_NONE ? PLAN_NO_LIMIT : bytes / PAGE;
}

static struct tiering_migrate migrate_of(const struct policy_set *policies, const char *path)
{
	const struct policy_setting *s =
		policy_effective(policies, path, 1u << POLICY_MIGRATE, NULL, NULL);

	return (struct tiering_migrate){
		.migrate = s ? (enum policy_migrate)s->number : POLICY_MIGRATE_OFF,
		.fixed = s && s->number == POLICY_MIGRATE_OFF,
	};
}

static uint32_t add_account(struct tiering_accounts *a, const char *path, uint32_t parent)
{
	struct tiering_migrate migrate = migrate_of(a->policies, path);
	char *own = g_strdup(path);
	struct plan_account account;
	struct policy_budget b;

	plan_account_init(&account, parent);
	for (unsigned int i = 0; i < a->tiers->len; i++) {
		policy_budget(a->policies, path, a->tiers->pdata[i], &b);
		account.weight = b.weight;
		account.low[i] = b.low / PAGE;
		account.high[i] = limit(b.high);
		account.max[i] = limit(b.max);
	}
	g_array_append_val(a->plan, account);
	g_array_append_val(a->migrate, migrate);
	g_ptr_array_add(a->paths, own);
	g_hash_table_insert(a->index, own, GUINT_TO_POINTER(a->plan->len));
	return a->plan->len - 1;
}

uint32_t tiering_account(struct tiering_accounts *a, const char *path)
{
	uint32_t account = GPOINTER_TO_UINT(g_hash_table_lookup(a->index, path));
	const char *end = path;

	/* The usual case: it is there, just so. */
	if (account > 0)
		return account - 1;
	account = GPOINTER_TO_UINT(g_hash_table_lookup(a->index, "/"));
	account = account > 0 ? account - 1 : add_account(a, "/", PLAN_NO_PARENT);
	for (unsigned int depth = 0; depth < DEPTH_MAX; depth++) {
		g_autofree char *above = NULL;
		uint32_t known;

		while (*end == '/')
			end++;
		if (!*end)
			break;
		end += strcspn(end, "/");
		above = g_strndup(path, (gsize)(end - path));
		known = GPOINTER_TO_UINT(g_hash_table_lookup(a->index, above));
		if (known == 0 && a->plan->len >= TIERING_ACCOUNTS_MAX)
			break;
		account = known > 0 ? known - 1 : add_account(a, above, account);
	}
	return account;
}

enum policy_migrate tiering_migrate(const struct tiering_accounts *a, uint32_t account)
{
	return g_array_index(a->migrate, struct tiering_migrate, account).migrate;
}

bool tiering_is_fixed(const struct tiering_accounts *a, uint32_t account)
{
	return g_array_index(a->migrate, struct tiering_migrate, account).fixed;
}
