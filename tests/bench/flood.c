// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "flood.h"

#define CALLERS 200
#define CROWD 200
#define MANAGER_PATH "/org/parperos/Morsel1"
#define MANAGER_IFACE "org.parperos.Morsel1.Manager"

static void die(const char *what, int r)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(-r));
	exit(1);
}

/* NULL: refused, or the socket's queue is full. */
static sd_bus *connect_bus(const char *path)
{
	char address[512];
	sd_bus *bus = NULL;
	int r;

	snprintf(address, sizeof(address), "unix:path=%s", path);
	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_negotiate_fds(bus, 1);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r == -EPIPE || r == -ECONNRESET || r == -EAGAIN)
		return sd_bus_unref(bus);
	if (r < 0)
		die("cannot connect", r);
	return bus;
}

static int send_call(sd_bus *bus, unsigned int i)
{
	sd_bus_message *m = NULL;
	uint64_t cookie;
	char name[32];
	int r;

	snprintf(name, sizeof(name), "flood-%u", i % 2000);
	r = sd_bus_message_new_method_call(bus, &m, NULL, MANAGER_PATH, MANAGER_IFACE,
					   i % 4 == 0	? "Create"
					   : i % 4 == 1 ? "Destroy"
							: "List");
	if (r >= 0 && i % 4 == 0)
		r = sd_bus_message_append(m, "sta{sv}", name, (uint64_t)65536, 0);
	else if (r >= 0 && i % 4 == 1)
		r = sd_bus_message_append(m, "s", name);
	else if (r >= 0)
		r = sd_bus_message_append(m, "sua{sv}", "", 1000, 0);
	if (r >= 0)
		r = sd_bus_send(bus, m, &cookie);
	sd_bus_message_unref(m);
	return r;
}

static void call_for_ever(const char *path, int reads)
{
	sd_bus *buses[CALLERS / 2];
	unsigned int calls = 0;

	for (size_t i = 0; i < CALLERS / 2; i++)
		buses[i] = connect_bus(path);
	for (;;)
		for (size_t i = 0; i < CALLERS / 2; i++) {
			uint64_t queued = 0;

			if (!buses[i])
				buses[i] = connect_bus(path);
			if (!buses[i])
				continue;
			sd_bus_get_n_queued_write(buses[i], &queued);
			/* A connection that was refused, the crowd being faster, is tried again. */
			if (queued < 20 && send_call(buses[i], calls++) < 0) {
				buses[i] = sd_bus_close_unref(buses[i]);
				continue;
			}
			/* The greeting has to be read; after it, nothing. */
			for (int n = 0; n < 50 && (reads || sd_bus_is_ready(buses[i]) <= 0); n++)
				if (sd_bus_process(buses[i], NULL) <= 0)
					break;
		}
}

static void crowd_for_ever(const char *path)
{
	static const char greeting[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
	static const char half[] = "l\1\0\1\0\100\0\0\1\0\0\0\160\0\0\0half";
	static const char huge[] = "l\1\0\1\0\0\100\6\1\0\0\0\160\0\0\0";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fds[CROWD];

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	memset(fds, -1, sizeof(fds));
	for (unsigned int n = 0;; n = (n + 1) % CROWD) {
		if (fds[n] >= 0)
			close(fds[n]);
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fds[n] < 0)
			die("socket", -errno);
		/* Refused is what it is for. */
		if (connect(fds[n], (struct sockaddr *)&address, sizeof(address)) < 0 || n % 4 == 0)
			continue;
		(void)!send(fds[n], greeting, sizeof(greeting) - 1, MSG_NOSIGNAL);
		if (n % 4 == 1)
			(void)!send(fds[n], half, sizeof(half) - 1, MSG_NOSIGNAL);
		else
			(void)!send(fds[n], huge, sizeof(huge) - 1, MSG_NOSIGNAL);
	}
}

void flood_start(struct flood *f, const char *socket_path, uid_t uid)
{
	fflush(NULL);
	for (size_t i = 0; i < sizeof(f->pids) / sizeof(f->pids[0]); i++) {
		f->pids[i] = fork();
		if (f->pids[i] < 0)
			die("fork", -errno);
		if (f->pids[i] > 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (uid != getuid() &&
		    (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0))
			die("setuid", -errno);
		if (i < 2)
			call_for_ever(socket_path, i == 0);
		crowd_for_ever(socket_path);
	}
}

int flood_stop(struct flood *f)
{
	int died = 0, status;

	for (size_t i = 0; i < sizeof(f->pids) / sizeof(f->pids[0]); i++) {
		kill(f->pids[i], SIGTERM);
		waitpid(f->pids[i], &status, 0);
		died += !WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM;
	}
	return died;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

size_t flood_measure(const char *socket_path, const char *morsel, double seconds, double *samples,
		     size_t room)
{
	double began_all = now_s(), end;
	sd_bus *bus;
	size_t n = 0;

	/* sd-bus does not wait for room in the queue, as connect(2) would. */
	while (!(bus = connect_bus(socket_path)))
		if (now_s() > began_all + 30)
			die("cannot connect", -ETIMEDOUT);
		else
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	end = now_s() + seconds;

	while (n < room && now_s() < end) {
		sd_bus_error error = SD_BUS_ERROR_NULL;
		sd_bus_message *reply = NULL;
		double began = now_s();
		int r;

		r = sd_bus_call_method(bus, NULL, MANAGER_PATH, MANAGER_IFACE, "Show", &error,
				       &reply, "s", morsel);
		if (r < 0) {
			fprintf(stderr, "flood: Show: %s\n", error.message);
			exit(1);
		}
		samples[n++] = now_s() - began;
		sd_bus_message_unref(reply);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	sd_bus_flush_close_unref(bus);
	qsort(samples, n, sizeof(*samples), compare_double);
	return n;
}
