// SPDX-License-Identifier: GPL-2.0-or-later
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake-polkit.h"

struct fake_polkit {
	pid_t pid;
	int control; /* each packet is a question, see below; each is answered with a struct state */
};

/* What the test sends: an enum fake_polkit_answer, or this. */
#define TELL_STATE (-1)

struct state {
	unsigned int asked;
	char last[256];
};

/* --- In the authority's process -------------------------------------------------------------- */

struct authority {
	sd_bus *bus;
	int control;
	enum fake_polkit_answer answer;
	GQueue waiting; /* of sd_bus_message */
	struct state state;
};

static void reply(sd_bus_message *m, enum fake_polkit_answer answer)
{
	g_assert_cmpint(sd_bus_reply_method_return(m, "(bba{ss})", answer == FAKE_POLKIT_YES,
						   answer == FAKE_POLKIT_CHALLENGE, 0),
			>=, 0);
}

static int on_check(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct authority *a = userdata;
	const char *kind, *key, *name, *action;
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

	a->state.asked++;
	g_snprintf(a->state.last, sizeof(a->state.last), "%s of %s%s", action, name,
		   flags == 1 ? ", dialog" : "");
	if (a->answer == FAKE_POLKIT_SILENCE)
		g_queue_push_tail(&a->waiting, sd_bus_message_ref(m));
	else
		reply(m, a->answer);
	return 1;
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", on_check,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static void tell(const struct authority *a)
{
	g_assert_cmpint(send(a->control, &a->state, sizeof(a->state), MSG_NOSIGNAL), ==,
			sizeof(a->state));
}

/* Returns false when the test is done with this. */
static bool obey(struct authority *a)
{
	int wish;
	ssize_t n = recv(a->control, &wish, sizeof(wish), 0);
	sd_bus_message *m;

	if (n == 0)
		return false;
	g_assert_cmpint(n, ==, sizeof(wish));
	if (wish != TELL_STATE)
		a->answer = wish;
	while (a->answer != FAKE_POLKIT_SILENCE && (m = g_queue_pop_head(&a->waiting))) {
		reply(m, a->answer);
		sd_bus_message_unref(m);
	}
	tell(a);
	return true;
}

static void wait_for_something(struct authority *a, struct pollfd fds[static 2])
{
	int timeout, events = sd_bus_get_events(a->bus);
	uint64_t until;

	g_assert_cmpint(events, >=, 0);
	g_assert_cmpint(sd_bus_get_timeout(a->bus, &until), >=, 0);
	timeout = until == UINT64_MAX ? -1 : 10;
	fds[0] = (struct pollfd){ .fd = sd_bus_get_fd(a->bus), .events = events };
	fds[1] = (struct pollfd){ .fd = a->control, .events = POLLIN };
	g_assert_cmpint(poll(fds, 2, timeout), >=, 0);
}

static void serve(struct harness *h, int control)
{
	struct authority a = { .control = control, .waiting = G_QUEUE_INIT };
	struct pollfd fds[2] = {};
	sd_bus_message *m;

	a.bus = harness_connect_bus(h);
	g_assert_cmpint(
		sd_bus_add_object_vtable(a.bus, NULL, "/org/freedesktop/PolicyKit1/Authority",
					 "org.freedesktop.PolicyKit1.Authority", vtable, &a),
		>=, 0);
	g_assert_cmpint(sd_bus_request_name(a.bus, "org.freedesktop.PolicyKit1", 0), >=, 0);
	tell(&a);
	do {
		int r;

		do {
			r = sd_bus_process(a.bus, NULL);
			g_assert_cmpint(r, >=, 0);
		} while (r > 0);
		wait_for_something(&a, fds);
	} while (!fds[1].revents || obey(&a));

	while ((m = g_queue_pop_head(&a.waiting)))
		sd_bus_message_unref(m);
	sd_bus_flush_close_unref(a.bus);
}

/* --- In the test's --------------------------------------------------------------------------- */

static struct state hear(struct fake_polkit *p)
{
	struct state state;

	g_assert_cmpint(recv(p->control, &state, sizeof(state), 0), ==, sizeof(state));
	return state;
}

static struct state ask(struct fake_polkit *p, int wish)
{
	g_assert_cmpint(send(p->control, &wish, sizeof(wish), MSG_NOSIGNAL), ==, sizeof(wish));
	return hear(p);
}

struct fake_polkit *fake_polkit_new(struct harness *h)
{
	struct fake_polkit *p = g_new0(struct fake_polkit, 1);
	int pair[2];

	g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
	p->pid = harness_fork();
	if (p->pid == 0) {
		close(pair[0]);
		serve(h, pair[1]);
		_exit(0);
	}
	close(pair[1]);
	p->control = pair[0];
	(void)hear(p); /* it has the name */
	return p;
}

struct fake_polkit *fake_polkit_free(struct fake_polkit *p)
{
	int status;

	close(p->control);
	g_assert_cmpint(waitpid(p->pid, &status, 0), ==, p->pid);
	g_assert_cmpint(status, ==, 0);
	g_free(p);
	return NULL;
}

void fake_polkit_set(struct fake_polkit *p, enum fake_polkit_answer answer)
{
	(void)ask(p, answer);
}

unsigned int fake_polkit_asked(struct fake_polkit *p, char **ret_last)
{
	struct state state = ask(p, TELL_STATE);

	if (ret_last)
		*ret_last = g_strdup(state.last);
	return state.asked;
}
