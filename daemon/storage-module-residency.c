// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "storage-module.h"

/* By one call, of the module's limit of 64 GiB: between two of them a cancel is seen. */
#define WINDOW (UINT64_C(8) << 30)

/* What one look is summed up in. */
struct module_look {
	struct storage_object *o;
	struct storage_residency *res;
	GArray *runs;			 /* or NULL */
	int nodes[MORSEL_MAX_POOLS + 1]; /* places of pools; -1: unknown */
};

/* pool_bytes, and codes by granule where codes is not NULL. */
static int ask(const struct module_look *l, uint64_t offset, uint64_t length, uint8_t *codes,
	       struct morsel_residency *ret_answer)
{
	struct module_storage *m = l->o->module;
	int r;

	*ret_answer = (struct morsel_residency){ .size = sizeof(*ret_answer),
						 .id = l->o->id,
						 .offset = offset,
						 .length = length,
						 .granules = (uintptr_t)codes };
	do
		r = m->sys->call(m->fd, MORSEL_IOC_RESIDENCY, ret_answer);
	while (r == -EINTR);
	for (unsigned int i = 1; r >= 0 && i <= MORSEL_MAX_POOLS; i++)
		if (ret_answer->pool_bytes[i] > 0 && l->nodes[i] < 0)
			return -EIO; /* a pool that nobody has made */
	return r;
}

static uint64_t present_bytes(const struct morsel_residency *answer)
{
	uint64_t sum = 0;

	for (unsigned int i = 1; i <= MORSEL_MAX_POOLS; i++)
		sum += answer->pool_bytes[i];
	return sum;
}

static void add_bytes(struct storage_residency *res, const struct module_look *l,
		      const struct morsel_residency *answer)
{
	for (unsigned int i = 1; i <= MORSEL_MAX_POOLS; i++)
		if (answer->pool_bytes[i] > 0)
			storage_residency_add(res, l->nodes[i], answer->pool_bytes[i]);
	res->absent += answer->pool_bytes[0];
}

/* A run of one code; its bytes are answer's. */
static void add_run(const struct module_look *l, uint64_t offset, uint64_t length, uint8_t code,
		    const struct morsel_residency *answer)
{
	struct storage_run run = { .offset = offset,
				   .length = length,
				   .node = code == 0		  ? RUN_ABSENT
					   : code == MORSEL_MIXED ? RUN_MIXED
								  : l->nodes[code],
				   .present = present_bytes(answer) };
	struct storage_run *last =
		l->runs->len > 0 ? &g_array_index(l->runs, struct storage_run, l->runs->len - 1)
				 : NULL;
	struct storage_residency sum;

	if (last && last->node == run.node) {
		last->length += run.length;
		last->present += run.present;
	} else {
		if (run.node == RUN_MIXED)
			run.by_node = g_array_new(false, true, sizeof(uint64_t));
		g_array_append_val(l->runs, run);
		last = &g_array_index(l->runs, struct storage_run, l->runs->len - 1);
	}
	if (run.node != RUN_MIXED)
		return;
	sum = (struct storage_residency){ .by_node = last->by_node };
	add_bytes(&sum, l, answer);
}

/* Whole granules, or up to the object's end. */
static int look_at_granules(struct module_look *l, uint64_t offset, uint64_t length)
{
	uint64_t n = (length + GRANULE_SIZE - 1) / GRANULE_SIZE, from = 0;
	g_autofree uint8_t *codes = l->runs ? g_malloc0(n) : NULL;
	struct morsel_residency all, part;
	int r = ask(l, offset, length, codes, &all);

	if (r < 0)
		return r;
	add_bytes(l->res, l, &all);
	for (uint64_t i = 1; l->runs && i <= n; i++) {
		uint64_t start = from * GRANULE_SIZE, end = MIN(length, i * GRANULE_SIZE);

		if (i < n && codes[i] == codes[from])
			continue;
		/* Asked once more for its own bytes, unless it is all there is. */
		part = all;
		if (end - start < length) {
			r = ask(l, offset + start, end - start, NULL, &part);
			if (r < 0)
				return r;
		}
		if (codes[from] != 0 && codes[from] <= MORSEL_MAX_POOLS &&
		    l->nodes[codes[from]] < 0)
			return -EIO;
		add_run(l, offset + start, end - start, codes[from], &part);
		from = i;
	}
	return 0;
}

/*
 * Less than a granule: the module tells how much of it there is, and where the granule's bytes lie; where they
 * lie on several nodes, the part is taken for as mixed as the whole.
 */
static int look_at_part(struct module_look *l, uint64_t offset, uint64_t length)
{
	uint64_t start = offset / GRANULE_SIZE * GRANULE_SIZE, present, left, whole;
	struct morsel_harvest pages = { .size = sizeof(pages),
					.flags = MORSEL_HARVEST_KEEP,
					.id = l->o->id,
					.offset = offset,
					.length = length };
	struct morsel_residency answer;
	uint8_t code = 0;
	int r = ask(l, start, MIN(GRANULE_SIZE, l->o->size - start), &code, &answer);

	if (r < 0)
		return r;
	do
		r = l->o->module->sys->call(l->o->module->fd, MORSEL_IOC_HARVEST, &pages);
	while (r == -EINTR);
	if (r < 0)
		return r;
	present = left = MIN(pages.present_pages * 4096, length);
	whole = present_bytes(&answer);
	answer.pool_bytes[0] = length - present;
	for (unsigned int i = 1; i <= MORSEL_MAX_POOLS; i++) {
		uint64_t bytes = whole > 0 ? answer.pool_bytes[i] * present / whole : 0;

		answer.pool_bytes[i] = bytes;
		left -= bytes;
	}
	/* What rounding left over. */
	for (unsigned int i = 1; i <= MORSEL_MAX_POOLS && left > 0; i++)
		if (answer.pool_bytes[i] > 0) {
			answer.pool_bytes[i] += left;
			left = 0;
		}
	add_bytes(l->res, l, &answer);
	if (l->runs)
		add_run(l, offset, length, present > 0 ? code : 0, &answer);
	return 0;
}

static int look_at_all(struct module_look *l, uint64_t offset, uint64_t end,
		       storage_progress_t progress, void *userdata)
{
	uint64_t next;

	for (uint64_t at = offset; at < end; at = next) {
		int r;

		if (progress && !progress(at - offset, end - offset, userdata))
			return -ECANCELED;
		next = MIN(end, (at / GRANULE_SIZE + 1) * GRANULE_SIZE);
		if (at % GRANULE_SIZE != 0 || (next % GRANULE_SIZE != 0 && next != l->o->size)) {
			r = look_at_part(l, at, next - at);
		} else {
			next = MIN(end, at + WINDOW);
			if (next != l->o->size)
				next = next / GRANULE_SIZE * GRANULE_SIZE;
			r = look_at_granules(l, at, next - at);
		}
		if (r < 0)
			return r;
		l->res->looked_at += next - at;
	}
	if (progress)
		progress(end - offset, end - offset, userdata);
	return 0;
}

int module_residency(struct storage_object *o, uint64_t offset, uint64_t length, bool exact,
		     storage_progress_t progress, void *userdata,
		     struct storage_residency *ret_residency, GArray **ret_runs)
{
	struct storage_residency res;
	g_autoptr(GArray) runs = NULL;
	struct module_look l = { .o = o, .res = &res };
	int r;

	if (offset >= o->size || length == 0 || offset % 4096 != 0)
		return -EINVAL;
	length = MIN(length, o->size - offset);
	if (length % 4096 != 0)
		return -EINVAL;
	for (unsigned int i = 1; i <= MORSEL_MAX_POOLS; i++)
		l.nodes[i] = module_pool_place(o->module, i);
	storage_residency_init(&res);
	res.offset = offset;
	res.length = length;
	if (ret_runs)
		l.runs = runs = storage_runs_new();
	r = look_at_all(&l, offset, offset + length, progress, userdata);
	if (r < 0) {
		storage_residency_done(&res);
		return r;
	}
	*ret_residency = res;
	if (ret_runs)
		*ret_runs = g_steal_pointer(&runs);
	return 0;
}
