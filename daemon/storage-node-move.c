/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <time.h>

#include "storage-node-batch.h"

/* With a limit, one call moves at most what the limit gives in this time. */
#define PACE_NS (UINT64_C(50) * 1000 * 1000)
#define NS_PER_S (UINT64_C(1000) * 1000 * 1000)

/* How long a sleeping mover may take to see a cancel. */
#define LOOK_UP_NS (UINT64_C(100) * 1000 * 1000)

struct pace {
	uint64_t bandwidth; /* bytes a second; 0: no limit */
	uint64_t begin_ns, copied;
	uint64_t origin; /* offset at which the range begins */
	uint64_t done, total;
	storage_progress_t progress;
	void *userdata;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static bool go_on(struct pace *p)
{
	return !p->progress || p->progress(p->done, p->total, p->userdata);
}

/* Sleep until what was copied is no more than the limit gives. */
static int keep_pace(struct pace *p)
{
	uint64_t due, now;

	if (!go_on(p))
		return -ECANCELED;
	if (p->bandwidth == 0)
		return 0;
	due = p->begin_ns + (uint64_t)((unsigned __int128)p->copied * NS_PER_S / p->bandwidth);
	while ((now = now_ns()) < due) {
		uint64_t until = MIN(due, now + LOOK_UP_NS);
		struct timespec t = { .tv_sec = (time_t)(until / NS_PER_S),
				      .tv_nsec = (long)(until % NS_PER_S) };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		if (!go_on(p))
			return -ECANCELED;
	}
	return 0;
}

/* How many of the listed pages from first on make one batch. */
static size_t batch_len(const struct node_view *v, size_t first, const struct pace *p)
{
	uint64_t bytes = 0, most = UINT64_C(32) << 20;
	size_t n = 0;

	if (p->bandwidth > 0)
		most = MIN(most, (uint64_t)((unsigned __int128)p->bandwidth * PACE_NS / NS_PER_S));
	while (first + n < v->n && n < BATCH_MAX && (n == 0 || bytes + v->bytes[first + n] <= most))
		bytes += v->bytes[first + n++];
	return n;
}

/* One window. What is left undone on an error is counted nowhere. */
static int move_window(struct mover *m, struct pace *p, uint64_t offset, uint64_t length)
{
	size_t n;
	int r;

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
	for (size_t i = 0; i < m->v.n; i += n) {
		n = batch_len(&m->v, i, p);
		p->copied += mover_move(m, i, n);
		p->done =
			node_view_page_offset(&m->v, i + n - 1) + m->v.bytes[i + n - 1] - p->origin;
		r = keep_pace(p);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Let the range's later pages go where its present ones are sent. */
static int set_policy(struct storage_object *o, uint64_t offset, uint64_t length,
		      const struct tier *tier)
{
	const struct nodeset *allow = o->placement && o->placement->allow->len > 0 ? &o->allow
										   : NULL;
	struct node_policy policy;
	int r;

	if (o->backing == PAGES_HUGETLB)
		return -EOPNOTSUPP;
	if (o->node->caps.mbind < 0)
		return o->node->single_node ? 0 : -EOPNOTSUPP;
	node_policy_towards(tier, allow, &o->node->caps, &policy);

	g_mutex_lock(&o->lock);
	if (!o->moved)
		o->moved = policy_map_new();
	r = policy_map_set(o->moved, offset, offset + length, policy.home, POLICY_RANGES_MAX);
	if (r >= 0)
		r = node_policy_set_file(&policy, o->node->sys, o->fd, offset, length);
	g_mutex_unlock(&o->lock);
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
	struct pace pace = { .bandwidth = bandwidth,
			     .begin_ns = now_ns(),
			     .origin = offset,
			     .total = length,
			     .progress = progress,
			     .userdata = userdata };
	uint64_t end = offset + length, next;
	struct mover m;
	int r, policy_error;

	r = check_move(o, offset, length, tier, ret_error);
	if (r < 0)
		return r;
	r = mover_init(&m, o, tier);
	if (r < 0) {
		*ret_error = g_strdup_printf("cannot look at '%s' to move it: %s", o->label,
					     g_strerror(-r));
		return r;
	}

	/* First, so that no page that comes meanwhile goes to the old place. */
	policy_error = set_policy(o, offset, length, tier);
	for (uint64_t at = offset; at < end && r >= 0; at = next) {
		next = node_window_end(at, end);
		r = move_window(&m, &pace, at, next - at);
		pace.done = next - offset;
		if (r >= 0 && !go_on(&pace))
			r = -ECANCELED;
	}

	if (r < 0 && r != -ECANCELED) {
		*ret_error = g_strdup_printf("moving '%s' to tier '%s' stopped after %" PRIu64
					     " bytes: %s",
					     o->label, tier->name, m.result.moved, g_strerror(-r));
	} else {
		if (r < 0)
			*ret_error = g_strdup_printf("moving '%s' was cancelled", o->label);
		m.result.policy_error = policy_error;
		*ret_result = m.result;
		m.result = (struct storage_move_result){};
	}
	mover_done(&m);
	return r;
}
