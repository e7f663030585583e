// SPDX-License-Identifier: GPL-2.0-or-later
#include <pthread.h>

#include "worker.h"

#define PIECES 2000

struct piece {
	struct work work;
	unsigned int number;
	bool ran;
	int *order; /* the next place to write its number to, by done */
	unsigned int *n;
};

static GThread *loop_thread;
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_open = PTHREAD_COND_INITIALIZER;
static bool gate_is_open;

static void run(struct work *w)
{
	struct piece *p = (struct piece *)w;

	g_assert_true(g_thread_self() != loop_thread);
	p->ran = true;
}

static void run_gate(struct work *w)
{
	pthread_mutex_lock(&gate_lock);
	while (!gate_is_open)
		pthread_cond_wait(&gate_open, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
	((struct piece *)w)->ran = true;
}

static void done(struct work *w, bool ran)
{
	struct piece *p = (struct piece *)w;

	g_assert_true(g_thread_self() == loop_thread);
	g_assert_true(ran == p->ran);
	p->order[(*p->n)++] = p->number;
}

static void set_gate(bool open)
{
	pthread_mutex_lock(&gate_lock);
	gate_is_open = open;
	pthread_cond_broadcast(&gate_open);
	pthread_mutex_unlock(&gate_lock);
}

static struct piece *pieces_new(unsigned int n, int *order, unsigned int *count)
{
	struct piece *pieces = g_new0(struct piece, n);

	for (unsigned int i = 0; i < n; i++) {
		pieces[i].work.run = run;
		pieces[i].work.done = done;
		pieces[i].number = i;
		pieces[i].order = order;
		pieces[i].n = count;
	}
	return pieces;
}

static void test_all_run(void)
{
	struct worker_pool *pool;
	sd_event *event;
	int order[PIECES];
	unsigned int n = 0;
	g_autofree struct piece *pieces = pieces_new(PIECES, order, &n);

	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(worker_pool_new(event, "test", 4, &pool), >=, 0);
	for (unsigned int i = 0; i < PIECES; i++) {
		pieces[i].work.owner = i % 10;
		worker_pool_submit(pool, &pieces[i].work);
	}
	while (n < PIECES)
		g_assert_cmpint(sd_event_run(event, 10000000), >, 0);
	for (unsigned int i = 0; i < PIECES; i++)
		g_assert_true(pieces[i].ran);
	worker_pool_free(pool);
	sd_event_unref(event);
}

/* One thread, held up until all is handed in: then owners take turns, each in its own order. */
static void test_fair(void)
{
	struct worker_pool *pool;
	sd_event *event;
	int order[64];
	unsigned int n = 0;
	g_autofree struct piece *pieces = pieces_new(64, order, &n);

	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(worker_pool_new(event, "test", 1, &pool), >=, 0);
	set_gate(false);
	pieces[0].work.run = run_gate;
	pieces[0].work.owner = 9;
	worker_pool_submit(pool, &pieces[0].work);
	/* Owner 1 has sixty, then owner 2 comes with three. */
	for (unsigned int i = 1; i < 64; i++) {
		pieces[i].work.owner = i <= 60 ? 1 : 2;
		worker_pool_submit(pool, &pieces[i].work);
	}
	set_gate(true);
	while (n < 64)
		g_assert_cmpint(sd_event_run(event, 10000000), >, 0);
	g_assert_cmpint(order[0], ==, 0);
	g_assert_cmpint(order[1], ==, 1);
	g_assert_cmpint(order[2], ==, 61);
	g_assert_cmpint(order[3], ==, 2);
	g_assert_cmpint(order[4], ==, 62);
	g_assert_cmpint(order[5], ==, 3);
	g_assert_cmpint(order[6], ==, 63);
	for (unsigned int i = 7; i < 64; i++)
		g_assert_cmpint(order[i], ==, (int)i - 3);
	worker_pool_free(pool);
	sd_event_unref(event);
}

/* A share of one: an owner's pieces run one after the other, in order, and the other thread is another's. */
static void test_share(void)
{
	struct worker_pool *pool;
	sd_event *event;
	int order[32];
	unsigned int n = 0;
	g_autofree struct piece *pieces = pieces_new(32, order, &n);

	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(worker_pool_new(event, "test", 2, &pool), >=, 0);
	worker_pool_set_share(pool, 1);
	set_gate(false);
	pieces[0].work.run = run_gate;
	for (unsigned int i = 0; i < 30; i++) {
		pieces[i].work.owner = 1;
		worker_pool_submit(pool, &pieces[i].work);
	}
	pieces[30].work.owner = 2;
	worker_pool_submit(pool, &pieces[30].work);
	while (n < 1)
		g_assert_cmpint(sd_event_run(event, 10000000), >, 0);
	g_assert_cmpint(order[0], ==, 30);
	g_assert_cmpuint(worker_pool_waiting(pool), ==, 29);
	set_gate(true);
	while (n < 31)
		g_assert_cmpint(sd_event_run(event, 10000000), >, 0);
	for (unsigned int i = 1; i < 31; i++)
		g_assert_cmpint(order[i], ==, (int)i - 1);
	/* Again, after the owner was forgotten. */
	pieces[31].work.owner = 1;
	worker_pool_submit(pool, &pieces[31].work);
	while (n < 32)
		g_assert_cmpint(sd_event_run(event, 10000000), >, 0);
	worker_pool_free(pool);
	sd_event_unref(event);
}

/* Freed with work waiting: each piece's end is told once, as not run. */
static void test_free(void)
{
	struct worker_pool *pool;
	sd_event *event;
	int order[64];
	unsigned int n = 0;
	g_autofree struct piece *pieces = pieces_new(64, order, &n);

	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(worker_pool_new(event, "test", 1, &pool), >=, 0);
	for (unsigned int i = 0; i < 64; i++)
		worker_pool_submit(pool, &pieces[i].work);
	worker_pool_free(pool);
	g_assert_cmpuint(n, ==, 64); /* done() has compared what it was told with what ran */
	sd_event_unref(event);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	loop_thread = g_thread_self();
	g_test_add_func("/worker/all-run", test_all_run);
	g_test_add_func("/worker/fair", test_fair);
	g_test_add_func("/worker/share", test_share);
	g_test_add_func("/worker/free", test_free);
	return g_test_run();
}
