/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "move-backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "daemon/storage.h"
#include "libclient/morsel.h"

#define MANAGER_PATH "/org/parperos/Morsel1"
#define MANAGER_IFACE "org.parperos.Morsel1.Manager"

struct move_backend {
	/* Through the daemon. */
	morsel_client *client;
	morsel *m;
	char *name;
	int nodes[2];
	char *tiers[2]; /* of nodes */
	/* Directly. */
	struct storage *s;
	struct storage_object *o;
};

static void die(const char *what, int r, const char *detail)
{
	fprintf(stderr, "move-pages: %s: %s\n", what, detail ? detail : strerror(-r));
	exit(1);
}

/* Which of the machine's nodes have memory, as found in /sys: first and last are farthest apart. */
static void choose_nodes(int nodes[2])
{
	g_autofree char *text = NULL;
	g_auto(GStrv) parts = NULL;

	if (nodes[0] >= 0 && nodes[1] >= 0)
		return;
	if (!g_file_get_contents("/sys/devices/system/node/has_memory", &text, NULL, NULL))
		die("/sys/devices/system/node/has_memory", -errno, NULL);
	parts = g_strsplit_set(g_strstrip(text), ",-", -1);
	if (g_strv_length(parts) < 2) {
		printf("only one node has memory: nowhere to move to\n");
		exit(77);
	}
	nodes[0] = atoi(parts[0]);
	nodes[1] = atoi(parts[g_strv_length(parts) - 1]);
}

static int read_tier(sd_bus_message *m, struct move_backend *b)
{
	const char *name = NULL, *key;
	int r, node = -1;

	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0 && strcmp(key, "name") == 0) {
			r = sd_bus_message_read(m, "v", "s", &name);
		} else if (r >= 0 && strcmp(key, "nodes") == 0) {
			const int *list;
			size_t size;

			r = sd_bus_message_enter_container(m, 'v', "ai");
			if (r >= 0)
				r = sd_bus_message_read_array(m, 'i', (const void **)&list, &size);
			if (r >= 0 && size >= sizeof(*list))
				node = list[0];
			if (r >= 0)
				r = sd_bus_message_exit_container(m);
		} else if (r >= 0) {
			r = sd_bus_message_skip(m, "v");
		}
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	for (int i = 0; i < 2; i++)
		if (node == b->nodes[i] && name)
			b->tiers[i] = g_strdup(name);
	return r;
}

/* Names of the nodes' tiers, from the daemon. */
static void find_tiers(struct move_backend *b, const char *socket)
{
	g_autofree char *address = g_strdup_printf("unix:path=%s", socket);
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	sd_bus *bus = NULL;
	int r;

	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = sd_bus_call_method(bus, NULL, MANAGER_PATH, MANAGER_IFACE, "ListTiers", &error,
				       &reply, "");
	if (r >= 0)
		r = sd_bus_message_enter_container(reply, 'a', "a{sv}");
	while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'a', "{sv}")) > 0) {
		r = read_tier(reply, b);
		if (r >= 0)
			r = sd_bus_message_exit_container(reply);
	}
	if (r < 0)
		die("ListTiers", r, error.message);
	sd_bus_message_unref(reply);
	sd_bus_flush_close_unref(bus);
	if (!b->tiers[0] || !b->tiers[1])
		die("no tier has this node", -ENODEV, NULL);
}

static int open_through_daemon(struct move_backend *b, uint64_t size)
{
	const char *socket = getenv("MORSEL_SOCKET") ?: "/run/morsel/bus";
	struct morsel_options options = { MORSEL_OPTIONS_INIT };
	int r;

	r = morsel_connect(socket, &b->client);
	if (r < 0)
		die(socket, r, NULL);
	find_tiers(b, socket);
	b->name = g_strdup_printf("bench-move-%d", (int)getpid());
	options.prefer = b->tiers[0];
	r = morsel_create(b->client, b->name, size, &options, &b->m);
	if (r < 0)
		die("create", r, morsel_error(b->client));
	return morsel_fd(b->m);
}

static int open_directly(struct move_backend *b, uint64_t size)
{
	g_autofree char *error = NULL;
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), r;

	r = storage_node_new(root, &b->s);
	if (r < 0)
		die("storage", r, NULL);
	close(root);
	r = b->s->ops->create(b->s, NULL, &(struct storage_spec){ .label = "bench", .size = size },
			      &b->o, &error);
	if (r < 0)
		die("create", r, error);
	return b->s->ops->open_fd(b->o, true);
}

struct move_backend *move_backend_new(bool direct, uint64_t size, int nodes[2], int *ret_fd)
{
	struct move_backend *b = g_new0(struct move_backend, 1);

	choose_nodes(nodes);
	memcpy(b->nodes, nodes, sizeof(b->nodes));
	*ret_fd = direct ? open_directly(b, size) : open_through_daemon(b, size);
	if (*ret_fd < 0)
		die("no descriptor", *ret_fd, NULL);
	return b;
}

static void move_directly(struct move_backend *b, int node, uint64_t *ret_failed)
{
	g_autoptr(GArray) nodes = g_array_new(false, false, sizeof(int));
	struct tier tier = { .name = (char *)"bench",
			     .state = TIER_ONLINE,
			     .backing = BACKING_NODE,
			     .nodes = nodes };
	struct storage_move_result result;
	g_autofree char *error = NULL;
	uint64_t bytes;
	int r;

	g_array_append_val(nodes, node);
	r = b->s->ops->allocated(b->o, &bytes);
	if (r >= 0)
		r = b->s->ops->move(b->o, 0, bytes, &tier, 0, NULL, NULL, &result, &error);
	if (r < 0)
		die("move", r, error);
	*ret_failed = result.failed;
	storage_move_result_done(&result);
}

void move_backend_move(struct move_backend *b, int node, uint64_t *ret_failed)
{
	struct morsel_move_result result;
	int r;

	if (b->s) {
		move_directly(b, node, ret_failed);
		return;
	}
	r = morsel_move(b->m, b->tiers[node == b->nodes[1]], NULL, &result);
	if (r < 0)
		die("move", r, morsel_error(b->client));
	*ret_failed = result.failed;
}

void move_backend_free(struct move_backend *b)
{
	if (b->s) {
		b->s->ops->free(b->o);
		storage_node_free(b->s);
	} else {
		morsel_close(b->m);
		morsel_destroy(b->client, b->name);
		morsel_disconnect(b->client);
	}
	for (int i = 0; i < 2; i++)
		g_free(b->tiers[i]);
	g_free(b->name);
	g_free(b);
}
