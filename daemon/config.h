/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "config-provision.h"
#include "config-quota.h"
#include "parse-size.h"
#include "policy.h"
#include "tier.h"

/*
 * morseld.conf and its drop-ins (docs/morseld.conf.5 has the same list):
 *
 *   [daemon]
 *   SamplingCPU=1            percent of one CPU, at most, for sampling accesses and planning; 1 to 100
 *   MoveBandwidth=0          bytes a second all moves together may copy, 0: no limit
 *   JobThreads=1             1..8
 *   Storage=auto             auto: the module's if it is there; module: or nothing; node: never
 *   [quota]
 *   BytesPerUser=50%         of all tiers' capacity, or bytes with K/M/G/T suffix, or none
 *   MorselsPerUser=16384     JobsPerUser=64  CallsPerUser=64  ConnectionsPerUser=512
 *   [user NAME]              other limits for one user: Bytes=, Morsels=, Jobs=, Calls=, Connections=
 *   [cgroup PATH]            the same for what lives in a cgroup; of several that match it the last
 *                            one that has the key counts; and its policy (policy.h)
 *   [default]                policy of morsels that say nothing
 *   Prefer=dram0 …           PageSize=4K|2M
 *   [tier NAME]              an override, or a tier of the operator's own
 *   Node=2 3                 the tier's nodes (joins them); or Device=/dev/dax0.0
 *   Kind=hbm|dram|cxl|nvm|gpu|memory-only
 *   Enabled=yes|no           no: morsel does not place anything there
 *   Uuid=…                   in place of Device: of the namespace that the dax device is
 *   Volatile=yes|no          yes: what is on the dax device is morsel's to overwrite
 *   Latency=250              ns, from every initiator;   Latency.0=… from node 0
 *   Bandwidth=30000          MB/s;                       Bandwidth.0=…
 *   [provision NAME]         CXL memory to bring up at each start
 *   Serial=0xc0ffee01        of the device
 *   Mode=ram|pmem            As=devdax|system-ram  Zone=movable|kernel  Size=512M
 *
 * Plain data; not changed after loading.
 */

struct config_perf {
	int initiator; /* -1: all */
	uint32_t lat_ns;
	uint32_t bw_mbs;
};

struct config_tier {
	char *name;
	GArray *nodes; /* of int; may be empty */
	char *device;  /* or NULL */
	char *uuid;    /* lower case, or NULL */
	bool is_volatile;
	bool has_kind;
	enum tier_kind kind;
	bool enabled;
	GArray *perf; /* of struct config_perf */
	char *origin; /* "morseld.conf:12", for messages */
};

/* Of new morsels; read at the start only. */
enum storage_wish {
	STORAGE_AUTO,
	STORAGE_MODULE,
	STORAGE_NODE,
};

struct config {
	unsigned int sampling_cpu; /* percent of one CPU */
	uint64_t move_bandwidth;
	unsigned int job_threads;
	enum storage_wish storage;
	struct config_limits user_limits;
	GPtrArray *quotas;	    /* of struct config_quota *: what comes later wins */
	GPtrArray *default_prefer;  /* of char * */
	uint64_t default_page_size; /* 4096 or 2097152 */
	GPtrArray *tiers;	    /* of struct config_tier * */
	GPtrArray *policies;   /* of struct policy_file *: what [cgroup] sections say of policy */
	GPtrArray *provisions; /* of struct config_provision * */
	/* While they are read: the ones that lines belong to. */
	struct config_quota *section;
	struct config_provision *provision;
};

/*
 * main_path: the main file ("/etc/morsel/morseld.conf"), drop-ins are read from main_path + ".d" in
 * lexical order. Missing files mean defaults. On error returns -EINVAL (or what reading gave), and
 * *ret_message says file, line, key, the value and what would be right; nothing else is written.
 */
int config_load(const char *main_path, struct config **ret_config, char **ret_message);
struct config *config_free(struct config *c);
