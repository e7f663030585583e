// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "job-bus.h"
#include "job.h"
#include "ledger-record.h"
#include "log.h"
#include "manager.h"
#include "persist.h"
#include "provision.h"

/* PropertiesChanged at most this often. */
#define TELL_USEC 250000

struct jobs {
	struct manager *manager;
	struct worker_pool *pool, *admin;
	GTree *by_id;
	uint32_t last_id;
	GHashTable *queues;		/* uid → struct job_queue */
	GQueue turns;			/* of struct job_queue, whose turn is next first */
	GQueue finished;		/* of struct job, the first that ended first */
	unsigned int parallel, running; /* moves */
	unsigned int provisioning;
	sd_event_source *tell, *expire;
	bool stopping;
};

struct job_queue {
	uid_t owner;
	GQueue jobs;
	GList turn;
};

static gint compare_id(gconstpointer a, gconstpointer b, gpointer data)
{
	uint32_t x = GPOINTER_TO_UINT(a), y = GPOINTER_TO_UINT(b);

	return x < y ? -1 : x > y;
}

static struct job *job_ref(struct job *job)
{
	g_ref_count_inc(&job->refs);
	return job;
}

static void job_unref(struct job *job)
{
	sd_bus_message *waiter;

	if (!g_ref_count_dec(&job->refs))
		return;
	provision_free(job->provision);
	morsel_unref(job->morsel);
	g_free(job->morsel_name);
	tier_unref(job->tier);
	storage_move_result_done(&job->moved);
	g_free(job->error);
	g_free(job->destination);
	while ((waiter = g_queue_pop_head(&job->waiters)))
		sd_bus_message_unref(waiter);
	g_free(job);
}

static void job_unrefp(gpointer p)
{
	job_unref(p);
}

const char *job_state_to_string(enum job_state s)
{
	static const char *const names[] = { "queued", "running",   "done",
					     "failed", "cancelled", "interrupted" };

	return names[s];
}

const char *job_kind_to_string(enum job_kind k)
{
	static const char *const names[] = { "move", "provision", "unprovision" };

	return names[k];
}

struct jobs *jobs_new(struct manager *manager, struct worker_pool *pool, struct worker_pool *admin)
{
	struct jobs *jobs = g_new0(struct jobs, 1);

	jobs->manager = manager;
	jobs->pool = pool;
	jobs->admin = admin;
	jobs->by_id = g_tree_new_full(compare_id, NULL, NULL, job_unrefp);
	jobs->queues = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	g_queue_init(&jobs->turns);
	g_queue_init(&jobs->finished);
	jobs->parallel = 1;
	return jobs;
}

struct jobs *jobs_free(struct jobs *jobs)
{
	if (!jobs)
		return NULL;
	sd_event_source_disable_unref(jobs->tell);
	sd_event_source_disable_unref(jobs->expire);
	g_tree_unref(jobs->by_id);
	g_hash_table_unref(jobs->queues);
	g_free(jobs);
	return NULL;
}

static bool on_progress(uint64_t done, uint64_t total, void *userdata)
{
	struct job *job = userdata;

	atomic_store_explicit(&job->done, done, memory_order_relaxed);
	atomic_store_explicit(&job->total, total, memory_order_relaxed);
	return !atomic_load_explicit(&job->cancel, memory_order_relaxed);
}

/* What a move would do, from where the pages lie. */
static int look_only(struct job *job)
{
	struct storage_residency residency = {};
	int r;

	r = job->morsel->storage->ops->residency(job->morsel->object, job->offset, job->length,
						 true, on_progress, job, &residency, NULL);
	if (r < 0) {
		job->error = g_strdup_printf("cannot look at the pages of %s: %s", job->morsel_id,
					     g_strerror(-r));
		return r;
	}
	for (unsigned int i = 0; i < residency.by_node->len; i++) {
		uint64_t bytes = g_array_index(residency.by_node, uint64_t, i);
		bool there = false;

		for (unsigned int j = 0; j < tier_n_places(job->tier); j++)
			there = there || tier_place(job->tier, j) == (int)i;
		*(there ? &job->moved.already : &job->moved.moved) += bytes;
	}
	job->moved.absent = residency.absent + residency.swapped;
	storage_residency_done(&residency);
	return 0;
}

static void job_run(struct work *w)
{
	struct job *job = (struct job *)w;

	if (atomic_load_explicit(&job->cancel, memory_order_relaxed))
		job->result = -ECANCELED;
	else if (job->provision)
		job->result = provision_run(job->provision, &job->done, &job->total, &job->cancel,
					    &job->error);
	else if (job->dry_run)
		job->result = look_only(job);
	else
		job->result = job->morsel->storage->ops->move(job->morsel->object, job->offset,
							      job->length, job->tier,
							      job->bandwidth, on_progress, job,
							      &job->moved, &job->error);
}

static void expire_later(struct jobs *jobs);

static void forget_finished(struct jobs *jobs, struct job *job)
{
	g_queue_unlink(&jobs->finished, &job->link);
	g_tree_remove(jobs->by_id, GUINT_TO_POINTER(job->id));
}

static int on_expire(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct jobs *jobs = userdata;
	struct job *job;

	while ((job = g_queue_peek_head(&jobs->finished)) &&
	       job->ended_usec + JOBS_FINISHED_USEC <= usec)
		forget_finished(jobs, job);
	expire_later(jobs);
	return 0;
}

/* The timer runs only while there is something to forget. */
static void expire_later(struct jobs *jobs)
{
	struct job *first = g_queue_peek_head(&jobs->finished);

	sd_event_source_disable_unref(jobs->expire);
	jobs->expire = NULL;
	if (first && !jobs->stopping)
		(void)sd_event_add_time(jobs->manager->event, &jobs->expire, CLOCK_MONOTONIC,
					first->ended_usec + JOBS_FINISHED_USEC, 5000000, on_expire,
					jobs);
}

static void tell_one(struct job *job)
{
	uint64_t done = atomic_load_explicit(&job->done, memory_order_relaxed);

	if (!job->starter || (done == job->told_done && job->state == job->told_state))
		return;
	job->told_done = done;
	job->told_state = job->state;
	job_bus_tell_changed(job);
}

static gboolean tell_running(gpointer key, gpointer value, gpointer data)
{
	struct job *job = value;

	if (job->state == JOB_RUNNING)
		tell_one(job);
	return FALSE;
}

static int on_tell(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct jobs *jobs = userdata;

	g_tree_foreach(jobs->by_id, tell_running, NULL);
	if (jobs_running(jobs) > 0) {
		sd_event_source_set_time_relative(s, TELL_USEC);
		sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	}
	return 0;
}

static void tell_while_running(struct jobs *jobs)
{
	if (jobs->tell) {
		int enabled;

		if (sd_event_source_get_enabled(jobs->tell, &enabled) >= 0 &&
		    enabled != SD_EVENT_OFF)
			return;
		sd_event_source_disable_unref(jobs->tell);
		jobs->tell = NULL;
	}
	(void)sd_event_add_time_relative(jobs->manager->event, &jobs->tell, CLOCK_MONOTONIC,
					 TELL_USEC, 0, on_tell, jobs);
}

/* A reason ends in the tiers before, the last one first: no more than these. */
#define WAY ", before on "
#define WAY_MAX 8

/* Where all of the range was sent before, and where before that; NULL: parts of it to several tiers, or nowhere. */
static char *way_of(const struct job *job, uint64_t length)
{
	const GArray *records = job->morsel->records;
	const struct placement_record *r = NULL;
	const char *earlier;
	GString *way;

	for (unsigned int i = 0; records && i < records->len && !r; i++) {
		const struct placement_record *x =
			&g_array_index(records, struct placement_record, i);

		if (x->offset <= job->offset && x->offset + x->length >= job->offset + length)
			r = x;
	}
	if (!r || !r->tiers[0] || strchr(r->tiers, ' '))
		return NULL;
	/* Once more to where it is: that is no step. */
	way = g_string_new(g_str_equal(r->tiers, job->tier_name) ? "" : r->tiers);
	earlier = strstr(r->reason, WAY);
	earlier = earlier ? earlier + strlen(WAY) : "";
	for (unsigned int n = way->len > 0; *earlier && n < WAY_MAX; n++) {
		size_t size = strcspn(earlier, ",");

		g_string_append_printf(way, "%s%.*s", way->len > 0 ? ", " : "", (int)size, earlier);
		earlier += size;
		earlier += strspn(earlier, ", ");
	}
	if (way->len == 0)
		return g_string_free(way, TRUE);
	return g_string_free(way, FALSE);
}

static void record_move(struct job *job, uint64_t now_usec)
{
	uint64_t length = job->length;
	g_autofree char *text = NULL, *way = NULL;
	GRefString *rule, *reason;

	if (job->dry_run || job->morsel->destroyed)
		return;
	/* A move goes through its range from the front. */
	if (job->state != JOB_DONE)
		length = MIN(length, atomic_load(&job->done) / 4096 * 4096);
	if (length == 0)
		return;
	way = way_of(job, length);
	text = g_strdup_printf("moved to %s by %s (job %" PRIu32 "%s)%s%s", job->tier_name,
			       users_name(job->manager->users, job->owner), job->id,
			       job->state == JOB_DONE	  ? ""
			       : job->state == JOB_FAILED ? ", which failed"
							  : ", which was cancelled",
			       way ? WAY : "", way ? way : "");
	rule = g_ref_string_new_intern("move");
	reason = g_ref_string_new(text);
	morsel_record(job->morsel, job->offset, length, job->tier_name, rule, reason, now_usec);
	g_ref_string_release(rule);
	g_ref_string_release(reason);
}

static void log_end(struct job *job)
{
	/* Of a provisioning, morsel-helper has said it. */
	if (job->dry_run || job->provision)
		return;
	if (job->state == JOB_FAILED)
		log_line(LOG_WARNING, LOG_MOVE_FAILED, job->morsel_id,
			 "job %" PRIu32 ": moving %s (%s) to %s: %s", job->id, job->morsel_id,
			 job->morsel_name, job->tier_name, job->error);
	else
		log_line(LOG_INFO, LOG_MOVE_ENDED, job->morsel_id,
			 "job %" PRIu32 ": move of %s (%s) to %s %s: %" PRIu64
			 " bytes moved, %" PRIu64 " were there, %" PRIu64 " failed",
			 job->id, job->morsel_id, job->morsel_name, job->tier_name,
			 job_state_to_string(job->state), job->moved.moved, job->moved.already,
			 job->moved.failed);
}

static void start_next(struct jobs *jobs);

static void add_finished(struct jobs *jobs, struct job *job)
{
	g_queue_push_tail_link(&jobs->finished, &job->link);
	while (g_queue_get_length(&jobs->finished) > JOBS_FINISHED_MAX)
		forget_finished(jobs, g_queue_peek_head(&jobs->finished));
	if (!jobs->expire)
		expire_later(jobs);
}

static void end(struct job *job, enum job_state state)
{
	struct manager *manager = job->manager;
	struct jobs *jobs = manager->jobs;
	sd_bus_message *waiter;

	job->state = state;
	job->ended_usec = now_monotonic();
	if (state == JOB_FAILED && !job->error)
		job->error = g_strdup(g_strerror(-job->result));
	if (state == JOB_CANCELLED && (!job->provision || !job->error)) {
		g_free(job->error);
		job->error = g_strdup("cancelled");
	}
	if (state == JOB_DONE)
		atomic_store(&job->done, atomic_load(&job->total));
	if (job->provision) {
		/* Who waits for the end finds the tiers as they are then. */
		if (!job->dry_run && !jobs->stopping)
			manager_refresh(manager);
		provision_ended(manager, job->provision, job->result, job->error);
	} else {
		if (!job->dry_run)
			manager_count_move(manager, &job->moved);
		record_move(job, now_realtime());
	}
	log_end(job);
	/* One that is cut off by the daemon's own end is told by the next start. */
	if (jobs->stopping && state != JOB_DONE) {
		persist_job_interrupted(job);
	} else {
		if (job->morsel)
			persist_update(manager, job->morsel, NULL, NULL);
		persist_job_end(job);
	}

	job->morsel = morsel_unref(job->morsel);
	quota_uncharge(job->account, QUOTA_JOBS, 1);
	job->account = NULL;

	job_bus_tell_changed(job);
	job_bus_tell_removed(job);
	while ((waiter = g_queue_pop_head(&job->waiters))) {
		job_bus_answer_wait(job, waiter);
		sd_bus_message_unref(waiter);
	}

	add_finished(jobs, job);
}

static void job_done(struct work *w, bool ran)
{
	struct job *job = (struct job *)w;
	struct jobs *jobs = job->manager->jobs;

	if (job->morsel) {
		jobs->running--;
		job->morsel->moves--;
	} else {
		jobs->provisioning--;
	}
	end(job, !ran || job->result == -ECANCELED ? JOB_CANCELLED
		 : job->result < 0		   ? JOB_FAILED
						   : JOB_DONE);
	job_unref(job);
	start_next(jobs);
}

/* The next owner's first job whose morsel nobody moves. */
static struct job *take_next(struct jobs *jobs)
{
	for (unsigned int n = g_queue_get_length(&jobs->turns); n > 0; n--) {
		GList *turn = g_queue_pop_head_link(&jobs->turns);
		struct job_queue *q = turn->data;
		struct job *job = NULL;

		for (GList *l = q->jobs.head; l; l = l->next)
			if (((struct job *)l->data)->morsel->moves == 0) {
				job = l->data;
				g_queue_unlink(&q->jobs, l);
				break;
			}
		if (g_queue_is_empty(&q->jobs))
			g_hash_table_remove(jobs->queues, GUINT_TO_POINTER(q->owner));
		else
			g_queue_push_tail_link(&jobs->turns, turn);
		if (job)
			return job;
	}
	return NULL;
}

static void start_next(struct jobs *jobs)
{
	struct job *job;

	while (!jobs->stopping && jobs->running < jobs->parallel && (job = take_next(jobs))) {
		uint64_t all = jobs->manager->config->move_bandwidth;

		job->state = JOB_RUNNING;
		job->morsel->moves++;
		/* All together may use what is configured: each gets its share of the worst case. */
		job->bandwidth = all == 0 ? 0 : MAX(all / jobs->parallel, 1);
		jobs->running++;
		worker_pool_submit(jobs->pool, &job_ref(job)->work);
		tell_while_running(jobs);
	}
}

void jobs_look(struct jobs *jobs)
{
	start_next(jobs);
}

static int job_new(struct jobs *jobs, enum job_kind kind, bool dry_run, const struct caller *caller,
		   struct connection *starter, const char *destination, struct job **ret_job,
		   char **ret_text)
{
	struct job *job;
	int r;

	r = quota_charge(caller->account, QUOTA_JOBS, 1, NULL, ret_text);
	if (r < 0)
		return r;

	job = g_new0(struct job, 1);
	g_ref_count_init(&job->refs);
	job->work.run = job_run;
	job->work.done = job_done;
	job->work.owner = caller->uid;
	job->manager = jobs->manager;
	do {
		job->id = ++jobs->last_id;
	} while (job->id == 0 || g_tree_lookup(jobs->by_id, GUINT_TO_POINTER(job->id)));
	job->kind = kind;
	job->state = job->told_state = JOB_QUEUED;
	job->owner = job->morsel_owner = caller->uid;
	job->account = caller->account;
	job->dry_run = dry_run;
	job->created_usec = now_realtime();
	job->starter = starter;
	job->destination = g_strdup(destination);
	g_queue_init(&job->waiters);
	job->link.data = job;
	g_tree_insert(jobs->by_id, GUINT_TO_POINTER(job->id), job);
	*ret_job = job;
	return 0;
}

int jobs_move(struct jobs *jobs, struct morsel *m, struct tier *tier, uint64_t offset,
	      uint64_t length, bool dry_run, const struct caller *caller,
	      struct connection *starter, const char *destination, struct job **ret_job,
	      char **ret_text)
{
	struct job_queue *q;
	struct job *job;
	int r;

	r = job_new(jobs, JOB_MOVE, dry_run, caller, starter, destination, &job, ret_text);
	if (r < 0)
		return r;
	job->morsel = morsel_ref(m);
	morsel_id_string(m, job->morsel_id);
	job->morsel_owner = m->owner;
	job->morsel_name = g_strdup(m->name);
	job->tier = tier_ref(tier);
	job->tier_name = g_intern_string(tier->name);
	job->offset = offset;
	job->length = length;
	atomic_init(&job->total, length);

	q = g_hash_table_lookup(jobs->queues, GUINT_TO_POINTER(caller->uid));
	if (!q) {
		q = g_new0(struct job_queue, 1);
		q->owner = caller->uid;
		q->turn.data = q;
		g_queue_init(&q->jobs);
		g_hash_table_insert(jobs->queues, GUINT_TO_POINTER(q->owner), q);
		g_queue_push_tail_link(&jobs->turns, &q->turn);
	}
	g_queue_push_tail_link(&q->jobs, &job->link);
	start_next(jobs);

	*ret_job = job;
	return 0;
}

int jobs_provision(struct jobs *jobs, struct provision *p, const struct caller *caller,
		   struct connection *starter, const char *destination, struct job **ret_job,
		   char **ret_text)
{
	bool up = p->request.verb == HELPER_PROVISION;
	struct job *job;
	int r;

	p->request.requester = caller->uid;
	r = job_new(jobs, up ? JOB_PROVISION : JOB_UNPROVISION,
		    p->request.wish.flags & PROVISION_DRY_RUN, caller, starter, destination, &job,
		    ret_text);
	if (r < 0) {
		provision_free(p);
		return r;
	}
	job->provision = p;
	job->tier_name = "";
	job->morsel_name = g_strdup("");
	/* The helper does one after another itself; until its turn a job has no steps. */
	job->state = JOB_RUNNING;
	jobs->provisioning++;

	*ret_job = job;
	return 0;
}

void jobs_begin(struct job *job, int r)
{
	struct jobs *jobs = job->manager->jobs;

	if (!job->provision) {
		if (r < 0)
			job_cancel(job);
	} else if (r >= 0 && !jobs->stopping) {
		worker_pool_submit(jobs->admin, &job_ref(job)->work);
		tell_while_running(jobs);
	} else {
		jobs->provisioning--;
		job->result = r;
		end(job, r < 0 ? JOB_FAILED : JOB_CANCELLED);
	}
}

void jobs_set_last(struct jobs *jobs, uint32_t id)
{
	jobs->last_id = id;
}

static struct job *interrupted_new(struct jobs *jobs, uint32_t id, enum job_kind kind, uid_t owner,
				   uint64_t created_usec)
{
	struct job *job = g_new0(struct job, 1);

	g_ref_count_init(&job->refs);
	job->manager = jobs->manager;
	job->id = id;
	job->kind = kind;
	job->state = job->told_state = JOB_INTERRUPTED;
	job->owner = job->morsel_owner = owner;
	job->created_usec = created_usec;
	job->ended_usec = now_monotonic();
	storage_move_result_init(&job->moved);
	g_queue_init(&job->waiters);
	job->link.data = job;
	g_tree_insert(jobs->by_id, GUINT_TO_POINTER(job->id), job);
	return job;
}

void jobs_add_interrupted(struct jobs *jobs, const struct ledger_job *lasting)
{
	struct job *job =
		interrupted_new(jobs, lasting->id, JOB_MOVE, lasting->owner, lasting->created_usec);

	sd_id128_to_string(lasting->morsel, job->morsel_id);
	job->morsel_owner = lasting->morsel_owner;
	job->morsel_name = g_strdup(lasting->morsel_name);
	job->tier_name = g_intern_string(lasting->tier);
	job->offset = lasting->offset;
	job->length = lasting->length;
	atomic_init(&job->total, lasting->length);
	job->error = g_strdup("morseld ended before the move did; every page is intact, in its old"
			      " place or the new one");
	log_line(LOG_WARNING, LOG_MOVE_INTERRUPTED, job->morsel_id,
		 "job %" PRIu32 ": move of %s (%s) to %s was interrupted by the end of morseld",
		 job->id, job->morsel_id, job->morsel_name, job->tier_name);
	add_finished(jobs, job);
}

void jobs_add_interrupted_provision(struct jobs *jobs, const struct ledger_provision *lasting)
{
	static const struct provision_wish none;
	bool up = lasting->verb == HELPER_PROVISION;
	struct job *job = interrupted_new(jobs, lasting->id, up ? JOB_PROVISION : JOB_UNPROVISION,
					  lasting->owner, lasting->created_usec);

	job->provision = provision_new(lasting->verb, lasting->memory, &none);
	job->morsel_name = g_strdup("");
	job->tier_name = "";
	if (lasting->outcome[0])
		job->error =
			g_strdup_printf("morseld ended before it was done: %s", lasting->outcome);
	else if (ledger_rebooted(jobs->manager->ledger))
		job->error = g_strdup("the machine ended before it was done; what is half made is"
				      " removed by the next \"tier provision\" or \"unprovision\"");
	else
		job->error = g_strdup("morseld ended before it was done; morsel-helper takes back"
				      " what it had begun, unless all was done by then: see"
				      " \"morselctl tiers\" and \"journalctl -t morsel-helper\"");
	log_line(LOG_WARNING, LOG_PROVISION_INTERRUPTED, lasting->memory,
		 "job %" PRIu32 ": %s of %s: %s", job->id, job_kind_to_string(job->kind),
		 lasting->memory, job->error);
	add_finished(jobs, job);
}

struct job *jobs_find(struct jobs *jobs, uint32_t id)
{
	return g_tree_lookup(jobs->by_id, GUINT_TO_POINTER(id));
}

struct job *jobs_after(struct jobs *jobs, uint32_t after)
{
	GTreeNode *n = g_tree_upper_bound(jobs->by_id, GUINT_TO_POINTER(after));

	return n ? g_tree_node_value(n) : NULL;
}

void job_cancel(struct job *job)
{
	struct jobs *jobs = job->manager->jobs;
	struct job_queue *q;

	atomic_store_explicit(&job->cancel, true, memory_order_relaxed);
	if (job->state != JOB_QUEUED)
		return; /* a running one ends by itself */

	q = g_hash_table_lookup(jobs->queues, GUINT_TO_POINTER(job->owner));
	g_queue_unlink(&q->jobs, &job->link);
	if (g_queue_is_empty(&q->jobs)) {
		g_queue_unlink(&jobs->turns, &q->turn);
		g_hash_table_remove(jobs->queues, GUINT_TO_POINTER(q->owner));
	}
	end(job, JOB_CANCELLED);
}

/* Jobs are bounded by quotas and JOBS_FINISHED_MAX; end() changes the tree's values only by
 * forgetting finished ones, so what to do is collected first. */
static void cancel_if(struct jobs *jobs, struct morsel *m)
{
	g_autoptr(GPtrArray) found = g_ptr_array_new();

	for (GTreeNode *n = g_tree_node_first(jobs->by_id); n; n = g_tree_node_next(n)) {
		struct job *job = g_tree_node_value(n);

		if (job->state < JOB_DONE && (!m || job->morsel == m))
			g_ptr_array_add(found, job_ref(job));
	}
	for (unsigned int i = 0; i < found->len; i++) {
		job_cancel(found->pdata[i]);
		job_unref(found->pdata[i]);
	}
}

void jobs_cancel_morsel(struct jobs *jobs, struct morsel *m)
{
	cancel_if(jobs, m);
}

void jobs_stop(struct jobs *jobs)
{
	jobs->stopping = true;
	cancel_if(jobs, NULL);
}

void jobs_forget_connection(struct jobs *jobs, struct connection *c)
{
	for (GTreeNode *n = g_tree_node_first(jobs->by_id); n; n = g_tree_node_next(n)) {
		struct job *job = g_tree_node_value(n);

		if (job->starter == c)
			job->starter = NULL;
	}
}

void jobs_set_parallel(struct jobs *jobs, unsigned int n)
{
	jobs->parallel = n;
	worker_pool_set_threads(jobs->pool, n);
	start_next(jobs);
}

unsigned int jobs_running(const struct jobs *jobs)
{
	return jobs->running + jobs->provisioning;
}

bool job_visible(const struct job *job, const struct caller *caller)
{
	return caller_is_root(caller) || caller->uid == job->owner ||
	       caller->uid == job->morsel_owner;
}
