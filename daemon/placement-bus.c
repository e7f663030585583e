// SPDX-License-Identifier: GPL-2.0-or-later
/* Placement(): what the daemon's own placing sees and does, for those whose memory it is. */
#include "placement-bus.h"

#include <inttypes.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "manager.h"
#include "policy-bus.h"
#include "tiering-status.h"

#define MORSELS_MAX 1000

struct placement_options {
	char *cgroup;
	uint32_t limit;
};

/* Of a cgroup's morsels, or of all that the caller may see. */
struct group {
	char *path;
	enum policy_migrate migrate;
	uint64_t morsels;
	struct tiering_sum sum;
};

struct seen {
	struct morsel *morsel;
	const struct tiering_region *region;
};

struct answer {
	const struct tiering_status *status;
	const char *cgroup; /* only it and what is below; NULL: all */
	GArray *seen;	    /* of struct seen, hottest first */
	GPtrArray *groups;  /* of struct group *, hottest first */
	struct tiering_sum all;
};

static void group_free(gpointer p)
{
	struct group *g = p;

	g_free(g->path);
	g_free(g);
}

static bool is_below(const char *path, const char *cgroup)
{
	size_t n = strlen(cgroup);

	return n <= 1 || (strncmp(path, cgroup, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

static void add_sum(struct tiering_sum *to, const struct tiering_sum *s)
{
	to->rate += s->rate;
	for (unsigned int i = 0; i < PLAN_MAX_TIERS; i++) {
		to->rate_in[i] += s->rate_in[i];
		to->bytes_in[i] += s->bytes_in[i];
	}
}

static gint hotter_first(gconstpointer a, gconstpointer b)
{
	const struct seen *x = a, *y = b;

	if (x->region->seen.rate != y->region->seen.rate)
		return x->region->seen.rate > y->region->seen.rate ? -1 : 1;
	return x->morsel->size > y->morsel->size ? -1 : x->morsel->size < y->morsel->size;
}

static gint group_hotter_first(gconstpointer a, gconstpointer b)
{
	const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;

	if (x->sum.rate != y->sum.rate)
		return x->sum.rate > y->sum.rate ? -1 : 1;
	return strcmp(x->path, y->path);
}

static void gather(struct answer *a, struct manager *manager, const struct caller *caller)
{
	g_autoptr(GHashTable) by_path = g_hash_table_new(g_str_hash, g_str_equal);

	for (unsigned int i = 0; i < a->status->regions->len; i++) {
		const struct tiering_region *region = a->status->regions->pdata[i];
		struct morsel *m = registry_by_id(manager->registry, region->id);
		struct seen seen = { .morsel = m, .region = region };
		const char *path;
		struct group *g;

		if (!m || !morsel_visible(m, caller))
			continue;
		path = m->account[0] ? m->account : "/";
		if (a->cgroup && !is_below(path, a->cgroup))
			continue;
		g = g_hash_table_lookup(by_path, path);
		if (!g) {
			g = g_new0(struct group, 1);
			g->path = g_strdup(path);
			g->migrate = region->migrate;
			g_hash_table_insert(by_path, g->path, g);
			g_ptr_array_add(a->groups, g);
		}
		g->morsels++;
		add_sum(&g->sum, &region->seen);
		add_sum(&a->all, &region->seen);
		g_array_append_val(a->seen, seen);
	}
	g_array_sort(a->seen, hotter_first);
	g_ptr_array_sort(a->groups, group_hotter_first);
}

static int append_tiers(sd_bus_message *m, const struct answer *a, const struct tiering_sum *sum)
{
	int r = bus_open_array(m, "tiers", "a{st}");

	for (unsigned int i = 0; r >= 0 && i < a->status->tiers.n; i++)
		if (sum->bytes_in[i] > 0)
			r = sd_bus_message_append(m, "{st}", a->status->tiers.tier[i]->name,
						  sum->bytes_in[i]);
	return r < 0 ? r : bus_close_array(m);
}

static int append_heat(sd_bus_message *m, const struct answer *a, const struct tiering_sum *sum,
		       enum policy_migrate migrate)
{
	static const char *const words[] = { [POLICY_MIGRATE_OFF] = "off",
					     [POLICY_MIGRATE_ON] = "on",
					     [POLICY_MIGRATE_DRY_RUN] = "dry-run" };
	int r = bus_append_string(m, "migrate", words[migrate]);

	if (r >= 0)
		r = bus_append_u64(m, "accesses_per_s", sum->rate / HEAT_RATE_ONE);
	return r < 0 ? r : append_tiers(m, a, sum);
}

static int append_cgroups(sd_bus_message *m, const struct answer *a)
{
	int r = bus_open_array(m, "cgroups", "aa{sv}");

	for (unsigned int i = 0; r >= 0 && i < a->groups->len; i++) {
		const struct group *g = a->groups->pdata[i];

		r = sd_bus_message_open_container(m, 'a', "{sv}");
		if (r >= 0)
			r = bus_append_string(m, "cgroup", g->path);
		if (r >= 0)
			r = bus_append_u64(m, "morsels", g->morsels);
		if (r >= 0)
			r = append_heat(m, a, &g->sum, g->migrate);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	return r < 0 ? r : bus_close_array(m);
}

static int append_morsels(sd_bus_message *m, const struct answer *a, uint32_t limit)
{
	int r = bus_open_array(m, "morsels", "aa{sv}");

	for (unsigned int i = 0; r >= 0 && i < a->seen->len && i < limit; i++) {
		const struct seen *s = &g_array_index(a->seen, struct seen, i);
		char id[MORSEL_ID_LENGTH + 1];

		r = sd_bus_message_open_container(m, 'a', "{sv}");
		if (r >= 0)
			r = bus_append_string(m, "id", morsel_id_string(s->morsel, id));
		if (r >= 0)
			r = bus_append_string(m, "name", s->morsel->name);
		if (r >= 0)
			r = bus_append_u32(m, "owner", s->morsel->owner);
		if (r >= 0)
			r = bus_append_string(m, "cgroup", s->morsel->account);
		if (r >= 0)
			r = bus_append_u64(m, "size_bytes", s->morsel->size);
		if (r >= 0)
			r = append_heat(m, a, &s->region->seen, s->region->migrate);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	return r < 0 ? r : bus_close_array(m);
}

static int append_loads(sd_bus_message *m, const struct answer *a)
{
	const struct tiering_status *s = a->status;
	int r = bus_open_array(m, "tiers", "aa{sv}");

	for (unsigned int i = 0; r >= 0 && i < s->tiers.n; i++) {
		r = sd_bus_message_open_container(m, 'a', "{sv}");
		if (r >= 0)
			r = bus_append_string(m, "tier", s->tiers.tier[i]->name);
		if (r >= 0)
			r = bus_append_u64(m, "watched_bytes", a->all.bytes_in[i]);
		if (r >= 0)
			r = bus_append_u64(m, "accesses_per_s", a->all.rate_in[i] / HEAT_RATE_ONE);
		if (r >= 0)
			r = bus_append_u64(m, "traffic_mbs", s->traffic_mbs[i]);
		if (r >= 0)
			r = bus_append_u64(m, "loaded_latency_percent",
					   (uint64_t)s->stretch[i] * 100 / 256);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	return r < 0 ? r : bus_close_array(m);
}

static int append_rounds(sd_bus_message *m, const struct tiering_status *s)
{
	return sd_bus_message_append(
		m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "active", "b",
		(int)s->wanted, "rounds", "t", s->rounds, "cpu_usec", "t", s->cpu_usec, "period_ms",
		"u", s->period_ms, "round_cpu_usec", "t", s->round_cpu_usec, "sampled_granules",
		"t", s->sampled, "wishes", "t", s->wishes, "moves", "t", s->moves, "moved_bytes",
		"t", s->moved_bytes, "observed_moves", "t", s->observed->moves, "expected_gain_ns",
		"x", s->observed->expected_ns, "observed_gain_ns", "x", s->observed->observed_ns);
}

static int send(struct call *call, const struct answer *a, uint32_t limit)
{
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_return(call->message, &m);

	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = append_rounds(m, a->status);
	if (r >= 0)
		r = append_loads(m, a);
	if (r >= 0)
		r = append_cgroups(m, a);
	if (r >= 0)
		r = append_morsels(m, a, limit);
	/* They name cgroups and morsels of all. */
	if (r >= 0)
		r = bus_open_array(m, "problems", "as");
	for (unsigned int i = 0; r >= 0 && call->caller->uid == 0 && i < a->status->problems->len;
	     i++)
		r = sd_bus_message_append(m, "s", a->status->problems->pdata[i]);
	if (r >= 0)
		r = bus_close_array(m);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_send(m);
}

int placement_call(struct call *call, sd_bus_error *error)
{
	static const struct bus_option options[] = {
		{ "cgroup", "s", bus_option_string, offsetof(struct placement_options, cgroup) },
		{ "limit", "u", bus_option_u32, offsetof(struct placement_options, limit) },
	};
	struct placement_options o = { .limit = 100 };
	struct answer a = { .status = tiering_status(call->manager->tiering) };
	int r;

	r = bus_options_read(call->message, options, G_N_ELEMENTS(options), &o, error);
	if (r >= 0 && o.cgroup)
		r = policy_bus_check_cgroup(o.cgroup, error);
	if (r < 0)
		return r;
	if (o.limit < 1 || o.limit > MORSELS_MAX)
		return bus_error_setf(error, ERROR_INVALID_ARGUMENT,
				      "limit %" PRIu32 " is not in 1..%d", o.limit, MORSELS_MAX);
	if (!a.status)
		return -ESHUTDOWN;
	a.cgroup = o.cgroup;
	a.seen = g_array_new(false, false, sizeof(struct seen));
	a.groups = g_ptr_array_new_with_free_func(group_free);
	gather(&a, call->manager, call->caller);
	r = send(call, &a, o.limit);
	g_array_unref(a.seen);
	g_ptr_array_unref(a.groups);
	return r;
}
