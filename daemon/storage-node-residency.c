/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sys/stat.h>

#include "storage-node-view.h"

/* Ranges up to this are looked at as a whole, larger ones by as many granules as come to it. */
#define EXACT_MAX (UINT64_C(1) << 30)
#define SAMPLES (EXACT_MAX / GRANULE_SIZE)

/* When fewer samples than this meet data, they say too little, and all there is can be looked at: the
 * rest is holes, which cost next to nothing. */
#define SAMPLES_MIN 32

/* What one granule holds, while it is being summed up. */
struct granule {
	uint64_t offset, end, present;
	int node; /* as in storage_run */
	GArray *by_node;
};

static void by_node_add(GArray *by_node, int node, uint64_t bytes)
{
	if ((unsigned int)node >= by_node->len)
		g_array_set_size(by_node, (unsigned int)node + 1);
	g_array_index(by_node, uint64_t, node) += bytes;
}

static void runs_add(GArray *runs, const struct granule *g)
{
	struct storage_run fresh = { .offset = g->offset,
				     .length = g->end - g->offset,
				     .node = g->node,
				     .present = g->present };
	struct storage_run *last =
		runs->len > 0 ? &g_array_index(runs, struct storage_run, runs->len - 1) : NULL;

	if (!last || last->node != g->node) {
		if (g->node == RUN_MIXED)
			fresh.by_node = g_array_new(false, true, sizeof(uint64_t));
		g_array_append_val(runs, fresh);
		last = &g_array_index(runs, struct storage_run, runs->len - 1);
	} else {
		last->length += fresh.length;
		last->present += fresh.present;
	}
	if (g->node == RUN_MIXED)
		for (unsigned int i = 0; i < g->by_node->len; i++)
			by_node_add(last->by_node, (int)i, g_array_index(g->by_node, uint64_t, i));
}

static void granule_begin(struct granule *g, uint64_t offset, uint64_t limit)
{
	g->offset = offset;
	g->end = MIN(limit, (offset / GRANULE_SIZE + 1) * GRANULE_SIZE);
	g->present = 0;
	g->node = RUN_ABSENT;
	g_array_set_size(g->by_node, 0);
}

/* Sum the listed pages up, and as granules into runs (may be NULL). */
static void sum_up(const struct node_view *v, struct storage_residency *res, GArray *runs)
{
	struct granule g = { .by_node = g_array_new(false, true, sizeof(uint64_t)) };
	uint64_t limit = v->offset + v->length;
	size_t i = 0;

	for (uint64_t at = v->offset; at < limit; at = g.end) {
		granule_begin(&g, at, limit);
		for (; i < v->n && node_view_page_offset(v, i) < g.end; i++) {
			int node = v->status[i];

			if (node < 0) { /* freed, or swapped out, since it was listed */
				res->absent += v->bytes[i];
				continue;
			}
			storage_residency_add(res, node, v->bytes[i]);
			if (!runs)
				continue;
			g.present += v->bytes[i];
			g.node = g.node == RUN_ABSENT || g.node == node ? node : RUN_MIXED;
			by_node_add(g.by_node, node, v->bytes[i]);
		}
		if (runs)
			runs_add(runs, &g);
	}
	g_array_unref(g.by_node);
	res->absent += v->absent;
	res->swapped += v->swapped;
	res->huge += v->huge;
	res->looked_at += v->length;
}

static int look(struct node_view *v, uint64_t offset, uint64_t length,
		struct storage_residency *res, GArray *runs)
{
	int r;

	r = node_view_map(v, offset, length);
	if (r < 0)
		return r;
	r = node_view_list(v);
	if (r < 0)
		return r;
	r = node_view_ask(v);
	if (r < 0)
		return r;
	sum_up(v, res, runs);
	return 0;
}

static void skip_hole(uint64_t from, uint64_t to, struct storage_residency *res, GArray *runs)
{
	const struct granule hole = { .offset = from, .end = to, .node = RUN_ABSENT };

	res->absent += to - from;
	res->looked_at += to - from;
	if (runs && to > from)
		runs_add(runs, &hole);
}

static int look_at_all(struct node_view *v, uint64_t offset, uint64_t end,
		       storage_progress_t progress, void *userdata, struct storage_residency *res,
		       GArray *runs)
{
	uint64_t next, data;

	for (uint64_t at = offset; at < end; at = next) {
		int r;

		if (progress && !progress(at - offset, end - offset, userdata))
			return -ECANCELED;
		data = node_next_data(v->o, at, end);
		skip_hole(at, data, res, runs);
		at = data;
		if (at == end)
			break;
		next = node_window_end(at, end);
		r = look(v, at, next - at, res, runs);
		if (r < 0)
			return r;
	}
	if (progress)
		progress(end - offset, end - offset, userdata);
	return 0;
}

/* a × b / c without overflow for what sums of bytes need. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
	return c == 0 ? 0 : (uint64_t)((unsigned __int128)a * b / c);
}

/* Make an estimate of what was looked at; total of present bytes is exact where it is known. */
static void extrapolate(struct storage_residency *res, uint64_t present, bool present_known)
{
	uint64_t seen = res->looked_at, seen_present = seen - res->absent, rest = res->length;

	if (!present_known)
		present = scale(seen_present, res->length, seen);
	present = MIN(present, res->length);
	for (unsigned int i = 0; i < res->by_node->len; i++) {
		uint64_t *bytes = &g_array_index(res->by_node, uint64_t, i);

		*bytes = scale(*bytes, present, seen_present);
		rest -= *bytes;
	}
	res->swapped = scale(res->swapped, present, seen_present);
	rest -= res->swapped;
	/* What rounding left over is less than a page per node. */
	res->absent = seen_present > 0 ? rest : res->length - (present_known ? present : 0);
	res->sampled = true;
}

static uint64_t splitmix64(uint64_t *state) /* Steele, Lea, Flood 2014 */
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/*
 * One granule of each of SAMPLES equal parts of the range, at a place in its part that a cheap hash picks: a
 * placement with a period (stripes) cannot fall in step with it. Returns how many had data.
 */
static int look_at_samples(struct node_view *v, uint64_t offset, uint64_t end,
			   storage_progress_t progress, void *userdata,
			   struct storage_residency *res)
{
	uint64_t granules = (end - offset) / GRANULE_SIZE, hash = offset ^ end;
	uint64_t allocated = 0;
	struct stat st;
	bool whole = offset == 0 && end == v->o->size;
	int with_data = 0;

	for (uint64_t k = 0; k < SAMPLES; k++) {
		uint64_t first = k * granules / SAMPLES, n = (k + 1) * granules / SAMPLES - first;
		uint64_t at, absent = res->absent;
		int r;

		if (progress && k % 16 == 0 &&
		    !progress(scale(k, end - offset, SAMPLES), end - offset, userdata))
			return -ECANCELED;
		at = offset + (first + splitmix64(&hash) % n) * GRANULE_SIZE;
		r = look(v, at, MIN(GRANULE_SIZE, end - at), res, NULL);
		if (r < 0)
			return r;
		with_data += res->absent - absent < GRANULE_SIZE;
	}
	if (with_data < SAMPLES_MIN)
		return with_data;
	if (whole && fstat(v->o->fd, &st) == 0)
		allocated = (uint64_t)st.st_blocks * 512;
	else
		whole = false;
	extrapolate(res, allocated, whole);
	if (progress)
		progress(end - offset, end - offset, userdata);
	return with_data;
}

int node_residency(struct storage_object *o, uint64_t offset, uint64_t length, bool exact,
		   storage_progress_t progress, void *userdata,
		   struct storage_residency *ret_residency, GArray **ret_runs)
{
	struct storage_residency res;
	g_autoptr(GArray) runs = NULL;
	struct node_view v;
	bool sample;
	int r;

	if (offset >= o->size || length == 0 || offset % o->page_size != 0)
		return -EINVAL;
	if (o->node->caps.move_pages < 0)
		return -EOPNOTSUPP;
	length = MIN(length, o->size - offset);
	if (length % o->page_size != 0)
		return -EINVAL;
	sample = !exact && length > EXACT_MAX;

	r = node_view_open(o, &v);
	if (r < 0)
		return r;
	storage_residency_init(&res);
	res.offset = offset;
	res.length = length;
	r = SAMPLES_MIN;
	if (sample) {
		r = look_at_samples(&v, offset, offset + length, progress, userdata, &res);
		sample = r < 0 || r >= SAMPLES_MIN;
		if (!sample) {
			storage_residency_done(&res);
			storage_residency_init(&res);
			res.offset = offset;
			res.length = length;
		}
	}
	if (!sample) {
		if (ret_runs)
			runs = storage_runs_new();
		r = look_at_all(&v, offset, offset + length, progress, userdata, &res, runs);
	}
	node_view_close(&v);
	if (r < 0) {
		storage_residency_done(&res);
		return r;
	}
	*ret_residency = res;
	if (ret_runs)
		*ret_runs = g_steal_pointer(&runs);
	return 0;
}
