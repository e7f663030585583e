// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include <string.h>

#include "bus-error.h"
#include "morsel.h"
#include "registry.h"

const char *morsel_name_check(const char *name)
{
	size_t length = strlen(name);
	const char *p;

	if (length == 0)
		return "is empty; a name has 1 to 255 bytes";
	if (length > 255)
		return "is too long; a name has at most 255 bytes";
	if (!g_utf8_validate(name, length, NULL))
		return "is not UTF-8";
	if (g_str_equal(name, ".") || g_str_equal(name, ".."))
		return "is reserved";
	for (p = name; *p; p = g_utf8_next_char(p)) {
		gunichar c = g_utf8_get_char(p);

		if (c == '/' || c == ':')
			return "contains '/' or ':'";
		if (g_unichar_iscntrl(c))
			return "contains a control character";
	}
	if (length == MORSEL_ID_LENGTH && strspn(name, "0123456789abcdefABCDEF") == length)
		return "looks like an id (32 hexadecimal digits)";
	return NULL;
}

struct morsel *morsel_new(const char *name, uid_t owner, gid_t group, mode_t mode, uint64_t size)
{
	struct morsel *m = g_new0(struct morsel, 1);

	g_ref_count_init(&m->refs);
	m->name = g_strdup(name);
	m->owner = owner;
	m->group = group;
	m->mode = mode;
	m->size = size;
	return m;
}

struct storage_spec morsel_spec(const struct morsel *m)
{
	return (struct storage_spec){ .id = m->id,
				      .label = m->name,
				      .owner = m->owner,
				      .cgroup = m->account,
				      .cgroup_id = m->cgroup_id,
				      .size = m->size,
				      .placement = m->placement };
}

int morsel_charge(struct morsel *m, struct quota_account *account, char **ret_text)
{
	g_autofree char *name = quote(m->name);
	g_autofree char *what = g_strdup_printf("morsel %s of %" PRIu64 " bytes", name, m->size);
	int r;

	r = quota_charge(account, QUOTA_MORSELS, 1, what, ret_text);
	if (r < 0)
		return r;
	r = quota_charge(account, QUOTA_BYTES, m->size, what, ret_text);
	if (r < 0) {
		quota_uncharge(account, QUOTA_MORSELS, 1);
		return r;
	}
	m->charged = account;
	return 0;
}

void morsel_uncharge(const struct morsel *m, struct quota_account *account)
{
	quota_uncharge(account, QUOTA_MORSELS, 1);
	quota_uncharge(account, QUOTA_BYTES, m->size);
}

void morsel_charge_anyway(struct morsel *m, struct quota *quota)
{
	struct quota_account *account = quota_account_get(quota, m->owner, m->account);

	quota_charge_anyway(account, QUOTA_MORSELS, 1);
	quota_charge_anyway(account, QUOTA_BYTES, m->size);
	m->charged = account;
	quota_account_unref(account); /* the charges hold it */
}

struct morsel *morsel_ref(struct morsel *m)
{
	g_ref_count_inc(&m->refs);
	return m;
}

static void record_clear(gpointer p)
{
	struct placement_record *record = p;

	g_ref_string_release(record->rule);
	g_ref_string_release(record->reason);
}

struct morsel *morsel_unref(struct morsel *m)
{
	if (!m || !g_ref_count_dec(&m->refs))
		return NULL;
	/* Takes the charge along where the memory stays. */
	if (m->object)
		registry_release_object(m->registry, m);
	if (m->charged)
		morsel_uncharge(m, m->charged);
	g_clear_pointer(&m->records, g_array_unref);
	g_clear_pointer(&m->initiators, g_array_unref);
	g_clear_pointer(&m->placement, placement_unref);
	g_clear_pointer(&m->account, g_ref_string_release);
	g_free(m->name);
	g_free(m);
	return NULL;
}

char *morsel_id_string(const struct morsel *m, char buffer[static MORSEL_ID_LENGTH + 1])
{
	return sd_id128_to_string(m->id, buffer);
}

bool morsel_may(const struct morsel *m, const struct caller *c, unsigned int want)
{
	unsigned int bits;

	if (caller_is_root(c))
		return true;
	if (c->uid == m->owner)
		bits = m->mode >> 6;
	else if (caller_in_group(c, m->group))
		bits = m->mode >> 3;
	else
		bits = m->mode;
	return (bits & want) == want;
}

bool morsel_visible(const struct morsel *m, const struct caller *c)
{
	return c->uid == m->owner || morsel_may(m, c, MORSEL_READ);
}

bool morsel_is_owner(const struct morsel *m, const struct caller *c)
{
	return caller_is_root(c) || c->uid == m->owner;
}

static GArray *records_new(void)
{
	GArray *records = g_array_new(FALSE, FALSE, sizeof(struct placement_record));

	g_array_set_clear_func(records, record_clear);
	return records;
}

static bool same_record(const struct placement_record *a, const struct placement_record *b)
{
	return a->tiers == b->tiers && a->since_usec == b->since_usec &&
	       g_str_equal(a->rule, b->rule) && g_str_equal(a->reason, b->reason);
}

static void append_record(GArray *records, struct placement_record record)
{
	struct placement_record *last =
		records->len > 0
			? &g_array_index(records, struct placement_record, records->len - 1)
			: NULL;

	if (record.length == 0)
		return;
	if (last && same_record(last, &record)) {
		last->length += record.length;
		return;
	}
	g_ref_string_acquire(record.rule);
	g_ref_string_acquire(record.reason);
	g_array_append_val(records, record);
}

/* Join the neighbours of which the newer one is oldest: what is known least well loses most. */
static void join_oldest(GArray *records)
{
	unsigned int best = 0;
	uint64_t best_age = UINT64_MAX;
	struct placement_record *a, *b;

	for (unsigned int i = 0; i + 1 < records->len; i++) {
		a = &g_array_index(records, struct placement_record, i);
		b = a + 1;
		if (MAX(a->since_usec, b->since_usec) < best_age) {
			best_age = MAX(a->since_usec, b->since_usec);
			best = i;
		}
	}
	a = &g_array_index(records, struct placement_record, best);
	b = a + 1;
	if (b->since_usec > a->since_usec) {
		a->since_usec = b->since_usec;
		a->tiers = b->tiers;
		g_ref_string_acquire(b->rule);
		g_ref_string_release(a->rule);
		a->rule = b->rule;
		g_ref_string_release(a->reason);
		a->reason = g_ref_string_new("the newest of several records that were joined"
					     " to bound their number");
	}
	a->length += b->length;
	g_array_remove_index(records, best + 1);
}

void morsel_record(struct morsel *m, uint64_t offset, uint64_t length, const char *tiers,
		   GRefString *rule, GRefString *reason, uint64_t now_usec)
{
	struct placement_record record = { .offset = offset,
					   .length = length,
					   .tiers = g_intern_string(tiers),
					   .rule = rule,
					   .reason = reason,
					   .since_usec = now_usec };
	GArray *records = records_new();
	uint64_t end = offset + length;
	bool placed = false;

	for (unsigned int i = 0; m->records && i < m->records->len; i++) {
		struct placement_record old = g_array_index(m->records, struct placement_record, i);
		uint64_t old_end = old.offset + old.length;
		struct placement_record left = old, right = old;

		left.length = old.offset < offset ? MIN(old_end, offset) - old.offset : 0;
		append_record(records, left);
		if (!placed && old_end > offset) {
			append_record(records, record);
			placed = true;
		}
		right.offset = MAX(old.offset, end);
		right.length = old_end > right.offset ? old_end - right.offset : 0;
		append_record(records, right);
	}
	if (!placed)
		append_record(records, record);
	while (records->len > MORSEL_RECORDS_MAX)
		join_oldest(records);
	g_clear_pointer(&m->records, g_array_unref);
	m->records = records;
}

GArray *morsel_records_copy(const struct morsel *m, unsigned int max)
{
	GArray *records = records_new();

	for (unsigned int i = 0; m->records && i < m->records->len; i++)
		append_record(records, g_array_index(m->records, struct placement_record, i));
	while (records->len > max)
		join_oldest(records);
	return records;
}
