// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "turns.h"

/* Calls served before the loop looks what else has come: it costs as much as a small call. */
#define CALLS_PER_TURN 16
#define TURN_USEC 500
/* What has become readable, looked at at once; cheap. */
#define WATCHED_AT_ONCE 256

/* A cgroup with users that have something to serve. */
struct party {
	struct turns *turns;
	char *key;
	unsigned int uses;
	GQueue users; /* of struct turn_user, the next one first */
	GList link;
	bool queued;
};

struct turn_user {
	struct party *party;
	uid_t uid;
	unsigned int uses;
	GQueue ready; /* of struct turn, the next one first */
	GList link;
	bool queued;
};

struct turns {
	sd_event_source *source, *watch_source;
	int watch_fd; /* an epoll of what turns watch */
	int event_fd; /* readable while awake: while something is queued */
	bool awake;
	GHashTable *parties; /* key → struct party */
	GHashTable *users;   /* a set, by party and uid */
	GQueue order;	     /* of struct party, the next one first */
};

static guint user_hash(gconstpointer p)
{
	const struct turn_user *u = p;

	return g_direct_hash(u->party) ^ (u->uid * 2654435761u);
}

static gboolean user_equal(gconstpointer p, gconstpointer q)
{
	const struct turn_user *a = p, *b = q;

	return a->party == b->party && a->uid == b->uid;
}

static void queue_party(struct party *party)
{
	if (party->queued)
		return;
	party->queued = true;
	g_queue_push_tail_link(&party->turns->order, &party->link);
}

static void queue_user(struct turn_user *u)
{
	if (!u->queued) {
		u->queued = true;
		g_queue_push_tail_link(&u->party->users, &u->link);
	}
	queue_party(u->party);
}

/* The next turn, and its user and cgroup to the end of the line. */
static struct turn *take_next(struct turns *turns)
{
	while (!g_queue_is_empty(&turns->order)) {
		struct party *party = g_queue_pop_head_link(&turns->order)->data;
		struct turn_user *u;
		struct turn *t;
		GList *link;

		party->queued = false;
		link = g_queue_pop_head_link(&party->users);
		if (!link)
			continue;
		u = link->data;
		u->queued = false;
		link = g_queue_pop_head_link(&u->ready);
		if (!g_queue_is_empty(&u->ready))
			queue_user(u);
		else if (!g_queue_is_empty(&party->users))
			queue_party(party);
		if (!link)
			continue;
		t = link->data;
		t->queued = false;
		return t;
	}
	return NULL;
}

static int on_turn(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct turns *turns = userdata;
	uint64_t end = now_monotonic() + TURN_USEC;

	for (unsigned int i = 0; i < CALLS_PER_TURN; i++) {
		struct turn *t = take_next(turns);

		if (!t)
			break;
		if (t->run(t))
			turn_ready(t);
		if (now_monotonic() >= end)
			break;
	}
	if (g_queue_is_empty(&turns->order)) {
		eventfd_t n;

		turns->awake = false;
		(void)eventfd_read(fd, &n);
	}
	return 0;
}

static int on_watched(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct epoll_event events[WATCHED_AT_ONCE];
	int n = epoll_wait(fd, events, WATCHED_AT_ONCE, 0);

	for (int i = 0; i < n; i++)
		turn_ready(events[i].data.ptr);
	return 0;
}

int turns_new(sd_event *event, struct turns **ret_turns)
{
	struct turns *turns = g_new0(struct turns, 1);
	int r;

	turns->parties = g_hash_table_new(g_str_hash, g_str_equal);
	turns->users = g_hash_table_new(user_hash, user_equal);
	g_queue_init(&turns->order);
	/* A "defer" source would always be the oldest that is pending, and sockets would wait for it. */
	turns->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = turns->event_fd < 0 ? -errno
				: sd_event_add_io(event, &turns->source, turns->event_fd, EPOLLIN,
						  on_turn, turns);
	turns->watch_fd = epoll_create1(EPOLL_CLOEXEC);
	if (r >= 0)
		r = turns->watch_fd < 0
			    ? -errno
			    : sd_event_add_io(event, &turns->watch_source, turns->watch_fd, EPOLLIN,
					      on_watched, turns);
	if (r < 0) {
		turns_free(turns);
		return r;
	}
	*ret_turns = turns;
	return 0;
}

struct turns *turns_free(struct turns *turns)
{
	if (!turns)
		return NULL;
	sd_event_source_disable_unref(turns->source);
	sd_event_source_disable_unref(turns->watch_source);
	if (turns->event_fd >= 0)
		close(turns->event_fd);
	if (turns->watch_fd >= 0)
		close(turns->watch_fd);
	g_hash_table_unref(turns->users);
	g_hash_table_unref(turns->parties);
	g_free(turns);
	return NULL;
}

/* "/system.slice/x.service/a/b" → "/system.slice/x.service". */
static char *party_key(const char *cgroup)
{
	const char *end = cgroup;

	for (unsigned int i = 0; i < 2 && *end == '/'; i++)
		end += 1 + strcspn(end + 1, "/");
	return g_strndup(cgroup, end - cgroup);
}

void turn_init(struct turn *t, struct turns *turns, const struct caller *caller,
	       bool (*run)(struct turn *t))
{
	g_autofree char *key = party_key(caller->cgroup);
	struct party *party = g_hash_table_lookup(turns->parties, key);
	struct turn_user user_key, *u;

	if (!party) {
		party = g_new0(struct party, 1);
		party->turns = turns;
		party->key = g_steal_pointer(&key);
		party->link.data = party;
		g_queue_init(&party->users);
		g_hash_table_insert(turns->parties, party->key, party);
	}
	user_key = (struct turn_user){ .party = party, .uid = caller->uid };
	u = g_hash_table_lookup(turns->users, &user_key);
	if (!u) {
		u = g_new0(struct turn_user, 1);
		u->party = party;
		u->uid = caller->uid;
		u->link.data = u;
		g_queue_init(&u->ready);
		g_hash_table_add(turns->users, u);
		party->uses++;
	}
	u->uses++;
	*t = (struct turn){
		.run = run, .turns = turns, .user = u, .link = { .data = t }, .watched = -1
	};
}

int turn_watch(struct turn *t, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events | EPOLLONESHOT, .data = { .ptr = t } };
	int r = epoll_ctl(t->turns->watch_fd, t->watched < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd,
			  &event);

	if (r < 0)
		return -errno;
	t->watched = fd;
	return 0;
}

void turn_ready(struct turn *t)
{
	if (!t->user || t->queued)
		return;
	t->queued = true;
	g_queue_push_tail_link(&t->user->ready, &t->link);
	queue_user(t->user);
	if (!t->turns->awake) {
		t->turns->awake = true;
		(void)eventfd_write(t->turns->event_fd, 1);
	}
}

void turn_end(struct turn *t)
{
	struct turn_user *u = t->user;
	struct party *party;

	if (!u)
		return;
	/* Events that on_watched() holds are none of those that end in it: it only queues. */
	if (t->watched >= 0)
		epoll_ctl(t->turns->watch_fd, EPOLL_CTL_DEL, t->watched, NULL);
	if (t->queued)
		g_queue_unlink(&u->ready, &t->link);
	t->queued = false;
	t->user = NULL;
	if (--u->uses > 0)
		return;
	party = u->party;
	if (u->queued)
		g_queue_unlink(&party->users, &u->link);
	g_hash_table_remove(t->turns->users, u);
	g_free(u);
	if (--party->uses > 0)
		return;
	if (party->queued)
		g_queue_unlink(&t->turns->order, &party->link);
	g_hash_table_remove(t->turns->parties, party->key);
	g_free(party->key);
	g_free(party);
}
