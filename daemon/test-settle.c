/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "settle.h"

#include <glib.h>

#include "hotplug.h"

#define MS UINT64_C(1000)

static void count(void *userdata)
{
	(*(unsigned int *)userdata)++;
}

static uint64_t now(void)
{
	return (uint64_t)g_get_monotonic_time();
}

/* Runs the loop until calls are made, and says how long it took. */
static uint64_t run_until(sd_event *event, const unsigned int *calls, unsigned int wanted)
{
	uint64_t start = now();

	while (*calls < wanted && now() - start < 10000 * MS)
		g_assert_cmpint(sd_event_run(event, 100 * MS), >=, 0);
	g_assert_cmpuint(*calls, ==, wanted);
	return now() - start;
}

static void test_burst(void)
{
	unsigned int calls = 0;
	struct settle *s;
	sd_event *event;

	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(settle_new(event, 30 * MS, 500 * MS, count, &calls, &s), ==, 0);
	/* Nothing without a poke. */
	g_assert_cmpint(sd_event_run(event, 40 * MS), ==, 0);
	g_assert_cmpuint(calls, ==, 0);
	/* Many pokes, one call; and again. */
	for (unsigned int round = 1; round <= 2; round++) {
		for (int i = 0; i < 1000; i++)
			g_assert_cmpint(settle_poke(s), ==, 0);
		g_assert_cmpuint(run_until(event, &calls, round), >=, 25 * MS);
	}
	g_assert_cmpint(sd_event_run(event, 60 * MS), ==, 0);
	g_assert_cmpuint(calls, ==, 2);
	/* A pending one goes with its owner. */
	settle_poke(s);
	settle_free(s);
	g_assert_cmpint(sd_event_run(event, 60 * MS), ==, 0);
	g_assert_cmpuint(calls, ==, 2);
	sd_event_unref(event);
}

struct storm {
	struct settle *settle;
	uint64_t end;
};

static int on_storm(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct storm *storm = userdata;

	g_assert_cmpint(settle_poke(storm->settle), ==, 0);
	if (now() > storm->end)
		return 0;
	sd_event_source_set_time_relative(source, 2 * MS);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void test_storm(void)
{
	sd_event_source *source = NULL;
	struct storm storm = { .end = now() + 2000 * MS };
	unsigned int calls = 0;
	sd_event *event;

	/* Pokes all 2 ms for two seconds never leave 100 ms quiet: the call comes all the same. */
	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(settle_new(event, 100 * MS, 300 * MS, count, &calls, &storm.settle), ==, 0);
	g_assert_cmpint(sd_event_add_time_relative(event, &source, CLOCK_MONOTONIC, 2 * MS, 1,
						   on_storm, &storm),
			>=, 0);
	g_assert_cmpuint(run_until(event, &calls, 1), <, 1500 * MS);
	sd_event_source_disable_unref(source);
	settle_free(storm.settle);
	sd_event_unref(event);
}

/* A monitor can be had, and lets go of all it has (the sanitizers look). */
static void test_monitor(void)
{
	struct hotplug *h = NULL;
	unsigned int calls = 0;
	sd_event *event;
	int r;

	g_assert_cmpint(sd_event_new(&event), >=, 0);
	r = hotplug_new(event, count, &calls, &h);
	if (r < 0) {
		g_test_skip("no netlink socket for events of devices here");
	} else {
		g_assert_cmpint(sd_event_run(event, 0), >=, 0);
		hotplug_free(h);
	}
	g_assert_null(hotplug_free(NULL));
	sd_event_unref(event);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/settle/burst", test_burst);
	g_test_add_func("/settle/storm", test_storm);
	g_test_add_func("/hotplug/monitor", test_monitor);
	return g_test_run();
}
