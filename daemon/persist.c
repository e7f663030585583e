// SPDX-License-Identifier: GPL-2.0-or-later
#include "keeper.h"
#include "ledger-record.h"
#include "ledger.h"
#include "manager.h"
#include "persist.h"
#include "provision.h"

struct saving {
	struct manager *manager;
	struct morsel *morsel; /* a reference: the keeper borrows its descriptor */
	persist_done_t done;
	void *userdata;
};

static struct saving *saving_new(struct manager *manager, struct morsel *m, persist_done_t done,
				 void *userdata)
{
	struct saving *s = g_new(struct saving, 1);

	*s = (struct saving){ manager, morsel_ref(m), done, userdata };
	return s;
}

static void saving_free(void *userdata)
{
	struct saving *s = userdata;

	morsel_unref(s->morsel);
	g_free(s);
}

static void on_created(int r, void *userdata)
{
	struct saving *s = userdata;

	s->done(r, s->userdata);
	if (r < 0 && !s->morsel->storage->lasting)
		keeper_drop(s->manager->keeper, s->morsel->id, saving_free, s);
	else
		saving_free(s);
}

static void on_kept(bool kept, void *userdata)
{
	struct saving *s = userdata;

	if (s->manager->ledger)
		ledger_put(s->manager->ledger, LEDGER_MORSEL, s->morsel->id,
			   ledger_morsel_body(s->morsel), on_created, s);
	else
		on_created(0, s);
}

void persist_create(struct manager *manager, struct morsel *m, persist_done_t done, void *userdata)
{
	struct saving *s = saving_new(manager, m, done, userdata);

	if (m->storage->lasting)
		on_kept(true, s);
	else
		keeper_put(manager->keeper, m->id, m->storage->ops->descriptor(m->object), on_kept,
			   s);
}

void persist_update(struct manager *manager, struct morsel *m, persist_done_t done, void *userdata)
{
	if (manager->ledger && !m->destroyed)
		ledger_update(manager->ledger, LEDGER_MORSEL, m->id, ledger_morsel_body(m), done,
			      userdata);
	else if (done)
		done(0, userdata);
}

static void on_let_go(void *userdata)
{
	struct saving *s = userdata;
	persist_done_t done = s->done;
	void *theirs = s->userdata;

	/* First, so that whoever asked finds its memory free, or on its way. */
	saving_free(s);
	done(0, theirs);
}

static void on_dropped(int r, void *userdata)
{
	struct saving *s = userdata;

	if (s->morsel->storage->lasting)
		on_let_go(s);
	else
		keeper_drop(s->manager->keeper, s->morsel->id, on_let_go, s);
}

/* From now on it is charged as long as anybody holds it, whatever becomes of this process. */
static void record_linger(struct manager *manager, struct morsel *m)
{
	struct ledger_linger lasting = { .owner = m->owner,
					 .account = m->account,
					 .bytes = m->size };

	if (!m->charged)
		return;
	/* Its release finds out who holds it; until then the charge is its own. */
	if (m->storage->lasting) {
		lasting.watch = LEDGER_LINGER_OBJECT;
		if (manager->ledger)
			ledger_update(manager->ledger, LEDGER_LINGER, m->id,
				      ledger_linger_body(&lasting), NULL, NULL);
		return;
	}
	/* On failure its release tries again, and tells. */
	if (linger_add(manager->linger, m->storage->ops->descriptor(m->object), m->charged, m->size,
		       m->id, &lasting.watch) < 0)
		return;
	m->charged = NULL;
	if (manager->ledger)
		ledger_update(manager->ledger, LEDGER_LINGER, m->id, ledger_linger_body(&lasting),
			      NULL, NULL);
}

void persist_gone(sd_id128_t id, void *userdata)
{
	struct manager *manager = userdata;

	if (manager->ledger)
		ledger_drop(manager->ledger, LEDGER_LINGER, id, NULL, NULL);
}

void persist_destroy(struct manager *manager, struct morsel *m, persist_done_t done, void *userdata)
{
	struct saving *s = saving_new(manager, m, done, userdata);

	record_linger(manager, m);
	if (manager->ledger)
		ledger_drop(manager->ledger, LEDGER_MORSEL, m->id, on_dropped, s);
	else
		on_dropped(0, s);
}

static GBytes *job_body(const struct job *job)
{
	struct ledger_job lasting = {
		.id = job->id,
		.owner = job->owner,
		.morsel = job->morsel->id,
		.morsel_owner = job->morsel_owner,
		.morsel_name = job->morsel_name,
		.tier = (char *)job->tier_name,
		.offset = job->offset,
		.length = job->length,
		.created_usec = job->created_usec,
	};

	return ledger_job_body(&lasting);
}

static GBytes *provision_body(const struct job *job, const char *outcome)
{
	struct ledger_provision lasting = {
		.id = job->id,
		.owner = job->owner,
		.verb = job->provision->request.verb,
		.memory = job->provision->name,
		.outcome = (char *)outcome,
		.created_usec = job->created_usec,
	};

	return ledger_provision_body(&lasting);
}

void persist_job_begin(struct job *job, persist_done_t done, void *userdata)
{
	struct manager *manager = job->manager;

	if (!manager->ledger || job->dry_run)
		done(0, userdata);
	else if (job->provision)
		ledger_put(manager->ledger, LEDGER_PROVISION, ledger_job_id(job->id),
			   provision_body(job, ""), done, userdata);
	else
		ledger_put(manager->ledger, LEDGER_JOB, ledger_job_id(job->id), job_body(job), done,
			   userdata);
}

void persist_job_end(struct job *job)
{
	if (job->manager->ledger && !job->dry_run)
		ledger_drop(job->manager->ledger, job->provision ? LEDGER_PROVISION : LEDGER_JOB,
			    ledger_job_id(job->id), NULL, NULL);
}

void persist_job_interrupted(struct job *job)
{
	/* Of a move everything is known already. */
	if (job->manager->ledger && !job->dry_run && job->provision)
		ledger_update(job->manager->ledger, LEDGER_PROVISION, ledger_job_id(job->id),
			      provision_body(job, job->error), NULL, NULL);
}
