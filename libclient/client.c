// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

/* The unit starts it again after a tenth of a second; with 10,000 morsels it then takes half a second. */
#define RECONNECT_SECONDS 5

static const struct {
	const char *name;
	int error;
} error_names[] = {
	{ "InvalidArgument", EINVAL },	{ "NoSuchMorsel", ENOENT },
	{ "NoSuchTier", ENOENT },	{ "NoSuchJob", ENOENT },
	{ "NoSuchPolicy", ENOENT },	{ "Exists", EEXIST },
	{ "AccessDenied", EACCES },	{ "NoSpace", ENOSPC },
	{ "QuotaExceeded", EDQUOT },	{ "TierOffline", ENODEV },
	{ "NoMemory", ENOMEM },		{ "NoDescriptors", EMFILE },
	{ "NotSupported", EOPNOTSUPP }, { "Busy", EBUSY },
	{ "Cancelled", ECANCELED },	{ "Failed", EIO },
};

int error_name_to_errno(const char *name)
{
	static const char prefix[] = "org.parperos.Morsel1.Error.";
	size_t i;

	if (!name || strncmp(name, prefix, sizeof(prefix) - 1) != 0)
		return 0;
	name += sizeof(prefix) - 1;
	for (i = 0; i < sizeof(error_names) / sizeof(error_names[0]); i++)
		if (strcmp(name, error_names[i].name) == 0)
			return error_names[i].error;
	/* A name that a later daemon invents is still the daemon's refusal. */
	return EIO;
}

__attribute__((format(printf, 2, 0))) static void set_error(morsel_client *c, const char *format,
							    va_list ap)
{
	vsnprintf(c->error, sizeof(c->error), format, ap);
}

int client_fail_locked(morsel_client *c, int r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	set_error(c, format, ap);
	va_end(ap);
	return r;
}

int client_fail(morsel_client *c, int r, const char *format, ...)
{
	bool locks = getpid() == c->pid;
	va_list ap;

	if (locks)
		pthread_mutex_lock(&c->lock);
	va_start(ap, format);
	set_error(c, format, ap);
	va_end(ap);
	if (locks)
		pthread_mutex_unlock(&c->lock);
	return r;
}

int client_check_pid(morsel_client *c)
{
	if (getpid() == c->pid)
		return 0;
	return client_fail(
		c, -ECHILD,
		"The connection to morseld was made by process %d before a fork: connect "
		"again in this one.",
		(int)c->pid);
}

/* The connection is made here and not by sd-bus so that errno is connect(2)'s and any path will do. */
static int open_socket(const char *path, int *ret_fd)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, r;

	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	do {
		r = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	} while (r < 0 && errno == EINTR);
	if (r < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int open_bus(morsel_client *c)
{
	_cleanup_message_ sd_bus_message *m = NULL;
	sd_bus *bus = NULL;
	struct stat st;
	int fd = -1, r;

	r = open_socket(c->path, &fd);
	if (r < 0)
		return r;
	r = sd_bus_new(&bus);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = fstat(fd, &st) < 0 ? -errno : sd_bus_set_fd(bus, fd, fd);
	if (r < 0) {
		close(fd);
		goto fail;
	}
	r = sd_bus_negotiate_fds(bus, 1);
	if (r < 0)
		goto fail;
	r = sd_bus_start(bus);
	if (r < 0)
		goto fail;
	/* Finishes the authentication, so that a refusal is told by morsel_connect(). */
	r = sd_bus_message_new_method_call(bus, &m, NULL, MANAGER_PATH, "org.freedesktop.DBus.Peer",
					   "Ping");
	if (r >= 0)
		r = sd_bus_call(bus, m, TIMEOUT_DEFAULT, NULL, NULL);
	if (r < 0)
		goto fail;
	c->bus = bus;
	c->fd = fd;
	c->inode = st.st_ino;
	return 0;
fail:
	sd_bus_close_unref(bus);
	return r;
}

/*
 * In a forked child: close its copy of the socket and send nothing. libsystemd 252 does that when the
 * last reference goes; 257 leaves everything as it is in a child, and the descriptor would keep the
 * connection open there after the parent's has ended. So look whether it is still that socket. (257's
 * memory, and its descriptor for the peer's process, stay with the child; both end with exec.)
 */
static void forget_bus(morsel_client *c)
{
	struct stat st;

	if (!c->bus)
		return;
	c->bus = sd_bus_unref(c->bus);
	if (fstat(c->fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == c->inode)
		close(c->fd);
}

static void drop_bus(morsel_client *c)
{
	c->bus = sd_bus_close_unref(c->bus);
}

int morsel_connect(const char *address, morsel_client **ret_client)
{
	morsel_client *c;
	int r;

	if (!ret_client)
		return -EINVAL;
	if (!address)
		address = secure_getenv("MORSEL_SOCKET");
	if (!address || !address[0])
		address = "/run/morsel/bus";
	if (strlen(address) >= sizeof(c->path))
		return -ENAMETOOLONG;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	memcpy(c->path, address, strlen(address) + 1);
	c->refs = 1;
	c->pid = getpid();
	r = pthread_mutex_init(&c->lock, NULL);
	if (r > 0) {
		free(c);
		return -r;
	}
	r = open_bus(c);
	if (r < 0) {
		client_unref(c);
		return r;
	}
	*ret_client = c;
	return 0;
}

morsel_client *client_ref(morsel_client *c)
{
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void client_unref(morsel_client *c)
{
	/* Release: this thread's use is over; acquire: the last one sees all of it. */
	if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (getpid() == c->pid) {
		sd_bus_close_unref(c->bus);
		pthread_mutex_destroy(&c->lock);
	} else {
		forget_bus(c);
	}
	free(c);
}

morsel_client *morsel_disconnect(morsel_client *c)
{
	if (!c)
		return NULL;
	if (getpid() == c->pid) {
		pthread_mutex_lock(&c->lock);
		drop_bus(c);
		c->closed = true;
		pthread_mutex_unlock(&c->lock);
	} else {
		forget_bus(c);
		c->closed = true;
	}
	client_unref(c);
	return NULL;
}

const char *morsel_error(const morsel_client *c)
{
	if (!c)
		return "There is no connection to morseld; where it should run: systemctl start morseld";
	return c->error;
}

/* Take what came since the last call (signals of jobs) off the socket: sd_bus_call() would queue it
 * until the queue is full. Returns < 0 when the connection is gone. */
static int drain(morsel_client *c)
{
	int r;

	do {
		r = sd_bus_process(c->bus, NULL);
	} while (r > 0);
	return r;
}

/*
 * A daemon that is being restarted or upgraded is back within a second or two. Nobody listens meanwhile, or
 * the socket is not even there.
 */
static int open_bus_again(morsel_client *c)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	struct timespec now;
	time_t end;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec + RECONNECT_SECONDS;
	for (;;) {
		r = open_bus(c);
		if (r != -ENOENT && r != -ECONNREFUSED && r != -ECONNRESET)
			return r;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec >= end)
			return r;
		nanosleep(&pause, NULL);
	}
}

int client_begin(morsel_client *c, morsel_client **ret_locked)
{
	int r;

	r = client_check_pid(c);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	if (c->closed) {
		r = client_fail_locked(c, -ENOTCONN, "The connection to morseld was closed.");
		goto unlock;
	}
	if (c->bus && (drain(c) < 0 || sd_bus_is_open(c->bus) <= 0))
		drop_bus(c);
	if (!c->bus) {
		r = open_bus_again(c);
		if (r < 0) {
			client_fail_locked(c, r, "Cannot connect to morseld at %s again: %s",
					   c->path, strerror(-r));
			goto unlock;
		}
	}
	*ret_locked = c;
	return 0;
unlock:
	pthread_mutex_unlock(&c->lock);
	return r;
}

int client_message(morsel_client *c, const char *path, const char *interface, const char *method,
		   sd_bus_message **ret_message)
{
	int r;

	r = sd_bus_message_new_method_call(c->bus, ret_message, NULL, path, interface, method);
	return r < 0 ? client_fail_message(c, r, method) : 0;
}

int client_fail_message(morsel_client *c, int r, const char *what)
{
	/* sd-bus refuses to send what is not UTF-8, and what it cannot parse gives -ENXIO. */
	if (r == -ENXIO || r == -EBADMSG)
		return client_fail_locked(c, -EBADMSG,
					  "%s: morseld answered in a form that this libmorsel does "
					  "not understand",
					  what);
	if (r == -EINVAL)
		return client_fail_locked(c, r, "%s: an argument is not valid UTF-8", what);
	return client_fail_locked(c, r, "%s: %s", what, strerror(-r));
}

static int fail_call(morsel_client *c, int r, const sd_bus_error *e)
{
	int error = error_name_to_errno(e->name);

	if (error > 0)
		return client_fail_locked(c, -error, "%s",
					  e->message && e->message[0] ? e->message : e->name);
	if (r == -EMSGSIZE || r == -E2BIG)
		return client_fail_locked(c, r, "The call is too large for a message: %s",
					  strerror(-r));
	if (sd_bus_is_open(c->bus) <= 0 || r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE) {
		drop_bus(c);
		return client_fail_locked(c, -ECONNRESET,
					  "morseld at %s closed the connection during the call",
					  c->path);
	}
	if (r == -ETIMEDOUT)
		return client_fail_locked(c, r, "morseld at %s did not answer in time", c->path);
	return client_fail_locked(c, r, "%s",
				  e->message && e->message[0] ? e->message : strerror(-r));
}

int client_call(morsel_client *c, sd_bus_message *m, uint64_t timeout_usec,
		sd_bus_message **ret_reply)
{
	sd_bus_error e = SD_BUS_ERROR_NULL;
	int r;

	r = sd_bus_call(c->bus, m, timeout_usec, &e, ret_reply);
	if (r < 0)
		r = fail_call(c, r, &e);
	sd_bus_error_free(&e);
	return r < 0 ? r : 0;
}

static int keep_reply(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	sd_bus_message **reply = userdata;

	*reply = sd_bus_message_ref(m);
	return 0;
}

int client_call_waiting(morsel_client *c, sd_bus_message *m, sd_bus_message **ret_reply)
{
	_cleanup_message_ sd_bus_message *reply = NULL;
	sd_bus_error e = SD_BUS_ERROR_NULL;
	sd_bus_slot *slot = NULL;
	int r;

	r = sd_bus_call_async(c->bus, &slot, m, keep_reply, &reply, TIMEOUT_NONE);
	while (r >= 0 && !reply) {
		r = sd_bus_process(c->bus, NULL);
		if (r != 0)
			continue;
		r = sd_bus_wait(c->bus, UINT64_MAX);
		if (r == -EINTR)
			r = 0;
	}
	sd_bus_slot_unref(slot);
	if (r < 0)
		return fail_call(c, r, &e);
	if (sd_bus_message_is_method_error(reply, NULL))
		return fail_call(c, -sd_bus_message_get_errno(reply),
				 sd_bus_message_get_error(reply));
	*ret_reply = reply;
	reply = NULL;
	return 0;
}

int client_check_descriptors(morsel_client *c, unsigned int n)
{
	int fds[4], r = 0;
	unsigned int i, got;

	for (got = 0; got < n && got < 4; got++) {
		fds[got] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
		if (fds[got] < 0 && errno == EBADF)
			fds[got] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fds[got] < 0) {
			r = -errno;
			break;
		}
	}
	for (i = 0; i < got; i++)
		close(fds[i]);
	if (r < 0)
		return client_fail_locked(
			c, r, "This process is out of file descriptors (RLIMIT_NOFILE): %s",
			strerror(-r));
	return 0;
}
