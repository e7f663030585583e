/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "conf-file.h"
#include "numlist.h"

/* A tier's name becomes part of a D-Bus path and of tables. */
#define TIER_NAME_MAX 32
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
	c->quotas = g_ptr_array_new_with_free_func(config_quota_free);
	config_quota_defaults(&c->user_limits, c->quotas);
	c->default_prefer = g_ptr_array_new_with_free_func(g_free);
	c->default_page_size = 4096;
	c->tiers = g_ptr_array_new_with_free_func(config_tier_free);
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
	g_ptr_array_unref(c->provisions);
	g_free(c);
	return NULL;
}

static int parse_u64(const char *s, uint64_t *ret_n)
{
	uint64_t n;

	/* parse_size with the suffixes taken away. */
	if (*s == 0 || s[strspn(s, "0123456789")] != 0)
		return -EINVAL;
	if (parse_size(s, &n) < 0)
		return -ERANGE;
	*ret_n = n;
	return 0;
}

static int take_u64(const char *value, uint64_t min, uint64_t max, uint64_t *ret_n, char **message)
{
	uint64_t n;

	if (parse_u64(value, &n) < 0 || n < min || n > max) {
		*message = g_strdup_printf("a whole number from %" G_GUINT64_FORMAT
					   " to %" G_GUINT64_FORMAT " is wanted",
					   min, max);
		return -EINVAL;
	}
	*ret_n = n;
	return 0;
}

static int take_size(const char *value, uint64_t min, uint64_t *ret_n, char **message)
{
	uint64_t n;
	int r = parse_size(value, &n);

	if (r == -ERANGE)
		*message = g_strdup("the size is over 64 bits");
	else if (r < 0)
		*message = g_strdup("a size such as 4096, 512M, 8G or 2T is wanted");
	else if (n < min)
		*message = g_strdup("the size may not be 0");
	else {
		*ret_n = n;
		return 0;
	}
	return -EINVAL;
}

static bool tier_name_valid(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > TIER_NAME_MAX || !g_ascii_isalnum(s[0]))
		return false;
	for (; *s; s++)
		if (!g_ascii_isalnum(*s) && *s != '-' && *s != '_' && *s != '.')
			return false;
	return true;
}

#define TIER_NAME_WANTED \
	"a tier's name is 1 to 32 letters, digits, '-', '_' or '.', the first a letter or digit"

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
		return take_size(value, 0, &c->move_bandwidth, message);
	if (strcmp(key, "JobThreads") == 0) {
		r = take_u64(value, 1, 8, &n, message);
		if (r == 0)
			c->job_threads = (unsigned int)n;
		return r;
	}
	if (strcmp(key, "Storage") == 0)
		return take_storage(c, value, message);
	return unknown_key("MoveBandwidth, JobThreads, Storage", message);
}

static int take_prefer(struct config *c, const char *value, char **message)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_auto(GStrv) fields = g_strsplit_set(value, " \t", -1);

	for (char **f = fields; *f; f++) {
		if (**f == 0)
			continue;
		if (!tier_name_valid(*f)) {
			*message = g_strdup(
				"names of tiers are wanted, with spaces between them; " TIER_NAME_WANTED);
			return -EINVAL;
		}
		for (unsigned int i = 0; i < names->len; i++)
			if (strcmp(names->pdata[i], *f) == 0) {
				*message = g_strdup_printf("%s stands there twice", *f);
				return -EINVAL;
			}
		g_ptr_array_add(names, g_strdup(*f));
	}
	g_ptr_array_unref(c->default_prefer);
	c->default_prefer = g_steal_pointer(&names);
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
		if (parse_u64(*f, &n) < 0 || n > NODE_MAX) {
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
		if (parse_u64(initiator, &n) < 0 || n > NODE_MAX) {
			*message = g_strdup(
				"the number of a node, 0 to 1023, is wanted behind the '.'");
			return -EINVAL;
		}
		p.initiator = (int)n;
	}
	r = take_u64(value, 1, latency ? LATENCY_MAX : BANDWIDTH_MAX, &n, message);
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

static int take_bool(const char *value, bool *ret_b, char **message)
{
	static const char *const yes[] = { "yes", "true", "on", "1", NULL };
	static const char *const no[] = { "no", "false", "off", "0", NULL };

	if (g_strv_contains(yes, value))
		*ret_b = true;
	else if (g_strv_contains(no, value))
		*ret_b = false;
	else {
		*message = g_strdup("yes or no is wanted");
		return -EINVAL;
	}
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
		return take_bool(value, &t->is_volatile, message);
	if (strcmp(key, "Kind") == 0) {
		if (tier_kind_from_string(value, &t->kind) < 0) {
			*message = g_strdup("dram, hbm, cxl, nvm, gpu or memory-only is wanted");
			return -EINVAL;
		}
		t->has_kind = true;
		return 0;
	}
	if (strcmp(key, "Enabled") == 0)
		return take_bool(value, &t->enabled, message);
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

	if (!tier_name_valid(name)) {
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

static int take_max(struct config_quota *q, const char *tier, const char *value, char **message)
{
	if (!tier_name_valid(tier)) {
		*message = g_strdup(TIER_NAME_WANTED);
		return -EINVAL;
	}
	return config_quota_max(q, tier, value, message);
}

static int take_entry(const char *file, unsigned int line, const char *section, const char *key,
		      const char *value, void *userdata, char **ret_message)
{
	struct config *c = userdata;

	if (key == NULL)
		return begin_section(c, file, line, section, ret_message);
	/* Only a list can be emptied; for the rest, leaving the line out is the way. */
	if (value[0] == 0 && strcmp(key, "Prefer") != 0) {
		*ret_message = g_strdup("a value is wanted; without the line the default holds");
		return -EINVAL;
	}
	if (strcmp(section, "daemon") == 0)
		return daemon_key(c, key, value, ret_message);
	if (strcmp(section, "quota") == 0)
		return config_quota_key(&c->user_limits, true, key, value, ret_message);
	if (strcmp(section, "default") == 0)
		return default_key(c, key, value, ret_message);
	if (c->section && c->section->cgroup && g_str_has_prefix(key, "Max."))
		return take_max(c->section, key + strlen("Max."), value, ret_message);
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
