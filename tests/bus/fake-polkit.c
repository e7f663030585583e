// SPDX-License-Identifier: GPL-2.0-or-later
#include <pthread.h>
#include <stdatomic.h>

#include "fake-polkit.h"

struct fake_polkit {
	sd_bus *bus;
	pthread_t thread;
	atomic_bool stop;
	atomic_int answer;
	GQueue waiting; /* of sd_bus_message; the thread's */
	pthread_mutex_t lock;
	unsigned int asked;
	char *last;
};

static void reply(sd_bus_message *m, enum fake_polkit_answer answer)
{
	g_assert_cmpint(sd_bus_reply_method_return(m, "(bba{ss})", answer == FAKE_POLKIT_YES,
						   answer == FAKE_POLKIT_CHALLENGE, 0),
			>=, 0);
}

static int on_check(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct fake_polkit *p = userdata;
	const char *kind, *key, *name, *action;
	int answer = atomic_load(&p->answer);
	uint32_t flags;

	g_assert_cmpint(sd_bus_message_enter_container(m, 'r', "sa{sv}"), >, 0);
	g_assert_cmpint(sd_bus_message_read(m, "s", &kind), >, 0);
	g_assert_cmpstr(kind, ==, "system-bus-name");
	g_assert_cmpint(sd_bus_message_read(m, "a{sv}", 1, &key, "s", &name), >, 0);
	g_assert_cmpstr(key, ==, "name");
	g_assert_cmpint(sd_bus_message_exit_container(m), >=, 0);
	g_assert_cmpint(sd_bus_message_read(m, "s", &action), >, 0);
	g_assert_cmpint(sd_bus_message_skip(m, "a{ss}"), >=, 0);
	g_assert_cmpint(sd_bus_message_read(m, "u", &flags), >, 0);

	pthread_mutex_lock(&p->lock);
	p->asked++;
	g_free(p->last);
	p->last = g_strdup_printf("%s of %s%s", action, name, flags == 1 ? ", dialog" : "");
	pthread_mutex_unlock(&p->lock);
	if (answer == FAKE_POLKIT_SILENCE)
		g_queue_push_tail(&p->waiting, sd_bus_message_ref(m));
	else
		reply(m, answer);
	return 1;
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", on_check,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static void *serve(void *userdata)
{
	struct fake_polkit *p = userdata;
	sd_bus_message *m;

	while (!atomic_load(&p->stop)) {
		int r = sd_bus_process(p->bus, NULL);

		g_assert_cmpint(r, >=, 0);
		if (r == 0)
			g_assert_cmpint(sd_bus_wait(p->bus, 10000), >=, 0);
		while (atomic_load(&p->answer) != FAKE_POLKIT_SILENCE &&
		       (m = g_queue_pop_head(&p->waiting))) {
			reply(m, atomic_load(&p->answer));
			sd_bus_message_unref(m);
		}
	}
	while ((m = g_queue_pop_head(&p->waiting)))
		sd_bus_message_unref(m);
	sd_bus_flush_close_unref(p->bus);
	return NULL;
}

struct fake_polkit *fake_polkit_new(struct harness *h)
{
	struct fake_polkit *p = g_new0(struct fake_polkit, 1);

	p->bus = harness_connect_bus(h);
	pthread_mutex_init(&p->lock, NULL);
	g_queue_init(&p->waiting);
	g_assert_cmpint(sd_bus_add_object_vtable(p->bus, NULL,
						 "/org/freedesktop/PolicyKit1/Authority",
						 "org.freedesktop.PolicyKit1.Authority", vtable, p),
			>=, 0);
	g_assert_cmpint(sd_bus_request_name(p->bus, "org.freedesktop.PolicyKit1", 0), >=, 0);
	g_assert_cmpint(pthread_create(&p->thread, NULL, serve, p), ==, 0);
	return p;
}

struct fake_polkit *fake_polkit_free(struct fake_polkit *p)
{
	atomic_store(&p->stop, true);
	pthread_join(p->thread, NULL);
	pthread_mutex_destroy(&p->lock);
	g_free(p->last);
	g_free(p);
	return NULL;
}

void fake_polkit_set(struct fake_polkit *p, enum fake_polkit_answer answer)
{
	atomic_store(&p->answer, answer);
}

unsigned int fake_polkit_asked(struct fake_polkit *p, char **ret_last)
{
	unsigned int asked;

	pthread_mutex_lock(&p->lock);
	asked = p->asked;
	if (ret_last)
		*ret_last = g_strdup(p->last);
	pthread_mutex_unlock(&p->lock);
	return asked;
}
