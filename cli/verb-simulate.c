// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "core/replay.h"
#include "daemon/parse-size.h"

/* Between runs of the planner, as in the daemon. */
#define PLAN_MS 2000

struct tier_spec {
	char *name;
	uint64_t pages;
	struct plan_path path;
};

/* CGROUP:KEY[.TIER]=VALUE */
struct budget {
	char *cgroup;
	char *text; /* as given */
	enum {
		BUDGET_LOW,
		BUDGET_HIGH,
		BUDGET_MAX,
		BUDGET_WEIGHT
	} key;
	unsigned int tier;
	uint64_t value; /* pages, or the weight */
	bool used;
};

struct simulation {
	GMappedFile *file;
	const char *path;
	struct tier_spec tiers[PLAN_MAX_TIERS];
	unsigned int n_tiers;
	GArray *budgets;
	uint32_t *sizes;
	struct replay_extent extent;
	void *memory;
	struct replay replay;
	struct plan_tier plan_tiers[PLAN_MAX_TIERS];
	uint64_t capacity[PLAN_MAX_TIERS];
};

static void budget_clear(void *p)
{
	struct budget *b = p;

	g_free(b->cgroup);
	g_free(b->text);
}

static void simulation_clear(struct simulation *s)
{
	for (unsigned int t = 0; t < PLAN_MAX_TIERS; t++)
		g_free(s->tiers[t].name);
	g_clear_pointer(&s->budgets, g_array_unref);
	g_clear_pointer(&s->file, g_mapped_file_unref);
	g_free(s->sizes);
	free(s->memory);
}
typedef struct simulation Simulation;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Simulation, simulation_clear)

/* --- what to simulate ------------------------------------------------------------------------ */

static int find_tier(const struct simulation *s, const char *name)
{
	for (unsigned int t = 0; t < s->n_tiers; t++) {
		if (s->tiers[t].name && strcmp(s->tiers[t].name, name) == 0)
			return (int)t;
	}
	return -1;
}

/* The first pass: the trace's own tiers, and how large all is. */
static int scan(struct simulation *s)
{
	const void *data = g_mapped_file_get_contents(s->file);
	uint64_t size = g_mapped_file_get_length(s->file);
	struct trace_reader reader;
	struct trace_event e;
	int r;

	s->sizes = g_new(uint32_t, TRACE_REGIONS_MAX);
	r = replay_scan(data, size, s->sizes, &s->extent);
	if (r == -EOPNOTSUPP)
		return cli_fail(STATUS_FAILED, "%s was written by a later version of morsel",
				s->path);
	if (r == -ERANGE)
		return cli_fail(
			STATUS_FAILED,
			"%s watches more than %u GiB, which is the most that can be simulated",
			s->path, REPLAY_GRANULES_MAX / 512);
	if (r < 0 || trace_open(&reader, data, size) < 0)
		return cli_fail(STATUS_FAILED, "%s is no trace, or its header is damaged", s->path);
	if (!s->extent.rounds)
		return cli_fail(STATUS_FAILED, "%s has no round that can be read (%s)", s->path,
				trace_end_text(s->extent.end));
	while (trace_next(&reader, &e) > 0) {
		struct tier_spec *t = &s->tiers[e.index];

		if (e.tag != TRACE_TIER)
			continue;
		g_free(t->name);
		t->name = g_utf8_make_valid(e.name, (gssize)e.name_length);
		t->pages = e.pages;
		t->path = e.path;
	}
	s->n_tiers = s->extent.tiers;
	return STATUS_OK;
}

/* "NAME:SIZE[:LATENCY[:BANDWIDTH]]": changes one of the trace's, or adds one. */
static int parse_tier(struct simulation *s, const struct verb *verb, const char *text)
{
	g_auto(GStrv) parts = g_strsplit(text, ":", 0);
	unsigned int n = g_strv_length(parts);
	struct tier_spec *t;
	uint64_t bytes;
	int i, status;

	if (n < 2 || n > 4 || !parts[0][0])
		return cli_usage(verb, "--tiers: '%s' is not NAME:SIZE[:LATENCY[:BANDWIDTH]]",
				 text);
	status = cli_parse_size(verb, "--tiers", parts[1], &bytes);
	if (status != STATUS_OK)
		return status;
	if (bytes >> 60)
		return cli_usage(verb, "--tiers: '%s': %s is too much", text, parts[1]);
	i = find_tier(s, parts[0]);
	if (i < 0 && s->n_tiers >= PLAN_ABSENT)
		return cli_usage(verb, "--tiers: there can be %u tiers at most", PLAN_ABSENT);
	if (i < 0 && n < 3)
		return cli_usage(
			verb,
			"--tiers: the trace has no tier '%s', so it needs a latency: %s:%s:NS",
			parts[0], parts[0], parts[1]);
	t = &s->tiers[i < 0 ? s->n_tiers++ : (unsigned int)i];
	if (i < 0)
		t->name = g_strdup(parts[0]);
	t->pages = bytes / 4096;
	if (n > 2 && (parse_u32(parts[2], &t->path.latency_ns) < 0 || !t->path.latency_ns))
		return cli_usage(verb, "--tiers: '%s': '%s' is no latency in ns", text, parts[2]);
	if (n > 3 && parse_u32(parts[3], &t->path.bandwidth_mbs) < 0)
		return cli_usage(verb, "--tiers: '%s': '%s' is no bandwidth in MB/s", text,
				 parts[3]);
	return STATUS_OK;
}

static int parse_budget(struct simulation *s, const struct verb *verb, const char *text)
{
	static const char *const keys[] = { "Low.", "High.", "Max." };
	const char *colon = strrchr(text, ':'), *value = colon ? strchr(colon, '=') : NULL;
	g_autofree char *tier = NULL;
	struct budget b = {};
	uint32_t weight;
	uint64_t bytes;
	int found, status;

	if (!value)
		return cli_usage(verb, "--policy: '%s' is neither 'none' nor CGROUP:KEY=VALUE",
				 text);
	value++;
	if (g_str_has_prefix(colon + 1, "Weight=")) {
		if (parse_u32(value, &weight) < 0 || !weight || weight > 10000)
			return cli_usage(verb, "--policy: '%s': a weight is 1 to 10000", text);
		b.key = BUDGET_WEIGHT;
		b.value = weight;
	} else {
		for (b.key = BUDGET_LOW; b.key < BUDGET_WEIGHT; b.key++) {
			if (g_str_has_prefix(colon + 1, keys[b.key]))
				break;
		}
		if (b.key == BUDGET_WEIGHT)
			return cli_usage(
				verb,
				"--policy: '%s': the keys are Low.TIER, High.TIER, Max.TIER and Weight",
				text);
		colon++;
		tier = g_strndup(colon + strlen(keys[b.key]),
				 (gsize)(value - 1 - colon) - strlen(keys[b.key]));
		found = find_tier(s, tier);
		if (found < 0)
			return cli_usage(verb, "--policy: '%s': there is no tier '%s'", text, tier);
		status = cli_parse_size(verb, "--policy", value, &bytes);
		if (status != STATUS_OK)
			return status;
		b.tier = (unsigned int)found;
		b.value = bytes / 4096;
		colon--;
	}
	b.cgroup = g_strndup(text, (gsize)(colon - text));
	b.text = g_strdup(text);
	g_array_append_val(s->budgets, b);
	return STATUS_OK;
}

/* As the trace brings an account: what was asked for it on the command line. */
static void set_budget(void *userdata, uint32_t index, const char *name, uint32_t name_length,
		       struct plan_account *a)
{
	struct simulation *s = userdata;

	for (unsigned int i = 0; i < s->budgets->len; i++) {
		struct budget *b = &g_array_index(s->budgets, struct budget, i);

		if (strlen(b->cgroup) != name_length || memcmp(b->cgroup, name, name_length) != 0)
			continue;
		b->used = true;
		if (b->key == BUDGET_WEIGHT)
			a->weight = (uint32_t)b->value;
		else
			(b->key == BUDGET_LOW	 ? a->low
			 : b->key == BUDGET_HIGH ? a->high
						 : a->max)[b->tier] = b->value;
	}
}

/* --- results --------------------------------------------------------------------------------- */

static json_t *tier_to_json(const struct simulation *s, unsigned int t)
{
	const struct sim_report *p = &s->replay.sim.report;
	const uint64_t *const served[] = { p->served, p->settled, p->oracle, p->oracle_phase,
					   p->oracle_pages };
	static const char *const names[] = { "served", "settled", "oracle", "oracle_phase",
					     "oracle_pages" };
	json_t *j = json_pack("{s:s, s:I, s:I, s:I}", "name", s->tiers[t].name, "capacity_bytes",
			      (json_int_t)(s->capacity[t] * 4096), "latency_ns",
			      (json_int_t)s->tiers[t].path.latency_ns, "bandwidth_mbs",
			      (json_int_t)s->tiers[t].path.bandwidth_mbs);

	for (unsigned int i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *accesses = g_strdup_printf("%s_accesses", names[i]);
		g_autofree char *ppm = g_strdup_printf("%s_ppm", names[i]);

		json_object_set_new(j, accesses, json_integer((json_int_t)served[i][t]));
		json_object_set_new(j, ppm, json_integer(sim_share(served[i], t, s->n_tiers)));
	}
	return j;
}

static json_t *result_to_json(const struct simulation *s)
{
	const struct sim_report *p = &s->replay.sim.report;
	json_t *tiers = json_array();

	for (unsigned int t = 0; t < s->n_tiers; t++)
		json_array_append_new(tiers, tier_to_json(s, t));
	return json_pack(
		"{s:{s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I}, s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}}",
		"trace", "file", s->path, "complete", s->extent.end == TRACE_GOOD, "state",
		trace_end_text(s->extent.end), "usable_bytes", (json_int_t)s->extent.good, "rounds",
		(json_int_t)s->extent.rounds, "duration_ms", (json_int_t)s->extent.clock_ms,
		"regions", (json_int_t)s->extent.regions, "watched_bytes",
		(json_int_t)s->extent.granules * HEAT_GRANULE, "accesses", (json_int_t)p->accesses,
		"tiers", tiers, "moves", "up_bytes", (json_int_t)(p->up * 4096), "down_bytes",
		(json_int_t)(p->down * 4096), "needed_bytes", (json_int_t)(p->needed * 4096),
		"ping_pong_bytes", (json_int_t)(p->ping_pong * 4096), "moves", (json_int_t)p->moves,
		"page_moves", (json_int_t)p->page_moves, "latency_ns", (json_int_t)p->latency_ns,
		"latency_oracle_ns", (json_int_t)p->latency_oracle_ns);
}

static void print_share(struct table *t, uint64_t ppm)
{
	table_cell_take(t, g_strdup_printf("%.2f %%", (double)ppm / 10000));
}

static void print_result(const json_t *result, bool pages)
{
	const json_t *trace = get_object(result, "trace"), *moves = get_object(result, "moves");
	g_autofree char *watched = format_bytes(get_u64(trace, "watched_bytes"));
	g_autofree char *lasts = format_duration((double)get_u64(trace, "duration_ms") / 1000);
	g_autofree char *up = format_bytes(get_u64(moves, "up_bytes"));
	g_autofree char *down = format_bytes(get_u64(moves, "down_bytes"));
	g_autofree char *needed = format_bytes(get_u64(moves, "needed_bytes"));
	g_autofree char *back = format_bytes(get_u64(moves, "ping_pong_bytes"));
	struct table *t = table_new();
	json_t *tier;
	size_t i;

	printf("%" PRIu64 " rounds in %s, %s watched; the trace is %s.\n\n",
	       get_u64(trace, "rounds"), lasts, watched, get_string(trace, "state"));
	table_column(t, "TIER");
	table_column_right(t, "CAPACITY");
	table_column_right(t, "LATENCY");
	table_column_right(t, "SERVED");
	table_column_right(t, "BEST FIXED");
	table_column_right(t, "BEST BY PHASE");
	if (pages)
		table_column_right(t, "BEST BY PAGE");
	json_array_foreach(get_array(result, "tiers"), i, tier)
	{
		table_row(t);
		table_cell(t, get_string(tier, "name"));
		table_cell_take(t, format_bytes(get_u64(tier, "capacity_bytes")));
		table_cell_take(t, g_strdup_printf("%" PRIu64 " ns", get_u64(tier, "latency_ns")));
		print_share(t, get_u64(tier, "settled_ppm"));
		print_share(t, get_u64(tier, "oracle_ppm"));
		print_share(t, get_u64(tier, "oracle_phase_ppm"));
		if (pages)
			print_share(t, get_u64(tier, "oracle_pages_ppm"));
	}
	table_print_free(t);
	printf("\nMoved up %s, down %s; the best by phase moves %s. Came back within a minute: %s.\n",
	       up, down, needed, back);
}

/* --- the verb -------------------------------------------------------------------------------- */

static int simulate(struct simulation *s, struct sim_config *config)
{
	const void *data = g_mapped_file_get_contents(s->file);
	uint64_t size;
	int r;

	config->tiers = s->n_tiers;
	r = replay_size(&s->extent, config, &size);
	if (r < 0)
		return cli_fail(STATUS_FAILED, "%s cannot be simulated: %s", s->path,
				g_strerror(-r));
	s->memory = malloc(size);
	if (!s->memory)
		return cli_fail(STATUS_FAILED, "simulating %s needs %" PRIu64 " MiB of memory",
				s->path, size >> 20);
	r = replay_init(&s->replay, data, g_mapped_file_get_length(s->file), &s->extent, s->sizes,
			config, s->memory, size);
	for (unsigned int t = 0; t < s->n_tiers; t++) {
		s->capacity[t] = s->tiers[t].pages;
		s->plan_tiers[t].from[0] = s->tiers[t].path;
		/* Of the trace, and without a name: there is none. */
		if (!s->tiers[t].name)
			s->tiers[t].name = g_strdup("-");
		if (!s->capacity[t])
			s->plan_tiers[t].state = PLAN_OFFLINE;
	}
	s->replay.sim.tiers = s->plan_tiers;
	s->replay.sim.capacity = s->capacity;
	s->replay.account = set_budget;
	s->replay.userdata = s;
	if (r == 0)
		r = replay_run(&s->replay, PLAN_MS);
	if (r < 0)
		return cli_fail(STATUS_FAILED, "%s cannot be simulated: %s", s->path,
				g_strerror(-r));
	for (unsigned int i = 0; i < s->budgets->len; i++) {
		const struct budget *b = &g_array_index(s->budgets, struct budget, i);

		if (!b->used)
			return cli_fail(STATUS_NO_OBJECT,
					"--policy: '%s': the trace has no cgroup '%s'", b->text,
					b->cgroup);
	}
	if (s->replay.sim.report.problems) {
		const struct plan_problem *p = &s->replay.sim.report.problem;

		cli_fail(STATUS_OK, "tier %s: %s (%" PRIu64 " times in all), going on",
			 p->tier < s->n_tiers ? s->tiers[p->tier].name : "-",
			 plan_fault_text(p->fault), s->replay.sim.report.problems);
	}
	return STATUS_OK;
}

static int parse_all(struct simulation *s, const struct verb *verb, const char *tiers,
		     char **policies, struct sim_config *config)
{
	g_auto(GStrv) specs = g_strsplit(tiers ? tiers : "", ",", 0);
	int status = STATUS_OK;

	for (unsigned int i = 0; specs[i] && status == STATUS_OK; i++)
		status = parse_tier(s, verb, specs[i]);
	if (status == STATUS_OK && !s->n_tiers)
		status = cli_usage(verb, "%s has no tiers: give some with --tiers", s->path);
	for (unsigned int i = 0; policies && policies[i] && status == STATUS_OK; i++) {
		if (strcmp(policies[i], "none") == 0)
			config->stay = true;
		else
			status = parse_budget(s, verb, policies[i]);
	}
	return status;
}

static int run_simulate(struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	g_autofree char *tiers = NULL;
	g_auto(GStrv) policies = NULL, arguments = NULL;
	gboolean pages = FALSE;
	int settle = 60, phase = 60, status;
	const GOptionEntry entries[] = {
		{ "tiers", 0, 0, G_OPTION_ARG_STRING, &tiers,
		  "Change tiers of the trace, or add some: NAME:SIZE[:NS[:MB/S]],…", "TIERS" },
		{ "policy", 0, 0, G_OPTION_ARG_STRING_ARRAY, &policies,
		  "CGROUP:Max.TIER=SIZE (Low, High, Weight); or none: no moves", "POLICY" },
		{ "settle", 0, 0, G_OPTION_ARG_INT, &settle, "Shares from then on (60)",
		  "SECONDS" },
		{ "phase", 0, 0, G_OPTION_ARG_INT, &phase,
		  "Length of the oracle's phases (60; 0: one)", "SECONDS" },
		{ "pages", 0, 0, G_OPTION_ARG_NONE, &pages,
		  "The best placement of single pages, too", NULL },
		{ NULL },
	};
	g_auto(Simulation) s = { .budgets = g_array_new(FALSE, TRUE, sizeof(struct budget)) };
	g_autoptr(GError) error = NULL;
	g_autoptr(json_t) result = NULL;
	struct sim_config config = {};

	g_array_set_clear_func(s.budgets, budget_clear);
	status = cli_parse(cli, verb, entries, argc, argv, &arguments);
	if (status != STATUS_OK)
		return status;
	if (settle < 0 || phase < 0 || settle > 1000000 || phase > 1000000)
		return cli_usage(verb, "--settle and --phase: 0 to 1000000 seconds");
	config.settle_ms = (uint32_t)settle * 1000;
	config.phase_ms = (uint32_t)phase * 1000;
	config.pages = pages;
	s.path = arguments[0];
	s.file = g_mapped_file_new(s.path, FALSE, &error);
	if (!s.file)
		return cli_fail(STATUS_FAILED, "%s", error->message);
	status = scan(&s);
	if (status == STATUS_OK)
		status = parse_all(&s, verb, tiers, policies, &config);
	if (status == STATUS_OK)
		status = simulate(&s, &config);
	if (status != STATUS_OK)
		return status;
	if (s.extent.end != TRACE_GOOD)
		cli_fail(STATUS_OK, "%s is %s; used what stands before", s.path,
			 trace_end_text(s.extent.end));
	result = result_to_json(&s);
	if (cli->json)
		print_json(result);
	else
		print_result(result, pages);
	return STATUS_OK;
}

const struct verb verb_simulate = {
	.name = "simulate",
	.arguments = "TRACE",
	.summary = "What placement would do with a recorded trace",
	.description =
		"Runs the daemon's planner over a trace, with other tiers or budgets if wanted, and compares with\n"
		"the best that could be done by one who knows the future. Needs no daemon. --policy may be given\n"
		"several times.",
	.min = 1,
	.max = 1,
	.run = run_simulate,
};
