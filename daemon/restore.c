// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "bus-error.h"
#include "keeper.h"
#include "ledger-record.h"
#include "ledger.h"
#include "log.h"
#include "manager.h"
#include "persist.h"
#include "restore.h"

/* Lines of the journal about single morsels; the file has them all. */
#define LOST_LINES 100
#define LOST_FILE "lost"
#define LOST_FILE_NEW "lost.new"

struct restoring {
	struct manager *manager;
	GHashTable *kept;
	GString *lost; /* the file's text */
	unsigned int n_lost, n_restored, n_unclaimed, n_interrupted, n_provisions, n_linger;
	unsigned int n_unreachable;
};

static void lose(struct restoring *x, sd_id128_t id, const struct morsel *m, const char *why)
{
	struct manager *manager = x->manager;
	bool rebooted = ledger_rebooted(manager->ledger);
	char text[SD_ID128_STRING_MAX];

	sd_id128_to_string(id, text);
	if (m)
		g_string_append_printf(x->lost, "%s %s:%s %" PRIu64 " bytes: %s\n", text,
				       users_name(manager->users, m->owner), m->name, m->size, why);
	else
		g_string_append_printf(x->lost, "%s: %s\n", text, why);
	/* After the machine's own start one line for all will do. */
	if (x->n_lost++ < LOST_LINES && !rebooted)
		log_line(LOG_WARNING, LOG_MORSEL_LOST, text, "lost: morsel %s (%s%s%s): %s", text,
			 m ? users_name(manager->users, m->owner) : "", m ? ":" : "",
			 m ? m->name : "unknown", why);
	ledger_drop(manager->ledger, LEDGER_MORSEL, id, NULL, NULL);
}

/* kept: NULL where the storage is lasting. */
static int adopt(struct restoring *x, struct morsel *m, enum page_backing backing,
		 struct storage *storage, struct kept *kept, char **ret_text)
{
	struct manager *manager = x->manager;
	struct storage_spec spec = morsel_spec(m);
	int r;

	r = registry_restore(manager->registry, m, ret_text);
	if (r < 0)
		return r;
	m->storage = storage;
	r = storage->ops->adopt(storage, manager->inventory, &spec, backing, kept ? kept->fd : -1,
				&m->object, ret_text);
	if (kept)
		kept->fd = -1;
	if (r < 0) {
		registry_remove(manager->registry, m);
		return r;
	}
	morsel_charge_anyway(m, manager->quota);
	registry_publish(manager->registry, m);
	if (!storage->lasting)
		keeper_adopted(manager->keeper, m->id, storage->ops->descriptor(m->object));
	return 0;
}

/* It may be there, but the module does not let us see: it keeps its place in the registry's file for the next
 * start. */
static bool is_unreachable(const struct manager *manager, const char *storage)
{
	const struct module_probe *probe = &manager->module_facts.probe;

	return g_str_equal(storage, "module") && probe->state != MODULE_READY &&
	       probe->state != MODULE_ABSENT && !ledger_rebooted(manager->ledger);
}

static void restore_morsel(struct restoring *x, sd_id128_t id, GBytes *body)
{
	struct kept *kept = kept_find(x->kept, id);
	g_autofree char *text = NULL;
	g_autoptr(Morsel) m = NULL;
	enum page_backing backing;
	struct storage *storage;
	const char *name;

	if (ledger_morsel_parse(id, body, &m, &backing, &name, &text) < 0) {
		lose(x, id, NULL, text);
		return;
	}
	storage = manager_storage(x->manager, name);
	if (!storage && is_unreachable(x->manager, name)) {
		x->n_unreachable++;
	} else if (!storage) {
		text = g_strdup_printf("there is no storage '%s'", name);
		lose(x, id, m, text);
	} else if (!kept && !storage->lasting)
		lose(x, id, m,
		     ledger_rebooted(x->manager->ledger) ? "the machine was started anew"
							 : "the keeper does not have it");
	else if (adopt(x, m, backing, storage, kept, &text) < 0)
		lose(x, id, m, text);
	else
		x->n_restored++;
}

/* Watches that have gone on without a daemon. */
static bool adopt_watches(struct restoring *x)
{
	struct manager *manager = x->manager;
	struct kept *kept = kept_find(x->kept, LINGER_KEPT_ID);
	int r;

	if (!kept)
		return false;
	r = linger_adopt(manager->linger, kept->fd);
	kept->fd = -1;
	if (r >= 0)
		keeper_adopted(manager->keeper, LINGER_KEPT_ID, linger_descriptor(manager->linger));
	return r >= 0;
}

static void restore_linger(struct restoring *x, sd_id128_t id, GBytes *body)
{
	struct manager *manager = x->manager;
	struct storage_object *object = NULL;
	struct quota_account *account;
	struct ledger_linger l;

	/* One that is there after all: its drop was not written any more. */
	if (registry_by_id(manager->registry, id) || ledger_linger_parse(body, &l) < 0) {
		ledger_drop(manager->ledger, LEDGER_LINGER, id, NULL, NULL);
		return;
	}
	if (l.watch == LEDGER_LINGER_OBJECT) {
		object = manager->module ? storage_module_lingering(manager->module, id) : NULL;
		if (!object) {
			ledger_drop(manager->ledger, LEDGER_LINGER, id, NULL, NULL);
			ledger_linger_clear(&l);
			return;
		}
	}
	account = quota_account_get(manager->quota, l.owner, l.account);
	quota_charge_anyway(account, QUOTA_MORSELS, 1);
	quota_charge_anyway(account, QUOTA_BYTES, l.bytes);
	if (object)
		linger_add_object(manager->linger, manager->module, object, account, l.bytes, id);
	else
		linger_restore(manager->linger, l.watch, account, l.bytes, id);
	quota_account_unref(account); /* the charges hold it */
	ledger_linger_clear(&l);
}

/* What the keeper has and nothing claims. */
static void give_back(struct restoring *x)
{
	bool doubtful = ledger_doubtful(x->manager->ledger);
	GHashTableIter iter;
	gpointer p;

	g_hash_table_iter_init(&iter, x->kept);
	while (g_hash_table_iter_next(&iter, &p, NULL)) {
		const struct kept *kept = p;

		if (kept->fd < 0)
			continue;
		x->n_unclaimed++;
		if (!doubtful)
			keeper_drop(x->manager->keeper, kept->id, NULL, NULL);
	}
	if (x->n_unclaimed == 0)
		return;
	log_line(LOG_NOTICE, LOG_UNCLAIMED, NULL,
		 "the keeper has %u descriptors that no morsel claims: %s", x->n_unclaimed,
		 doubtful ? "left there, since the registry was damaged (systemctl restart"
			    " morsel-keeper gives them back)"
			  : "given back");
}

static void restore_job(struct restoring *x, sd_id128_t id, GBytes *body)
{
	struct manager *manager = x->manager;
	struct ledger_job job;
	g_autofree char *text = NULL;
	struct morsel *m;

	ledger_drop(manager->ledger, LEDGER_JOB, id, NULL, NULL);
	if (ledger_job_parse(id, body, &job) < 0)
		return;
	x->n_interrupted++;
	jobs_add_interrupted(manager->jobs, &job);
	m = registry_by_id(manager->registry, job.morsel);
	if (m && job.length > 0 && job.offset < m->size && job.length <= m->size - job.offset) {
		GRefString *rule = g_ref_string_new_intern("move"), *reason;

		text = g_strdup_printf("a move to %s by %s (job %" PRIu32 ") was interrupted by the"
				       " end of morseld",
				       job.tier, users_name(manager->users, job.owner), job.id);
		reason = g_ref_string_new(text);
		morsel_record(m, job.offset, job.length, job.tier, rule, reason, job.created_usec);
		g_ref_string_release(rule);
		g_ref_string_release(reason);
		persist_update(manager, m, NULL, NULL);
	}
	ledger_job_clear(&job);
}

static void restore_provision(struct restoring *x, sd_id128_t id, GBytes *body)
{
	struct ledger_provision p;

	ledger_drop(x->manager->ledger, LEDGER_PROVISION, id, NULL, NULL);
	if (ledger_provision_parse(id, body, &p) < 0)
		return;
	x->n_provisions++;
	jobs_add_interrupted_provision(x->manager->jobs, &p);
	ledger_provision_clear(&p);
}

static bool is_claimed(uint64_t id, void *userdata)
{
	return g_hash_table_contains(userdata, &id);
}

/* What the module has and nothing claims: it was about to be created or destroyed when the daemon's last life
 * ended. */
static void look_for_strays(struct restoring *x)
{
	struct manager *manager = x->manager;
	struct storage_module_strays *strays = &manager->module_facts.strays;
	bool doubtful = ledger_doubtful(manager->ledger);
	g_autoptr(GHashTable)
		claimed = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	int r;

	if (!manager->module)
		return;
	for (struct morsel *m = registry_after(manager->registry, NULL, 0); m;
	     m = registry_after(manager->registry, NULL, m->seq)) {
		uint64_t *id;

		if (m->storage != manager->module)
			continue;
		id = g_new(uint64_t, 1);
		*id = storage_module_object_id(m->object);
		g_hash_table_add(claimed, id);
	}
	r = storage_module_strays(manager->module, is_claimed, claimed, !doubtful, strays);
	if (r < 0)
		log_line(LOG_WARNING, LOG_UNCLAIMED, "module",
			 "the module does not tell its objects: %s, ignoring", g_strerror(-r));
	else if (strays->destroyed + strays->left > 0)
		log_line(LOG_NOTICE, LOG_UNCLAIMED, "module",
			 "the module has %u objects of this morseld that no morsel claims: %u are"
			 " destroyed, %u left%s",
			 strays->destroyed + strays->left, strays->destroyed, strays->left,
			 doubtful ? ", since the registry was damaged" : "");
}

/* All that is lost, in one place, until the next start that loses something. */
static void write_lost(struct restoring *x)
{
	int dir = x->manager->state_fd, fd;
	bool ok;

	fd = openat(dir, LOST_FILE_NEW, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	ok = fd >= 0 && write(fd, x->lost->str, x->lost->len) == (ssize_t)x->lost->len &&
	     fsync(fd) == 0 && renameat(dir, LOST_FILE_NEW, dir, LOST_FILE) == 0;
	if (!ok)
		log_line(LOG_WARNING, LOG_MORSEL_LOST, LOST_FILE, "cannot write the list: %s",
			 g_strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void restore_entries(struct restoring *x, enum ledger_kind kind,
			    void (*take)(struct restoring *x, sd_id128_t id, GBytes *body))
{
	g_autoptr(GPtrArray) entries = ledger_sorted(ledger_image(x->manager->ledger), kind);

	for (unsigned int i = 0; i < entries->len; i++) {
		const struct ledger_entry *e = entries->pdata[i];

		take(x, e->id, e->body);
	}
}

static void tell(struct restoring *x)
{
	struct stats *stats = &x->manager->stats;
	g_autofree char *provisions = NULL, *lingering = NULL;

	stats->restored = x->n_restored;
	stats->lost = x->n_lost;
	stats->interrupted = x->n_interrupted;
	if (x->n_lost > 0)
		write_lost(x);
	if (x->n_restored + x->n_lost + x->n_interrupted + x->n_provisions + x->n_linger == 0)
		return;
	if (x->n_provisions > 0)
		provisions = g_strdup_printf(", and so were %u provisionings", x->n_provisions);
	if (x->n_linger > 0)
		lingering = g_strdup_printf("; of %u that were destroyed the memory is still held",
					    x->n_linger);
	log_line(x->n_lost > 0 ? LOG_WARNING : LOG_INFO, LOG_RESTORED, NULL,
		 "%u morsels are there again, %u are lost%s%s%s, %u moves were interrupted%s%s",
		 x->n_restored, x->n_lost,
		 x->n_lost == 0			       ? ""
		 : ledger_rebooted(x->manager->ledger) ? " with the machine's last run (see "
						       : " (see ",
		 x->n_lost > 0 ? x->manager->options.state_dir : "",
		 x->n_lost > 0 ? "/" LOST_FILE ")" : "", x->n_interrupted,
		 provisions ? provisions : "", lingering ? lingering : "");
}

static void on_watches_kept(bool kept, void *userdata)
{
}

int restore(struct manager *manager)
{
	struct restoring x = { .manager = manager, .lost = g_string_new(NULL) };
	unsigned int room = manager->descriptors > DESCRIPTORS_RESERVED
				    ? manager->descriptors - DESCRIPTORS_RESERVED
				    : 0;
	g_autofree char *text = NULL;
	bool watched;
	int r;

	r = keeper_fetch(manager->keeper, room, &x.kept, &text);
	if (r < 0) {
		log_line(LOG_ERR, LOG_START_FAILED, keeper_path(manager->keeper), "%s", text);
		g_string_free(x.lost, TRUE);
		return r;
	}
	watched = adopt_watches(&x);
	/* From here on what is dropped goes to the keeper. */
	if (manager->ledger) {
		jobs_set_last(manager->jobs, ledger_image(manager->ledger)->last_job);
		restore_entries(&x, LEDGER_MORSEL, restore_morsel);
		restore_entries(&x, LEDGER_LINGER, restore_linger);
		linger_check(manager->linger);
		x.n_linger = linger_count(manager->linger);
		restore_entries(&x, LEDGER_JOB, restore_job);
		restore_entries(&x, LEDGER_PROVISION, restore_provision);
	}
	keeper_start(manager->keeper);
	if (!watched)
		keeper_put(manager->keeper, LINGER_KEPT_ID, linger_descriptor(manager->linger),
			   on_watches_kept, NULL);
	manager->module_facts.unreachable = x.n_unreachable;
	if (x.n_unreachable > 0) {
		g_autofree char *why = module_refusal(&manager->module_facts);

		log_line(LOG_ERR, LOG_STORAGE, "module",
			 "%u morsels are the module's and out of reach until the next start: %s",
			 x.n_unreachable, why);
	}
	if (manager->ledger) {
		give_back(&x);
		look_for_strays(&x);
		tell(&x);
	}
	g_hash_table_unref(x.kept);
	g_string_free(x.lost, TRUE);
	return 0;
}
