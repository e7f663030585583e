// SPDX-License-Identifier: GPL-2.0-or-later
#include "provision.h"

#include <errno.h>
#include <unistd.h>

#include "caller.h"
#include "helper-client.h"
#include "job.h"
#include "log.h"
#include "manager.h"
#include "persist.h"

struct provision *provision_new(enum helper_verb verb, const char *name,
				const struct provision_wish *wish)
{
	struct provision *p = g_new0(struct provision, 1);

	p->request.verb = verb;
	p->request.wish = *wish;
	p->name = g_strdup(name);
	p->steps = g_ptr_array_new_with_free_func(g_free);
	p->end.node = -1;
	return p;
}

struct provision *provision_free(struct provision *p)
{
	if (!p)
		return NULL;
	g_free(p->name);
	g_free(p->section);
	g_ptr_array_unref(p->steps);
	g_free(p);
	return NULL;
}

struct progress {
	struct provision *p;
	_Atomic uint64_t *done, *total;
};

static void on_step(const struct helper_reply *reply, void *userdata)
{
	struct progress *progress = userdata;

	g_ptr_array_add(progress->p->steps, g_utf8_make_valid(reply->text, -1));
	atomic_store(progress->total, reply->total);
	atomic_store(progress->done, reply->step ? reply->step - 1 : 0);
}

int provision_run(struct provision *p, _Atomic uint64_t *done, _Atomic uint64_t *total,
		  const atomic_bool *cancel, char **ret_error)
{
	struct progress progress = { .p = p, .done = done, .total = total };
	int r;

	r = helper_client_call(&p->request, on_step, &progress, cancel, &p->end);
	if (r == -ENOENT || r == -ECONNREFUSED)
		*ret_error = g_strdup(
			"morsel-helper, which alone may do this, is not there: \"systemctl enable --now "
			"morsel-helper.socket\" starts it; a daemon of one's own has none");
	else if (r < 0)
		*ret_error = g_strdup_printf("morsel-helper did not answer: %s; \"journalctl -t "
					     "morsel-helper\" may say why",
					     g_strerror(-r));
	else if (p->end.result < 0)
		*ret_error = g_utf8_make_valid(p->end.text, -1);
	return r < 0 ? r : p->end.result;
}

/* --- What the configuration wants ------------------------------------------------------------ */

/* That it may not be told of later is no reason to be without the memory. */
static void on_lasting(int r, void *userdata)
{
	struct job *job = userdata;

	jobs_begin(job, 0);
}

void provision_configured(struct manager *m)
{
	g_autoptr(Caller) root = NULL;

	if (!m->options.helper_path)
		return;
	for (unsigned int i = 0; i < m->config->provisions->len; i++) {
		const struct config_provision *c = m->config->provisions->pdata[i];
		g_autofree char *name = NULL, *text = NULL;
		struct provision *p;
		struct job *job;

		if (g_hash_table_contains(m->provisioned, c->name))
			continue;
		name = g_strdup_printf("serial:%#" G_GINT64_MODIFIER "x", c->wish.serial);
		p = provision_new(HELPER_PROVISION, name, &c->wish);
		p->section = g_strdup(c->name);
		if (!root)
			root = caller_new(0, 0, getpid());
		if (!root->account)
			root->account = quota_account_get(m->quota, root->uid, "");
		g_hash_table_add(m->provisioned, g_strdup(c->name));
		if (jobs_provision(m->jobs, p, root, NULL, NULL, &job, &text) < 0)
			log_line(LOG_WARNING, LOG_PROVISION_FAILED, c->name, "[provision %s]: %s",
				 c->name, text);
		else
			persist_job_begin(job, on_lasting, job);
	}
}

void provision_ended(struct manager *m, const struct provision *p, int result, const char *error)
{
	if (!p->section)
		return;
	if (result == 0) {
		log_line(LOG_INFO, LOG_PROVISION_APPLIED, p->section, "[provision %s]: %s",
			 p->section, p->end.text);
		return;
	}
	log_line(LOG_WARNING, LOG_PROVISION_FAILED, p->section, "[provision %s]: %s", p->section,
		 error);
	/* A device that comes later is told by an event of its own: see the hotplug. */
	if (result == -ENODEV)
		g_hash_table_remove(m->provisioned, p->section);
}
