// SPDX-License-Identifier: GPL-2.0-or-later
#include "placer.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "helper-client.h"
#include "helper/attach.h"
#include "log.h"

/*
 * So long after a failure, or while another program is registered, nothing is tried by itself; twice as long each time. Short
 * at first: the kernel takes its time to let go of a program that has just ended.
 */
#define RETRY_MIN_USEC UINT64_C(250000)
#define RETRY_MAX_USEC (10 * UINT64_C(1000000))
/* How soon the end of the connection is noticed. */
#define LOOK_USEC UINT64_C(1000000)

struct entry {
	uint64_t account;
	struct morsel_policy policy; /* count 0: to be taken out of the map */
};

struct placer {
	pthread_t thread;
	int root_fd;
	char *path;

	pthread_mutex_t lock; /* of what is below */
	pthread_cond_t wake;
	GHashTable *entries; /* of struct entry, by account */
	GHashTable *unsent;  /* accounts; the keys are those of entries */
	unsigned int policies;
	bool stopping, sending;
	uint64_t retry_at; /* monotonic clock */
	uint64_t retry_usec;
	enum placer_state state;
	char *text;

	int socket; /* the thread's alone; -1: not attached */
};

/* --- Talking, without the lock --------------------------------------------------------------- */

static int ask(struct placer *p, const struct helper_request *request, char **ret_text)
{
	struct helper_reply reply;
	int r = helper_client_ask(p->socket, request, &reply);

	if (r == 0 && ret_text)
		*ret_text = g_strdup(reply.text);
	return r < 0 ? r : reply.result;
}

static void hang_up(struct placer *p)
{
	if (p->socket >= 0)
		close(p->socket);
	p->socket = -1;
}

static int attach(struct placer *p, char **ret_text)
{
	const struct helper_request request = { .verb = HELPER_ATTACH, .requester = geteuid() };
	int r = helper_client_connect(p->path, &p->socket);

	if (r < 0) {
		*ret_text = g_strdup_printf("%s: %s", p->path, g_strerror(-r));
		return -ENOTCONN;
	}
	r = ask(p, &request, ret_text);
	if (r < 0)
		hang_up(p);
	if (r < 0 && !*ret_text)
		*ret_text = g_strdup(g_strerror(-r));
	return r;
}

static void detach(struct placer *p)
{
	const struct helper_request request = { .verb = HELPER_DETACH, .requester = geteuid() };

	if (p->socket >= 0)
		(void)ask(p, &request, NULL);
	hang_up(p);
}

static bool is_over(int socket)
{
	struct pollfd poll_fd = { .fd = socket, .events = POLLIN | POLLRDHUP };

	return poll(&poll_fd, 1, 0) > 0;
}

/* --- The thread, with the lock held but for talking ------------------------------------------ */

static void tell(struct placer *p, enum placer_state state, char *text)
{
	bool news = state != p->state || g_strcmp0(text, p->text) != 0;

	p->state = state;
	g_free(p->text);
	p->text = text;
	if (!news)
		return;
	if (state == PLACER_ATTACHED)
		log_line(LOG_INFO, LOG_PLACEMENT, text, "placement program %s is asked", text);
	else if (state == PLACER_OTHER)
		log_line(LOG_NOTICE, LOG_PLACEMENT, NULL,
			 "another placement program is registered, leaving it there");
	else if (state == PLACER_ABSENT || state == PLACER_FAILED)
		log_line(LOG_NOTICE, LOG_PLACEMENT, NULL,
			 "no placement program (%s): policies count when a morsel is created",
			 text);
}

static void wait_usec(struct placer *p, uint64_t usec)
{
	uint64_t until = now_monotonic() + usec;
	const struct timespec t = { .tv_sec = (time_t)(until / 1000000),
				    .tv_nsec = (long)(until % 1000000 * 1000) };

	pthread_cond_timedwait(&p->wake, &p->lock, &t);
}

static gboolean is_nothing(gpointer key, gpointer value, gpointer userdata)
{
	const struct entry *e = value;

	return e->policy.count == 0;
}

static void retry_now(struct placer *p)
{
	p->retry_at = 0;
	p->retry_usec = RETRY_MIN_USEC;
}

static void retry_later(struct placer *p)
{
	p->retry_at = now_monotonic() + p->retry_usec;
	p->retry_usec = MIN(2 * p->retry_usec, RETRY_MAX_USEC);
}

/* A new map is empty. */
static void begin_anew(struct placer *p)
{
	GHashTableIter iter;
	gpointer key;

	g_hash_table_remove_all(p->unsent);
	g_hash_table_foreach_remove(p->entries, is_nothing, NULL);
	g_hash_table_iter_init(&iter, p->entries);
	while (g_hash_table_iter_next(&iter, &key, NULL))
		g_hash_table_add(p->unsent, key);
}

static void try_attach(struct placer *p)
{
	uint64_t now = now_monotonic();
	char *text = NULL;
	int r;

	if (p->retry_at > now) {
		wait_usec(p, p->retry_at - now);
		return;
	}
	pthread_mutex_unlock(&p->lock);
	r = attach(p, &text);
	pthread_mutex_lock(&p->lock);
	if (r < 0) {
		retry_later(p);
	} else {
		retry_now(p);
		begin_anew(p);
	}
	tell(p,
	     r >= 0	      ? PLACER_ATTACHED
	     : r == -EBUSY    ? PLACER_OTHER
	     : r == -ENOTCONN ? PLACER_ABSENT
			      : PLACER_FAILED,
	     text);
}

static void send_one(struct placer *p)
{
	struct helper_request request = { .verb = HELPER_POLICY, .requester = geteuid() };
	GHashTableIter iter;
	gpointer key;
	int r;

	g_hash_table_iter_init(&iter, p->unsent);
	if (!g_hash_table_iter_next(&iter, &key, NULL))
		return;
	request.account = *(uint64_t *)key;
	request.policy = ((struct entry *)g_hash_table_lookup(p->entries, key))->policy;
	g_hash_table_remove(p->unsent, key);
	if (request.policy.count == 0)
		g_hash_table_remove(p->entries, &request.account);
	p->sending = true;
	pthread_mutex_unlock(&p->lock);
	r = ask(p, &request, NULL);
	if (r < 0)
		hang_up(p);
	pthread_mutex_lock(&p->lock);
	p->sending = false;
	if (r < 0) {
		retry_later(p);
		tell(p, PLACER_FAILED, g_strdup_printf("its map: %s", g_strerror(-r)));
	}
}

static bool is_wanted(const struct placer *p)
{
	return p->policies > 0 || faccessat(p->root_fd, ATTACH_OWN, F_OK, 0) == 0;
}

static void *run(void *userdata)
{
	struct placer *p = userdata;

	pthread_mutex_lock(&p->lock);
	while (!p->stopping) {
		if (p->socket >= 0 && is_over(p->socket)) {
			hang_up(p);
			tell(p, PLACER_TRYING, NULL);
		}
		if (!is_wanted(p)) {
			if (p->socket >= 0) {
				pthread_mutex_unlock(&p->lock);
				detach(p);
				pthread_mutex_lock(&p->lock);
			}
			tell(p, PLACER_IDLE, NULL);

			/* It may be wanted by now, or the end may have come. */
			if (!is_wanted(p) && !p->stopping)
				pthread_cond_wait(&p->wake, &p->lock);
		} else if (p->socket < 0) {
			try_attach(p);
		} else if (g_hash_table_size(p->unsent) > 0) {
			send_one(p);
		} else {
			wait_usec(p, LOOK_USEC);
		}
	}
	pthread_mutex_unlock(&p->lock);
	detach(p);
	return NULL;
}

/* --- For others ------------------------------------------------------------------------------ */

struct placer *placer_new(int root_fd, const char *socket_path)
{
	struct placer *p = g_new0(struct placer, 1);
	pthread_condattr_t clock;

	p->root_fd = root_fd;
	p->path = g_strdup(socket_path);
	p->socket = -1;
	retry_now(p);
	p->state = PLACER_TRYING;
	p->entries = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
	p->unsent = g_hash_table_new(g_int64_hash, g_int64_equal);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &clock);
	pthread_condattr_destroy(&clock);
	/* As GLib does with its threads. */
	if (pthread_create(&p->thread, NULL, run, p) != 0)
		g_error("no thread for the placement program");
	return p;
}

struct placer *placer_free(struct placer *p)
{
	if (!p)
		return NULL;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	g_hash_table_unref(p->unsent);
	g_hash_table_unref(p->entries);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	g_free(p->text);
	g_free(p->path);
	g_free(p);
	return NULL;
}

void placer_set(struct placer *p, uint64_t account, const struct morsel_policy *policy)
{
	struct entry *e;

	pthread_mutex_lock(&p->lock);
	e = g_hash_table_lookup(p->entries, &account);
	if (e ? memcmp(&e->policy, policy, sizeof(*policy)) == 0 : policy->count == 0)
		goto out;
	if (!e) {
		e = g_new0(struct entry, 1);
		e->account = account;
		g_hash_table_insert(p->entries, &e->account, e);
	}
	p->policies += (policy->count > 0) - (e->policy.count > 0);
	e->policy = *policy;
	g_hash_table_add(p->unsent, &e->account);
	retry_now(p);
	pthread_cond_signal(&p->wake);
out:
	pthread_mutex_unlock(&p->lock);
}

void placer_wake(struct placer *p)
{
	pthread_mutex_lock(&p->lock);
	retry_now(p);
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void placer_status(struct placer *p, struct placer_status *ret_status)
{
	pthread_mutex_lock(&p->lock);
	*ret_status = (struct placer_status){
		.state = p->state,
		.policies = p->policies,
		.sent = g_hash_table_size(p->unsent) == 0 && !p->sending,
		.text = g_strdup(p->text ? p->text : ""),
	};
	pthread_mutex_unlock(&p->lock);
}
