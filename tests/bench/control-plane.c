/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What morseld's control plane costs, measured from outside: creation over the private socket, what
 * another client sees meanwhile, listing, memory, calls against the number of morsels, idle wake-ups.
 *
 * control-plane SOCKET PID MORSELS: prints "name value" lines; the daemon must be a fresh one.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "flood.h"
#include "libclient/morsel.h"

#define MANAGER_PATH "/org/parperos/Morsel1"
#define MANAGER_IFACE "org.parperos.Morsel1.Manager"

static const char *socket_path;

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what, int r, const char *detail)
{
	fprintf(stderr, "control-plane: %s: %s\n", what, detail ? detail : strerror(-r));
	exit(1);
}

static sd_bus *connect_raw(void)
{
	char address[512];
	sd_bus *bus = NULL;
	int r;

	snprintf(address, sizeof(address), "unix:path=%s", socket_path);
	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0)
		die("cannot connect", r, NULL);
	return bus;
}

/* One Show; seconds it took. */
static double time_show(sd_bus *bus, const char *name)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	double began = now_s();
	int r;

	r = sd_bus_call_method(bus, NULL, MANAGER_PATH, MANAGER_IFACE, "Show", &error, &reply, "s",
			       name);
	if (r < 0)
		die("Show", r, error.message);
	sd_bus_message_unref(reply);
	return now_s() - began;
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(double *v, size_t n, double p)
{
	qsort(v, n, sizeof(*v), compare_double);
	return v[(size_t)(p * (double)(n - 1))];
}

static double median_show(sd_bus *bus, const char *name)
{
	double v[2000];

	for (size_t i = 0; i < 2000; i++)
		v[i] = time_show(bus, name);
	return percentile(v, 2000, 0.5);
}

/* The other client: a call a millisecond while the first one creates. */
struct other {
	atomic_bool stop;
	double *samples;
	size_t n, room;
};

static void *other_client(void *arg)
{
	struct other *o = arg;
	sd_bus *bus = connect_raw();

	while (!atomic_load(&o->stop) && o->n < o->room) {
		o->samples[o->n++] = time_show(bus, "bench-first");
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	sd_bus_flush_close_unref(bus);
	return NULL;
}

static void create_many(morsel_client *c, size_t from, size_t to)
{
	char name[64];

	for (size_t i = from; i < to; i++) {
		morsel *m = NULL;
		int r;

		snprintf(name, sizeof(name), "bench-%zu", i);
		r = morsel_create(c, name, 1 << 16, NULL, &m);
		if (r < 0)
			die(name, r, morsel_error(c));
		morsel_close(m);
	}
}

static size_t list_all(sd_bus *bus)
{
	char *cursor = strdup("");
	size_t count = 0;

	do {
		sd_bus_error error = SD_BUS_ERROR_NULL;
		sd_bus_message *reply = NULL;
		const char *next;
		int r;

		r = sd_bus_call_method(bus, NULL, MANAGER_PATH, MANAGER_IFACE, "List", &error,
				       &reply, "sua{sv}", cursor, 1000, 0);
		if (r < 0)
			die("List", r, error.message);
		sd_bus_message_enter_container(reply, 'a', "a{sv}");
		while (sd_bus_message_skip(reply, "a{sv}") > 0)
			count++;
		sd_bus_message_exit_container(reply);
		r = sd_bus_message_read(reply, "s", &next);
		if (r < 0)
			die("List's reply", r, NULL);
		free(cursor);
		cursor = strdup(next);
		sd_bus_message_unref(reply);
	} while (cursor[0]);
	free(cursor);
	return count;
}

static uint64_t status_field(const char *path, const char *field)
{
	char line[256];
	uint64_t value = 0;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, strlen(field)))
			value = strtoull(line + strlen(field), NULL, 10);
	if (f)
		fclose(f);
	return value;
}

/* Context switches of all threads: each wake-up is one. */
static uint64_t wakeups(int pid)
{
	char path[300];
	uint64_t sum = 0;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		die("the daemon is gone", -errno, NULL);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", pid, e->d_name);
		sum += status_field(path, "voluntary_ctxt_switches:");
	}
	closedir(d);
	return sum;
}

/* Another user floods; only root can be two. */
static void measure_flood(double *samples, size_t room)
{
	struct flood flood;
	size_t n;

	if (getuid() != 0) {
		fprintf(stderr, "control.flood: not measured: only root can be another user\n");
		return;
	}
	flood_start(&flood, socket_path, 1);
	n = flood_measure(socket_path, "bench-first", 15, samples, room);
	if (flood_stop(&flood) > 0)
		die("flood", 0, "one of its processes ended by itself");
	printf("control.flood.other_client.p99_ms %.3f\n",
	       1e3 * samples[(size_t)(0.99 * (double)(n - 1))]);
	fprintf(stderr, "flood, other client: %zu calls, median %.3f ms, longest %.3f ms\n", n,
		1e3 * samples[n / 2], 1e3 * samples[n - 1]);
}

int main(int argc, char **argv)
{
	morsel_client *c = NULL;
	struct other other = { .room = 1000000 };
	double began, took, show_few, show_many;
	char status[64];
	pthread_t thread;
	size_t morsels;
	morsel *m = NULL;
	sd_bus *bus;
	uint64_t before;
	int pid, r;

	if (argc != 4) {
		fprintf(stderr, "usage: control-plane SOCKET PID MORSELS\n");
		return 2;
	}
	socket_path = argv[1];
	pid = atoi(argv[2]);
	morsels = strtoull(argv[3], NULL, 10);
	other.samples = calloc(other.room, sizeof(double));
	if (!other.samples)
		die("samples", -ENOMEM, NULL);

	r = morsel_connect(socket_path, &c);
	if (r < 0)
		die(socket_path, r, NULL);
	r = morsel_create(c, "bench-first", 1 << 16, NULL, &m);
	if (r < 0)
		die("bench-first", r, morsel_error(c));
	morsel_close(m);
	bus = connect_raw();

	create_many(c, 0, 99);
	show_few = median_show(bus, "bench-50");

	pthread_create(&thread, NULL, other_client, &other);
	began = now_s();
	create_many(c, 99, morsels - 1);
	took = now_s() - began;
	atomic_store(&other.stop, true);
	pthread_join(thread, NULL);
	printf("control.create.per_second %.0f\n", (double)(morsels - 100) / took);
	printf("control.other_client.p99_ms %.3f\n",
	       1e3 * percentile(other.samples, other.n, 0.99));
	fprintf(stderr, "other client: %zu calls, median %.3f ms, longest %.3f ms\n", other.n,
		1e3 * percentile(other.samples, other.n, 0.5),
		1e3 * percentile(other.samples, other.n, 1));

	began = now_s();
	if (list_all(bus) != morsels)
		die("List", 0, "gave another number of morsels than were created");
	printf("control.list_10k.ms %.1f\n", 1e3 * (now_s() - began));

	show_many = median_show(bus, "bench-50");
	printf("control.show.10k_to_100_ratio %.2f\n", show_many / show_few);

	measure_flood(other.samples, other.room);

	snprintf(status, sizeof(status), "/proc/%d/status", pid);
	printf("control.rss_10k.mib %.1f\n", (double)status_field(status, "VmRSS:") / 1024);

	/* Idle means idle: with its clients gone, past what their leaving and the last timer stir. */
	sd_bus_flush_close_unref(bus);
	morsel_disconnect(c);
	sleep(2);
	before = wakeups(pid);
	sleep(10);
	printf("control.idle.wakeups_per_s %.2f\n", (double)(wakeups(pid) - before) / 10);
	free(other.samples);
	return 0;
}
