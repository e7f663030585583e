// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "id-hash.h"
#include "keeper-io.h"
#include "keeper.h"
#include "log.h"

/* Sent in one turn of the loop: some 2,000 descriptors, less than a millisecond. */
#define BATCHES_PER_TURN 8
/* A keeper that takes nothing for so long is as good as none. */
#define STALL_USEC (5 * UINT64_C(1000000))
/* Too many descriptors on their way: the keeper takes them off as it reads. */
#define REFS_USEC 10000
#define RETRY_FIRST_USEC 10000
#define RETRY_LAST_USEC 5000000
/* Room for what is handed over while the keeper is not even started again: as much as may be had. */
#define SEND_BUFFER (4 << 20)

struct entry {
	sd_id128_t id;
	int fd; /* borrowed */
	bool sent;
};

struct op {
	enum keeper_type type; /* PUT or DROP */
	sd_id128_t id;
	int fd;
	keeper_done_t put_done; /* or NULL */
	void (*drop_done)(void *userdata);
	void *userdata;
};

struct keeper {
	sd_event *event;
	char *path;
	int fd; /* -1: not connected */
	enum keeper_state state;
	char *trouble;
	bool told; /* that it is away */

	GHashTable *entries; /* of struct entry, a set keyed by id */
	unsigned int sent;   /* of them */
	unsigned int limit;  /* what the keeper said that it can hold */
	GQueue ops;	     /* of struct op, to be sent */
	GQueue drops;	     /* of struct op, sent and not answered */
	bool begin;	     /* BEGIN is to be sent */
	GArray *fill;	     /* of sd_id128_t: to be put again, then swept; NULL: nothing is */
	unsigned int filled; /* of fill */

	sd_event_source *io, *pump, *wait, *stall, *retry;
	uint64_t delay_usec;
};

static void kept_free(gpointer p)
{
	struct kept *kept = p;

	if (kept->fd >= 0)
		close(kept->fd);
	g_free(kept);
}

struct kept *kept_find(GHashTable *kept, sd_id128_t id)
{
	return g_hash_table_lookup(kept, &id);
}

struct keeper *keeper_new(sd_event *event, const char *path)
{
	struct keeper *k = g_new0(struct keeper, 1);

	k->event = sd_event_ref(event);
	k->path = g_strdup(path);
	k->fd = -1;
	k->trouble = g_strdup("");
	k->entries = g_hash_table_new_full(id_hash, id_equal, g_free, NULL);
	k->limit = UINT32_MAX;
	k->delay_usec = RETRY_FIRST_USEC;
	g_queue_init(&k->ops);
	g_queue_init(&k->drops);
	return k;
}

static void forget_source(sd_event_source **source)
{
	*source = sd_event_source_disable_unref(*source);
}

static void disconnect(struct keeper *k)
{
	forget_source(&k->io);
	forget_source(&k->pump);
	forget_source(&k->wait);
	forget_source(&k->stall);
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
	k->begin = false;
	g_clear_pointer(&k->fill, g_array_unref);
}

static void op_end(struct op *op, bool kept)
{
	if (op->put_done)
		op->put_done(kept, op->userdata);
	if (op->drop_done)
		op->drop_done(op->userdata);
	g_free(op);
}

/* Nothing more comes of what waits. */
static void end_all(struct keeper *k)
{
	struct op *op;

	while ((op = g_queue_pop_head(&k->ops)) || (op = g_queue_pop_head(&k->drops)))
		op_end(op, false);
}

static int send_ops(struct keeper *k);

void keeper_flush(struct keeper *k)
{
	GQueue left = G_QUEUE_INIT;
	struct op *op;

	while (k->fd >= 0 && !g_queue_is_empty(&k->ops) && send_ops(k) > 0)
		;
	while ((op = g_queue_pop_head(&k->ops)))
		g_queue_push_tail(&left, op);
	while ((op = g_queue_pop_head(&left)))
		op_end(op, false);
}

struct keeper *keeper_free(struct keeper *k)
{
	if (!k)
		return NULL;
	keeper_flush(k);
	disconnect(k);
	forget_source(&k->retry);
	end_all(k);
	g_hash_table_unref(k->entries);
	sd_event_unref(k->event);
	g_free(k->trouble);
	g_free(k->path);
	g_free(k);
	return NULL;
}

static void set_trouble(struct keeper *k, const char *text)
{
	g_free(k->trouble);
	k->trouble = g_strdup(text);
}

static const char *reason(int r)
{
	switch (r) {
	case -ENODATA:
		return "it closed the connection";
	case -ETIMEDOUT:
		return "it does not answer";
	case -EBADMSG:
		return "it speaks another version of the protocol";
	case -EPIPE:
		return "it has ended";
	}
	return g_strerror(-r);
}

static int connect_now(struct keeper *k)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int size = SEND_BUFFER, fd, r;

	if (strlen(k->path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, k->path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	k->fd = fd;
	return 0;
}

/* --- Getting back --------------------------------------------------------------------------- */

static int await_message(struct keeper *k, struct keeper_message *m, int fds[static KEEPER_BATCH],
			 uint64_t deadline_usec)
{
	unsigned int n;

	for (;;) {
		int r = keeper_receive(k->fd, m, fds, &n, 0);
		struct pollfd p = { .fd = k->fd, .events = POLLIN };
		uint64_t now;

		if (r != -EAGAIN)
			return r;
		now = now_monotonic();
		if (now >= deadline_usec)
			return -ETIMEDOUT;
		(void)poll(&p, 1, (deadline_usec - now) / 1000 + 1);
	}
}

static int send_simple(struct keeper *k, enum keeper_type type)
{
	struct keeper_message m = { .head = { .version = KEEPER_VERSION, .type = type } };

	return keeper_send(k->fd, &m, NULL, MSG_DONTWAIT);
}

static int get_all(struct keeper *k, unsigned int room, GHashTable *kept)
{
	uint64_t deadline = now_monotonic() + STALL_USEC;
	struct keeper_message m;
	int fds[KEEPER_BATCH];
	int r = send_simple(k, KEEPER_GET);

	while (r >= 0 && (r = await_message(k, &m, fds, deadline)) >= 0) {
		switch (m.head.type) {
		case KEEPER_HELLO:
			k->limit = MIN(m.head.value, UINT32_MAX);
			if (m.head.held > room)
				r = -EMFILE;
			break;
		case KEEPER_HAVE:
			for (unsigned int i = 0; i < m.head.n; i++) {
				struct kept *one = g_new(struct kept, 1);

				*one = (struct kept){ m.ids[i], fds[i] };
				g_hash_table_replace(kept, one, one);
			}
			deadline = now_monotonic() + STALL_USEC;
			break;
		case KEEPER_END:
			return 0;
		}
	}
	return r;
}

int keeper_fetch(struct keeper *k, unsigned int room, GHashTable **ret_kept, char **ret_text)
{
	g_autoptr(GHashTable) kept = g_hash_table_new_full(id_hash, id_equal, kept_free, NULL);
	uint64_t deadline = now_monotonic() + STALL_USEC;
	int r = 0;

	while (k->path) {
		r = connect_now(k);
		if (r == -ENOENT || r == -ECONNREFUSED) {
			/* Nobody is there, so nobody holds anything. */
			set_trouble(k, g_strerror(-r));
			r = 0;
			break;
		}
		if (r >= 0)
			r = get_all(k, room, kept);
		if (r >= 0)
			break;
		disconnect(k);
		g_hash_table_remove_all(kept);
		/* It may have been killed just now, and is being started again. */
		if ((r != -ENODATA && r != -EPIPE && r != -ECONNRESET && r != -EAGAIN) ||
		    now_monotonic() > deadline)
			break;
		poll(NULL, 0, 20);
	}
	if (r < 0) {
		*ret_text = g_strdup_printf(
			"keeper %s: %s", k->path,
			r == -EMFILE  ? "it holds more descriptors than this process may have"
			: r == -EPIPE ? "it closes the connection; does it run as another user?"
				      : reason(r));
		return r;
	}
	*ret_kept = g_steal_pointer(&kept);
	return 0;
}

void keeper_adopted(struct keeper *k, sd_id128_t id, int fd)
{
	struct entry *e = g_new(struct entry, 1);

	*e = (struct entry){ id, fd, true };
	k->sent++;
	g_hash_table_add(k->entries, e);
}

/* --- Being there and away ------------------------------------------------------------------- */

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata);

static void retry_later(struct keeper *k)
{
	forget_source(&k->retry);
	(void)sd_event_add_time_relative(k->event, &k->retry, CLOCK_MONOTONIC, k->delay_usec,
					 k->delay_usec / 10, on_retry, k);
	k->delay_usec = MIN(k->delay_usec * 2, RETRY_LAST_USEC);
}

static void lost(struct keeper *k, int r)
{
	GHashTableIter iter;
	gpointer p;

	disconnect(k);
	k->state = KEEPER_AWAY;
	set_trouble(k, reason(r));
	if (!k->told)
		log_line(
			LOG_WARNING, LOG_KEEPER_AWAY, k->path,
			"no keeper at %s: %s; until it is back, morsels would not outlive this process",
			k->path, k->trouble);
	k->told = true;
	k->sent = 0;
	g_hash_table_iter_init(&iter, k->entries);
	while (g_hash_table_iter_next(&iter, &p, NULL))
		((struct entry *)p)->sent = false;
	retry_later(k);
	end_all(k);
}

static void on_swept(struct keeper *k)
{
	bool full = k->sent < g_hash_table_size(k->entries);

	k->state = full ? KEEPER_FULL : KEEPER_COMPLETE;
	k->delay_usec = RETRY_FIRST_USEC;
	set_trouble(k, full ? "it has no room for more descriptors (LimitNOFILE=)" : "");
	if (full || k->told)
		log_line(full ? LOG_WARNING : LOG_NOTICE, full ? LOG_KEEPER_AWAY : LOG_KEEPER_BACK,
			 k->path, "keeper at %s was handed %u of %u descriptors%s%s", k->path,
			 k->sent, g_hash_table_size(k->entries), full ? ": " : "", k->trouble);
	k->told = full;
}

/* --- Sending -------------------------------------------------------------------------------- */

static void want_pump(struct keeper *k)
{
	if (k->pump)
		sd_event_source_set_enabled(k->pump, SD_EVENT_ONESHOT);
}

static void begin_fill(struct keeper *k)
{
	GHashTableIter iter;
	gpointer p;

	k->state = KEEPER_FILLING;
	k->begin = true;
	k->sent = 0;
	k->filled = 0;
	g_clear_pointer(&k->fill, g_array_unref);
	k->fill = g_array_new(FALSE, FALSE, sizeof(sd_id128_t));
	g_hash_table_iter_init(&iter, k->entries);
	while (g_hash_table_iter_next(&iter, &p, NULL)) {
		struct entry *e = p;

		e->sent = false;
		g_array_append_val(k->fill, e->id);
	}
	want_pump(k);
}

/* A message of ops of one kind. 1: sent. */
static int send_ops(struct keeper *k)
{
	enum keeper_type type = ((struct op *)g_queue_peek_head(&k->ops))->type;
	struct keeper_message m = { .head = { .version = KEEPER_VERSION, .type = type } };
	struct op *ops[KEEPER_BATCH], *op;
	int fds[KEEPER_BATCH], r;
	unsigned int n = 0;

	for (GList *l = k->ops.head; l && n < KEEPER_BATCH; l = l->next) {
		op = l->data;
		if (op->type != type)
			break;
		ops[n] = op;
		fds[n] = op->fd;
		m.ids[n++] = op->id;
	}
	m.head.n = n;
	r = keeper_send(k->fd, &m, type == KEEPER_PUT ? fds : NULL, MSG_DONTWAIT);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < n; i++)
		g_queue_pop_head(&k->ops);
	for (unsigned int i = 0; i < n; i++) {
		if (type == KEEPER_DROP)
			g_queue_push_tail(&k->drops, ops[i]);
		else
			op_end(ops[i], true);
	}
	return 1;
}

/* A message of what is put again; 0: there is no more. */
static int send_fill(struct keeper *k)
{
	struct keeper_message m = { .head = { .version = KEEPER_VERSION, .type = KEEPER_PUT } };
	struct entry *entries[KEEPER_BATCH];
	unsigned int next = k->filled, n = 0;
	int fds[KEEPER_BATCH], r;

	for (; next < k->fill->len && n < KEEPER_BATCH && k->sent + n < k->limit; next++) {
		struct entry *e =
			g_hash_table_lookup(k->entries, &g_array_index(k->fill, sd_id128_t, next));

		if (!e)
			continue; /* dropped meanwhile */
		entries[n] = e;
		fds[n] = e->fd;
		m.ids[n++] = e->id;
	}
	m.head.n = n;
	r = n > 0 ? keeper_send(k->fd, &m, fds, MSG_DONTWAIT) : 0;
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < n; i++)
		entries[i]->sent = true;
	k->sent += n;
	k->filled = next;
	return n > 0;
}

/* 1: something was sent; 0: there is nothing to send. */
static int send_some(struct keeper *k)
{
	int r;

	if (k->begin) {
		r = send_simple(k, KEEPER_BEGIN);
		k->begin = r < 0;
		return r < 0 ? r : 1;
	}
	if (!g_queue_is_empty(&k->ops))
		return send_ops(k);
	if (!k->fill)
		return 0;
	r = send_fill(k);
	if (r != 0)
		return r;
	r = send_simple(k, KEEPER_SWEEP);
	if (r >= 0)
		g_clear_pointer(&k->fill, g_array_unref);
	return r;
}

static int on_stall(sd_event_source *s, uint64_t usec, void *userdata)
{
	lost(userdata, -ETIMEDOUT);
	return 0;
}

static int on_wait(sd_event_source *s, uint64_t usec, void *userdata)
{
	want_pump(userdata);
	return 0;
}

/* Something is to come from it, or to be taken by it. */
static void watch_for_stall(struct keeper *k)
{
	if (!k->stall)
		(void)sd_event_add_time_relative(k->event, &k->stall, CLOCK_MONOTONIC, STALL_USEC,
						 0, on_stall, k);
}

/* It has taken or given something. */
static void progress(struct keeper *k)
{
	forget_source(&k->stall);
	if (!g_queue_is_empty(&k->drops))
		watch_for_stall(k);
}

static int on_pump(sd_event_source *s, void *userdata)
{
	struct keeper *k = userdata;
	int r = 1;

	for (unsigned int i = 0; i < BATCHES_PER_TURN && k->fd >= 0; i++) {
		r = send_some(k);
		if (r <= 0)
			break;
		progress(k);
	}
	if (k->fd < 0 || r == 0)
		return 0;
	if (r == 1) {
		want_pump(k);
		return 0;
	}
	if (r != -EAGAIN && r != -ETOOMANYREFS) {
		lost(k, r);
		return 0;
	}
	watch_for_stall(k);
	if (r == -EAGAIN) {
		sd_event_source_set_io_events(k->io, EPOLLIN | EPOLLOUT);
		return 0;
	}
	forget_source(&k->wait);
	(void)sd_event_add_time_relative(k->event, &k->wait, CLOCK_MONOTONIC, REFS_USEC, 0, on_wait,
					 k);
	return 0;
}

/* --- Receiving ------------------------------------------------------------------------------ */

static int take_in(struct keeper *k)
{
	struct keeper_message m;
	int fds[KEEPER_BATCH], r;
	unsigned int n;
	struct op *op;

	r = keeper_receive(k->fd, &m, fds, &n, MSG_DONTWAIT);
	if (r < 0)
		return r;
	switch (m.head.type) {
	case KEEPER_HELLO:
		k->limit = MIN(m.head.value, UINT32_MAX);
		return 0;
	case KEEPER_DROPPED:
		for (uint64_t i = 0; i < m.head.value && (op = g_queue_pop_head(&k->drops)); i++)
			op_end(op, true);
		progress(k);
		return 0;
	case KEEPER_SWEPT:
		if (k->state == KEEPER_FILLING && !k->fill)
			on_swept(k);
		return 0;
	}
	for (unsigned int i = 0; i < n; i++)
		close(fds[i]);
	return -EBADMSG;
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct keeper *k = userdata;
	int r = 0;

	if (revents & EPOLLOUT) {
		sd_event_source_set_io_events(s, EPOLLIN);
		want_pump(k);
	}
	for (unsigned int i = 0; i < 32 && r >= 0 && k->fd >= 0; i++)
		r = take_in(k);
	if (r < 0 && r != -EAGAIN)
		lost(k, r);
	return 0;
}

static int attach(struct keeper *k)
{
	int r;

	r = sd_event_add_io(k->event, &k->io, k->fd, EPOLLIN, on_io, k);
	if (r >= 0)
		r = sd_event_add_defer(k->event, &k->pump, on_pump, k);
	if (r >= 0)
		r = sd_event_source_set_enabled(k->pump, SD_EVENT_OFF);
	return r;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct keeper *k = userdata;
	int r = connect_now(k);

	if (r >= 0)
		r = attach(k);
	if (r < 0) {
		lost(k, r);
		return 0;
	}
	begin_fill(k);
	return 0;
}

void keeper_start(struct keeper *k)
{
	int r;

	if (!k->path)
		return;
	if (k->fd < 0) {
		lost(k, -ECONNREFUSED);
		return;
	}
	r = attach(k);
	if (r < 0)
		lost(k, r);
	else
		k->state = KEEPER_COMPLETE;
}

/* --- What callers want ---------------------------------------------------------------------- */

static void push(struct keeper *k, struct op op)
{
	g_queue_push_tail(&k->ops, g_memdup2(&op, sizeof(op)));
	want_pump(k);
}

void keeper_put(struct keeper *k, sd_id128_t id, int fd, keeper_done_t done, void *userdata)
{
	bool room = k->sent < k->limit &&
		    (k->state == KEEPER_COMPLETE || k->state == KEEPER_FILLING);
	struct entry *e;

	if (k->state == KEEPER_NONE) {
		done(false, userdata);
		return;
	}
	e = g_new(struct entry, 1);
	*e = (struct entry){ id, fd, room };
	g_hash_table_add(k->entries, e);
	k->sent += room;
	if (k->state == KEEPER_COMPLETE && !room)
		on_swept(k); /* full from now on */
	/* Nobody waits for a keeper that has yet to show that it answers. */
	if (room)
		push(k, (struct op){ .type = KEEPER_PUT,
				     .id = id,
				     .fd = fd,
				     .put_done = k->state == KEEPER_COMPLETE ? done : NULL,
				     .userdata = userdata });
	if (!room || k->state != KEEPER_COMPLETE)
		done(false, userdata);
}

void keeper_drop(struct keeper *k, sd_id128_t id, void (*done)(void *userdata), void *userdata)
{
	struct entry *e = g_hash_table_lookup(k->entries, &id);

	if (e && e->sent)
		k->sent--;
	if (e)
		g_hash_table_remove(k->entries, &id);
	if (k->fd < 0) {
		if (done)
			done(userdata);
		return;
	}
	push(k,
	     (struct op){ .type = KEEPER_DROP, .id = id, .drop_done = done, .userdata = userdata });
	if (k->state == KEEPER_FULL && g_hash_table_size(k->entries) <= k->limit)
		begin_fill(k);
}

enum keeper_state keeper_state(const struct keeper *k)
{
	return k->state;
}

const char *keeper_path(const struct keeper *k)
{
	return k->path;
}

const char *keeper_trouble(const struct keeper *k)
{
	return k->trouble;
}

bool keeper_holds(const struct keeper *k, sd_id128_t id)
{
	const struct entry *e = g_hash_table_lookup(k->entries, &id);

	return e && e->sent;
}

unsigned int keeper_held(const struct keeper *k)
{
	return k->sent;
}
