// SPDX-License-Identifier: GPL-2.0-or-later
#include "ordinary-round.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "config-value.h"
#include "helper-client.h"
#include "ordinary-peers.h"
#include "storage-node-room.h"

#define PAGE UINT64_C(4096)
#define GRANULE_PAGES 512u
/* How often processes are looked for. */
#define SCAN_USEC 5000000
/* Beyond two windows that a look may take: setting up, and reading what came of it. */
#define ANSWER_MS 20000
/* Of a node's memory, left for others: moves must not bring it to reclaim. */
#define RESERVE 32
/*
 * An access that is seen stands for as many as a granule has pages, of which one is looked at.
 */
#define GRAIN GRANULE_PAGES

/* ---- what lasts ---- */

bool ordinary_state_init(struct ordinary_state *s)
{
	const struct heat_config heat = { .granules = HELPER_GRANULES };
	const struct plan_config plan = { .granules = HELPER_GRANULES,
					  .accounts = HELPER_PROCESSES_MAX * 65,
					  .tiers = PLAN_ABSENT };
	uint64_t heat_bytes, plan_bytes;

	memset(s, 0, sizeof(*s));
	s->socket = -1;
	if (heat_size(&heat, &heat_bytes) < 0 || plan_size(&plan, &plan_bytes) < 0)
		return false;
	s->heat_memory = g_try_malloc0(heat_bytes);
	s->plan_memory = g_try_malloc0(plan_bytes);
	if (!s->heat_memory || !s->plan_memory ||
	    heat_init(&s->heat, &heat, s->heat_memory, heat_bytes) < 0 ||
	    plan_init(&s->plan, &plan, s->plan_memory, plan_bytes) < 0) {
		ordinary_state_done(s);
		return false;
	}
	heat_set_grain(&s->heat, GRAIN);
	return true;
}

static void clear_slot(struct ordinary_state *s, unsigned int slot)
{
	uint32_t first = slot * ORDINARY_CHUNK;

	heat_clear(&s->heat, first, ORDINARY_CHUNK);
	plan_clear(&s->plan, first, ORDINARY_CHUNK);
	memset(&s->pages[first], 0, ORDINARY_CHUNK * sizeof(s->pages[0]));
	s->serial[slot] = 0;
}

void ordinary_state_end(struct ordinary_state *s)
{
	if (s->socket >= 0)
		close(s->socket);
	s->socket = -1;
	for (unsigned int i = 0; i < ORDINARY_SLOTS; i++)
		if (s->serial[i] > 0)
			clear_slot(s, i);
	g_clear_pointer(&s->members, g_array_unref);
	s->scanned_usec = s->looked_usec = 0;
}

void ordinary_state_done(struct ordinary_state *s)
{
	if (s->socket >= 0)
		close(s->socket);
	g_clear_pointer(&s->members, g_array_unref);
	g_clear_pointer(&s->heat_memory, g_free);
	g_clear_pointer(&s->plan_memory, g_free);
}

void ordinary_round_free(struct ordinary_round *r)
{
	policy_set_unref(r->policies);
	tiering_accounts_done(&r->accounts);
	tiering_tiers_done(&r->tiers);
	g_clear_pointer(&r->use, g_hash_table_unref);
	g_free(r->trouble);
	g_free(r);
}

/* ---- what the helper tells ---- */

/* The table that came, mapped; NULL: it is none. */
static const void *map_table(int fd, size_t *ret_size, struct ordinary_table *ret_table)
{
	struct stat st;
	void *data;

	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > ORDINARY_BYTES_MAX)
		return NULL;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return NULL;
	if (ordinary_table_parse(data, (size_t)st.st_size, ret_table) < 0) {
		munmap(data, (size_t)st.st_size);
		return NULL;
	}
	*ret_size = (size_t)st.st_size;
	return data;
}

/* *ret_data: to be unmapped, of *ret_size bytes. false: r->trouble says why. */
static bool ask(struct ordinary_round *r, const struct helper_request *request,
		const void **ret_data, size_t *ret_size, struct ordinary_table *ret_table)
{
	g_autofree char *text = NULL;
	int fd = -1, e = 0;

	if (r->state->socket < 0)
		e = helper_client_session(&r->state->socket);
	if (e < 0)
		r->state->socket = -1;
	else
		e = helper_client_session_ask(r->state->socket, request,
					      2 * r->window_ms + ANSWER_MS, r->stopping, &fd,
					      &text);
	if (e == 0) {
		*ret_data = map_table(fd, ret_size, ret_table);
		close(fd);
		if (*ret_data)
			return true;
		e = -EBADMSG;
	}
	/* What it knows is with the connection. */
	ordinary_state_end(r->state);
	if (e == -EBUSY)
		r->peer = true;
	if (e != -ECANCELED)
		r->trouble = text ? g_steal_pointer(&text)
				  : g_strdup_printf("morsel-helper: %s", g_strerror(-e));
	return false;
}

static void take_granule(struct ordinary_state *s, const struct ordinary_granule *g,
			 const struct tiering_tiers *tiers, uint32_t window_ms)
{
	uint64_t seen[HEAT_WORDS] = {};
	struct heat_sample sample = { .window_ms = window_ms,
				      .bits = ORDINARY_SAMPLES,
				      .pages = seen };

	if (g->node != ORDINARY_NODE_UNKNOWN) {
		s->pages[g->granule] = g->pages;
		plan_place(&s->plan, &s->heat, g->granule, 0, GRANULE_PAGES,
			   g->pages > 0 ? tiering_tier_of(tiers, g->node) : PLAN_ABSENT);
	}
	seen[0] = (UINT64_C(1) << (g->seen + 128) / 256) - 1;
	if (seen[0])
		heat_sample(&s->heat, g->granule, &sample);
}

void ordinary_take(struct ordinary_state *s, const struct ordinary_table *t,
		   const struct tiering_tiers *tiers, uint64_t clock_ms, uint32_t elapsed_ms)
{
	unsigned int slot = 0;

	heat_advance(&s->heat, clock_ms, elapsed_ms);
	for (uint32_t i = 0; i < t->head->n_chunks; i++) {
		const struct ordinary_chunk *c = &t->chunks[i];

		for (; slot < c->slot; slot++)
			if (s->serial[slot] > 0)
				clear_slot(s, slot);
		if (s->serial[slot] != c->serial)
			clear_slot(s, slot);
		s->serial[slot++] = c->serial;
	}
	for (; slot < ORDINARY_SLOTS; slot++)
		if (s->serial[slot] > 0)
			clear_slot(s, slot);
	for (uint32_t i = 0; i < t->head->n_granules; i++)
		take_granule(s, &t->granules[i], tiers, t->head->window_ms);
}

/* ---- plan ---- */

static uint32_t allowed(const struct ordinary_round *r, const char *cgroup)
{
	const struct policy_setting *s =
		policy_effective(r->policies, cgroup, 1u << POLICY_ALLOW, NULL, NULL);
	uint32_t allow = 0;

	for (unsigned int i = 0; s && s->tiers && i < s->tiers->len; i++)
		for (unsigned int k = 0; k < r->tiers.n; k++)
			if (g_str_equal(g_array_index(s->tiers, struct config_share, i).tier,
					r->tiers.tier[k]->name))
				allow |= 1u << k;
	return allow;
}

static uint64_t node_free(int root_fd, int node)
{
	static const char *const free_kb[] = { "MemFree:", NULL };
	static const char *const total_kb[] = { "MemTotal:", NULL };
	uint64_t bytes = node_meminfo(root_fd, node, free_kb);
	uint64_t reserve = node_meminfo(root_fd, node, total_kb) / RESERVE;

	return bytes == UINT64_MAX || bytes < reserve ? 0 : bytes - reserve;
}

/* Only what the kernel gives pages of to everybody. */
static void look_at_tiers(struct ordinary_round *r)
{
	for (unsigned int i = 0; i < r->tiers.n; i++) {
		const struct tier *t = r->tiers.tier[i];

		if (t->nodes->len == 0 && r->tiers.plan[i].state != PLAN_OFFLINE)
			r->tiers.plan[i].state = PLAN_OFFLINE;
		for (unsigned int k = 0; k < t->nodes->len; k++)
			r->tiers.plan[i].free +=
				node_free(r->root_fd, g_array_index(t->nodes, int, k)) / PAGE;
	}
}

static int emptiest_node(const struct ordinary_round *r, unsigned int tier)
{
	const struct tier *t = r->tiers.tier[tier];
	uint64_t most = 0;
	int best = -1;

	for (unsigned int k = 0; k < t->nodes->len; k++) {
		int node = g_array_index(t->nodes, int, k);
		uint64_t bytes = node_free(r->root_fd, node);

		if (best < 0 || bytes > most) {
			most = bytes;
			best = node;
		}
	}
	return best;
}

static const struct ordinary_member *member_of(const struct ordinary_round *r, unsigned int i)
{
	return &g_array_index(r->state->members, struct ordinary_member, i);
}

static GArray *make_regions(struct ordinary_round *r, const struct ordinary_table *t)
{
	GArray *regions = g_array_new(FALSE, TRUE, sizeof(struct plan_region));

	for (uint32_t i = 0; i < t->head->n_chunks; i++) {
		const struct ordinary_chunk *c = &t->chunks[i];
		const struct ordinary_member *m = member_of(r, c->process);
		const struct plan_region region = {
			.first = c->slot * ORDINARY_CHUNK,
			.pages = ORDINARY_CHUNK * GRANULE_PAGES,
			.account = tiering_account(&r->accounts, m->cgroup),
			.allow = allowed(r, m->cgroup),
			.migrate = PLAN_MIGRATE_ON,
		};

		g_array_append_val(regions, region);
	}
	return regions;
}

/* ---- moves, and what is told of them ---- */

static struct ordinary_use *use_of(struct ordinary_round *r, const char *cgroup)
{
	struct ordinary_use *u = g_hash_table_lookup(r->use, cgroup);

	if (!u) {
		u = g_new0(struct ordinary_use, 1);
		g_hash_table_insert(r->use, g_strdup(cgroup), u);
	}
	return u;
}

static void count_use(struct ordinary_round *r, const struct ordinary_table *t)
{
	uint32_t at = 0;

	for (unsigned int i = 0; i < r->state->members->len; i++)
		use_of(r, member_of(r, i)->cgroup)->processes++;
	for (uint32_t i = 0; i < t->head->n_chunks; i++) {
		const struct ordinary_chunk *c = &t->chunks[i];
		struct ordinary_use *u = use_of(r, member_of(r, c->process)->cgroup);

		for (; at < t->head->n_granules &&
		       t->granules[at].granule / ORDINARY_CHUNK == c->slot;
		     at++) {
			uint32_t g = t->granules[at].granule;
			unsigned int tier = plan_tier_of(&r->state->plan, &r->state->heat, g, 0);

			if (tier < r->tiers.n)
				u->bytes[tier] += r->state->pages[g] * PAGE;
		}
	}
}

struct moves {
	struct plan_move list[HELPER_SHIFTS_MAX];
	uint32_t n;
	const struct ordinary_member *member[HELPER_SHIFTS_MAX]; /* whose each is */
	uint32_t index[HELPER_SHIFTS_MAX];			 /* of those that are carried out */
};

static void count_move(struct ordinary_round *r, const struct plan_move *m, const char *cgroup,
		       uint64_t bytes)
{
	struct ordinary_use *u = use_of(r, cgroup);
	bool up = m->latency_to_ns < m->latency_from_ns;

	*(up ? &u->up : &u->down) += bytes;
	*(up ? &r->up : &r->down) += bytes;
}

static void take_shifts(struct ordinary_round *r, const struct moves *moves,
			const struct ordinary_table *t)
{
	struct ordinary_state *s = r->state;

	for (uint32_t i = 0; i < t->head->n_shifts; i++) {
		const struct plan_move *m = &moves->list[moves->index[i]];
		const struct ordinary_shifted *done = &t->shifts[i];
		/* Of a granule that is partly there all of it has moved when that has. */
		bool most = 2u * (done->moved + done->there) > s->pages[m->granule];

		plan_moved(&s->plan, &s->heat, m, most ? m->pages : 0);
		count_move(r, m, moves->member[moves->index[i]]->cgroup, done->moved * PAGE);
	}
}

static void carry_out(struct ordinary_round *r, struct moves *moves)
{
	struct helper_request request = { .verb = HELPER_SHIFT, .requester = geteuid() };
	struct ordinary_table t;
	const void *data;
	size_t size;

	for (uint32_t i = 0; i < moves->n; i++) {
		const struct plan_move *m = &moves->list[i];
		int node = emptiest_node(r, m->to);

		r->planned += m->pages * PAGE;
		if (moves->member[i]->migrate != POLICY_MIGRATE_ON || node < 0 ||
		    node >= (int)HELPER_NODES) {
			plan_moved(&r->state->plan, &r->state->heat, m, 0);
			continue;
		}
		moves->index[request.n_shifts] = i;
		request.shift[request.n_shifts++] =
			(struct helper_shift){ m->granule, (uint32_t)node };
	}
	if (request.n_shifts == 0 || !ask(r, &request, &data, &size, &t))
		return;
	if (t.head->n_shifts == request.n_shifts)
		take_shifts(r, moves, &t);
	munmap((void *)data, size);
}

static void place(struct ordinary_round *r, const struct ordinary_table *t)
{
	struct plan_input in = { .tiers = r->tiers.plan,
				 .n_tiers = r->tiers.n,
				 .n_initiators = r->tiers.n_initiators,
				 .clock_ms = now_monotonic() / 1000,
				 .budget_pages = r->budget_pages };
	g_autoptr(GArray) regions = make_regions(r, t);
	g_autofree struct moves *moves = g_new0(struct moves, 1);
	struct plan_result result;

	in.regions = (struct plan_region *)regions->data;
	in.n_regions = regions->len;
	in.accounts = (struct plan_account *)r->accounts.plan->data;
	in.n_accounts = r->accounts.plan->len;
	if (regions->len == 0 || plan_run(&r->state->plan, &r->state->heat, &in, moves->list,
					  HELPER_SHIFTS_MAX, &result) < 0)
		return;
	r->wanted = result.wanted;
	moves->n = result.moves;
	for (uint32_t i = 0; i < moves->n; i++)
		moves->member[i] = member_of(r, t->chunks[moves->list[i].region].process);
	carry_out(r, moves);
}

/* ---- a round ---- */

static bool scan_is_due(const struct ordinary_round *r)
{
	const struct ordinary_state *s = r->state;

	return !s->members || s->scanned_for != r->policies ||
	       now_monotonic() - s->scanned_usec >= SCAN_USEC;
}

static void find_members(struct ordinary_round *r)
{
	struct ordinary_state *s = r->state;

	g_clear_pointer(&s->members, g_array_unref);
	s->members =
		ordinary_members(r->root_fd, r->policies, HELPER_PROCESSES_MAX, &s->more_members);
	s->scanned_usec = now_monotonic();
	s->scanned_for = r->policies;
}

static void look(struct ordinary_round *r)
{
	struct helper_request request = { .verb = HELPER_LOOK,
					  .requester = geteuid(),
					  .look = { .window_ms = r->window_ms,
						    .query = r->query,
						    .n = r->state->members->len } };
	struct ordinary_state *s = r->state;
	struct ordinary_table t;
	const void *data;
	uint64_t now;
	size_t size;

	for (unsigned int i = 0; i < s->members->len; i++)
		request.look.process[i] =
			(struct helper_process){ .start = member_of(r, i)->start,
						 .pid = (uint32_t)member_of(r, i)->pid };
	if (!ask(r, &request, &data, &size, &t))
		return;
	if (t.head->n_processes == s->members->len) {
		now = now_monotonic();
		for (unsigned int i = 0; i < t.head->n_processes; i++)
			r->left_out += t.processes[i].left_out;
		ordinary_take(s, &t, &r->tiers, now / 1000,
			      s->looked_usec > 0 ? (uint32_t)((now - s->looked_usec) / 1000)
						 : r->window_ms);
		s->looked_usec = now;
		r->cpu_usec += t.head->cpu_usec;
		place(r, &t);
		/* A move that failed ends the connection, and with it what members are. */
		if (s->members)
			count_use(r, &t);
	}
	munmap((void *)data, size);
}

void ordinary_round_run(struct work *w)
{
	struct ordinary_round *r = (struct ordinary_round *)w;
	uint64_t cpu = now_of(CLOCK_THREAD_CPUTIME_ID);
	bool scan = scan_is_due(r);

	r->use = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	r->trouble = ordinary_peers(r->root_fd, scan);
	r->peer = r->trouble != NULL;
	if (r->peer) {
		ordinary_state_end(r->state);
	} else {
		if (scan)
			find_members(r);
		r->processes = r->state->members->len;
		r->more = r->state->more_members;
		if (r->processes == 0) {
			ordinary_state_end(r->state);
		} else {
			look_at_tiers(r);
			look(r);
		}
	}
	r->cpu_usec += now_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
}
