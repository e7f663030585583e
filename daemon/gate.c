// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "bus-error.h"
#include "connection.h"
#include "gate.h"
#include "log.h"
#include "manager.h"

/* Names on the bus remembered; a forgotten one is asked for again. */
#define GATE_NAMES_MAX 4096
/* Calls of one name that wait for its credentials, or for its turn: more than one only if it sends without
 * waiting. */
#define GATE_WAITING_MAX 256

struct waiting {
	sd_bus_message *message;
	call_handler_t handler;
};

struct name {
	char *unique;
	struct gate *gate;
	struct connection *connection;
	struct caller *caller; /* NULL: asked for */
	sd_bus_slot *slot;
	struct turn turn;
	GQueue waiting; /* of struct waiting * */
	GList used;	/* in gate->used, the last used first */
};

struct gate {
	GHashTable *names; /* unique → struct name */
	GQueue used;
};

static void name_free(gpointer p)
{
	struct name *n = p;
	struct waiting *w;

	turn_end(&n->turn);
	g_queue_unlink(&n->gate->used, &n->used);
	sd_bus_slot_unref(n->slot);
	while ((w = g_queue_pop_head(&n->waiting))) {
		sd_bus_message_unref(w->message);
		g_free(w);
	}
	caller_unref(n->caller);
	g_free(n->unique);
	g_free(n);
}

struct gate *gate_new(void)
{
	struct gate *g = g_new0(struct gate, 1);

	g->names = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, name_free);
	g_queue_init(&g->used);
	return g;
}

struct gate *gate_free(struct gate *g)
{
	if (g) {
		g_hash_table_unref(g->names);
		g_free(g);
	}
	return NULL;
}

void gate_forget(struct gate *g)
{
	g_hash_table_remove_all(g->names);
}

static int run(struct call *call, sd_bus_error *error)
{
	int r = call->handler(call, error);

	if (r >= 0)
		return 1;
	if (!sd_bus_error_is_set(error))
		bus_error_set(error, r, NULL);
	if (r == -EMFILE || r == -ENFILE)
		manager_log_descriptors(call->manager);
	return r;
}

void gate_run(struct call *call)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;

	if (run(call, &error) < 0)
		(void)sd_bus_reply_method_error(call->message, &error);
	sd_bus_error_free(&error);
}

static bool has_group(const GArray *groups, gid_t gid)
{
	for (unsigned int i = 0; i < groups->len; i++)
		if (g_array_index(groups, gid_t, i) == gid)
			return true;
	return false;
}

static int read_credentials(sd_bus_message *reply, struct connection *c, struct caller **ret_caller)
{
	uint32_t uid = UINT32_MAX, pid = 0;
	int pidfd = -1; /* the message's own */
	g_autoptr(Caller) caller = NULL;
	g_autoptr(GArray) groups = NULL;
	const char *key, *type;
	int r;

	r = sd_bus_message_enter_container(reply, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
		r = sd_bus_message_read(reply, "s", &key);
		if (r < 0)
			return r;
		r = sd_bus_message_peek_type(reply, NULL, &type);
		if (r < 0)
			return r;
		if (strcmp(key, "UnixUserID") == 0 && strcmp(type, "u") == 0) {
			r = sd_bus_message_read(reply, "v", "u", &uid);
		} else if (strcmp(key, "ProcessID") == 0 && strcmp(type, "u") == 0) {
			r = sd_bus_message_read(reply, "v", "u", &pid);
		} else if (strcmp(key, "ProcessFD") == 0 && strcmp(type, "h") == 0) {
			r = sd_bus_message_read(reply, "v", "h", &pidfd);
		} else if (strcmp(key, "UnixGroupIDs") == 0 && strcmp(type, "au") == 0) {
			const void *data;
			size_t size;

			r = sd_bus_message_enter_container(reply, 'v', "au");
			if (r < 0)
				return r;
			r = sd_bus_message_read_array(reply, 'u', &data, &size);
			if (r < 0)
				return r;
			g_clear_pointer(&groups, g_array_unref);
			groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
			g_array_append_vals(groups, data, size / sizeof(uint32_t));
			r = sd_bus_message_exit_container(reply);
		} else {
			r = sd_bus_message_skip(reply, "v");
		}
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(reply);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (uid == UINT32_MAX)
		return -ENODATA;
	if (caller_uid_is_anybody(uid))
		return -EPERM;

	/* The bus does not say which group is the primary one, /proc does. Where both tell groups, the bus's
	 * are as of the connection, and so right even if the process has gone since. */
	caller = caller_new(uid, UINT32_MAX, pid);
	r = caller_read_groups(c->manager->root_fd, caller);
	if (groups && groups->len > 0) {
		if (r < 0 || !has_group(groups, caller->gid))
			caller->gid = g_array_index(groups, gid_t, 0);
		g_array_unref(caller->groups);
		caller->groups = g_steal_pointer(&groups);
	} else if (r < 0) {
		return r;
	}
	r = caller_read_cgroup(c->manager->root_fd, pidfd, caller);
	if (r < 0)
		return r;
	caller->account = quota_account_get(c->manager->quota, uid, caller->cgroup);
	*ret_caller = g_steal_pointer(&caller);
	return 0;
}

static void refuse_all(struct name *n)
{
	struct waiting *w;

	while ((w = g_queue_pop_head(&n->waiting))) {
		sd_bus_error error = SD_BUS_ERROR_NULL;

		bus_error_set(&error, -EACCES, "the bus does not tell who calls; see the journal");
		sd_bus_reply_method_error(w->message, &error);
		sd_bus_error_free(&error);
		sd_bus_message_unref(w->message);
		g_free(w);
	}
}

static bool on_turn(struct turn *t)
{
	struct name *n = (struct name *)((char *)t - offsetof(struct name, turn));
	struct waiting *w = g_queue_pop_head(&n->waiting);
	g_autoptr(Caller) caller = caller_ref(n->caller);
	struct call call = { .manager = n->connection->manager,
			     .connection = n->connection,
			     .caller = caller };

	if (!w)
		return false;
	call.message = w->message;
	call.handler = w->handler;
	gate_run(&call);
	sd_bus_message_unref(w->message);
	g_free(w);
	/* No handler makes the bus go away at once, and so n. */
	return !g_queue_is_empty(&n->waiting);
}

static int on_credentials(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct name *n = userdata;
	const sd_bus_error *e = sd_bus_message_get_error(reply);
	int r;

	n->slot = sd_bus_slot_unref(n->slot);
	r = e ? -EACCES : read_credentials(reply, n->connection, &n->caller);
	if (r < 0) {
		refuse_all(n);
		log_line(LOG_DEBUG, LOG_INTERNAL, n->unique, "credentials of %s: %s, call refused",
			 n->unique, e ? e->message : g_strerror(-r));
		g_hash_table_remove(n->gate->names, n->unique);
		return 0;
	}
	turn_init(&n->turn, n->connection->manager->turns, n->caller, on_turn);
	turn_ready(&n->turn);
	return 0;
}

static void forget_least_used(struct gate *g)
{
	GList *link = g->used.tail;

	/* Not those that are being asked for, or have calls waiting. */
	while (link && (!((struct name *)link->data)->caller ||
			!g_queue_is_empty(&((struct name *)link->data)->waiting)))
		link = link->prev;
	if (link)
		g_hash_table_remove(g->names, ((struct name *)link->data)->unique);
}

static int ask(struct connection *c, struct gate *g, const char *unique, struct name **ret_name)
{
	struct name *n = g_new0(struct name, 1);
	int r;

	n->unique = g_strdup(unique);
	n->gate = g;
	n->connection = c;
	n->used.data = n;
	g_queue_init(&n->waiting);
	g_queue_push_head_link(&g->used, &n->used);

	r = sd_bus_call_method_async(c->bus, &n->slot, "org.freedesktop.DBus",
				     "/org/freedesktop/DBus", "org.freedesktop.DBus",
				     "GetConnectionCredentials", on_credentials, n, "s", unique);
	if (r < 0) {
		name_free(n);
		return r;
	}
	g_hash_table_insert(g->names, n->unique, n);
	if (g_hash_table_size(g->names) > GATE_NAMES_MAX)
		forget_least_used(g);
	*ret_name = n;
	return 0;
}

struct caller *gate_known(struct connection *c, sd_bus_message *m)
{
	const char *sender;
	struct name *n;

	if (c->caller)
		return c->caller;
	sender = sd_bus_message_get_sender(m);
	n = sender ? g_hash_table_lookup(c->manager->gate->names, sender) : NULL;
	return n ? n->caller : NULL;
}

int gate_call(struct connection *c, sd_bus_message *m, call_handler_t handler, sd_bus_error *error)
{
	struct gate *g = c->manager->gate;
	const char *sender;
	struct waiting *w;
	struct name *n;
	int r;

	if (c->caller) {
		g_autoptr(Caller) caller = caller_ref(c->caller);
		struct call call = { .manager = c->manager,
				     .connection = c,
				     .caller = caller,
				     .message = m,
				     .handler = handler };

		return connection_reads(c) ? run(&call, error) : 1;
	}

	sender = sd_bus_message_get_sender(m);
	if (!sender)
		return bus_error_setf(error, ERROR_ACCESS_DENIED, "a call without a sender");
	n = g_hash_table_lookup(g->names, sender);
	if (n) {
		g_queue_unlink(&g->used, &n->used);
		g_queue_push_head_link(&g->used, &n->used);
	} else {
		r = ask(c, g, sender, &n);
		if (r < 0)
			return r;
	}
	if (g_queue_get_length(&n->waiting) >= GATE_WAITING_MAX)
		return bus_error_setf(error, ERROR_QUOTA_EXCEEDED,
				      "%d calls of yours wait for their turn; that is the limit",
				      GATE_WAITING_MAX);
	w = g_new(struct waiting, 1);
	w->message = sd_bus_message_ref(m);
	w->handler = handler;
	g_queue_push_tail(&n->waiting, w);
	turn_ready(&n->turn);
	return 1;
}
