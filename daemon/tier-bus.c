// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <string.h>

#include "bus-error.h"
#include "bus-options.h"
#include "connection.h"
#include "manager.h"
#include "storage-module-open.h"
#include "tier-bus.h"

#define PREFIX BUS_PATH "/tier"

char *tier_bus_path(const char *name)
{
	char *path;

	return sd_bus_path_encode(PREFIX, name, &path) < 0 ? NULL : path;
}

static const char *storage_of(const struct manager *manager, const struct tier *t)
{
	if (tier_is_pool(t))
		return manager->module ? manager->module->name : "";
	return tier_has_pages(t) ? manager->storage->name : "";
}

static uint64_t free_of(const struct manager *manager, const struct tier *t)
{
	return tier_is_pool(t) && manager->module ? storage_module_tier_free(manager->module, t)
						  : t->free;
}

static int append_initiators(sd_bus_message *m, const struct tier *t)
{
	int r;

	for (unsigned int i = 0; i < t->perf->len; i++) {
		const struct tier_perf *p = &g_array_index(t->perf, struct tier_perf, i);

		r = sd_bus_message_append(m, "a{sv}", 9, "node", "i", p->initiator, "rank", "u",
					  p->rank, "distance", "u", p->distance, "read_latency_ns",
					  "u", p->read_lat_ns, "write_latency_ns", "u",
					  p->write_lat_ns, "read_bandwidth_mbs", "u",
					  p->read_bw_mbs, "write_bandwidth_mbs", "u",
					  p->write_bw_mbs, "latency_source", "s",
					  perf_source_to_string(p->lat_source), "bandwidth_source",
					  "s", perf_source_to_string(p->bw_source));
		if (r < 0)
			return r;
	}
	return 0;
}

static int append_nodes(sd_bus_message *m, const struct tier *t)
{
	int r;

	for (unsigned int i = 0; i < t->nodes->len; i++) {
		r = sd_bus_message_append(m, "i", g_array_index(t->nodes, int, i));
		if (r < 0)
			return r;
	}
	return 0;
}

static int append_warnings(sd_bus_message *m, const struct tier *t)
{
	int r;

	for (unsigned int i = 0; i < t->warnings->len; i++) {
		r = sd_bus_message_append(m, "s", t->warnings->pdata[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int append_array(sd_bus_message *m, const char *key, const char *type, const struct tier *t,
			int (*append)(sd_bus_message *m, const struct tier *t))
{
	int r;

	r = bus_open_array(m, key, type);
	if (r < 0)
		return r;
	r = append(m, t);
	if (r < 0)
		return r;
	return bus_close_array(m);
}

int tier_bus_append(sd_bus_message *m, struct manager *manager, const struct tier *t)
{
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "name",
				  "s", t->name, "kind", "s", tier_kind_to_string(t->kind),
				  "evidence", "s", tier_evidence_to_string(t->evidence),
				  "evidence_detail", "s", t->evidence_detail, "state", "s",
				  tier_state_to_string(t->state), "state_reason", "s",
				  t->state_reason ? t->state_reason : "", "backing", "s",
				  tier_backing_to_string(t->backing), "device", "s",
				  t->device ? t->device : "", "target_node", "i", t->target_node,
				  "capacity_bytes", "t", t->capacity, "free_bytes", "t",
				  free_of(manager, t), "memory_tier", "i", t->memory_tier,
				  "storage", "s", storage_of(manager, t));
	if (r < 0)
		return r;
	r = append_array(m, "nodes", "ai", t, append_nodes);
	if (r < 0)
		return r;
	r = append_array(m, "initiators", "aa{sv}", t, append_initiators);
	if (r < 0)
		return r;
	r = append_array(m, "warnings", "as", t, append_warnings);
	if (r < 0)
		return r;
	return sd_bus_message_close_container(m);
}

static struct tier *find_tier(struct connection *c, const char *path)
{
	char *name = NULL;
	struct tier *t = NULL;

	if (sd_bus_path_decode(path, PREFIX, &name) > 0)
		t = inventory_tier(c->manager->inventory, name);
	free(name);
	return t;
}

static int on_find(sd_bus *bus, const char *path, const char *interface, void *userdata,
		   void **ret_found, sd_bus_error *error)
{
	if (!find_tier(userdata, path))
		return 0;
	*ret_found = userdata;
	return 1;
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
			sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct connection *c = userdata;
	const struct tier *t = find_tier(c, path);
	int r;

	if (!t)
		return -ENOENT;
	if (strcmp(property, "Name") == 0)
		return sd_bus_message_append(reply, "s", t->name);
	if (strcmp(property, "Kind") == 0)
		return sd_bus_message_append(reply, "s", tier_kind_to_string(t->kind));
	if (strcmp(property, "Evidence") == 0)
		return sd_bus_message_append(reply, "s", tier_evidence_to_string(t->evidence));
	if (strcmp(property, "EvidenceDetail") == 0)
		return sd_bus_message_append(reply, "s", t->evidence_detail);
	if (strcmp(property, "State") == 0)
		return sd_bus_message_append(reply, "s", tier_state_to_string(t->state));
	if (strcmp(property, "StateReason") == 0)
		return sd_bus_message_append(reply, "s", t->state_reason ? t->state_reason : "");
	if (strcmp(property, "Backing") == 0)
		return sd_bus_message_append(reply, "s", tier_backing_to_string(t->backing));
	if (strcmp(property, "Device") == 0)
		return sd_bus_message_append(reply, "s", t->device ? t->device : "");
	if (strcmp(property, "TargetNode") == 0)
		return sd_bus_message_append(reply, "i", t->target_node);
	if (strcmp(property, "CapacityBytes") == 0)
		return sd_bus_message_append(reply, "t", t->capacity);
	if (strcmp(property, "FreeBytes") == 0) {
		r = inventory_refresh_free(c->manager->inventory);
		t = find_tier(c, path);
		if (!t)
			return r < 0 ? r : -ENOENT;
		return sd_bus_message_append(reply, "t", free_of(c->manager, t));
	}
	if (strcmp(property, "MemoryTier") == 0)
		return sd_bus_message_append(reply, "i", t->memory_tier);
	if (strcmp(property, "Storage") == 0)
		return sd_bus_message_append(reply, "s", storage_of(c->manager, t));

	r = sd_bus_message_open_container(reply, 'a',
					  strcmp(property, "Nodes") == 0	? "i"
					  : strcmp(property, "Initiators") == 0 ? "a{sv}"
										: "s");
	if (r < 0)
		return r;
	r = strcmp(property, "Nodes") == 0	  ? append_nodes(reply, t)
	    : strcmp(property, "Initiators") == 0 ? append_initiators(reply, t)
						  : append_warnings(reply, t);
	if (r < 0)
		return r;
	return sd_bus_message_close_container(reply);
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Name", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Kind", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("Evidence", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("EvidenceDetail", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("State", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("StateReason", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("Backing", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("Nodes", "ai", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("Device", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("TargetNode", "i", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("CapacityBytes", "t", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("FreeBytes", "t", get_property, 0, 0),
	SD_BUS_PROPERTY("MemoryTier", "i", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("Storage", "s", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("Initiators", "aa{sv}", get_property, 0, CHANGES),
	SD_BUS_PROPERTY("Warnings", "as", get_property, 0, CHANGES),
	SD_BUS_VTABLE_END,
};

static int enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
		     sd_bus_error *error)
{
	struct connection *c = userdata;
	const GPtrArray *tiers = inventory_tiers(c->manager->inventory);
	char **nodes = calloc(tiers->len + 1, sizeof(char *)); /* sd-bus frees them */

	if (!nodes)
		return -ENOMEM;
	for (unsigned int i = 0, n = 0; i < tiers->len; i++) {
		nodes[n] = tier_bus_path(((const struct tier *)tiers->pdata[i])->name);
		if (nodes[n])
			n++;
	}
	*ret_nodes = nodes;
	return 0;
}

int tier_bus_attach(struct connection *c)
{
	int r;

	r = sd_bus_add_fallback_vtable(c->bus, NULL, PREFIX, BUS_TIER, vtable, on_find, c);
	if (r < 0)
		return r;
	return sd_bus_add_node_enumerator(c->bus, NULL, PREFIX, enumerate, c);
}

static const struct tier *named(const GPtrArray *tiers, const char *name)
{
	for (unsigned int i = 0; i < tiers->len; i++)
		if (strcmp(((const struct tier *)tiers->pdata[i])->name, name) == 0)
			return tiers->pdata[i];
	return NULL;
}

static void tell_one(struct connection *c, const char *signal, const char *path)
{
	if (!c || c->closed || !c->bus || sd_bus_is_ready(c->bus) <= 0)
		return;
	if (signal)
		(void)sd_bus_emit_signal(c->bus, BUS_PATH, BUS_MANAGER, signal, "o", path);
	else
		(void)sd_bus_emit_properties_changed(c->bus, path, BUS_TIER, "Kind", "Evidence",
						     "EvidenceDetail", "State", "StateReason",
						     "Backing", "Nodes", "Device", "TargetNode",
						     "CapacityBytes", "MemoryTier", "Storage",
						     "Initiators", "Warnings", NULL);
	connection_sent(c->manager, c->bus);
	(void)connection_reads(c);
}

static void tell_all(struct manager *manager, const char *signal, const char *path)
{
	GHashTableIter iter;
	gpointer key;

	tell_one(broker_connection(manager->broker), signal, path);
	g_hash_table_iter_init(&iter, manager->connections);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		tell_one(key, signal, path);
}

void tier_bus_tell(struct manager *manager, const GPtrArray *before, const GPtrArray *after)
{
	for (unsigned int i = 0; i < before->len; i++) {
		const struct tier *t = before->pdata[i];
		char *path = tier_bus_path(t->name);

		if (path && !named(after, t->name))
			tell_all(manager, "TierRemoved", path);
		free(path);
	}
	for (unsigned int i = 0; i < after->len; i++) {
		const struct tier *t = after->pdata[i];
		const struct tier *old = named(before, t->name);
		char *path = tier_bus_path(t->name);

		if (path && (!old || !tier_equal(old, t)))
			tell_all(manager, old ? NULL : "TierAdded", path);
		free(path);
	}
}
