// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "ledger-record.h"

/* name, seq, owner, group, mode, size, created, account, placement (page size, prefer, allow, spread),
 * storage, page backing, initiators, records (offset, length, tiers, rule, reason, since) */
#define MORSEL_TYPE "(stuuutts(tasasa(su))ssaia(ttssst))"
/* owner, morsel, its owner and name, tier, offset, length, created */
#define JOB_TYPE "(usussttt)"
/* owner, verb, memory, outcome, created */
#define PROVISION_TYPE "(uusst)"
/* owner, account, bytes, watch */
#define LINGER_TYPE "(usti)"

static GBytes *serialise(GVariant *v)
{
	g_autoptr(GVariant) value = g_variant_ref_sink(v);

	if (G_BYTE_ORDER == G_BIG_ENDIAN) {
		g_autoptr(GVariant) swapped = g_variant_byteswap(value);

		return g_variant_get_data_as_bytes(swapped);
	}
	return g_variant_get_data_as_bytes(value);
}

/* NULL: not a value of that type. */
static GVariant *parse(GBytes *body, const char *type)
{
	GVariant *v =
		g_variant_ref_sink(g_variant_new_from_bytes(G_VARIANT_TYPE(type), body, FALSE));

	if (!g_variant_is_normal_form(v)) {
		g_variant_unref(v);
		return NULL;
	}
	if (G_BYTE_ORDER == G_BIG_ENDIAN) {
		GVariant *swapped = g_variant_byteswap(v);

		g_variant_unref(v);
		v = swapped;
	}
	return v;
}

/* --- Morsels -------------------------------------------------------------------------------- */

static void add_strings(GVariantBuilder *b, const GPtrArray *strings)
{
	g_variant_builder_open(b, G_VARIANT_TYPE_STRING_ARRAY);
	for (unsigned int i = 0; i < strings->len; i++)
		g_variant_builder_add(b, "s", strings->pdata[i]);
	g_variant_builder_close(b);
}

static void add_placement(GVariantBuilder *b, const struct placement *p)
{
	g_variant_builder_open(b, G_VARIANT_TYPE("(tasasa(su))"));
	g_variant_builder_add(b, "t", p->page_size);
	add_strings(b, p->prefer);
	add_strings(b, p->allow);
	g_variant_builder_open(b, G_VARIANT_TYPE("a(su)"));
	for (unsigned int i = 0; i < p->spread->len; i++) {
		const struct spread_weight *w = &g_array_index(p->spread, struct spread_weight, i);

		g_variant_builder_add(b, "(su)", w->tier, (guint32)w->weight);
	}
	g_variant_builder_close(b);
	g_variant_builder_close(b);
}

GBytes *ledger_morsel_body(const struct morsel *m)
{
	g_autoptr(GArray) records = morsel_records_copy(m, LEDGER_RECORDS_MAX);
	enum page_backing backing = m->storage->ops->page_backing(m->object);
	GVariantBuilder b;

	g_variant_builder_init(&b, G_VARIANT_TYPE(MORSEL_TYPE));
	g_variant_builder_add(&b, "s", m->name);
	g_variant_builder_add(&b, "t", m->seq);
	g_variant_builder_add(&b, "u", (guint32)m->owner);
	g_variant_builder_add(&b, "u", (guint32)m->group);
	g_variant_builder_add(&b, "u", (guint32)m->mode);
	g_variant_builder_add(&b, "t", m->size);
	g_variant_builder_add(&b, "t", m->created_usec);
	g_variant_builder_add(&b, "s", m->account);
	add_placement(&b, m->placement);
	g_variant_builder_add(&b, "s", m->storage->name);
	g_variant_builder_add(&b, "s", page_backing_to_string(backing));
	g_variant_builder_open(&b, G_VARIANT_TYPE("ai"));
	for (unsigned int i = 0; m->initiators && i < m->initiators->len; i++)
		g_variant_builder_add(&b, "i", g_array_index(m->initiators, int, i));
	g_variant_builder_close(&b);
	g_variant_builder_open(&b, G_VARIANT_TYPE("a(ttssst)"));
	for (unsigned int i = 0; i < records->len; i++) {
		const struct placement_record *r =
			&g_array_index(records, struct placement_record, i);

		g_variant_builder_add(&b, "(ttssst)", r->offset, r->length, r->tiers, r->rule,
				      r->reason, r->since_usec);
	}
	g_variant_builder_close(&b);
	return serialise(g_variant_builder_end(&b));
}

static void read_strings(GVariant *v, GPtrArray *to)
{
	GVariantIter iter;
	char *s;

	g_variant_iter_init(&iter, v);
	while (g_variant_iter_next(&iter, "s", &s))
		g_ptr_array_add(to, s);
}

static struct placement *read_placement(GVariant *v)
{
	g_autoptr(GVariant) prefer = g_variant_get_child_value(v, 1);
	g_autoptr(GVariant) allow = g_variant_get_child_value(v, 2);
	g_autoptr(GVariant) spread = g_variant_get_child_value(v, 3);
	struct placement *p = placement_new();
	GVariantIter iter;
	const char *tier;
	guint32 weight;

	g_variant_get_child(v, 0, "t", &p->page_size);
	read_strings(prefer, p->prefer);
	read_strings(allow, p->allow);
	g_variant_iter_init(&iter, spread);
	while (g_variant_iter_next(&iter, "(&su)", &tier, &weight))
		placement_add_spread(p, tier, weight);
	return p;
}

/* Each behind the other, from the first byte to the last. */
static bool read_records(struct morsel *m, GVariant *v)
{
	const char *tiers, *rule, *reason;
	uint64_t offset, length, since, end = 0;
	GVariantIter iter;

	if (g_variant_n_children(v) > LEDGER_RECORDS_MAX)
		return false;
	g_variant_iter_init(&iter, v);
	while (g_variant_iter_next(&iter, "(tt&s&s&st)", &offset, &length, &tiers, &rule, &reason,
				   &since)) {
		GRefString *rule_ref, *reason_ref;

		if (offset != end || length == 0 || length > m->size - end)
			return false;
		end += length;
		rule_ref = g_ref_string_new_intern(rule);
		reason_ref = g_ref_string_new_intern(reason);
		morsel_record(m, offset, length, tiers, rule_ref, reason_ref, since);
		g_ref_string_release(rule_ref);
		g_ref_string_release(reason_ref);
	}
	return end == m->size;
}

static bool read_backing(const char *name, enum page_backing *ret_backing)
{
	for (enum page_backing b = 0; b < PAGE_BACKING_MAX; b++)
		if (g_str_equal(page_backing_to_string(b), name)) {
			*ret_backing = b;
			return true;
		}
	return false;
}

static int wrong(const char *what, char **ret_text)
{
	*ret_text = g_strdup(what);
	return -EINVAL;
}

int ledger_morsel_parse(sd_id128_t id, GBytes *body, struct morsel **ret_morsel,
			enum page_backing *ret_backing, const char **ret_storage, char **ret_text)
{
	g_autoptr(GVariant) v = parse(body, MORSEL_TYPE), initiators = NULL, records = NULL;
	g_autoptr(GVariant) placement = NULL;
	g_autoptr(Morsel) m = NULL;
	const char *name, *account, *storage, *backing;
	guint32 owner, group, mode;
	guint64 seq, size, created;
	GVariantIter iter;
	gint32 node;

	if (!v)
		return wrong("it is not a morsel's record", ret_text);
	g_variant_get(v, "(&stuuutt&s@(tasasa(su))&s&s@ai@a(ttssst))", &name, &seq, &owner, &group,
		      &mode, &size, &created, &account, &placement, &storage, &backing, &initiators,
		      &records);
	if (morsel_name_check(name))
		return wrong("its name is none", ret_text);
	if (mode & ~0666u || size == 0 || seq == 0)
		return wrong("its mode, size or number is none", ret_text);
	if (!read_backing(backing, ret_backing))
		return wrong("its page backing is not known", ret_text);

	m = morsel_new(name, owner, group, mode, size);
	m->id = id;
	m->seq = seq;
	m->created_usec = created;
	m->account = g_ref_string_new_intern(account);
	m->placement = read_placement(placement);
	if (placement_check(m->placement, ret_text) < 0)
		return -EINVAL;
	if (size % m->placement->page_size != 0)
		return wrong("its size is not in whole pages", ret_text);
	if (g_variant_n_children(initiators) > 0)
		m->initiators = g_array_new(FALSE, FALSE, sizeof(int));
	g_variant_iter_init(&iter, initiators);
	while (g_variant_iter_next(&iter, "i", &node))
		g_array_append_val(m->initiators, node);
	if (!read_records(m, records))
		return wrong("its history does not cover it", ret_text);
	*ret_storage = g_intern_string(storage);
	*ret_morsel = g_steal_pointer(&m);
	return 0;
}

/* --- Jobs ----------------------------------------------------------------------------------- */

void ledger_job_clear(struct ledger_job *job)
{
	g_clear_pointer(&job->morsel_name, g_free);
	g_clear_pointer(&job->tier, g_free);
}

GBytes *ledger_job_body(const struct ledger_job *job)
{
	char morsel[SD_ID128_STRING_MAX];

	return serialise(g_variant_new(JOB_TYPE, (guint32)job->owner,
				       sd_id128_to_string(job->morsel, morsel),
				       (guint32)job->morsel_owner, job->morsel_name, job->tier,
				       job->offset, job->length, job->created_usec));
}

int ledger_job_parse(sd_id128_t id, GBytes *body, struct ledger_job *ret_job)
{
	g_autoptr(GVariant) v = parse(body, JOB_TYPE);
	struct ledger_job job = {};
	const char *morsel, *name, *tier;
	guint32 owner, morsel_owner;

	if (!v)
		return -EINVAL;
	g_variant_get(v, "(u&su&s&sttt)", &owner, &morsel, &morsel_owner, &name, &tier, &job.offset,
		      &job.length, &job.created_usec);
	job.id = (uint32_t)GUINT64_FROM_LE(id.qwords[1]);
	if (job.id == 0 || !sd_id128_equal(id, ledger_job_id(job.id)) || morsel_name_check(name) ||
	    sd_id128_from_string(morsel, &job.morsel) < 0)
		return -EINVAL;
	job.owner = owner;
	job.morsel_owner = morsel_owner;
	job.morsel_name = g_strdup(name);
	job.tier = g_strdup(tier);
	*ret_job = job;
	return 0;
}

/* --- Provisionings --------------------------------------------------------------------------- */

void ledger_provision_clear(struct ledger_provision *p)
{
	g_clear_pointer(&p->memory, g_free);
	g_clear_pointer(&p->outcome, g_free);
}

GBytes *ledger_provision_body(const struct ledger_provision *p)
{
	return serialise(g_variant_new(PROVISION_TYPE, (guint32)p->owner, (guint32)p->verb,
				       p->memory, p->outcome, p->created_usec));
}

int ledger_provision_parse(sd_id128_t id, GBytes *body, struct ledger_provision *ret_provision)
{
	g_autoptr(GVariant) v = parse(body, PROVISION_TYPE);
	const char *memory, *outcome;
	guint32 owner, verb;
	guint64 created;
	uint32_t job = (uint32_t)GUINT64_FROM_LE(id.qwords[1]);

	if (!v)
		return -EINVAL;
	g_variant_get(v, "(uu&s&st)", &owner, &verb, &memory, &outcome, &created);
	if (job == 0 || !sd_id128_equal(id, ledger_job_id(job)) ||
	    (verb != HELPER_PROVISION && verb != HELPER_UNPROVISION))
		return -EINVAL;
	*ret_provision = (struct ledger_provision){
		.id = job,
		.owner = owner,
		.verb = verb,
		.memory = g_strdup(memory),
		.outcome = g_strdup(outcome),
		.created_usec = created,
	};
	return 0;
}

/* --- What lingers ---------------------------------------------------------------------------- */

void ledger_linger_clear(struct ledger_linger *l)
{
	g_clear_pointer(&l->account, g_free);
}

GBytes *ledger_linger_body(const struct ledger_linger *l)
{
	return serialise(g_variant_new(LINGER_TYPE, (guint32)l->owner, l->account, l->bytes,
				       (gint32)l->watch));
}

int ledger_linger_parse(GBytes *body, struct ledger_linger *ret_linger)
{
	g_autoptr(GVariant) v = parse(body, LINGER_TYPE);
	const char *account;
	guint64 bytes;
	guint32 owner;
	gint32 watch;

	if (!v)
		return -EINVAL;
	g_variant_get(v, "(u&sti)", &owner, &account, &bytes, &watch);
	/* Sums of them must not come to less than nothing. */
	if (bytes == 0 || bytes > INT64_MAX || (watch <= 0 && watch != LEDGER_LINGER_OBJECT))
		return -EINVAL;
	*ret_linger = (struct ledger_linger){ owner, g_strdup(account), bytes, watch };
	return 0;
}
