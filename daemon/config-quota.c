// SPDX-License-Identifier: GPL-2.0-or-later
#include "config-quota.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "cgroup-path.h"
#include "parse-size.h"

#define MORSELS_MAX UINT64_C(1000000)
#define COUNT_MAX UINT64_C(65536)
/* Each section is looked at for each cgroup that a client comes from the first time. */
#define SECTIONS_MAX 256

static const struct {
	const char *user_key, *key;
	uint64_t max;
} kinds[QUOTA_KINDS] = {
	[QUOTA_BYTES] = { "BytesPerUser", "Bytes", UINT64_MAX },
	[QUOTA_MORSELS] = { "MorselsPerUser", "Morsels", MORSELS_MAX },
	[QUOTA_JOBS] = { "JobsPerUser", "Jobs", COUNT_MAX },
	[QUOTA_CALLS] = { "CallsPerUser", "Calls", COUNT_MAX },
	[QUOTA_CONNECTIONS] = { "ConnectionsPerUser", "Connections", COUNT_MAX },
};

void config_quota_free(gpointer p)
{
	struct config_quota *q = p;

	g_free(q->path);
	g_strfreev(q->components);
	g_free(q);
}

static void set_percent(struct config_limits *l, enum quota_kind kind, uint64_t percent)
{
	l->of[kind] = (struct config_limit){ .set = true, .percent = true, .value = percent };
}

static void set_count(struct config_limits *l, enum quota_kind kind, uint64_t n)
{
	l->of[kind] = (struct config_limit){ .set = true, .value = n };
}

void config_quota_defaults(struct config_limits *user, GPtrArray *quotas)
{
	struct config_quota *all = NULL, *unit = NULL;
	char *message = NULL;

	set_percent(user, QUOTA_BYTES, 50);
	set_count(user, QUOTA_MORSELS, 16384);
	set_count(user, QUOTA_JOBS, 64);
	set_count(user, QUOTA_CALLS, 64);
	set_count(user, QUOTA_CONNECTIONS, 512);

	/* These paths are right: they cannot fail. */
	(void)config_quota_section(quotas, true, "/", &all, &message);
	set_percent(&all->limits, QUOTA_BYTES, 90);
	(void)config_quota_section(quotas, true, "/*/*", &unit, &message);
	set_percent(&unit->limits, QUOTA_BYTES, 50);
	set_count(&unit->limits, QUOTA_MORSELS, 65536);
	set_count(&unit->limits, QUOTA_JOBS, 256);
	set_count(&unit->limits, QUOTA_CALLS, 256);
	set_count(&unit->limits, QUOTA_CONNECTIONS, 1024);
}

/* Only users of this machine's own file: a directory server must not hold the daemon's start up. */
static bool find_user(const char *name, uid_t *ret_uid)
{
	guint64 n;
	FILE *f;
	struct passwd pwd, *p;
	char buffer[4096];
	bool found = false;

	if (g_ascii_string_to_unsigned(name, 10, 0, UINT32_MAX - 1, &n, NULL)) {
		*ret_uid = n;
		return true;
	}
	f = fopen("/etc/passwd", "re");
	while (f && !found && fgetpwent_r(f, &pwd, buffer, sizeof(buffer), &p) == 0)
		if (strcmp(p->pw_name, name) == 0) {
			*ret_uid = p->pw_uid;
			found = true;
		}
	if (f)
		fclose(f);
	return found;
}

int config_quota_section(GPtrArray *quotas, bool cgroup, const char *name,
			 struct config_quota **ret_quota, char **ret_message)
{
	struct config_quota *q;
	uid_t uid = 0;

	if (cgroup && !cgroup_path_valid(name)) {
		*ret_message = g_strdup("the path of a cgroup such as /user.slice is wanted,"
					" '*' and '?' may stand for parts of a name");
		return -EINVAL;
	}
	if (!cgroup && !find_user(name, &uid)) {
		*ret_message = g_strdup("a user of /etc/passwd is wanted, or a uid");
		return -EINVAL;
	}
	/* A section that comes again moves to the end: what comes later wins. */
	for (unsigned int i = 0; i < quotas->len; i++) {
		q = quotas->pdata[i];
		if (q->cgroup != cgroup || (cgroup ? strcmp(q->path, name) != 0 : q->uid != uid))
			continue;
		q = g_ptr_array_steal_index(quotas, i);
		g_ptr_array_add(quotas, q);
		*ret_quota = q;
		return 0;
	}
	if (quotas->len >= SECTIONS_MAX) {
		*ret_message = g_strdup_printf("there are %d sections [user] and [cgroup] at most",
					       SECTIONS_MAX);
		return -EINVAL;
	}
	q = g_new0(struct config_quota, 1);
	q->cgroup = cgroup;
	q->uid = uid;
	if (cgroup) {
		q->path = g_strdup(name);
		q->components = g_strsplit(name + 1, "/", -1);
		q->depth = name[1] ? g_strv_length(q->components) : 0;
	}
	g_ptr_array_add(quotas, q);
	*ret_quota = q;
	return 0;
}

static int take_limit(struct config_limit *l, enum quota_kind kind, const char *value,
		      char **ret_message)
{
	bool percent = kind == QUOTA_BYTES && g_str_has_suffix(value, "%");
	uint64_t max = percent ? 100 : kinds[kind].max;
	uint64_t n = 0;
	bool good;

	if (strcmp(value, "none") == 0) {
		*l = (struct config_limit){ .set = true, .value = QUOTA_NONE };
		return 0;
	}
	if (percent) {
		g_autofree char *number = g_strndup(value, strlen(value) - 1);

		good = g_ascii_string_to_unsigned(number, 10, 1, 100, &n, NULL);
	} else if (kind == QUOTA_BYTES) {
		int r = parse_size(value, &n);

		if (r == -ERANGE) {
			*ret_message = g_strdup("the size is over 64 bits");
			return -EINVAL;
		}
		good = r >= 0 && n < QUOTA_NONE;
		if (good && n == 0) {
			*ret_message = g_strdup("the size may not be 0");
			return -EINVAL;
		}
	} else {
		good = g_ascii_string_to_unsigned(value, 10, 1, max, &n, NULL);
	}
	if (!good) {
		*ret_message =
			kind == QUOTA_BYTES
				? g_strdup("1% to 100% of all tiers' capacity, a size such as 8G,"
					   " or 'none' is wanted")
				: g_strdup_printf("a whole number from 1 to %" G_GUINT64_FORMAT
						  ", or 'none', is wanted",
						  max);
		return -EINVAL;
	}
	*l = (struct config_limit){ .set = true, .percent = percent, .value = n };
	return 0;
}

int config_quota_key(struct config_limits *limits, bool per_user, const char *key,
		     const char *value, char **ret_message)
{
	g_autoptr(GString) known = g_string_new(NULL);

	for (unsigned int k = 0; k < QUOTA_KINDS; k++) {
		const char *name = per_user ? kinds[k].user_key : kinds[k].key;

		if (strcmp(key, name) == 0)
			return take_limit(&limits->of[k], k, value, ret_message);
		g_string_append_printf(known, "%s%s", k > 0 ? ", " : "", name);
	}
	*ret_message = g_strdup_printf("unknown key; this section has %s", known->str);
	return -EINVAL;
}

bool config_quota_matches(const struct config_quota *q, const char *path)
{
	return cgroup_path_matches(q->components, q->depth, path);
}
