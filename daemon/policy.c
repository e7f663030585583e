// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy.h"

#include <errno.h>
#include <string.h>

#include "cgroup-path.h"
#include "config-value.h"
#include "parse-size.h"

enum kind {
	KIND_TIERS,
	KIND_SHARES,
	KIND_BYTES, /* or none */
	KIND_WEIGHT,
	KIND_WORD,
	KIND_BOOL,
};

static const char *const pages[] = {
	[POLICY_PAGES_4K] = "4K", [POLICY_PAGES_2M] = "2M", [POLICY_PAGES_MIXED] = "mixed", NULL
};
static const char *const migrate[] = { [POLICY_MIGRATE_OFF] = "off",
				       [POLICY_MIGRATE_ON] = "on",
				       [POLICY_MIGRATE_DRY_RUN] = "dry-run",
				       NULL };

static const struct {
	const char *key;
	enum kind kind;
	bool per_tier;
	const char *const *words;
	const char *wanted;
} fields[POLICY_FIELDS] = {
	[POLICY_PREFER] = { "Prefer", KIND_TIERS },
	[POLICY_ALLOW] = { "Allow", KIND_TIERS },
	[POLICY_SPREAD] = { "Spread", KIND_SHARES },
	[POLICY_LOW] = { "Low", KIND_BYTES, true },
	[POLICY_HIGH] = { "High", KIND_BYTES, true },
	[POLICY_MAX] = { "Max", KIND_BYTES, true },
	[POLICY_WEIGHT] = { "Weight", KIND_WEIGHT },
	[POLICY_PAGE_SIZE] = { "PageSize", KIND_WORD, false, pages, "4K, 2M or mixed is wanted" },
	[POLICY_MIGRATE] = { "Migrate", KIND_WORD, false, migrate, "on, off or dry-run is wanted" },
	[POLICY_BANDWIDTH] = { "Bandwidth", KIND_BYTES },
	[POLICY_MANAGE_ORDINARY] = { "ManageOrdinary", KIND_BOOL },
};

const char policy_known_keys[] = "Prefer, Allow, Spread, Low.TIER, High.TIER, Max.TIER, Weight, "
				 "PageSize, Migrate, Bandwidth, ManageOrdinary";

/* --- Settings and sections ------------------------------------------------------------------- */

static void setting_free(gpointer p)
{
	struct policy_setting *s = p;

	if (s->tiers)
		g_array_unref(s->tiers);
	g_clear_pointer(&s->tier, g_ref_string_release);
	g_free(s->key);
	g_free(s->value);
	g_free(s);
}

static void section_free(gpointer p)
{
	struct policy_section *s = p;

	g_ptr_array_unref(s->settings);
	g_strfreev(s->components);
	g_free(s->path);
	g_free(s);
}

static struct policy_section *section_new(const struct policy_file *f, const char *path)
{
	struct policy_section *s = g_new0(struct policy_section, 1);

	s->path = g_strdup(path);
	s->components = g_strsplit(path + 1, "/", -1);
	s->depth = path[1] ? g_strv_length(s->components) : 0;
	s->settings = g_ptr_array_new_with_free_func(setting_free);
	s->file = f;
	return s;
}

/* The field that key is of; *ret_tier: what stands behind its '.', or NULL. POLICY_FIELDS: none. */
static enum policy_field find_field(const char *key, const char **ret_tier)
{
	const char *dot = strchr(key, '.');
	size_t n = dot ? (size_t)(dot - key) : strlen(key);

	for (enum policy_field f = 0; f < POLICY_FIELDS; f++)
		if (fields[f].per_tier == (dot != NULL) && strlen(fields[f].key) == n &&
		    strncmp(fields[f].key, key, n) == 0) {
			*ret_tier = dot ? dot + 1 : NULL;
			return f;
		}
	return POLICY_FIELDS;
}

bool policy_is_key(const char *key)
{
	const char *tier;

	return find_field(key, &tier) != POLICY_FIELDS;
}

static int take_bytes(enum policy_field f, const char *value, uint64_t *ret, char **message)
{
	/* All of a tier that one cannot know the size of is no protection that could be kept. */
	bool may_be_none = f != POLICY_LOW;
	uint64_t n = POLICY_NONE;

	if (!(may_be_none && strcmp(value, "none") == 0) &&
	    (parse_size(value, &n) < 0 || n == POLICY_NONE)) {
		*message = g_strdup_printf("a size such as 64M%s is wanted",
					   may_be_none ? ", or 'none'," : "");
		return -EINVAL;
	}
	*ret = n;
	return 0;
}

static int take_word(enum policy_field f, const char *value, uint64_t *ret, char **message)
{
	for (uint64_t i = 0; fields[f].words[i]; i++)
		if (strcmp(fields[f].words[i], value) == 0) {
			*ret = i;
			return 0;
		}
	*message = g_strdup(fields[f].wanted);
	return -EINVAL;
}

static int take_value(struct policy_setting *s, const char *value, char **message)
{
	bool b = false;
	int r;

	switch (fields[s->field].kind) {
	case KIND_TIERS:
	case KIND_SHARES:
		return config_take_tiers(value, fields[s->field].kind == KIND_SHARES, &s->tiers,
					 message);
	case KIND_BYTES:
		return take_bytes(s->field, value, &s->number, message);
	case KIND_WEIGHT:
		return config_take_u64(value, 1, POLICY_WEIGHT_MAX, &s->number, message);
	case KIND_WORD:
		return take_word(s->field, value, &s->number, message);
	case KIND_BOOL:
		break;
	}
	r = config_take_bool(value, &b, message);
	s->number = b;
	return r;
}

int policy_section_set(struct policy_section *s, const char *key, const char *value,
		       unsigned int line, char **ret_message)
{
	struct policy_setting *setting;
	const char *tier;
	enum policy_field field = find_field(key, &tier);
	int r;

	if (field == POLICY_FIELDS) {
		*ret_message = g_strdup_printf("unknown key; policies have %s", policy_known_keys);
		return -EINVAL;
	}
	if (tier && !config_tier_name_valid(tier)) {
		*ret_message = g_strdup(TIER_NAME_WANTED);
		return -EINVAL;
	}
	/* Only a list can be emptied; for the rest, leaving the line out is the way. */
	if (value[0] == 0 && fields[field].kind > KIND_SHARES) {
		*ret_message = g_strdup("a value is wanted; without the line the next cgroup above"
					" counts, or the default");
		return -EINVAL;
	}
	setting = g_new0(struct policy_setting, 1);
	setting->field = field;
	setting->tier = tier ? g_ref_string_new(tier) : NULL;
	setting->key = g_strdup(key);
	setting->value = g_strdup(value);
	setting->line = line;
	setting->section = s;
	r = take_value(setting, value, ret_message);
	if (r < 0) {
		setting_free(setting);
		return r;
	}
	(void)policy_section_unset(s, key);
	g_ptr_array_add(s->settings, setting);
	return 0;
}

bool policy_section_unset(struct policy_section *s, const char *key)
{
	for (unsigned int i = 0; i < s->settings->len; i++)
		if (g_str_equal(((struct policy_setting *)s->settings->pdata[i])->key, key)) {
			g_ptr_array_remove_index(s->settings, i);
			return true;
		}
	return false;
}

const struct policy_setting *policy_section_find(const struct policy_section *s, const char *key)
{
	for (unsigned int i = 0; i < s->settings->len; i++)
		if (g_str_equal(((struct policy_setting *)s->settings->pdata[i])->key, key))
			return s->settings->pdata[i];
	return NULL;
}

/* --- Files ----------------------------------------------------------------------------------- */

struct policy_file *policy_file_new(const char *path, const char *order)
{
	struct policy_file *f = g_new0(struct policy_file, 1);

	g_atomic_ref_count_init(&f->refs);
	f->path = g_strdup(path);
	f->order = g_strdup(order);
	f->sections = g_ptr_array_new_with_free_func(section_free);
	return f;
}

struct policy_file *policy_file_ref(struct policy_file *f)
{
	g_atomic_ref_count_inc(&f->refs);
	return f;
}

void policy_file_unref(struct policy_file *f)
{
	if (!f || !g_atomic_ref_count_dec(&f->refs))
		return;
	g_ptr_array_unref(f->sections);
	g_free(f->path);
	g_free(f->order);
	g_free(f);
}

int policy_file_section(struct policy_file *f, const char *path,
			struct policy_section **ret_section, char **ret_message)
{
	struct policy_section *s;

	if (!cgroup_path_valid(path)) {
		*ret_message = g_strdup("the path of a cgroup such as /user.slice is wanted,"
					" '*' and '?' may stand for parts of a name");
		return -EINVAL;
	}
	/* A section that comes again goes on with the last one of that path: a search of all would make ten thousand
	 * sections a hundred million comparisons. */
	s = f->sections->len > 0 ? f->sections->pdata[f->sections->len - 1] : NULL;
	if (!s || strcmp(s->path, path) != 0) {
		s = section_new(f, path);
		g_ptr_array_add(f->sections, s);
	}
	*ret_section = s;
	return 0;
}

/* --- Sets ------------------------------------------------------------------------------------ */

struct policy_set {
	gatomicrefcount refs;
	GPtrArray *files;     /* of struct policy_file *, in order */
	GHashTable *by_path;  /* path (the section's) → GPtrArray of struct policy_section * */
	GPtrArray *paths;     /* its keys but for patterns, sorted */
	GPtrArray *patterns;  /* of struct policy_section * */
	unsigned int deepest; /* components of the longest path of all */
};

static int compare_files(gconstpointer a, gconstpointer b)
{
	const struct policy_file *const *f = a, *const *g = b;

	return strcmp((*f)->order, (*g)->order);
}

/* As strcmp(), but '/' comes before all others: so "/a/b" stands between "/a" and "/a-b". */
static int compare_paths(gconstpointer a, gconstpointer b)
{
	const unsigned char *p = *(const unsigned char *const *)a,
			    *q = *(const unsigned char *const *)b;

	while (*p && *p == *q) {
		p++;
		q++;
	}
	return (*p == '/' ? 1 : *p ? *p + 1 : 0) - (*q == '/' ? 1 : *q ? *q + 1 : 0);
}

static int add_section(struct policy_set *set, const struct policy_section *s, char **ret_message)
{
	bool pattern = cgroup_path_is_pattern(s->path);
	GPtrArray *same = g_hash_table_lookup(set->by_path, s->path);

	set->deepest = MAX(set->deepest, s->depth);
	if (!same) {
		same = g_ptr_array_new();
		g_hash_table_insert(set->by_path, s->path, same);
		if (!pattern)
			g_ptr_array_add(set->paths, s->path);
	}
	g_ptr_array_add(same, (gpointer)s);
	if (!pattern)
		return 0;
	if (set->patterns->len >= POLICY_PATTERNS_MAX) {
		*ret_message = g_strdup_printf(
			"%s: [cgroup %s]: there are %d sections with '*' or '?' at most",
			s->file->path, s->path, POLICY_PATTERNS_MAX);
		return -E2BIG;
	}
	g_ptr_array_add(set->patterns, (gpointer)s);
	return 0;
}

int policy_set_new(const GPtrArray *files, struct policy_set **ret_set, char **ret_message)
{
	struct policy_set *set = g_new0(struct policy_set, 1);
	int r = 0;

	g_atomic_ref_count_init(&set->refs);
	set->files = g_ptr_array_new_with_free_func((GDestroyNotify)policy_file_unref);
	set->by_path = g_hash_table_new_full(g_str_hash, g_str_equal, NULL,
					     (GDestroyNotify)g_ptr_array_unref);
	set->paths = g_ptr_array_new();
	set->patterns = g_ptr_array_new();
	for (unsigned int i = 0; files && i < files->len; i++)
		g_ptr_array_add(set->files, policy_file_ref(files->pdata[i]));
	g_ptr_array_sort(set->files, compare_files); /* stable */
	for (unsigned int i = 0; r >= 0 && i < set->files->len; i++) {
		const struct policy_file *f = set->files->pdata[i];

		for (unsigned int k = 0; r >= 0 && k < f->sections->len; k++)
			r = add_section(set, f->sections->pdata[k], ret_message);
	}
	g_ptr_array_sort(set->paths, compare_paths);
	if (r < 0)
		policy_set_unref(set);
	else
		*ret_set = set;
	return r;
}

struct policy_set *policy_set_ref(struct policy_set *s)
{
	g_atomic_ref_count_inc(&s->refs);
	return s;
}

struct policy_set *policy_set_unref(struct policy_set *s)
{
	if (!s || !g_atomic_ref_count_dec(&s->refs))
		return NULL;
	g_ptr_array_unref(s->paths);
	g_ptr_array_unref(s->patterns);
	g_hash_table_unref(s->by_path);
	g_ptr_array_unref(s->files);
	g_free(s);
	return NULL;
}

int policy_set_with(const struct policy_set *s, const char *path, struct policy_file *file,
		    struct policy_set **ret_set, char **ret_message)
{
	g_autoptr(GPtrArray) files = g_ptr_array_new();

	for (unsigned int i = 0; i < s->files->len; i++) {
		const struct policy_file *f = s->files->pdata[i];

		if (strcmp(f->path, path) != 0)
			g_ptr_array_add(files, s->files->pdata[i]);
	}
	if (file)
		g_ptr_array_add(files, file);
	return policy_set_new(files, ret_set, ret_message);
}

const GPtrArray *policy_set_paths(const struct policy_set *s)
{
	return s->paths;
}

const GPtrArray *policy_set_sections(const struct policy_set *s, const char *path)
{
	return g_hash_table_lookup(s->by_path, path);
}

const GPtrArray *policy_set_patterns(const struct policy_set *s)
{
	return s->patterns;
}

bool policy_set_is_empty(const struct policy_set *s)
{
	return g_hash_table_size(s->by_path) == 0;
}

/* --- What holds ------------------------------------------------------------------------------ */

/* The last one of a section that fits. */
static const struct policy_setting *find_in(const struct policy_section *s, unsigned int mask,
					    const char *tier)
{
	for (unsigned int i = s->settings->len; i > 0; i--) {
		const struct policy_setting *setting = s->settings->pdata[i - 1];

		if (mask & 1u << setting->field && g_strcmp0(setting->tier, tier) == 0)
			return setting;
	}
	return NULL;
}

const struct policy_setting *policy_own(const struct policy_set *s, const char *path,
					unsigned int mask, const char *tier)
{
	const GPtrArray *exact = g_hash_table_lookup(s->by_path, path);
	const struct policy_setting *found = NULL;

	for (unsigned int i = exact ? exact->len : 0; !found && i > 0; i--)
		found = find_in(exact->pdata[i - 1], mask, tier);
	for (unsigned int i = s->patterns->len; !found && i > 0; i--) {
		const struct policy_section *p = s->patterns->pdata[i - 1];

		if (cgroup_path_matches(p->components, p->depth, path))
			found = find_in(p, mask, tier);
	}
	return found;
}

/* The cgroup above; false: path is "/". */
static bool go_up(char *path)
{
	char *slash = strrchr(path, '/');

	if (path[1] == '\0')
		return false;
	slash[slash == path] = '\0';
	return true;
}

/*
 * Where a search from path upwards begins: nobody makes it dear by nesting cgroups, what is deeper than any section is
 * not looked at. *ret_cut: that is not path itself.
 */
static char *lowest(const struct policy_set *s, const char *path, bool *ret_cut)
{
	char *at = g_strdup(path[0] ? path : "/"), *p = at;

	for (unsigned int i = 0; p && i < s->deepest; i++)
		p = strchr(p + 1, '/');
	*ret_cut = p && p[1];
	if (*ret_cut)
		p[p == at] = '\0';
	return at;
}

static bool is_limit(unsigned int mask)
{
	return mask &
	       (1u << POLICY_LOW | 1u << POLICY_HIGH | 1u << POLICY_MAX | 1u << POLICY_BANDWIDTH);
}

const struct policy_setting *policy_effective(const struct policy_set *s, const char *path,
					      unsigned int mask, const char *tier, char **ret_from)
{
	const struct policy_setting *best = NULL;
	bool cut;
	g_autofree char *at = lowest(s, path, &cut), *from = NULL;

	if (cut && mask == 1u << POLICY_WEIGHT)
		return NULL;
	do {
		const struct policy_setting *own = policy_own(s, at, mask, tier);

		if (!own || (best && own->number >= best->number))
			continue;
		best = own;
		g_free(from);
		from = g_strdup(at);
		if (!is_limit(mask))
			break;
	} while (mask != 1u << POLICY_WEIGHT && go_up(at));
	if (best && ret_from)
		*ret_from = g_steal_pointer(&from);
	return best;
}

static int compare_settings(gconstpointer a, gconstpointer b)
{
	const struct policy_setting *s = *(const struct policy_setting *const *)a,
				    *t = *(const struct policy_setting *const *)b;

	return s->field != t->field ? (int)s->field - (int)t->field : g_strcmp0(s->tier, t->tier);
}

/* Prefer and Spread are one decision. */
static unsigned int mask_of(enum policy_field f)
{
	return f == POLICY_PREFER || f == POLICY_SPREAD ? 1u << POLICY_PREFER | 1u << POLICY_SPREAD
							: 1u << f;
}

static void collect(const struct policy_section *s, GHashTable *seen)
{
	for (unsigned int i = 0; i < s->settings->len; i++) {
		struct policy_setting *setting = s->settings->pdata[i];

		g_hash_table_add(seen, setting->key);
	}
}

/* What is said of each key that some section about path, or (above) about a cgroup above it, has. */
static GPtrArray *find_all(const struct policy_set *s, const char *path, bool above)
{
	g_autoptr(GHashTable) keys = g_hash_table_new(g_str_hash, g_str_equal);
	g_autoptr(GHashTable) found = g_hash_table_new(NULL, NULL);
	bool cut;
	g_autofree char *at = lowest(s, path, &cut);
	GPtrArray *all = g_ptr_array_new();
	GHashTableIter iter;
	gpointer p;

	do {
		const GPtrArray *exact = g_hash_table_lookup(s->by_path, at);

		for (unsigned int i = 0; exact && i < exact->len; i++)
			collect(exact->pdata[i], keys);
		for (unsigned int i = 0; i < s->patterns->len; i++) {
			const struct policy_section *section = s->patterns->pdata[i];

			if (cgroup_path_matches(section->components, section->depth, at))
				collect(section, keys);
		}
	} while (above && go_up(at));
	g_hash_table_iter_init(&iter, keys);
	while (g_hash_table_iter_next(&iter, &p, NULL)) {
		const struct policy_setting *setting;
		const char *tier;
		unsigned int mask = mask_of(find_field(p, &tier));

		setting = above ? policy_effective(s, path, mask, tier, NULL)
				: policy_own(s, path, mask, tier);
		if (setting && g_hash_table_add(found, (gpointer)setting))
			g_ptr_array_add(all, (gpointer)setting);
	}
	g_ptr_array_sort(all, compare_settings);
	return all;
}

GPtrArray *policy_own_all(const struct policy_set *s, const char *path)
{
	return find_all(s, path, false);
}

GPtrArray *policy_effective_all(const struct policy_set *s, const char *path)
{
	return find_all(s, path, true);
}

void policy_budget(const struct policy_set *s, const char *path, const char *tier,
		   struct policy_budget *ret_budget)
{
	const struct policy_setting *low = policy_own(s, path, 1u << POLICY_LOW, tier),
				    *high = policy_own(s, path, 1u << POLICY_HIGH, tier),
				    *max = policy_own(s, path, 1u << POLICY_MAX, tier),
				    *weight = policy_own(s, path, 1u << POLICY_WEIGHT, NULL);

	*ret_budget = (struct policy_budget){
		.low = low ? low->number : 0,
		.high = high ? high->number : POLICY_NONE,
		.max = max ? max->number : POLICY_NONE,
		.weight = weight ? (unsigned int)weight->number : POLICY_WEIGHT_DEFAULT,
	};
}
