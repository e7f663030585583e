/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <time.h>

#include "storage-node-batch.h"
#include "storage-node-sweep.h"

/* With a limit, one call moves at most what the limit gives in this time. */
#define PACE_NS (UINT64_C(50) * 1000 * 1000)
#define NS_PER_S (UINT64_C(1000) * 1000 * 1000)

/* How long a sleeping mover may take to see a cancel. */
#define LOOK_UP_NS (UINT64_C(100) * 1000 * 1000)

/*
 * The kernel copies pages in the thread that asks, at a fraction of what the memory gives, and our pages
 * cost it more than those of a process that moves its own: they are in one page table more. Two threads,
 * each with windows of its own, make up for that; more would take the machine from its clients. With a
 * bandwidth limit one is enough.
 */
#define THREADS 2

/* A move by one or more threads, each of which takes the next window. */
struct move_job {
	struct storage_object *o;
	const struct tier *tier;
	uint64_t bandwidth; /* bytes a second; 0: no limit */
	uint64_t begin_ns, offset, end;
	storage_progress_t progress; /* called by the thread that called us only */
	void *userdata;
	bool sweep; /* whole windows by mbind, towards policy */
	struct node_policy policy;

	pthread_mutex_t lock; /* of what follows */
	uint64_t next, done, copied;
	unsigned int swept; /* ranges with policies of their own since the last gather_policies() */
	int r;		    /* the first error; all threads end then */
};

/* One thread's part. */
struct move_share {
	struct move_job *job;
	struct mover mover;
	bool caller; /* runs in the thread that called us */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Note what was done; false: stop. */
static bool go_on(struct move_share *share, uint64_t done, uint64_t copied, uint64_t *ret_copied)
{
	struct move_job *job = share->job;
	bool stop;

	pthread_mutex_lock(&job->lock);
	job->done += done;
	done = job->done;
	job->copied += copied;
	*ret_copied = job->copied;
	stop = job->r < 0;
	pthread_mutex_unlock(&job->lock);

	if (stop)
		return false;
	return !share->caller || !job->progress ||
	       job->progress(done, job->end - job->offset, job->userdata);
}

/* After done bytes of which some were copied: sleep until they are no more than the limit gives. */
static int keep_pace(struct move_share *share, uint64_t done, uint64_t copied)
{
	const struct move_job *job = share->job;
	uint64_t due, now, all;

	if (!go_on(share, done, copied, &all))
		return -ECANCELED;
	if (job->bandwidth == 0)
		return 0;
	due = job->begin_ns + (uint64_t)((unsigned __int128)all * NS_PER_S / job->bandwidth);
	while ((now = now_ns()) < due) {
		uint64_t until = MIN(due, now + LOOK_UP_NS);
		struct timespec t = { .tv_sec = (time_t)(until / NS_PER_S),
				      .tv_nsec = (long)(until % NS_PER_S) };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		if (!go_on(share, 0, 0, &all))
			return -ECANCELED;
	}
	return 0;
}

/* How many of the listed pages from first on make one batch. */
static size_t batch_len(const struct node_view *v, size_t first, uint64_t bandwidth)
{
	uint64_t bytes = 0, most = UINT64_C(32) << 20;
	size_t n = 0;

	if (bandwidth > 0)
		most = MIN(most, (uint64_t)((unsigned __int128)bandwidth * PACE_NS / NS_PER_S));
	while (first + n < v->n && n < BATCH_MAX && (n == 0 || bytes + v->bytes[first + n] <= most))
		bytes += v->bytes[first + n++];
	return n;
}

/* At most so many ranges (of 350 bytes each in the kernel) between two calls of gather_policies(). */
#define SWEPT_MAX 256

/* Make one policy again of those that sweeping set piece by piece. */
static int gather_policies(struct move_job *job)
{
	struct storage_object *o = job->o;
	int r;

	pthread_mutex_lock(&o->lock);
	r = node_policy_set_file(&job->policy, o->node->sys, o->fd, job->offset,
				 job->end - job->offset);
	pthread_mutex_unlock(&o->lock);
	return r;
}

static bool note_swept(struct move_job *job)
{
	bool many;

	pthread_mutex_lock(&job->lock);
	many = ++job->swept >= SWEPT_MAX;
	if (many)
		job->swept = 0;
	pthread_mutex_unlock(&job->lock);
	return !many || gather_policies(job) >= 0;
}

/*
 * Sweep the listed window, then look what became of it: m->v.status says it of all pages, as it does when
 * nothing was swept. ret_all: everything went.
 */
static int sweep_window(struct move_share *share, bool *ret_all)
{
	struct mover *m = &share->mover;
	uint64_t next, end = m->v.offset + m->v.length;
	bool going = true;
	int r = 0;

	for (uint64_t at = m->v.offset; r >= 0 && going && at < end; at = next) {
		next = MIN(end, at + SWEEP_STEP);
		going = node_sweep(&m->v, &share->job->policy, at, next - at) &&
			note_swept(share->job);
		r = keep_pace(share, 0, 0);
	}
	*ret_all = node_sweep_complete(&m->v, &share->job->policy);
	if (!*ret_all) {
		int asked;

		m->v.only_node = -1;
		asked = node_view_ask(&m->v);
		if (asked < 0)
			return asked;
	}
	mover_count_swept(m, *ret_all);
	return r;
}

/* One window. What is left undone on an error is counted nowhere. */
static int move_window(struct move_share *share, uint64_t offset, uint64_t length)
{
	struct mover *m = &share->mover;
	uint64_t at = offset, end, copied;
	size_t n;
	int r;

	if (node_next_data(m->v.o, offset, offset + length) == offset + length) {
		m->result.absent += length;
		return keep_pace(share, length, 0);
	}
	r = node_view_map(&m->v, offset, length);
	if (r < 0)
		return r;
	r = node_view_list(&m->v);
	if (r < 0)
		return r;
	r = node_view_ask(&m->v);
	if (r < 0)
		return r;
	m->result.absent += m->v.absent + m->v.swapped;
	if (share->job->sweep && node_sweep_worth(&m->v, &share->job->policy)) {
		bool all;

		r = sweep_window(share, &all);
		if (r < 0)
			return r;
		if (all)
			return keep_pace(share, length, 0);
	}
	for (size_t i = 0; i < m->v.n; i += n) {
		n = batch_len(&m->v, i, share->job->bandwidth);
		copied = mover_move(m, i, n);
		end = node_view_page_offset(&m->v, i + n - 1) + m->v.bytes[i + n - 1];
		r = keep_pace(share, end - at, copied);
		if (r < 0)
			return r;
		at = end;
	}
	return keep_pace(share, offset + length - at, 0);
}

static void *move_windows(void *data)
{
	struct move_share *share = data;
	struct move_job *job = share->job;
	int r = 0;

	for (;;) {
		uint64_t at, end;

		pthread_mutex_lock(&job->lock);
		if (r < 0 && job->r == 0)
			job->r = r;
		at = job->next;
		end = node_window_end(at, job->end);
		job->next = end;
		r = job->r;
		pthread_mutex_unlock(&job->lock);
		if (r < 0 || at >= job->end)
			return NULL;
		r = move_window(share, at, end - at);
	}
}

static void add_result(struct storage_move_result *sum, const struct storage_move_result *part)
{
	GHashTableIter iter;
	gpointer error, bytes;

	sum->moved += part->moved;
	sum->already += part->already;
	sum->absent += part->absent;
	g_hash_table_iter_init(&iter, part->reasons);
	while (g_hash_table_iter_next(&iter, &error, &bytes))
		storage_move_result_fail(sum, GPOINTER_TO_INT(error), *(uint64_t *)bytes);
}

/* Move by as many threads as there is work for. -errno before anything was moved, or of the job. */
static int move_by_threads(struct move_job *job, struct storage_move_result *result)
{
	struct move_share shares[THREADS] = {};
	pthread_t threads[THREADS];
	bool started[THREADS] = {};
	unsigned int n = 1;
	int r;

	if (job->bandwidth == 0 && g_get_num_processors() > 1 &&
	    job->end - job->offset > WINDOW_SIZE)
		n = THREADS;
	for (unsigned int i = 0; i < n; i++) {
		shares[i] = (struct move_share){ .job = job, .caller = i == 0 };
		r = mover_init(&shares[i].mover, job->o, job->tier);
		if (r < 0 && i == 0)
			return r;
		if (r < 0)
			n = i; /* with those that there are */
	}
	for (unsigned int i = 1; i < n; i++)
		started[i] = pthread_create(&threads[i], NULL, move_windows, &shares[i]) == 0;
	move_windows(&shares[0]);
	for (unsigned int i = 0; i < n; i++) {
		if (started[i])
			pthread_join(threads[i], NULL);
		add_result(result, &shares[i].mover.result);
		mover_done(&shares[i].mover);
	}
	return job->r;
}

/* Let the range's later pages go where its present ones are sent. */
static int set_policy(struct storage_object *o, uint64_t offset, uint64_t length,
		      const struct tier *tier)
{
	bool restricted = o->placement && o->placement->allow->len > 0;
	struct nodeset allow = o->allow;
	struct node_policy policy;
	int r;

	/* It is among those that are allowed, but may have come after the object. */
	policy_add_nodes(&allow, tier);
	if (o->backing == PAGES_HUGETLB)
		return -EOPNOTSUPP;
	if (o->node->caps.mbind < 0)
		return o->node->single_node ? 0 : -EOPNOTSUPP;
	node_policy_towards(tier, restricted ? &allow : NULL, &o->node->caps, &policy);

	pthread_mutex_lock(&o->lock);
	if (!o->moved)
		o->moved = policy_map_new();
	r = policy_map_set(o->moved, offset, offset + length, policy.home, POLICY_RANGES_MAX);
	if (r >= 0)
		r = node_policy_set_file(&policy, o->node->sys, o->fd, offset, length);
	pthread_mutex_unlock(&o->lock);
	return r;
}

static int check_move(const struct storage_object *o, uint64_t offset, uint64_t length,
		      const struct tier *tier, char **ret_error)
{
	int r;

	r = node_check_range(o, offset, length, ret_error);
	if (r < 0)
		return r;
	if (!tier_has_pages(tier)) {
		*ret_error = tier_refusal(tier);
		return -ENODEV;
	}
	if (o->placement && !placement_allows(o->placement, tier->name)) {
		*ret_error =
			g_strdup_printf("'%s' may not lie on tier '%s': its placement's allow does "
					"not name it",
					o->label, tier->name);
		return -EINVAL;
	}
	if (o->node->caps.move_pages < 0) {
		*ret_error = g_strdup_printf(
			"'%s' cannot be moved: this process may not move pages "
			"(move_pages: %s; a seccomp filter, or a kernel without NUMA)",
			o->label, g_strerror(-o->node->caps.move_pages));
		return -EOPNOTSUPP;
	}
	return 0;
}

int node_move(struct storage_object *o, uint64_t offset, uint64_t length, struct tier *tier,
	      uint64_t bandwidth, storage_progress_t progress, void *userdata,
	      struct storage_move_result *ret_result, char **ret_error)
{
	struct move_job job = { .o = o,
				.tier = tier,
				.bandwidth = bandwidth,
				.offset = offset,
				.next = offset,
				.progress = progress,
				.userdata = userdata };
	struct storage_move_result result;
	int r;

	r = check_move(o, offset, length, tier, ret_error);
	if (r < 0)
		return r;
	job.begin_ns = now_ns();
	job.end = offset + length;
	pthread_mutex_init(&job.lock, NULL);
	storage_move_result_init(&result);

	/* First, so that no page that comes meanwhile goes to the old place. */
	result.policy_error = set_policy(o, offset, length, tier);
	job.sweep = bandwidth == 0 && result.policy_error == 0 &&
		    node_sweep_possible(o, tier, &job.policy);
	if (progress && !progress(0, length, userdata))
		r = -ECANCELED;
	else
		r = move_by_threads(&job, &result);
	if (job.swept > 0)
		gather_policies(&job); /* more ranges than need be is all that a failure leaves */
	pthread_mutex_destroy(&job.lock);

	if (r == -ECANCELED)
		*ret_error = g_strdup_printf("moving '%s' was cancelled", o->label);
	else if (r < 0)
		*ret_error = g_strdup_printf("moving '%s' to tier '%s' stopped after %" PRIu64
					     " bytes: %s",
					     o->label, tier->name, result.moved, g_strerror(-r));
	if (r < 0 && r != -ECANCELED) {
		storage_move_result_done(&result);
		return r;
	}
	*ret_result = result;
	return r;
}
