/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <systemd/sd-bus.h>

/*
 * The real daemon, started on a directory of its own, on its private socket and, where wanted, on a
 * private dbus-daemon. Everything asserts: a harness that fails fails the test. Programs come from the
 * environment: MORSELD (set by meson), and dbus-daemon from PATH.
 */
struct harness_options {
	const char *config; /* text of morseld.conf; NULL: empty */
	bool with_bus;	    /* a dbus-daemon, and morseld on it */
	bool dry_run;
	bool with_helper;    /* a helper's socket is expected at DIR/helper */
	rlim_t descriptors;  /* RLIMIT_NOFILE of the daemon; 0: as is */
	bool user_namespace; /* the daemon in one that knows only its own user */
	bool with_keeper;
	rlim_t file_size; /* RLIMIT_FSIZE of the daemon: its disk is full then; 0: as is */
};

struct harness {
	char *dir;
	char *socket_path, *config_path, *log_path;
	GPid daemon, bus, keeper;
	char *keeper_path; /* NULL: none */
	char *bus_address; /* NULL: none */
	struct harness_options options;
	size_t log_seen; /* bytes of the log that are of a daemon before this one */
	GArray *held;	 /* threads of the daemon; NULL: none */
};

#define MANAGER_PATH "/org/parperos/Morsel1"
#define MANAGER "org.parperos.Morsel1.Manager"
#define JOB "org.parperos.Morsel1.Job"
#define TIER "org.parperos.Morsel1.Tier"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define ERROR(name) "org.parperos.Morsel1.Error." name

/* Started, and answering on the private socket. */
struct harness *harness_new(const struct harness_options *options);
/* Stops it with SIGTERM; it must end with 0 and have logged nothing of sanitizers. */
void harness_free(struct harness *h);

/* The private dbus-daemon ends, and comes back at the same address. */
void harness_stop_bus(struct harness *h);
void harness_start_bus(struct harness *h);
/* After the test has ended it: again, with the same arguments. */
void harness_restart_daemon(struct harness *h);
/* SIGKILL, and until it is gone. */
void harness_kill_daemon(struct harness *h);
void harness_kill_keeper(struct harness *h);
void harness_start_keeper(struct harness *h); /* until it listens */

/* From now on moves do not go on (threads.h), until they may again or the daemon is killed. At least one has been done
 * and none is under way. */
void harness_hold_moves(struct harness *h);
void harness_release_moves(struct harness *h);

/* Only the daemon, for tests of the command line: its exit status; its stderr in *ret_log. */
int harness_run_daemon(const char *const *arguments, char **ret_log);

/* A private connection. Never NULL. */
sd_bus *harness_connect(struct harness *h);
/* A connection to the private dbus-daemon. */
sd_bus *harness_connect_bus(struct harness *h);
/* fork(), of a test that has no thread besides this one; the child goes with the test. */
pid_t harness_fork(void);
/* In a child that becomes another user (for root), with one supplementary group or none (0): the function on a
 * connection of its own. It must not fail. */
void harness_as_user(struct harness *h, uid_t uid, gid_t supplementary,
		     sd_bus *(*connect_to)(struct harness *h), void (*function)(sd_bus *bus));
/* A connected socket, nothing said yet. */
int harness_connect_raw(struct harness *h);

/* Of the daemon's for each private connection that has greeted; before that, one. */
#define CONNECTION_DESCRIPTORS 4
unsigned int harness_descriptors(struct harness *h); /* open ones of the daemon, once it is quiet */
uint64_t harness_property_t(sd_bus *bus, const char *property);
char *harness_log(struct harness *h); /* all of it so far; g_free */
/* Until the condition holds, at most ten seconds (then the test fails, naming it). */
void harness_wait(bool (*condition)(void *data), void *data, const char *what);
void harness_wait_descriptors(struct harness *h, unsigned int n);
void harness_wait_log(struct harness *h, const char *text);

/* Call a method of Manager: types and arguments as for sd_bus_call_method. The reply, never NULL. */
sd_bus_message *must_call(sd_bus *bus, const char *method, const char *types, ...);
/* It must fail with error (Error.NAME without prefix), and its text contain each of the words. */
void must_fail(sd_bus *bus, const char *error, const char *words, const char *method,
	       const char *types, ...);
/* A morsel without options; closes the descriptor. Returns the id. */
char *must_create(sd_bus *bus, const char *name, uint64_t size);
/* For calls that take a message built elsewhere. */
void must_fail_message(sd_bus *bus, const char *error, const char *words, sd_bus_message *m);
sd_bus_message *manager_message(sd_bus *bus, const char *method);

/* Look key up in the a{sv} at the message's place (whole dictionary is read, the place moves on); value is
 * a string for s, decimal for numbers. NULL: not there. */
GHashTable *read_dict(sd_bus_message *m);

#define autofd __attribute__((cleanup(close_fd)))
void close_fd(int *fd);
typedef sd_bus_message Message;
static inline void message_unrefp(Message **m)
{
	sd_bus_message_unref(*m);
}
#define automessage __attribute__((cleanup(message_unrefp))) sd_bus_message
static inline void bus_closep(sd_bus **b)
{
	sd_bus_flush_close_unref(*b);
}
#define autobus __attribute__((cleanup(bus_closep))) sd_bus
