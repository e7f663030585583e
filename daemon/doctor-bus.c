// SPDX-License-Identifier: GPL-2.0-or-later
#include "bus-options.h"
#include "connection.h"
#include "doctor-bus.h"
#include "doctor.h"
#include "manager.h"
#include "morsel-bus.h"
#include "verbs.h"

struct examination {
	struct work work;
	struct late_call late;
	struct doctor_facts facts;
	GArray *capabilities;
};

static void examination_run(struct work *w)
{
	struct examination *x = (struct examination *)w;

	x->capabilities = doctor_examine(&x->facts);
}

static int append_capabilities(sd_bus_message *m, const GArray *list)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "a{sv}");
	for (unsigned int i = 0; r >= 0 && i < list->len; i++) {
		const struct capability *c = &g_array_index(list, struct capability, i);

		r = sd_bus_message_append(m, "a{sv}", 5, "name", "s", c->name, "status", "s",
					  doctor_status_to_string(c->status), "detail", "s",
					  c->detail, "instead", "s", c->instead, "advice", "s",
					  c->advice);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_verbs(sd_bus_message *m, const struct doctor_facts *facts)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "a{sv}");
	for (size_t i = 0; r >= 0 && i < n_verbs; i++) {
		g_autofree char *here = verbs[i].here(facts);

		r = sd_bus_message_append(m, "a{sv}", 5, "verb", "s", verbs[i].verb, "module", "s",
					  verbs[i].module, "node", "s", verbs[i].node, "pool", "s",
					  verbs[i].pool, "here", "s", here);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static void examination_done(struct work *w, bool ran)
{
	struct examination *x = (struct examination *)w;
	__attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
	int r = ran ? 0 : -ECANCELED;

	if (r >= 0)
		r = sd_bus_message_new_method_return(x->late.message, &reply);
	if (r >= 0)
		r = append_capabilities(reply, x->capabilities);
	if (r >= 0)
		r = append_verbs(reply, &x->facts);
	if (r >= 0)
		(void)sd_bus_message_send(reply);
	late_call_end(&x->late, r, NULL);
	g_clear_pointer(&x->capabilities, g_array_unref);
	g_free(x->facts.polkit);
	g_free(x->facts.registry_trouble);
	g_free(x->facts.keeper_trouble);
	g_free(x->facts.policy_warning);
	g_free(x->facts.placement.text);
	ordinary_status_done(&x->facts.ordinary);
	g_free(x);
}

static bool has_hmat(const GPtrArray *tiers)
{
	for (unsigned int i = 0; i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];

		for (unsigned int j = 0; j < t->perf->len; j++)
			if (g_array_index(t->perf, struct tier_perf, j).lat_source == PERF_HMAT)
				return true;
	}
	return false;
}

int doctor_call(struct call *call, sd_bus_error *error)
{
	struct manager *manager = call->manager;
	const GPtrArray *tiers = inventory_tiers(manager->inventory);
	struct examination *x = g_new0(struct examination, 1);
	int r;

	r = late_call_begin(&x->late, call, error);
	if (r < 0) {
		g_free(x);
		return r;
	}
	x->facts.root_fd = manager->root_fd;
	x->facts.address = manager->options.address;
	x->facts.polkit = g_strdup(authority_status(manager->authority));
	x->facts.bus_connected = broker_connected(manager->broker);
	for (unsigned int i = 0; i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];

		if (tier_has_pages(t))
			x->facts.memory_nodes += t->nodes->len;
		x->facts.pools += tier_is_pool(t);
		x->facts.idle_devices += t->backing == BACKING_DAX && t->state == TIER_OFFLINE;
	}
	x->facts.has_hmat = has_hmat(tiers);
	x->facts.descriptors = manager->descriptors;
	x->facts.descriptors_used =
		registry_morsels(manager->registry) + g_hash_table_size(manager->connections);
	x->facts.state_dir = manager->options.state_dir;
	x->facts.registry = manager->ledger != NULL;
	x->facts.registry_trouble =
		g_strdup(manager->ledger ? ledger_trouble(manager->ledger) : "");
	x->facts.keeper_path = keeper_path(manager->keeper);
	x->facts.keeper = keeper_state(manager->keeper);
	x->facts.keeper_trouble = g_strdup(keeper_trouble(manager->keeper));
	x->facts.morsels = registry_morsels(manager->registry);
	x->facts.kept = manager_kept(manager);
	x->facts.lost = manager->stats.lost;
	x->facts.module = manager->module_facts;
	x->facts.policies = policy_set_paths(manager->policies)->len +
			    policy_set_patterns(manager->policies)->len;
	x->facts.policy_warnings = manager->policy_warnings->len;
	x->facts.policy_warning = g_strdup(
		manager->policy_warnings->len > 0 ? manager->policy_warnings->pdata[0] : "");
	x->facts.placer = manager->placer != NULL;
	if (manager->placer)
		placer_status(manager->placer, &x->facts.placement);
	ordinary_status(manager->ordinary, &x->facts.ordinary);
	x->work.run = examination_run;
	x->work.done = examination_done;
	x->work.owner = call->caller->uid;
	worker_pool_submit(manager->queries, &x->work);
	return 1;
}
