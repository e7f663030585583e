// SPDX-License-Identifier: GPL-2.0-or-later
#include <stddef.h>
#include <string.h>

#include "turns.h"

struct client {
	struct turn turn;
	char name;
	unsigned int calls;
	GString *served;
	struct client *closes; /* ends this one's turn */
};

static sd_event *event;
static struct turns *turns;

static bool serve(struct turn *t)
{
	struct client *c = (struct client *)((char *)t - offsetof(struct client, turn));

	if (c->calls == 0)
		return false;
	c->calls--;
	g_string_append_c(c->served, c->name);
	if (c->closes)
		turn_end(&c->closes->turn);
	return c->calls > 0;
}

static void begin(struct client *c, char name, uid_t uid, const char *cgroup, unsigned int calls,
		  GString *served)
{
	g_autoptr(Caller) caller = caller_new(uid, uid, 0);

	g_ref_string_release(caller->cgroup);
	caller->cgroup = g_ref_string_new(cgroup);
	*c = (struct client){ .name = name, .calls = calls, .served = served };
	turn_init(&c->turn, turns, caller, serve);
	turn_ready(&c->turn);
	turn_ready(&c->turn); /* twice does no harm */
}

static void run(void)
{
	while (sd_event_run(event, 0) > 0)
		;
}

static void setup(void)
{
	g_assert_cmpint(sd_event_new(&event), >=, 0);
	g_assert_cmpint(turns_new(event, &turns), >=, 0);
}

static void teardown(void)
{
	turns_free(turns);
	sd_event_unref(event);
}

/* a to d are one user's connections, e another's of the same cgroup, f is in another cgroup: one of each
 * level's each time. */
static void test_order(void)
{
	g_autoptr(GString) served = g_string_new(NULL);
	struct client clients[6];

	setup();
	for (unsigned int i = 0; i < 4; i++)
		begin(&clients[i], 'a' + i, 1000, "/system.slice/x.service/deep/er", 3, served);
	begin(&clients[4], 'e', 1001, "/system.slice/x.service", 3, served);
	begin(&clients[5], 'f', 1000, "/system.slice/y.service", 3, served);
	run();
	g_assert_cmpstr(served->str, ==, "afefbfecedabcdabcd");
	for (unsigned int i = 0; i < 6; i++)
		turn_end(&clients[i].turn);
	teardown();
}

/* A thousand connections with calls without end do not hold up another user's one. */
static void test_flood(void)
{
	g_autoptr(GString) served = g_string_new(NULL);
	g_autofree struct client *clients = g_new0(struct client, 1001);
	const char *p;

	setup();
	for (unsigned int i = 0; i < 1000; i++)
		begin(&clients[i], 'a', 1000, "", 1000, served);
	g_assert_cmpint(sd_event_run(event, 0), >, 0);
	g_string_truncate(served, 0);
	begin(&clients[1000], 'z', 1001, "", 5, served);
	for (unsigned int i = 0; i < 5; i++)
		g_assert_cmpint(sd_event_run(event, 0), >, 0);
	/* Every second one. */
	p = strchr(served->str, 'z');
	g_assert_nonnull(p);
	g_assert_cmpint(p - served->str, <=, 2);
	p = strrchr(served->str, 'z');
	g_assert_cmpint(p - served->str, <=, 10);
	g_assert_cmpuint(clients[1000].calls, ==, 0);
	for (unsigned int i = 0; i < 1001; i++)
		turn_end(&clients[i].turn);
	teardown();
}

/* One that is closed while it waits, by another's call or by its own. */
static void test_end(void)
{
	g_autoptr(GString) served = g_string_new(NULL);
	struct client clients[3];

	setup();
	for (unsigned int i = 0; i < 3; i++)
		begin(&clients[i], 'a' + i, 1000 + i, "", 2, served);
	clients[0].closes = &clients[1];
	clients[2].closes = &clients[2];
	run();
	g_assert_cmpstr(served->str, ==, "aca");
	turn_end(&clients[0].turn);
	turn_end(&clients[1].turn);
	teardown();
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/turns/order", test_order);
	g_test_add_func("/turns/flood", test_flood);
	g_test_add_func("/turns/end", test_end);
	return g_test_run();
}
