// SPDX-License-Identifier: GPL-2.0-or-later
/* Provisioning as jobs: arguments, steps, ends and cancels, against a helper that only plays its part. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "helper/packet.h"
#include "helper/protocol.h"

#define MIB (UINT64_C(1) << 20)

/* What the fake helper does is in the serial number that it is asked for. */
enum {
	SERIAL_WORKS = 1,
	SERIAL_BUSY,
	SERIAL_WAITS,
	SERIAL_RUBBISH,
	SERIAL_CLOSES,
	SERIAL_ABSENT,
};

static struct harness *h;

struct fake_helper {
	int listen_fd;
	GThread *thread;
	pthread_mutex_t lock; /* the thread sanitizer does not see GLib's */
	/* Below the lock. */
	struct helper_request last;
	unsigned int requests;
};

static void send_step(int fd, unsigned int step, unsigned int total, const char *text)
{
	struct helper_reply reply = { .kind = HELPER_STEP, .step = step, .total = total };
	uint8_t packet[HELPER_PACKET_MAX];

	g_strlcpy(reply.text, text, sizeof(reply.text));
	/* Who asked may have gone. */
	(void)packet_send(fd, packet, helper_reply_build(&reply, packet), -1);
}

static void send_end(int fd, int result, const char *text)
{
	struct helper_reply reply = { .kind = HELPER_END, .result = result, .node = -1 };
	uint8_t packet[HELPER_PACKET_MAX];

	if (result == 0) {
		reply.step = reply.total = 2;
		reply.node = 7;
		strcpy(reply.device, "dax7.0");
	}
	g_strlcpy(reply.text, text, sizeof(reply.text));
	(void)packet_send(fd, packet, helper_reply_build(&reply, packet), -1);
}

static void play(int fd, uint64_t serial)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLRDHUP };

	switch (serial) {
	case SERIAL_BUSY:
		/* What somebody else's text may hold must not break the daemon's messages. */
		send_end(fd, -EBUSY, "region0 is in use \xff");
		break;
	case SERIAL_WAITS:
		send_step(fd, 1, 3, "create a region");
		g_assert_cmpint(poll(&poll_fd, 1, 10000), ==, 1);
		send_step(fd, 1, 3, "take back: delete region0");
		send_end(fd, -ECANCELED,
			 "cancelled before \"commit\"; everything is as it was before");
		break;
	case SERIAL_RUBBISH:
		g_assert_cmpint(packet_send(fd, "rubbish", 7, -1), ==, 0);
		break;
	case SERIAL_CLOSES:
		break;
	case SERIAL_ABSENT:
		send_end(fd, -ENODEV, "there is no CXL memory device with serial 0x6");
		break;
	default:
		send_step(fd, 1, 2, "create a region");
		send_step(fd, 2, 2, "make dax7.0 a device (devdax)");
		send_end(fd, 0, "region0 is the device /dev/dax7.0");
	}
}

static gpointer helper_thread(gpointer data)
{
	struct fake_helper *helper = data;
	uint8_t packet[HELPER_PACKET_MAX];
	struct helper_request request;
	int fd, n;

	while ((fd = accept(helper->listen_fd, NULL, NULL)) >= 0) {
		n = packet_receive(fd, packet, NULL);
		/* One that only looks whether somebody is there says nothing. */
		if (n > 0 && helper_request_parse(packet, (size_t)n, &request) == 0) {
			if (request.verb == HELPER_OPEN) {
				send_end(fd, -ENOENT, "");
			} else {
				pthread_mutex_lock(&helper->lock);
				helper->last = request;
				helper->requests++;
				pthread_mutex_unlock(&helper->lock);
				play(fd, request.wish.serial);
			}
		}
		close(fd);
	}
	return NULL;
}

static struct fake_helper *helper_start(void)
{
	struct fake_helper *helper = g_new0(struct fake_helper, 1);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/helper", h->dir);
	pthread_mutex_init(&helper->lock, NULL);
	helper->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	g_assert_cmpint(bind(helper->listen_fd, (struct sockaddr *)&address, sizeof(address)), ==,
			0);
	g_assert_cmpint(listen(helper->listen_fd, 8), ==, 0);
	helper->thread = g_thread_new("helper", helper_thread, helper);
	return helper;
}

static struct helper_request last_request(struct fake_helper *helper)
{
	struct helper_request request;

	pthread_mutex_lock(&helper->lock);
	request = helper->last;
	pthread_mutex_unlock(&helper->lock);
	return request;
}

static void helper_stop(struct fake_helper *helper)
{
	g_autofree char *path = g_build_filename(h->dir, "helper", NULL);

	shutdown(helper->listen_fd, SHUT_RDWR);
	g_thread_join(helper->thread);
	close(helper->listen_fd);
	unlink(path);
	pthread_mutex_destroy(&helper->lock);
	g_free(helper);
}

static char *start_job(sd_bus *bus, const char *method, const char *memory)
{
	automessage *reply = must_call(bus, method, "sa{sv}", memory, 0);
	const char *path;

	g_assert_cmpint(sd_bus_message_read(reply, "o", &path), >, 0);
	return g_strdup(path);
}

static GHashTable *wait_for(sd_bus *bus, const char *path, const char *want_state,
			    const char *want_error)
{
	automessage *m = NULL, *reply = NULL;
	const char *state, *error;

	g_assert_cmpint(sd_bus_message_new_method_call(bus, &m, NULL, path, JOB, "Wait"), >=, 0);
	g_assert_cmpint(sd_bus_call(bus, m, 0, NULL, &reply), >=, 0);
	g_assert_cmpint(sd_bus_message_read(reply, "ss", &state, &error), >, 0);
	g_assert_cmpstr(state, ==, want_state);
	if (!strstr(error, want_error))
		g_error("'%s' is not in: %s", want_error, error);
	return read_dict(reply);
}

static void test_ends(void)
{
	h = harness_new(&(struct harness_options){ .with_helper = true });
	{
		struct fake_helper *helper = helper_start();
		autobus *bus = harness_connect(h);
		g_autofree char *works = start_job(bus, "Provision", "serial:0x1");
		g_autoptr(GHashTable) result = wait_for(bus, works, "done", "");
		g_autofree char *busy = start_job(bus, "Unprovision", "serial:2");
		g_autoptr(GHashTable) none = wait_for(bus, busy, "failed", "region0 is in use ");
		g_autofree char *rubbish = NULL, *closes = NULL;
		struct helper_request request;

		g_assert_cmpstr(g_hash_table_lookup(result, "device"), ==, "dax7.0");
		g_assert_cmpstr(g_hash_table_lookup(result, "node"), ==, "7");
		g_assert_cmpstr(g_hash_table_lookup(result, "summary"), ==,
				"region0 is the device /dev/dax7.0");
		g_assert_cmpstr(g_hash_table_lookup(none, "device"), ==, "");
		request = last_request(helper);
		g_assert_cmpint(request.verb, ==, HELPER_UNPROVISION);
		g_assert_cmpuint(request.requester, ==, getuid());
		g_assert_cmpuint(request.wish.serial, ==, 2);
		rubbish = start_job(bus, "Provision", "serial:4");
		g_hash_table_unref(wait_for(bus, rubbish, "failed", "did not answer"));
		closes = start_job(bus, "Provision", "serial:5");
		g_hash_table_unref(wait_for(bus, closes, "failed", "did not answer"));
		helper_stop(helper);
		/* Without it the answer says what to do. */
		g_free(closes);
		closes = start_job(bus, "Provision", "serial:1");
		g_hash_table_unref(wait_for(bus, closes, "failed", "morsel-helper.socket"));
	}
	harness_free(h);
}

static void test_options(void)
{
	h = harness_new(&(struct harness_options){ .with_helper = true });
	{
		struct fake_helper *helper = helper_start();
		autobus *bus = harness_connect(h);
		automessage *reply = must_call(bus, "Provision", "sa{sv}", "memdev:mem0", 8, "mode",
					       "s", "pmem", "as", "s", "system-ram", "zone", "s",
					       "kernel", "size", "t", 512 * MIB, "persist", "b", 1,
					       "force", "b", 1, "drop_data", "b", 1, "dry_run", "b",
					       1);
		g_autofree char *path = NULL;
		struct provision_wish w;
		const char *p;

		g_assert_cmpint(sd_bus_message_read(reply, "o", &p), >, 0);
		path = g_strdup(p);
		g_hash_table_unref(wait_for(bus, path, "done", ""));
		w = last_request(helper).wish;
		g_assert_cmpint(w.select, ==, SELECT_NAME);
		g_assert_cmpstr(w.name, ==, "mem0");
		g_assert_cmpint(w.mode, ==, MODE_PMEM);
		g_assert_cmpint(w.as, ==, AS_SYSTEM_RAM);
		g_assert_cmpint(w.zone, ==, ZONE_KERNEL);
		g_assert_cmpuint(w.size, ==, 512 * MIB);
		g_assert_cmpuint(w.flags, ==, PROVISION_FLAGS);

		/* A tier is the node that it is. */
		g_free(path);
		path = start_job(bus, "Unprovision", "dram0");
		g_hash_table_unref(wait_for(bus, path, "done", ""));
		g_assert_cmpstr(last_request(helper).wish.name, ==, "node0");

		must_fail(bus, "NoSuchTier", "'cxl9' is no tier", "Provision", "sa{sv}", "cxl9", 0);
		must_fail(bus, "NoSuchTier", "no tier", "Provision", "sa{sv}", "serial:", 0);
		must_fail(bus, "NoSuchTier", "no tier", "Provision", "sa{sv}", "serial:0xg", 0);
		must_fail(bus, "NoSuchTier", "no tier", "Provision", "sa{sv}", "dax0", 0);
		must_fail(bus, "NoSuchTier", "no tier", "Provision", "sa{sv}", "memdev:dax0.0", 0);
		must_fail(bus, "NoSuchTier", "no tier", "Unprovision", "sa{sv}",
			  "mem00000000000000000000000000000000000", 0);
		must_fail(bus, "InvalidArgument", "devdax or system-ram", "Provision", "sa{sv}",
			  "serial:1", 1, "as", "s", "disk");
		must_fail(bus, "InvalidArgument", "ram or pmem", "Provision", "sa{sv}", "serial:1",
			  1, "mode", "s", "x");
		must_fail(bus, "InvalidArgument", "movable or kernel", "Provision", "sa{sv}",
			  "serial:1", 2, "as", "s", "system-ram", "zone", "s", "dma");
		must_fail(bus, "InvalidArgument", "zone", "Provision", "sa{sv}", "serial:1", 1,
			  "zone", "s", "kernel");
		must_fail(bus, "InvalidArgument", "size", "Unprovision", "sa{sv}", "serial:1", 1,
			  "size", "t", MIB);
		helper_stop(helper);
	}
	harness_free(h);
}

struct asked {
	struct fake_helper *helper;
	unsigned int times;
};

static bool was_asked(void *data)
{
	struct asked *asked = data;
	unsigned int n;

	pthread_mutex_lock(&asked->helper->lock);
	n = asked->helper->requests;
	pthread_mutex_unlock(&asked->helper->lock);
	return n >= asked->times;
}

static void test_cancel(void)
{
	struct asked asked = { .times = 1 };

	h = harness_new(&(struct harness_options){ .with_helper = true });
	asked.helper = helper_start();
	{
		autobus *bus = harness_connect(h);
		g_autofree char *path = start_job(bus, "Provision", "serial:3");
		automessage *m = NULL, *reply = NULL;
		g_autoptr(GHashTable) result = NULL;

		harness_wait(was_asked, &asked, "the helper is asked");
		g_assert_cmpint(sd_bus_message_new_method_call(bus, &m, NULL, path, JOB, "Cancel"),
				>=, 0);
		g_assert_cmpint(sd_bus_call(bus, m, 0, NULL, &reply), >=, 0);
		result = wait_for(bus, path, "cancelled", "everything is as it was before");

		/* The daemon's own end is a cancel too, and it waits for the helper. */
		g_free(path);
		path = start_job(bus, "Provision", "serial:3");
		asked.times = 2;
		harness_wait(was_asked, &asked, "the helper is asked again");
	}
	kill(h->daemon, SIGTERM);
	harness_wait_log(h, "stopped");
	helper_stop(asked.helper);
	harness_free(h);
}

static GHashTable *only_job(sd_bus *bus)
{
	automessage *reply = must_call(bus, "ListJobs", "");
	GHashTable *job;

	g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
	job = read_dict(reply);
	g_assert_true(sd_bus_message_at_end(reply, false) > 0);
	return job;
}

static void must_be_interrupted(const char *kind, const char *memory, const char *error)
{
	{
		autobus *bus = harness_connect(h);
		g_autoptr(GHashTable) job = only_job(bus);
		g_autofree char *line =
			g_strdup_printf("%s of %s: morseld ended before", kind, memory);

		g_assert_cmpstr(g_hash_table_lookup(job, "state"), ==, "interrupted");
		g_assert_cmpstr(g_hash_table_lookup(job, "kind"), ==, kind);
		g_assert_cmpstr(g_hash_table_lookup(job, "memory"), ==, memory);
		g_assert_cmpstr(g_hash_table_lookup(job, "id"), ==, "2");
		if (!strstr(g_hash_table_lookup(job, "error"), error))
			g_error("'%s' is not in: %s", error,
				(char *)g_hash_table_lookup(job, "error"));
		g_hash_table_unref(wait_for(bus, MANAGER_PATH "/job/2", "interrupted", error));
		harness_wait_log(h, line);
		/* When this is answered, what was changed before it is written. */
		g_free(must_create(bus, "later", 4096));
	}
	/* Told once. */
	harness_kill_daemon(h);
	harness_restart_daemon(h);
	{
		autobus *bus = harness_connect(h);
		automessage *reply = must_call(bus, "ListJobs", "");

		g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "a{sv}"), >, 0);
		g_assert_true(sd_bus_message_at_end(reply, false) > 0);
	}
}

/* Cut off by the daemon's death, or by its orderly end, after which it is known how it ended. */
static void test_interrupted(void)
{
	for (int orderly = 0; orderly < 2; orderly++) {
		struct asked asked = { .times = 2 };

		h = harness_new(&(struct harness_options){ .with_helper = true });
		asked.helper = helper_start();
		{
			autobus *bus = harness_connect(h);
			g_autofree char *done = start_job(bus, "Provision", "serial:1");

			/* One that has ended is not told again. */
			g_hash_table_unref(wait_for(bus, done, "done", ""));
			g_free(start_job(bus, orderly ? "Provision" : "Unprovision", "serial:3"));
			harness_wait(was_asked, &asked, "the helper is asked");
		}
		if (orderly) {
			kill(h->daemon, SIGTERM);
			g_assert_cmpint(waitpid(h->daemon, NULL, 0), ==, h->daemon);
		} else {
			harness_kill_daemon(h);
		}
		harness_restart_daemon(h);
		must_be_interrupted(
			orderly ? "provision" : "unprovision", "serial:3",
			orderly ? "done: cancelled before \"commit\"; everything is as it"
				  " was before"
				: "morsel-helper takes back");
		helper_stop(asked.helper);
		harness_free(h);
	}
}

/* Only an admin; the daemon's own user is one, so another user is wanted to see it. */
static void test_admin(void)
{
	int status;
	pid_t pid;

	if (getuid() != 0) {
		g_test_skip("only root can be somebody else");
		return;
	}
	h = harness_new(&(struct harness_options){ .with_helper = true });
	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (pid == 0) {
		g_assert_cmpint(setresgid(65534, 65534, 65534), ==, 0);
		g_assert_cmpint(setresuid(65534, 65534, 65534), ==, 0);
		{
			autobus *bus = harness_connect(h);

			must_fail(bus, "AccessDenied", "provision memory", "Provision", "sa{sv}",
				  "serial:1", 0);
			must_fail(bus, "AccessDenied", "unprovision memory", "Unprovision",
				  "sa{sv}", "serial:1", 0);
		}
		_exit(0);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	harness_free(h);
}

/* What the configuration wants is asked for at the start, and what fails is said. */
static void test_configured(void)
{
	h = harness_new(&(struct harness_options){
		.with_helper = true,
		.config = "[provision one]\nSerial=1\nAs=system-ram\nZone=kernel\n"
			  "[provision absent]\nSerial=6\n" });
	{
		struct fake_helper *helper;
		int status;

		harness_wait_log(h, "[provision one]: morsel-helper, which alone may do this");
		kill(h->daemon, SIGTERM);
		g_assert_cmpint(waitpid(h->daemon, &status, 0), ==, h->daemon);
		helper = helper_start();
		harness_restart_daemon(h);
		harness_wait_log(h, "[provision one]: region0 is the device /dev/dax7.0");
		harness_wait_log(h, "[provision absent]: there is no CXL memory device");
		helper_stop(helper);
	}
	harness_free(h);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/provision/ends", test_ends);
	g_test_add_func("/provision/options", test_options);
	g_test_add_func("/provision/cancel", test_cancel);
	g_test_add_func("/provision/interrupted", test_interrupted);
	g_test_add_func("/provision/admin", test_admin);
	g_test_add_func("/provision/configured", test_configured);
	return g_test_run();
}
