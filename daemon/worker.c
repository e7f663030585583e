// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "worker.h"

/* Ends that are told to the loop in one turn of it: the next client must not wait for hundreds. */
#define DONE_PER_TURN 8

struct owner_queue {
	uint32_t owner;
	GQueue work; /* of struct work, by its link */
	GList turn;  /* in pool->turns while there is work that may run */
	bool has_turn;
	unsigned int running;
};

struct worker_pool {
	char *name;
	sd_event_source *source;
	int event_fd;
	GPtrArray *threads; /* of GThread * */
	unsigned int max_threads, share;

	/* Not GLib's: those the thread sanitizer cannot see. */
	pthread_mutex_t lock; /* for all below */
	pthread_cond_t wake;
	GHashTable *owners; /* uid → struct owner_queue *, of those with work */
	GQueue turns;	    /* of struct owner_queue, the next one first */
	unsigned int waiting, idle;
	GQueue done; /* of struct work */
	bool stopping;
};

static void owner_queue_free(gpointer p)
{
	g_free(p);
}

/* With the lock held: queue the owner for a turn if there is work of theirs that may run; forget an owner
 * that has none. */
static void settle_owner(struct worker_pool *pool, struct owner_queue *q)
{
	if (q->has_turn)
		return;
	if (!g_queue_is_empty(&q->work) && q->running < pool->share) {
		q->has_turn = true;
		g_queue_push_tail_link(&pool->turns, &q->turn);
	} else if (g_queue_is_empty(&q->work) && q->running == 0) {
		g_hash_table_remove(pool->owners, GUINT_TO_POINTER(q->owner));
	}
}

/* With the lock held. NULL when there is none. */
static struct work *next_work(struct worker_pool *pool)
{
	GList *turn = g_queue_pop_head_link(&pool->turns);
	struct owner_queue *q;
	GList *link;

	if (!turn)
		return NULL;
	q = turn->data;
	q->has_turn = false;
	link = g_queue_pop_head_link(&q->work);
	pool->waiting--;
	q->running++;
	settle_owner(pool, q);
	return link->data;
}

/* With the lock held: what next_work() gave has run. */
static void work_ran(struct worker_pool *pool, uint32_t owner)
{
	struct owner_queue *q = g_hash_table_lookup(pool->owners, GUINT_TO_POINTER(owner));

	q->running--;
	settle_owner(pool, q);
}

static gpointer worker_main(gpointer data)
{
	struct worker_pool *pool = data;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct work *w;
		uint32_t owner;

		while (!pool->stopping && g_queue_is_empty(&pool->turns)) {
			pool->idle++;
			pthread_cond_wait(&pool->wake, &pool->lock);
			pool->idle--;
		}
		if (pool->stopping)
			break;
		w = next_work(pool);
		owner = w->owner;
		pthread_mutex_unlock(&pool->lock);

		w->run(w);

		pthread_mutex_lock(&pool->lock);
		/* This thread looks for the next piece itself: nobody need be woken. */
		work_ran(pool, owner);
		g_queue_push_tail_link(&pool->done, &w->link);
		/* The counter cannot overflow: the loop takes all of it at once. */
		if (eventfd_write(pool->event_fd, 1) < 0)
			g_assert_not_reached();
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static int on_done(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct worker_pool *pool = userdata;
	eventfd_t n;

	(void)eventfd_read(fd, &n);
	for (unsigned int i = 0; i < DONE_PER_TURN; i++) {
		GList *link;

		pthread_mutex_lock(&pool->lock);
		link = g_queue_pop_head_link(&pool->done);
		pthread_mutex_unlock(&pool->lock);
		if (!link)
			return 0;
		((struct work *)link->data)->done(link->data, true);
	}
	eventfd_write(fd, 1); /* come again */
	return 0;
}

int worker_pool_new(sd_event *event, const char *name, unsigned int threads,
		    struct worker_pool **ret_pool)
{
	struct worker_pool *pool = g_new0(struct worker_pool, 1);
	int r;

	pool->name = g_strdup(name);
	pool->max_threads = threads;
	pool->share = UINT_MAX;
	pool->threads = g_ptr_array_new();
	pool->owners = g_hash_table_new_full(NULL, NULL, NULL, owner_queue_free);
	g_queue_init(&pool->turns);
	g_queue_init(&pool->done);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);

	pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->event_fd < 0) {
		r = -errno;
		goto fail;
	}
	r = sd_event_add_io(event, &pool->source, pool->event_fd, EPOLLIN, on_done, pool);
	if (r < 0)
		goto fail;
	sd_event_source_set_description(pool->source, pool->name);

	*ret_pool = pool;
	return 0;
fail:
	worker_pool_free(pool);
	return r;
}

struct worker_pool *worker_pool_free(struct worker_pool *pool)
{
	GList *link;
	struct work *w;

	if (!pool)
		return NULL;

	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned int i = 0; i < pool->threads->len; i++)
		g_thread_join(pool->threads->pdata[i]);

	while ((link = g_queue_pop_head_link(&pool->done)))
		((struct work *)link->data)->done(link->data, true);
	while ((w = next_work(pool))) {
		work_ran(pool, w->owner);
		w->done(w, false);
	}

	sd_event_source_disable_unref(pool->source);
	if (pool->event_fd >= 0)
		close(pool->event_fd);
	g_ptr_array_unref(pool->threads);
	g_hash_table_unref(pool->owners);
	pthread_mutex_destroy(&pool->lock);
	pthread_cond_destroy(&pool->wake);
	g_free(pool->name);
	g_free(pool);
	return NULL;
}

void worker_pool_submit(struct worker_pool *pool, struct work *w)
{
	struct owner_queue *q;
	bool more;

	w->link = (GList){ .data = w };

	pthread_mutex_lock(&pool->lock);
	q = g_hash_table_lookup(pool->owners, GUINT_TO_POINTER(w->owner));
	if (!q) {
		q = g_new0(struct owner_queue, 1);
		q->owner = w->owner;
		q->turn.data = q;
		g_queue_init(&q->work);
		g_hash_table_insert(pool->owners, GUINT_TO_POINTER(q->owner), q);
	}
	g_queue_push_tail_link(&q->work, &w->link);
	settle_owner(pool, q);
	pool->waiting++;
	more = pool->waiting > pool->idle && pool->threads->len < pool->max_threads &&
	       !pool->stopping;
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);

	if (more) {
		GThread *t = g_thread_try_new(pool->name, worker_main, pool, NULL);

		if (t)
			g_ptr_array_add(pool->threads, t);
	}
}

void worker_pool_set_share(struct worker_pool *pool, unsigned int n)
{
	pool->share = n;
}

void worker_pool_set_threads(struct worker_pool *pool, unsigned int threads)
{
	pool->max_threads = threads;
}

unsigned int worker_pool_waiting(struct worker_pool *pool)
{
	unsigned int n;

	pthread_mutex_lock(&pool->lock);
	n = pool->waiting;
	pthread_mutex_unlock(&pool->lock);
	return n;
}
