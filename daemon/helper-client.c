// SPDX-License-Identifier: GPL-2.0-or-later
#include "helper-client.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "helper/packet.h"
#include "helper/protocol.h"
#include "log.h"

/* After one that did not answer in time, the next ones are not waited for. */
#define PAUSE_USEC (60 * UINT64_C(1000000))

static const char *socket_path;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Below the lock: the connection for opening files, -1: none; and until when not to try. */
static int opening = -1;
static uint64_t paused_until;

void helper_client_init(const char *path)
{
	socket_path = path;
}

int helper_client_connect(const char *path, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval t = { .tv_sec = HELPER_OPEN_SEC };
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)) < 0 ||
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int connect_helper(int *ret_fd)
{
	return socket_path ? helper_client_connect(socket_path, ret_fd) : -ENOENT;
}

int helper_client_ask(int socket, const struct helper_request *request,
		      struct helper_reply *ret_reply)
{
	uint8_t packet[HELPER_PACKET_MAX];
	int r;

	r = packet_send(socket, packet, helper_request_build(request, packet), -1);
	if (r == 0)
		r = packet_receive(socket, packet, NULL);
	if (r > 0)
		r = helper_reply_parse(packet, (size_t)r, ret_reply);
	return r == 0 && ret_reply->kind != HELPER_END ? -EPROTO : r;
}

/* An end with a descriptor, or why there is none. */
static int take_answer(int socket, uint8_t packet[static HELPER_PACKET_MAX], int *ret_fd,
		       char **ret_text)
{
	struct helper_reply reply = {};
	int r, fd = -1;

	r = packet_receive(socket, packet, &fd);
	if (r > 0)
		r = helper_reply_parse(packet, (size_t)r, &reply);
	if (r == 0)
		r = reply.kind == HELPER_END ? reply.result : -EPROTO;
	if (r < 0 && r == reply.result && reply.text[0] != 0)
		*ret_text = g_strdup(reply.text);
	if (r == 0 && fd < 0)
		r = -EPROTO;
	if (r == 0)
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	return r;
}

/* One request, one answer. -ECONNRESET, -EPIPE: the connection had ended already. */
static int ask(int socket, const struct helper_request *request, int *ret_fd, char **ret_text)
{
	uint8_t packet[HELPER_PACKET_MAX];
	int r = packet_send(socket, packet, helper_request_build(request, packet), -1);

	return r < 0 ? r : take_answer(socket, packet, ret_fd, ret_text);
}

static bool is_over(int r)
{
	return r == -ECONNRESET || r == -EPIPE;
}

static int open_locked(const struct helper_request *request, char **ret_text)
{
	int fd = -1, r;

	if (paused_until > now_monotonic())
		return -EAGAIN;
	/* The helper closes connections that are quiet for long: once more then. */
	for (int tries = 0; tries < 2; tries++) {
		if (opening < 0) {
			r = connect_helper(&opening);
			if (r < 0)
				return r;
		}
		g_clear_pointer(ret_text, g_free);
		r = ask(opening, request, &fd, ret_text);
		if (r == 0)
			return fd;
		if (r == -EAGAIN || r == -EPROTO || r == -EPROTONOSUPPORT || r == -EPERM ||
		    is_over(r)) {
			close(opening);
			opening = -1;
		}
		if (!is_over(r))
			break;
	}
	if (r == -EAGAIN || r == -EPERM || r == -EPROTO || r == -EPROTONOSUPPORT || is_over(r)) {
		log_line(
			LOG_WARNING, LOG_HELPER_LOST, socket_path,
			"morsel-helper at %s does not serve: %s; what only root may read stays unread",
			socket_path, r == -EAGAIN ? "no answer in time" : g_strerror(-r));
		paused_until = now_monotonic() + PAUSE_USEC;
	}
	return r;
}

int helper_client_open(const char *path)
{
	g_autofree char *text = NULL;

	return helper_client_open_device(path, &text);
}

int helper_client_open_device(const char *path, char **ret_text)
{
	struct helper_request request = { .verb = HELPER_OPEN, .requester = geteuid() };
	int r;

	if (g_strlcpy(request.path, path, sizeof(request.path)) >= sizeof(request.path))
		return -ENAMETOOLONG;
	pthread_mutex_lock(&lock);
	r = open_locked(&request, ret_text);
	pthread_mutex_unlock(&lock);
	return r;
}

int helper_client_check(void)
{
	int fd, r;

	r = connect_helper(&fd);
	if (r == 0)
		close(fd);
	return r;
}

/* How soon a cancel is noticed. */
#define CANCEL_MSEC 100

int helper_client_call(const struct helper_request *request,
		       void (*on_step)(const struct helper_reply *step, void *userdata),
		       void *userdata, const atomic_bool *cancel, struct helper_reply *ret_end)
{
	uint8_t packet[HELPER_PACKET_MAX];
	struct helper_reply reply;
	struct pollfd poll_fd = { .events = POLLIN };
	bool told = false;
	int r;

	r = connect_helper(&poll_fd.fd);
	if (r < 0)
		return r;
	r = packet_send(poll_fd.fd, packet, helper_request_build(request, packet), -1);
	while (r == 0) {
		if (!told && atomic_load_explicit(cancel, memory_order_relaxed)) {
			(void)shutdown(poll_fd.fd, SHUT_WR);
			told = true;
		}
		r = poll(&poll_fd, 1, told ? -1 : CANCEL_MSEC);
		if (r <= 0) {
			r = r < 0 && errno != EINTR ? -errno : 0;
			continue;
		}
		r = packet_receive(poll_fd.fd, packet, NULL);
		if (r > 0)
			r = helper_reply_parse(packet, (size_t)r, &reply);
		if (r == 0 && reply.kind == HELPER_END) {
			*ret_end = reply;
			break;
		}
		if (r == 0 && on_step)
			on_step(&reply, userdata);
	}
	close(poll_fd.fd);
	return r;
}

int helper_client_session(int *ret_socket)
{
	return connect_helper(ret_socket);
}

int helper_client_session_ask(int socket, const struct helper_request *request,
			      unsigned int timeout_ms, const atomic_bool *stop, int *ret_fd,
			      char **ret_text)
{
	uint64_t end = now_monotonic() + timeout_ms * UINT64_C(1000);
	struct pollfd poll_fd = { .fd = socket, .events = POLLIN };
	uint8_t packet[HELPER_PACKET_MAX];
	int r;

	r = packet_send(socket, packet, helper_request_build(request, packet), -1);
	if (r < 0)
		return r;
	do {
		if (atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
		if (now_monotonic() > end)
			return -ETIMEDOUT;
		r = poll(&poll_fd, 1, CANCEL_MSEC);
	} while (r == 0 || (r < 0 && errno == EINTR));
	return r < 0 ? -errno : take_answer(socket, packet, ret_fd, ret_text);
}
