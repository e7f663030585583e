// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bus-error.h"
#include "clock.h"
#include "connection.h"
#include "dump.h"
#include "manager.h"
#include "provision.h"

/* Lines of morsels: writing them takes the event loop's time. */
#define MORSELS_MAX 2000

static void dump_daemon(GString *s, struct manager *m)
{
	const struct manager_options *o = &m->options;
	const struct stats *st = &m->stats;

	g_string_append_printf(s, "morseld %s, pid %d, uid %u, up %" PRIu64 " s%s\n",
			       MORSEL_VERSION, getpid(), geteuid(),
			       (now_realtime() - m->started_usec) / 1000000,
			       m->dry_run ? ", dry run" : "");
	g_string_append_printf(s, "bus: %s%s\nsocket: %s\nroot: %s\nstate: %s\n",
			       o->address ? o->address : "none",
			       !o->address		     ? ""
			       : broker_connected(m->broker) ? ", connected"
							     : ", not connected",
			       o->listen_path ? o->listen_path : "none", o->root,
			       o->state_dir ? o->state_dir : "none");
	g_string_append_printf(s, "descriptors: limit %u, %d reserved\n", m->descriptors,
			       DESCRIPTORS_RESERVED);
	g_string_append_printf(s,
			       "configuration %s: MoveBandwidth=%" PRIu64
			       " JobThreads=%u PageSize=%" PRIu64
			       ", %u sections of users and cgroups, %u overrides of tiers\n",
			       o->config_path, m->config->move_bandwidth, m->config->job_threads,
			       m->config->default_page_size, m->config->quotas->len,
			       m->config->tiers->len);
	g_string_append_printf(s, "policies: %u cgroups, %u patterns, %u warnings\n",
			       policy_set_paths(m->policies)->len,
			       policy_set_patterns(m->policies)->len, m->policy_warnings->len);
	g_string_append_printf(s,
			       "morsels: %u of %" PRIu64 " bytes; created %" PRIu64
			       ", destroyed %" PRIu64 ", opened %" PRIu64 "\n",
			       registry_morsels(m->registry), registry_bytes(m->registry),
			       st->created, st->destroyed, st->opened);
	g_string_append_printf(s, "moved: %" PRIu64 " bytes, %" PRIu64 " failed\n", st->moved_bytes,
			       st->move_failed_bytes);
	g_string_append_printf(s, "work waiting: %u moves, %u queries, %u of memory\n",
			       worker_pool_waiting(m->moves), worker_pool_waiting(m->queries),
			       worker_pool_waiting(m->memory));
}

static void dump_tiers(GString *s, struct manager *m)
{
	const GPtrArray *tiers = inventory_tiers(m->inventory);
	const GPtrArray *warnings = inventory_warnings(m->inventory);

	g_string_append(s, "\ntiers\n");
	for (unsigned int i = 0; i < tiers->len; i++) {
		const struct tier *t = tiers->pdata[i];

		g_string_append_printf(s, "  %s: %s by %s (%s), %s%s%s, %s, nodes", t->name,
				       tier_kind_to_string(t->kind),
				       tier_evidence_to_string(t->evidence), t->evidence_detail,
				       tier_state_to_string(t->state),
				       t->state_reason[0] ? ": " : "", t->state_reason,
				       tier_backing_to_string(t->backing));
		for (unsigned int j = 0; j < t->nodes->len; j++)
			g_string_append_printf(s, " %d", g_array_index(t->nodes, int, j));
		g_string_append_printf(s, ", %" PRIu64 " of %" PRIu64 " bytes free\n", t->free,
				       t->capacity);
		for (unsigned int j = 0; j < t->perf->len; j++) {
			const struct tier_perf *p = &g_array_index(t->perf, struct tier_perf, j);

			g_string_append_printf(
				s, "    from node %d: rank %u, %u ns (%s), %u MB/s (%s)\n",
				p->initiator, p->rank, p->read_lat_ns,
				perf_source_to_string(p->lat_source), p->read_bw_mbs,
				perf_source_to_string(p->bw_source));
		}
		for (unsigned int j = 0; j < t->warnings->len; j++)
			g_string_append_printf(s, "    warning: %s\n",
					       (char *)t->warnings->pdata[j]);
	}
	for (unsigned int i = 0; i < warnings->len; i++)
		g_string_append_printf(s, "  warning: %s\n", (char *)warnings->pdata[i]);
}

static void dump_clients(GString *s, struct manager *m)
{
	g_string_append_printf(s,
			       "\nconnections on the private socket: %u; destroyed, but still"
			       " held: %u morsels\nused, of what is allowed\n",
			       g_hash_table_size(m->connections), linger_count(m->linger));
	quota_dump(m->quota, s);
}

static void dump_jobs(GString *s, struct manager *m)
{
	g_string_append(s, "\njobs\n");
	for (struct job *job = jobs_after(m->jobs, 0); job; job = jobs_after(m->jobs, job->id))
		g_string_append_printf(
			s,
			"  %" PRIu32 ": %s %s, %s (%s) to %s, by %s, %" PRIu64 " of %" PRIu64
			" %s%s%s\n",
			job->id, job_kind_to_string(job->kind), job_state_to_string(job->state),
			job->morsel_id, job->morsel_name,
			job->provision ? job->provision->name : job->tier_name,
			users_name(m->users, job->owner), (uint64_t)atomic_load(&job->done),
			(uint64_t)atomic_load(&job->total), job->provision ? "steps" : "bytes",
			job->state >= JOB_DONE && job->error ? ": " : "",
			job->state >= JOB_DONE && job->error ? job->error : "");
}

static void dump_morsels(GString *s, struct manager *m)
{
	unsigned int total = registry_morsels(m->registry), n = 0;
	char id[MORSEL_ID_LENGTH + 1];

	if (total > MORSELS_MAX)
		g_string_append_printf(s,
				       "\nmorsels (the %d oldest of %u; \"morselctl list\" gives"
				       " all)\n",
				       MORSELS_MAX, total);
	else
		g_string_append(s, "\nmorsels\n");
	for (struct morsel *morsel = registry_after(m->registry, NULL, 0);
	     morsel && n < MORSELS_MAX;
	     morsel = registry_after(m->registry, NULL, morsel->seq), n++)
		g_string_append_printf(s,
				       "  %s %s:%s %04o, %" PRIu64 " bytes, pages of %" PRIu64
				       ", %u records, account %s\n",
				       morsel_id_string(morsel, id),
				       users_name(m->users, morsel->owner), morsel->name,
				       morsel->mode, morsel->size, morsel->placement->page_size,
				       morsel->records ? morsel->records->len : 0, morsel->account);
}

int dump_answer(struct call *call, sd_bus_error *error)
{
	g_autoptr(GString) s = g_string_new(NULL);
	const char *p;
	size_t left;
	int fd, r = 0;

	dump_daemon(s, call->manager);
	dump_tiers(s, call->manager);
	dump_clients(s, call->manager);
	dump_jobs(s, call->manager);
	dump_morsels(s, call->manager);

	fd = memfd_create("morseld-state", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (p = s->str, left = s->len; left > 0;) {
		ssize_t n = write(fd, p, left);

		if (n < 0) {
			r = -errno;
			close(fd);
			return r;
		}
		p += n;
		left -= n;
	}
	lseek(fd, 0, SEEK_SET);
	r = sd_bus_reply_method_return(call->message, "h", fd);
	close(fd);
	return r;
}
