// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>
#include <time.h>

#include "storage-module-place.h"
#include "storage-module.h"
#include "storage-node-policy.h"

/* Granules by one call: between two of them a cancel is seen, and each has a result of its own. */
#define BATCH 16

/* With a limit, one call moves at most what the limit gives in this time, or one granule. */
#define PACE_NS (UINT64_C(50) * 1000 * 1000)
#define NS_PER_S (UINT64_C(1000) * 1000 * 1000)

/* How long a sleeping mover may take to see a cancel. */
#define LOOK_UP_NS (UINT64_C(100) * 1000 * 1000)

struct module_mover {
	struct storage_object *o;
	uint32_t pools[MORSEL_MAX_TIERS]; /* the tier's */
	unsigned int n_pools;
	unsigned int first; /* of them, that is tried first: those before are full */
	uint64_t bandwidth, begin_ns, offset, length, copied;
	storage_progress_t progress;
	void *userdata;
	struct storage_move_result result;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static bool go_on(const struct module_mover *m, uint64_t at)
{
	return !m->progress || m->progress(at - m->offset, m->length, m->userdata);
}

static int keep_pace(const struct module_mover *m, uint64_t at)
{
	uint64_t due, now;

	if (!go_on(m, at))
		return -ECANCELED;
	if (m->bandwidth == 0)
		return 0;
	due = m->begin_ns + (uint64_t)((unsigned __int128)m->copied * NS_PER_S / m->bandwidth);
	while ((now = now_ns()) < due) {
		uint64_t until = MIN(due, now + LOOK_UP_NS);
		struct timespec t = { .tv_sec = (time_t)(until / NS_PER_S),
				      .tv_nsec = (long)(until % NS_PER_S) };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		if (!go_on(m, at))
			return -ECANCELED;
	}
	return 0;
}

/* All n ranges; a signal does not end it. */
static int call_move(const struct module_mover *m, struct morsel_move_range *ranges, unsigned int n)
{
	const struct module_storage *module = m->o->module;
	unsigned int done = 0;

	while (done < n) {
		struct morsel_move move = { .size = sizeof(move),
					    .count = n - done,
					    .id = m->o->id,
					    .ranges = (uintptr_t)(ranges + done) };
		int r = module->sys->call(module->fd, MORSEL_IOC_MOVE, &move);

		if (r < 0 && r != -EINTR)
			return r;
		if (r == 0)
			return 0;
		done += MIN(move.count, n - done);
	}
	return 0;
}

/*
 * Of a tier with several nodes: what is on one of them stays there. On failure, or where a granule is on several,
 * the range goes to the first one.
 */
static void choose_pools(const struct module_mover *m, struct morsel_move_range *ranges,
			 unsigned int n)
{
	uint64_t from = ranges[0].offset / GRANULE_SIZE * GRANULE_SIZE;
	uint64_t end = ranges[n - 1].offset + ranges[n - 1].length;
	uint8_t granules[BATCH + 1] = {};
	struct morsel_residency look = { .size = sizeof(look),
					 .id = m->o->id,
					 .offset = from,
					 .granules = (uintptr_t)granules };

	end = (end + GRANULE_SIZE - 1) / GRANULE_SIZE * GRANULE_SIZE;
	look.length = MIN(end, m->o->size) - from;
	if (m->o->module->sys->call(m->o->module->fd, MORSEL_IOC_RESIDENCY, &look) < 0)
		return;
	for (unsigned int i = 0; i < n; i++)
		for (unsigned int k = 0; k < m->n_pools; k++)
			if (granules[(ranges[i].offset - from) / GRANULE_SIZE] == m->pools[k])
				ranges[i].pool = m->pools[k];
}

/* Ranges that their pool had no room for, to the next one. Their results are then those of the last try. */
static int try_next_pool(struct module_mover *m, struct morsel_move_range *ranges, unsigned int n)
{
	struct morsel_move_range again[BATCH];
	unsigned int which[BATCH], k = 0;
	int r;

	for (unsigned int i = 0; i < n; i++)
		if (ranges[i].result == -ENOMEM) {
			which[k] = i;
			again[k++] = (struct morsel_move_range){ .offset = ranges[i].offset,
								 .length = ranges[i].length,
								 .pool = m->pools[m->first] };
		}
	r = k > 0 ? call_move(m, again, k) : 0;
	for (unsigned int i = 0; r >= 0 && i < k; i++)
		ranges[which[i]] = again[i];
	return r;
}

static bool any_without_room(const struct morsel_move_range *ranges, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (ranges[i].result == -ENOMEM)
			return true;
	return false;
}

static int move_batch(struct module_mover *m, struct morsel_move_range *ranges, unsigned int n)
{
	int r;

	if (m->n_pools > 1)
		choose_pools(m, ranges, n);
	r = call_move(m, ranges, n);
	while (r >= 0 && m->first + 1 < m->n_pools && any_without_room(ranges, n)) {
		m->first++;
		r = try_next_pool(m, ranges, n);
	}
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < n; i++) {
		m->result.moved += ranges[i].moved;
		m->result.already += ranges[i].already;
		m->result.absent += ranges[i].absent;
		m->copied += ranges[i].moved;
		if (ranges[i].failed > 0)
			storage_move_result_fail(&m->result,
						 ranges[i].result < 0 ? -ranges[i].result : EBUSY,
						 ranges[i].failed);
	}
	return 0;
}

static int move_all(struct module_mover *m)
{
	uint64_t at = m->offset, end = m->offset + m->length;
	unsigned int most = BATCH;
	int r = go_on(m, at) ? 0 : -ECANCELED;

	if (m->bandwidth > 0)
		most = CLAMP((unsigned __int128)m->bandwidth * PACE_NS / NS_PER_S / GRANULE_SIZE, 1,
			     BATCH);
	while (r >= 0 && at < end) {
		struct morsel_move_range ranges[BATCH] = {};
		unsigned int n = 0;

		for (; n < most && at < end; n++) {
			uint64_t next = MIN(end, (at / GRANULE_SIZE + 1) * GRANULE_SIZE);

			ranges[n].offset = at;
			ranges[n].length = next - at;
			ranges[n].pool = m->pools[m->first];
			at = next;
		}
		r = move_batch(m, ranges, n);
		if (r >= 0)
			r = keep_pace(m, at);
	}
	return r;
}

/* Let later frames go where present ones are sent. The module has one list for a whole object. */
static int set_list(struct module_mover *m)
{
	struct storage_object *o = m->o;
	struct morsel_object_set set = { .size = sizeof(set), .id = o->id };
	int r;

	if (m->length != o->size)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&o->lock);
	set.placement = o->list;
	set.flags = module_placed_flag(o->module);
	module_place_towards(&set.placement, m->pools, m->n_pools);
	do
		r = o->module->sys->call(o->module->fd, MORSEL_IOC_OBJECT_SET, &set);
	while (r == -EINTR);
	if (r >= 0)
		o->list = set.placement;
	pthread_mutex_unlock(&o->lock);
	return r;
}

static int find_pools(struct module_mover *m, const struct tier *tier, char **ret_error)
{
	int r = -ENODEV;

	for (unsigned int i = 0; i < tier_n_places(tier) && m->n_pools < MORSEL_MAX_TIERS; i++) {
		g_clear_pointer(ret_error, g_free);
		r = module_pool_get(m->o->module, tier, tier_place(tier, i), ret_error);
		if (r > 0)
			m->pools[m->n_pools++] = (uint32_t)r;
	}
	if (m->n_pools == 0)
		return r;
	g_clear_pointer(ret_error, g_free);
	return 0;
}

static int check_move(const struct storage_object *o, uint64_t offset, uint64_t length,
		      const struct tier *tier, char **ret_error)
{
	int r = module_check_range(o, offset, length, ret_error);

	if (r < 0)
		return r;
	if (!module_tier_takes(tier)) {
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
	return 0;
}

int module_move(struct storage_object *o, uint64_t offset, uint64_t length, struct tier *tier,
		uint64_t bandwidth, storage_progress_t progress, void *userdata,
		struct storage_move_result *ret_result, char **ret_error)
{
	struct module_mover m = { .o = o,
				  .bandwidth = bandwidth,
				  .begin_ns = now_ns(),
				  .offset = offset,
				  .length = length,
				  .progress = progress,
				  .userdata = userdata };
	int r;

	r = check_move(o, offset, length, tier, ret_error);
	if (r >= 0)
		r = find_pools(&m, tier, ret_error);
	if (r < 0)
		return r;
	storage_move_result_init(&m.result);
	/* First, so that no frame that comes meanwhile goes to the old place. */
	m.result.policy_error = set_list(&m);
	r = move_all(&m);
	if (r == -ECANCELED)
		*ret_error = g_strdup_printf("moving '%s' was cancelled", o->label);
	else if (r < 0)
		*ret_error = g_strdup_printf("moving '%s' to tier '%s' stopped after %" PRIu64
					     " bytes: %s",
					     o->label, tier->name, m.result.moved, g_strerror(-r));
	if (r < 0 && r != -ECANCELED) {
		storage_move_result_done(&m.result);
		return r;
	}
	*ret_result = m.result;
	return r;
}
