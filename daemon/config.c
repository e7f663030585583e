/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "conf-file.h"
#include "config-value.h"
#include "numlist.h"

/* One second and one PB/s: over that it is a wrong unit, not a memory. */
#define LATENCY_MAX UINT64_C(1000000000)
#define BANDWIDTH_MAX UINT64_C(1000000000)

static void config_tier_free(void *data)
{
	struct config_tier *t = data;

	g_free(t->name);
	g_array_unref(t->nodes);
	g_free(t->device);
	g_free(t->uuid);
	g_array_unref(t->perf);
	g_free(t->origin);
	g_free(t);
}

static struct config *config_new(void)
{
	struct config *c = g_new0(struct config, 1);

	c->job_threads = 1;
	c->sampling_cpu = 1;
	c->quotas = g_ptr_array_new_with_free_func(config_quota_free);
	config_quota_defaults(&c->user_limits, c->quotas);
	c->default_prefer = g_ptr_array_new_with_free_func(g_free);
	c->default_page_size = 4096;
	c->tiers = g_ptr_array_new_with_free_func(config_tier_free);
	c->policies = g_ptr_array_new_with_free_func((GDestroyNotify)policy_file_unref);
	c->provisions = g_ptr_array_new_with_free_func(config_provision_free);
	return c;
}

struct config *config_free(struct config *c)
{
	if (c == NULL)
		return NULL;
	g_ptr_array_unref(c->default_prefer);
	g_ptr_array_unref(c->quotas);
	g_ptr_array_unref(c->tiers);
	g_ptr_array_unref(c->policies);
	g_ptr_array_unref(c->provisions);
	g_free(c);
	return NULL;
}

static int unknown_key(const char *known, char **message)
{
	*message = g_strdup_printf("unknown key; this section has %s", known);
	return -EINVAL;
}

static int take_storage(struct config *c, const char *value, char **message)
{
	if (strcmp(value, "auto") == 0)
		c->storage = STORAGE_AUTO;
	else if (strcmp(value, "module") == 0)
		c->storage = STORAGE_MODULE;
	else if (strcmp(value, "node") == 0)
		c->storage = STORAGE_NODE;
	else {
		*message = g_strdup("auto, module or node is wanted");
		return -EINVAL;
	}
	return 0;
}

static int daemon_key(struct config *c, const char *key, const char *value, char **message)
{
	uint64_t n;
	int r;

	if (strcmp(key, "MoveBandwidth") == 0)
		return config_take_size(value, 0, &c->move_bandwidth, message);
	if (strcmp(key, "SamplingCPU") == 0) {
		r = config_take_u64(value, 1, 100, &n, message);
		if (r == 0)
			c->sampling_cpu = (unsigned int)n;
		return r;
	}
	if (strcmp(key, "JobThreads") == 0) {
		r = config_take_u64(value, 1, 8, &n, message);
		if (r == 0)
			c->job_threads = (unsigned int)n;
		return r;
	}
	if (strcmp(key, "Storage") == 0)
		return take_storage(c, value, message);
	return unknown_key("MoveBandwidth, SamplingCPU, JobThreads, Storage", message);
}

static int take_prefer(struct config *c, const char *value, char **message)
{
	g_autoptr(GArray) tiers = NULL;
	int r = config_take_tiers(value, false, &tiers, message);

	if (r < 0)
		return r;
	g_ptr_array_set_size(c->default_prefer, 0);
	for (unsigned int i = 0; i < tiers->len; i++)
		g_ptr_array_add(c->default_prefer,
				g_strdup(g_array_index(tiers, struct config_share, i).tier));
	return 0;
}

static int default_key(struct config *c, const char *key, const char *value, char **message)
{
	if (strcmp(key, "Prefer") == 0)
		return take_prefer(c, value, message);
	if (strcmp(key, "PageSize") == 0) {
		if (strcmp(value, "4K") == 0)
			c->default_page_size = 4096;
		else if (strcmp(value, "2M") == 0)
			c->default_page_size = 2097152;
		else {
			*message = g_strdup("4K or 2M is wanted");
			return -EINVAL;
		}
		return 0;
	}
	return unknown_key("Prefer, PageSize", message);
}

static int take_nodes(struct config_tier *t, const char *value, char **message)
{
	g_autoptr(GArray) nodes = g_array_new(FALSE, FALSE, sizeof(int));
	g_auto(GStrv) fields = g_strsplit_set(value, " \t,", -1);

	for (char **f = fields; *f; f++) {
		uint64_t n;
		int node;

		if (**f == 0)
			continue;
		if (config_parse_u64(*f, &n) < 0 || n > NODE_MAX) {
			*message =
				g_strdup("numbers of nodes from 0 to 1023 are wanted, with spaces "
					 "between them");
			return -EINVAL;
		}
		node = (int)n;
		if (numlist_contains(nodes, node)) {
			*message = g_strdup_printf("node %d stands there twice", node);
			return -EINVAL;
		}
		g_array_append_val(nodes, node);
	}
	if (nodes->len == 0) {
		*message = g_strdup("the number of a node is wanted");
		return -EINVAL;
	}
	g_array_unref(t->nodes);
	t->nodes = g_steal_pointer(&nodes);
	return 0;
}

static int take_perf(struct config_tier *t, const char *initiator, const char *value, bool latency,
		     char **message)
{
	struct config_perf p = { .initiator = -1 };
	uint64_t n;
	int r;

	if (initiator != NULL) {
		if (config_parse_u64(initiator, &n) < 0 || n > NODE_MAX) {
			*message = g_strdup(
				"the number of a node, 0 to 1023, is wanted behind the '.'");
			return -EINVAL;
		}
		p.initiator = (int)n;
	}
	r = config_take_u64(value, 1, latency ? LATENCY_MAX : BANDWIDTH_MAX, &n, message);
	if (r < 0) {
		g_autofree char *number = *message;

		*message =
			g_strdup_printf("%s, in %s", number, latency ? "ns" : "MB/s (10^6 bytes)");
		return r;
	}
	for (unsigned int i = 0; i < t->perf->len; i++) {
		struct config_perf *old = &g_array_index(t->perf, struct config_perf, i);

		if (old->initiator == p.initiator) {
			*(latency ? &old->lat_ns : &old->bw_mbs) = (uint32_t)n;
			return 0;
		}
	}
	*(latency ? &p.lat_ns : &p.bw_mbs) = (uint32_t)n;
	g_array_append_val(t->perf, p);
	return 0;
}

static int tier_key(struct config_tier *t, const char *key, const char *value, char **message)
{
	if (strcmp(key, "Node") == 0)
		return take_nodes(t, value, message);
	if (strcmp(key, "Device") == 0) {
		if (value[0] != '/' || strlen(value) > 255) {
			*message = g_strdup("a path such as /dev/dax0.0 is wanted");
			return -EINVAL;
		}
		g_free(t->device);
		t->device = g_strdup(value);
		return 0;
	}
	if (strcmp(key, "Uuid") == 0) {
		if (!g_uuid_string_is_valid(value)) {
			*message = g_strdup("a UUID is wanted, as ndctl list shows it");
			return -EINVAL;
		}
		g_free(t->uuid);
		t->uuid = g_ascii_strdown(value, -1);
		return 0;
	}
	if (strcmp(key, "Volatile") == 0)
		return config_take_bool(value, &t->is_volatile, message);
	if (strcmp(key, "Kind") == 0) {
		if (tier_kind_from_string(value, &t->kind) < 0) {
			*message = g_strdup("dram, hbm, cxl, nvm, gpu or memory-only is wanted");
			return -EINVAL;
		}
		t->has_kind = true;
		return 0;
	}
	if (strcmp(key, "Enabled") == 0)
		return config_take_bool(value, &t->enabled, message);
	if (strcmp(key, "Latency") == 0 || strcmp(key, "Bandwidth") == 0)
		return take_perf(t, NULL, value, key[0] == 'L', message);
	if (g_str_has_prefix(key, "Latency."))
		return take_perf(t, key + strlen("Latency."), value, true, message);
	if (g_str_has_prefix(key, "Bandwidth."))
		return take_perf(t, key + strlen("Bandwidth."), value, false, message);
	return unknown_key("Node, Device, Uuid, Kind, Enabled, Volatile, Latency, Latency.NODE, "
			   "Bandwidth, Bandwidth.NODE",
			   message);
}

static struct config_tier *find_tier(struct config *c, const char *name)
{
	for (unsigned int i = 0; i < c->tiers->len; i++) {
		struct config_tier *t = c->tiers->pdata[i];

		if (strcmp(t->name, name) == 0)
			return t;
	}
	return NULL;
}

/* The name in "KIND NAME", or NULL when section is another one. */
static const char *section_name(const char *section, const char *kind)
{
	size_t n = strlen(kind);

	if (!g_str_has_prefix(section, kind) || (section[n] != ' ' && section[n] != '\t'))
		return NULL;
	return section + n + strspn(section + n, " \t");
}

static int begin_tier(struct config *c, const char *file, unsigned int line, const char *name,
		      char **message)
{
	const char *base;
	struct config_tier *t;

	if (!config_tier_name_valid(name)) {
		*message = g_strdup(TIER_NAME_WANTED);
		return -EINVAL;
	}
	if (find_tier(c, name) != NULL)
		return 0;
	base = strrchr(file, '/');
	t = g_new0(struct config_tier, 1);
	t->name = g_strdup(name);
	t->nodes = g_array_new(FALSE, FALSE, sizeof(int));
	t->enabled = true;
	t->perf = g_array_new(FALSE, FALSE, sizeof(struct config_perf));
	t->origin = g_strdup_printf("%s:%u", base ? base + 1 : file, line);
	g_ptr_array_add(c->tiers, t);
	return 0;
}

static int begin_section(struct config *c, const char *file, unsigned int line, const char *section,
			 char **message)
{
	const char *name;

	c->section = NULL;
	c->provision = NULL;
	if (strcmp(section, "daemon") == 0 || strcmp(section, "quota") == 0 ||
	    strcmp(section, "default") == 0)
		return 0;
	name = section_name(section, "tier");
	if (name)
		return begin_tier(c, file, line, name, message);
	name = section_name(section, "user");
	if (name)
		return config_quota_section(c->quotas, false, name, &c->section, message);
	name = section_name(section, "cgroup");
	if (name)
		return config_quota_section(c->quotas, true, name, &c->section, message);
	name = section_name(section, "provision");
	if (name)
		return config_provision_section(c->provisions, name, file, line, &c->provision,
						message);
	*message = g_strdup("unknown section; there are [daemon], [quota], [user NAME], "
			    "[cgroup PATH], [default], [tier NAME] and [provision NAME]");
	return -EINVAL;
}

/* Files keep apart what they say: a later one's counts. */
static struct policy_file *policy_file_of(struct config *c, const char *file)
{
	struct policy_file *f = c->policies->len > 0 ? c->policies->pdata[c->policies->len - 1]
						     : NULL;

	if (f && g_str_equal(f->path, file))
		return f;
	/* Before all files of policy.d. */
	f = policy_file_new(file, "");
	g_ptr_array_add(c->policies, f);
	return f;
}

static int cgroup_key(struct config *c, const char *file, unsigned int line, const char *key,
		      const char *value, char **message)
{
	struct policy_section *s;
	g_autofree char *why = NULL;
	int r;

	if (policy_is_key(key)) {
		r = policy_file_section(policy_file_of(c, file), c->section->path, &s, message);
		return r < 0 ? r : policy_section_set(s, key, value, line, message);
	}
	r = config_quota_key(&c->section->limits, false, key, value, &why);
	if (r < 0)
		*message = g_str_has_prefix(why, "unknown key")
				   ? g_strdup_printf("%s, %s", why, policy_known_keys)
				   : g_steal_pointer(&why);
	return r;
}

/* Only a list can be emptied; for the rest, leaving the line out is the way. */
static bool may_be_empty(const char *key)
{
	return strcmp(key, "Prefer") == 0 || strcmp(key, "Allow") == 0 ||
	       strcmp(key, "Spread") == 0;
}

static int take_entry(const char *file, unsigned int line, const char *section, const char *key,
		      const char *value, void *userdata, char **ret_message)
{
	struct config *c = userdata;

	if (key == NULL)
		return begin_section(c, file, line, section, ret_message);
	if (value[0] == 0 && !may_be_empty(key)) {
		*ret_message = g_strdup("a value is wanted; without the line the default holds");
		return -EINVAL;
	}
	if (strcmp(section, "daemon") == 0)
		return daemon_key(c, key, value, ret_message);
	if (strcmp(section, "quota") == 0)
		return config_quota_key(&c->user_limits, true, key, value, ret_message);
	if (strcmp(section, "default") == 0)
		return default_key(c, key, value, ret_message);
	if (c->section && c->section->cgroup)
		return cgroup_key(c, file, line, key, value, ret_message);
	if (c->section)
		return config_quota_key(&c->section->limits, false, key, value, ret_message);
	if (c->provision)
		return config_provision_key(c->provision, key, value, ret_message);
	return tier_key(find_tier(c, section_name(section, "tier")), key, value, ret_message);
}

/* What no single line shows. */
static int check_tiers(struct config *c, char **ret_message)
{
	for (unsigned int i = 0; i < c->tiers->len; i++) {
		const struct config_tier *t = c->tiers->pdata[i];

		if ((t->nodes->len > 0) + (t->device != NULL) + (t->uuid != NULL) > 1) {
			*ret_message = g_strdup_printf("%s: [tier %s] has %s and %s: one of them "
						       "is wanted",
						       t->origin, t->name,
						       t->nodes->len > 0 ? "Node=" : "Device=",
						       t->device != NULL ? "Device=" : "Uuid=");
			return -EINVAL;
		}
		if (t->is_volatile && !t->device && !t->uuid) {
			*ret_message = g_strdup_printf(
				"%s: [tier %s] has Volatile=: it is said of one device, which Uuid= "
				"or Device= must name",
				t->origin, t->name);
			return -EINVAL;
		}
		for (unsigned int j = 0; j < i; j++) {
			const struct config_tier *o = c->tiers->pdata[j];

			if (t->uuid != NULL && g_strcmp0(t->uuid, o->uuid) == 0) {
				*ret_message = g_strdup_printf(
					"%s: [tier %s] Uuid=%s: is already tier %s's (%s)",
					t->origin, t->name, t->uuid, o->name, o->origin);
				return -EINVAL;
			}
			if (t->device != NULL && g_strcmp0(t->device, o->device) == 0) {
				*ret_message = g_strdup_printf(
					"%s: [tier %s] Device=%s: is already tier %s's (%s)",
					t->origin, t->name, t->device, o->name, o->origin);
				return -EINVAL;
			}
			for (unsigned int k = 0; k < t->nodes->len; k++) {
				int node = g_array_index(t->nodes, int, k);

				if (!numlist_contains(o->nodes, node))
					continue;
				*ret_message = g_strdup_printf(
					"%s: [tier %s] Node=%d: is already in tier %s (%s)",
					t->origin, t->name, node, o->name, o->origin);
				return -EINVAL;
			}
		}
	}
	return 0;
}

int config_load(const char *main_path, struct config **ret_config, char **ret_message)
{
	struct config *c = config_new();
	char *message = NULL;
	int r;

	r = conf_file_read_all(main_path, take_entry, c, &message);
	if (r == 0)
		r = check_tiers(c, &message);
	if (r == 0)
		r = config_provision_check(c->provisions, &message);
	if (r < 0) {
		config_free(c);
		*ret_message = message ? message
				       : g_strdup_printf("%s: %s", main_path, g_strerror(-r));
		return r;
	}
	*ret_config = c;
	return 0;
}
