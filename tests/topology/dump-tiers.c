/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inventory's tiers of a machine, as JSON with the keys of morselctl --json tiers, without a
 * daemon: DIR instead of "/", with the configuration of FILE if one is given.
 */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/inventory.h"

static json_t *initiators(const struct tier *t)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < t->perf->len; i++) {
		const struct tier_perf *p = &g_array_index(t->perf, struct tier_perf, i);

		json_array_append_new(
			list,
			json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s}", "node",
				  p->initiator, "rank", (int)p->rank, "distance", (int)p->distance,
				  "read_latency_ns", (int)p->read_lat_ns, "write_latency_ns",
				  (int)p->write_lat_ns, "read_bandwidth_mbs", (int)p->read_bw_mbs,
				  "write_bandwidth_mbs", (int)p->write_bw_mbs, "latency_source",
				  perf_source_to_string(p->lat_source), "bandwidth_source",
				  perf_source_to_string(p->bw_source)));
	}
	return list;
}

static json_t *strings(const GPtrArray *strs)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < strs->len; i++)
		json_array_append_new(list, json_string(strs->pdata[i]));
	return list;
}

static json_t *nodes(const struct tier *t)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < t->nodes->len; i++)
		json_array_append_new(list, json_integer(g_array_index(t->nodes, int, i)));
	return list;
}

static json_t *render(const struct tier *t)
{
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:i, s:I, s:I, s:i, s:s, s:o, s:o}",
		"name", t->name, "kind", tier_kind_to_string(t->kind), "evidence",
		tier_evidence_to_string(t->evidence), "evidence_detail", t->evidence_detail,
		"state", tier_state_to_string(t->state), "state_reason", t->state_reason, "backing",
		tier_backing_to_string(t->backing), "nodes", nodes(t), "device",
		t->device ? t->device : "", "target_node", t->target_node, "capacity_bytes",
		(json_int_t)t->capacity, "free_bytes", (json_int_t)t->free, "memory_tier",
		t->memory_tier, "storage", tier_has_pages(t) ? "node" : "", "initiators",
		initiators(t), "warnings", strings(t->warnings));
}

int main(int argc, char **argv)
{
	struct inventory *inv = NULL;
	struct config *config = NULL;
	char *message = NULL;
	json_t *list = json_array();
	int fd, r;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: dump-tiers DIR [FILE]\n");
		return 2;
	}
	fd = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	if (argc == 3 && config_load(argv[2], &config, &message) < 0) {
		fprintf(stderr, "%s\n", message);
		return 1;
	}
	r = inventory_new(fd, strcmp(argv[1], "/") == 0, &inv);
	close(fd);
	if (r == 0)
		r = inventory_refresh(inv, config, NULL, NULL, NULL);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], g_strerror(-r));
		return 1;
	}
	for (unsigned int i = 0; i < inventory_tiers(inv)->len; i++)
		json_array_append_new(list, render(inventory_tiers(inv)->pdata[i]));
	for (unsigned int i = 0; i < inventory_warnings(inv)->len; i++)
		fprintf(stderr, "%s\n", (char *)inventory_warnings(inv)->pdata[i]);
	json_dumpf(list, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(list);
	inventory_free(inv);
	config_free(config);
	return 0;
}
