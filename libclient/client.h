/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>

#include "morsel.h"

/*
 * Inside of libmorsel.
 *
 * Locking: client.lock guards bus, error and closed. A handle is immutable after it was made, so
 * calls that only make system calls on its descriptor take the lock for the error text alone.
 * In a child after fork nothing is locked, because another thread of the parent may have held the
 * lock: client_check_pid() comes before every lock.
 * A message counts as a reference of its bus, and libsystemd counts without atomics: messages go
 * before the lock does. So a call's function declares the lock first (variables are cleaned up in
 * the reverse order) and simply returns.
 */

#define MANAGER_PATH "/org/parperos/Morsel1"
#define MANAGER_IFACE "org.parperos.Morsel1.Manager"
#define JOB_IFACE "org.parperos.Morsel1.Job"

#define PAGE_BYTES UINT64_C(4096)
#define HUGE_BYTES (UINT64_C(2) << 20)

/* sd-bus: 0 is its default of 25 s. */
#define TIMEOUT_DEFAULT UINT64_C(0)
#define TIMEOUT_NONE UINT64_MAX

struct morsel_client {
	pthread_mutex_t lock;
	int refs; /* the user's and one per handle; atomic */
	pid_t pid;
	sd_bus *bus; /* NULL: connection lost, the next call makes a new one */
	int fd;	     /* the bus's, */
	ino_t inode; /* and which socket it is: see forget_bus() */
	bool closed; /* morsel_disconnect() was called, handles are left */
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char error[1024];
};

struct morsel {
	morsel_client *client;
	int fd;
	enum morsel_access access;
	bool thp, hugetlb;
	bool module; /* an object of the kernel module, not a memory file */
	char id[33];
	char *name;
	uint64_t size, page_size, created_usec;
	uid_t owner;
	gid_t group;
	uint32_t mode;
};

/* -ECHILD in a forked child. */
int client_check_pid(morsel_client *c);
/*
 * Check, lock and have a connection; on failure it is not locked and the error text is set.
 * *ret_locked is c, for a variable that is _cleanup_end_ and declared before every message.
 */
int client_begin(morsel_client *c, morsel_client **ret_locked);

/* Set the error text and return r. _locked: the caller holds the lock. */
int client_fail(morsel_client *c, int r, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int client_fail_locked(morsel_client *c, int r, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

morsel_client *client_ref(morsel_client *c);
void client_unref(morsel_client *c);

/* All with the lock held; they set the error text. The message is the caller's. */
int client_message(morsel_client *c, const char *path, const char *interface, const char *method,
		   sd_bus_message **ret_message);
/* Failure to build or read a message: r of an sd_bus_message_…() call. */
int client_fail_message(morsel_client *c, int r, const char *what);
int client_call(morsel_client *c, sd_bus_message *m, uint64_t timeout_usec,
		sd_bus_message **ret_reply);
/* The same without a time limit, and signals that come meanwhile are taken off the socket. */
int client_call_waiting(morsel_client *c, sd_bus_message *m, sd_bus_message **ret_reply);
/* Are n descriptors free? The reply that brings one would else break the connection. */
int client_check_descriptors(morsel_client *c, unsigned int n);

/* errno (positive) of a D-Bus error name of morseld, 0 for any other. */
int error_name_to_errno(const char *name);

/* Parts of a{sv}. Each appends one entry. lists: words separated by spaces, tabs or commas. */
int dict_append_u64(sd_bus_message *m, const char *key, uint64_t value);
int dict_append_u32(sd_bus_message *m, const char *key, uint32_t value);
int dict_append_bool(sd_bus_message *m, const char *key, bool value);
int dict_append_words(sd_bus_message *m, const char *key, const char *words);
/* -EINVAL when an item is not TIER=WEIGHT, or not a node number; *ret_bad (100 bytes) then has it. */
int dict_append_weights(sd_bus_message *m, const char *key, const char *weights, char *ret_bad);
int dict_append_numbers(sd_bus_message *m, const char *key, const char *numbers, char *ret_bad);

/*
 * Read a{sv} (the message stands before it): known keys are written through their pointer, others
 * skipped. A known key of another type is -EBADMSG. seen, if not NULL, gets bit i for field i.
 */
struct dict_field {
	const char *key;
	char type; /* 's' (const char *, owned by the message), 't', 'u', 'b' (int) */
	void *value;
};
int dict_read(sd_bus_message *m, const struct dict_field *fields, size_t n, uint64_t *ret_seen);

static inline void sd_bus_message_unrefp_(sd_bus_message **m)
{
	sd_bus_message_unref(*m);
}
#define _cleanup_message_ __attribute__((cleanup(sd_bus_message_unrefp_)))

static inline void client_endp_(morsel_client **locked)
{
	if (*locked)
		pthread_mutex_unlock(&(*locked)->lock);
}
#define _cleanup_end_ __attribute__((cleanup(client_endp_)))
