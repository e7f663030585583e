// SPDX-License-Identifier: GPL-2.0-or-later
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/dax-device.h"
#include "daemon/log.h"
#include "attach.h"
#include "damon.h"
#include "files.h"
#include "ordinary-session.h"
#include "packet.h"
#include "protocol.h"
#include "provision.h"

volatile sig_atomic_t serve_stopping;

struct peer {
	int socket;
	struct ucred cred;
	char who[96];			   /* "uid 990 (pid 123, morseld)" */
	struct attached *attached;	   /* NULL: no program */
	struct ordinary_session *ordinary; /* of HELPER_LOOK; NULL: not asked yet */
};

static void on_signal(int signo)
{
	if (signo != SIGCHLD)
		serve_stopping = 1;
}

static void describe(struct peer *peer)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/comm", peer->cred.pid);
	g_autofree char *comm = NULL, *safe = NULL;

	if (g_file_get_contents(path, &comm, NULL, NULL))
		safe = g_strescape(g_strstrip(comm), NULL);
	snprintf(peer->who, sizeof(peer->who), "uid %u (pid %d, %.32s)", peer->cred.uid,
		 peer->cred.pid, safe ? safe : "gone");
}

static int answer(struct peer *peer, int result, const char *text, int fd)
{
	struct helper_reply reply = { .kind = HELPER_END, .result = result };
	uint8_t packet[HELPER_PACKET_MAX];

	g_strlcpy(reply.text, text, sizeof(reply.text));
	return packet_send(peer->socket, packet, helper_reply_build(&reply, packet), fd);
}

static int open_file(struct peer *peer, const struct serve_options *options,
		     const struct helper_request *request)
{
	g_autofree char *text = NULL;
	int fd, r;

	/* Not a file to read: which of these are morsel's the configuration says. */
	if (files_is_dax(request->path))
		fd = dax_device_open(options->root_fd, options->config_path,
				     request->path + strlen("dev/"), &text);
	else
		fd = files_open(options->root_fd, request->path);

	log_line(fd < 0 && fd != -ENOENT ? LOG_WARNING : LOG_INFO, LOG_HELPER_REQUEST,
		 request->path, "%s for uid %" PRIu32 ": open /%s%s%s", peer->who,
		 request->requester, request->path, fd < 0 ? ": " : "",
		 text		 ? text
		 : fd == -EACCES ? "is not in the list, refused"
		 : fd < 0	 ? g_strerror(-fd)
				 : "");
	if (fd == -EACCES && !text)
		text = g_strdup("morsel-helper does not open this file");
	r = answer(peer, MIN(fd, 0), text ? text : "", MAX(fd, -1));
	if (fd >= 0)
		close(fd);
	return r;
}

static void send_step(void *userdata, const char *text, unsigned int number, unsigned int total)
{
	struct helper_reply reply = { .kind = HELPER_STEP, .step = number, .total = total };
	struct peer *peer = userdata;
	uint8_t packet[HELPER_PACKET_MAX];

	g_strlcpy(reply.text, text, sizeof(reply.text));
	/* Whoever asked may have gone: then it is stopped, see below. */
	(void)packet_send(peer->socket, packet, helper_reply_build(&reply, packet), -1);
}

/* The one who asked went away, or shut his side down to say so. */
static bool is_stopped(void *userdata)
{
	struct peer *peer = userdata;
	struct pollfd poll_fd = { .fd = peer->socket, .events = POLLRDHUP };

	return serve_stopping ||
	       (poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static int provision_memory(struct peer *peer, const struct helper_request *request)
{
	const struct provision_call call = {
		.who = peer->who, .step = send_step, .stopped = is_stopped, .userdata = peer
	};
	uint8_t packet[HELPER_PACKET_MAX];
	struct helper_reply reply;

	provision(request, &call, &reply);
	return packet_send(peer->socket, packet, helper_reply_build(&reply, packet), -1);
}

static int attach(struct peer *peer, const struct serve_options *options,
		  const struct helper_request *request)
{
	char text[HELPER_TEXT_MAX] = "";
	int r = -EALREADY;

	if (!peer->attached)
		r = attach_program(options->root_fd, &peer->attached, text);
	log_line(r < 0 ? LOG_WARNING : LOG_INFO, LOG_HELPER_REQUEST, NULL,
		 "%s for uid %" PRIu32 ": placement program %s%s", peer->who, request->requester,
		 text, r < 0 ? ", not registered" : "");
	return answer(peer, r, text, -1);
}

static int set_policy(struct peer *peer, const struct helper_request *request)
{
	int r = peer->attached ? attach_policy(peer->attached, request->account, &request->policy)
			       : -EBADF;

	if (r < 0)
		log_line(LOG_WARNING, LOG_HELPER_REQUEST, NULL,
			 "%s for uid %" PRIu32 ": policy of account %" PRIu64 ": %s", peer->who,
			 request->requester, request->account, g_strerror(-r));
	return answer(peer, r, "", -1);
}

static int detach(struct peer *peer)
{
	peer->attached = attach_end(peer->attached);
	return answer(peer, 0, "", -1);
}

static int handle_bpf(struct peer *peer, const struct serve_options *options,
		      const struct helper_request *request)
{
	switch (request->verb) {
	case HELPER_ATTACH:
		return attach(peer, options, request);
	case HELPER_POLICY:
		return set_policy(peer, request);
	case HELPER_DETACH:
		return detach(peer);
	default:
		return answer(peer, -EACCES, "morsel-helper --bpf does not do that", -1);
	}
}

/* Of what is asked all the time only the first is logged, and what goes wrong. */
static int ordinary_memory(struct peer *peer, const struct serve_options *options,
			   const struct helper_request *request)
{
	char text[HELPER_TEXT_MAX] = "";
	int fd = -1, r;

	if (!peer->ordinary) {
		log_line(
			LOG_INFO, LOG_HELPER_REQUEST, NULL,
			"%s for uid %" PRIu32
			": sample and move ordinary memory of processes, until the connection ends",
			peer->who, request->requester);
		peer->ordinary = ordinary_session_new(options->root_fd);
	}
	if (request->verb == HELPER_LOOK)
		r = ordinary_session_look(peer->ordinary, &request->look, &fd, text);
	else
		r = ordinary_session_shift(peer->ordinary, request->shift, request->n_shifts, &fd,
					   text);
	if (r < 0)
		log_line(LOG_WARNING, LOG_HELPER_REQUEST, NULL, "%s: ordinary memory: %s",
			 peer->who, text);
	r = answer(peer, r, text, fd);
	if (fd >= 0)
		close(fd);
	return r;
}

static int handle(struct peer *peer, const struct serve_options *options, const uint8_t *packet,
		  size_t len)
{
	struct helper_request request;
	int r;

	r = helper_request_parse(packet, len, &request);
	if (r < 0) {
		log_line(LOG_WARNING, LOG_HELPER_REFUSED, NULL,
			 "%s: %zu bytes that are no request of this version, refused", peer->who,
			 len);
		(void)answer(peer, r, "not a request of this version of morsel-helper", -1);
		return r;
	}
	if (options->bpf)
		return handle_bpf(peer, options, &request);
	switch (request.verb) {
	case HELPER_OPEN:
		return open_file(peer, options, &request);
	case HELPER_PROVISION:
	case HELPER_UNPROVISION:
		return provision_memory(peer, &request);
	case HELPER_LOOK:
	case HELPER_SHIFT:
		return ordinary_memory(peer, options, &request);
	default:
		return answer(peer, -EACCES, "only morsel-helper --bpf does that", -1);
	}
}

static bool may_call(const struct ucred *cred, const struct serve_options *options)
{
	return cred->uid == 0 || cred->uid == geteuid() ||
	       (options->user != (uid_t)-1 && cred->uid == options->user);
}

void serve_connection(int socket, const struct serve_options *options)
{
	struct peer peer = { .socket = socket };
	struct timeval quiet = { .tv_sec = SERVE_QUIET_SEC };
	uint8_t packet[HELPER_PACKET_MAX];
	socklen_t length = sizeof(peer.cred);
	unsigned int quiets = 0;
	bool allowed;
	int n;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer.cred, &length) < 0 ||
	    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof(quiet)) < 0 ||
	    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &quiet, sizeof(quiet)) < 0) {
		log_line(LOG_WARNING, LOG_HELPER_REFUSED, NULL, "connection: %s",
			 g_strerror(errno));
		goto out;
	}
	describe(&peer);
	allowed = may_call(&peer.cred, options);
	if (!allowed)
		log_line(LOG_WARNING, LOG_HELPER_REFUSED, NULL, "%s may not call, refused",
			 peer.who);
	while (!serve_stopping) {
		n = packet_receive(socket, packet, NULL);
		/* A program is there as long as the connection. */
		if (n == -EAGAIN && peer.attached)
			continue;
		if (n == -EAGAIN && peer.ordinary && ++quiets < SERVE_ORDINARY_QUIETS)
			continue;
		if (n == -ECONNRESET || n == -EAGAIN)
			break;
		quiets = 0;
		if (n < 0) {
			log_line(LOG_WARNING, LOG_HELPER_REFUSED, NULL,
				 "%s: a packet that cannot be taken (%s), connection closed",
				 peer.who, g_strerror(-n));
			break;
		}
		/* Only now: a connection that is closed with something unread takes its answer along. */
		if (!allowed) {
			(void)answer(&peer, -EPERM, "only morseld and root may call morsel-helper",
				     -1);
			break;
		}
		if (handle(&peer, options, packet, (size_t)n) < 0)
			break;
	}
out:
	attach_end(peer.attached);
	peer.ordinary = ordinary_session_free(peer.ordinary);
	close(socket);
}

static unsigned int reap(bool wait, unsigned int children, const struct serve_options *options)
{
	int status;

	while (children > 0 && waitpid(-1, &status, wait ? 0 : WNOHANG) > 0) {
		children--;
		if (WIFSIGNALED(status) && !options->bpf)
			damon_tidy(options->root_fd);
	}
	return children;
}

static int accept_one(int listen_fd, const struct serve_options *options, const sigset_t *mask,
		      unsigned int *children)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	pid_t pid;

	if (fd < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED ? 0 : -errno;
	if (*children >= SERVE_CONNECTIONS) {
		log_line(LOG_WARNING, LOG_HELPER_REFUSED, NULL,
			 "%u connections at once are the limit, one refused", SERVE_CONNECTIONS);
		close(fd);
		return 0;
	}
	pid = fork();
	if (pid < 0) {
		log_line(LOG_WARNING, LOG_HELPER_REFUSED, NULL, "no process for a connection: %s",
			 g_strerror(errno));
	} else if (pid == 0) {
		close(listen_fd);
		/* A program ends with its process, and nothing else is half done. */
		if (options->bpf) {
			(void)signal(SIGTERM, SIG_DFL);
			(void)signal(SIGINT, SIG_DFL);
		}
		(void)sigprocmask(SIG_SETMASK, mask, NULL);
		serve_connection(fd, options);
		_exit(0);
	} else {
		++*children;
	}
	close(fd);
	return 0;
}

int serve(int listen_fd, const struct serve_options *options)
{
	const struct timespec idle = { .tv_sec = options->idle_sec };
	struct sigaction act = { .sa_handler = on_signal };
	struct pollfd listening = { .fd = listen_fd, .events = POLLIN };
	unsigned int children = 0;
	sigset_t handled, before;
	int r = 0;

	/* One that was killed has left it. */
	if (!options->bpf)
		damon_tidy(options->root_fd);
	/* Handled while waiting only: none can come between the look at the flag and the wait. */
	sigemptyset(&handled);
	sigaddset(&handled, SIGTERM);
	sigaddset(&handled, SIGINT);
	sigaddset(&handled, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &handled, &before) < 0 || sigaction(SIGTERM, &act, NULL) < 0 ||
	    sigaction(SIGINT, &act, NULL) < 0 || sigaction(SIGCHLD, &act, NULL) < 0 ||
	    fcntl(listen_fd, F_SETFL, O_NONBLOCK) < 0)
		r = -errno;
	while (r == 0 && !serve_stopping) {
		int n = ppoll(&listening, 1, children > 0 || options->idle_sec == 0 ? NULL : &idle,
			      &before);

		if (n < 0 && errno != EINTR)
			r = -errno;
		else if (n > 0)
			r = accept_one(listen_fd, options, &before, &children);
		else if (n == 0 && children == 0)
			break;
		children = reap(false, children, options);
	}
	if (r < 0)
		log_line(LOG_ERR, LOG_STOPPED, NULL, "waiting for connections: %s", g_strerror(-r));
	/* What they do is not left half done. */
	reap(true, children, options);
	return r;
}
