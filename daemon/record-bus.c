// SPDX-License-Identifier: GPL-2.0-or-later
#include "record-bus.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus-error.h"
#include "bus-options.h"
#include "log.h"
#include "manager.h"
#include "morsel-bus.h"
#include "recording.h"

/* Each has 17 bytes for each 2 MiB of the machine's memory, half as many again, and 1 MiB. */
#define RECORDS_MAX 4
#define RECORDS_PER_USER 2

/* For a taker that does not read. A round of 1 TiB that is all new is 1 MiB. */
#define UNREAD_MAX (4u << 20)

/*
 * One recording and the socket that it goes to. The taker has the file: what a disk or a network does to its writing is not
 * the daemon's to wait for, and no descriptor of a client's comes in.
 */
struct record {
	struct manager *manager;
	struct recording *recording; /* NULL: it has ended, what is in unread is left */
	uid_t uid;
	uint64_t rounds;
	int fd;
	sd_event_source *io;
	GByteArray *unread; /* from sent on */
	size_t sent;
	bool asked; /* the taker wants no more of it */
	GList link; /* in manager->records */
};

static void record_free(struct record *d)
{
	g_queue_unlink(&d->manager->records, &d->link);
	recording_free(d->recording);
	sd_event_source_disable_unref(d->io);
	close(d->fd);
	g_byte_array_unref(d->unread);
	g_free(d);
}

static void log_end(const struct record *d, const char *why)
{
	log_line(LOG_INFO, LOG_TIERING, NULL,
		 "recording of uid %u ended after %" PRIu64 " rounds: %s", d->uid, d->rounds, why);
}

/* 0: all of it, or as much as goes now; -EPIPE: nobody is there. */
static int send_some(struct record *d)
{
	while (d->sent < d->unread->len) {
		ssize_t n = send(d->fd, d->unread->data + d->sent, d->unread->len - d->sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -EPIPE;
		d->sent += (size_t)n;
	}
	g_byte_array_set_size(d->unread, 0);
	d->sent = 0;
	return 0;
}

/* The end of it: of what is not even sent nothing comes any more. */
static void drop(struct record *d, const char *why)
{
	struct recording *rec = d->recording;

	if (!d->asked)
		log_end(d, why);
	if (!rec) {
		record_free(d);
		return;
	}
	/* A worker may have it: the rest is done when it is told to have ended. */
	g_byte_array_set_size(d->unread, 0);
	d->sent = 0;
	d->asked = true;
	sd_event_source_set_enabled(d->io, SD_EVENT_OFF);
	(void)shutdown(d->fd, SHUT_RDWR);
	tiering_end_record(d->manager->tiering, rec);
}

static void want(struct record *d)
{
	bool unsent = d->sent < d->unread->len;

	/* What has said that it is finished says so for ever. */
	sd_event_source_set_io_events(d->io, (unsent ? EPOLLOUT : 0) | (d->asked ? 0 : EPOLLIN));
}

static void on_news(struct recording *rec, bool last, void *userdata)
{
	struct record *d = userdata;
	int r;

	d->rounds = rec->rounds;
	g_byte_array_append(d->unread, rec->out->data, rec->out->len);
	g_byte_array_set_size(rec->out, 0);
	r = send_some(d);
	if (last) {
		if (r >= 0 && !d->asked)
			log_end(d, rec->result < 0 ? "no memory" : "morseld ends");
		d->recording = recording_free(rec);
		if (r < 0 || d->sent == d->unread->len)
			record_free(d);
		else
			want(d);
		return;
	}
	if (r < 0)
		drop(d, "its taker has gone");
	else if (d->unread->len - d->sent > UNREAD_MAX)
		drop(d, "its taker does not read");
	else
		want(d);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct record *d = userdata;
	char byte;

	if (send_some(d) < 0 || (events & (EPOLLHUP | EPOLLERR))) {
		drop(d, "its taker has gone");
		return 0;
	}
	if (!d->asked && (events & EPOLLIN)) {
		ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

		if (n > 0) {
			drop(d, "its taker has sent something");
			return 0;
		}
		if (n == 0) {
			d->asked = true;
			log_end(d, "as its taker wished");
			want(d);
			/* May free d. */
			tiering_end_record(d->manager->tiering, d->recording);
			return 0;
		}
	}
	if (!d->recording && d->sent == d->unread->len)
		record_free(d);
	else
		want(d);
	return 0;
}

void records_free(struct manager *manager)
{
	GList *link;

	while ((link = g_queue_peek_head_link(&manager->records)))
		record_free(link->data);
}

static int check_number(struct manager *manager, const struct caller *caller, sd_bus_error *error)
{
	unsigned int n = 0;

	for (GList *l = manager->records.head; l; l = l->next)
		n += ((struct record *)l->data)->uid == caller->uid;
	if (!caller_is_admin(caller) && n >= RECORDS_PER_USER)
		return bus_error_setf(error, ERROR_QUOTA_EXCEEDED,
				      "%u recordings of yours go on; that is the limit", n);
	if (manager->records.length >= RECORDS_MAX)
		return bus_error_setf(error, ERROR_QUOTA_EXCEEDED,
				      "%u recordings go on; that is the limit",
				      manager->records.length);
	return 0;
}

static int begin(struct call *call, bool all, int *ret_theirs)
{
	struct manager *manager = call->manager;
	struct record *d;
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	d = g_new0(struct record, 1);
	d->manager = manager;
	d->uid = call->caller->uid;
	d->fd = fds[0];
	d->unread = g_byte_array_new();
	d->link.data = d;
	g_queue_push_tail_link(&manager->records, &d->link);
	r = sd_event_add_io(manager->event, &d->io, d->fd, EPOLLIN, on_io, d);
	if (r < 0) {
		record_free(d);
		close(fds[1]);
		return r;
	}
	d->recording = recording_new(d->uid, all);
	d->recording->news = on_news;
	d->recording->userdata = d;
	tiering_record(manager->tiering, d->recording);
	log_line(LOG_INFO, LOG_TIERING, NULL, "recording of uid %u begins: %s", d->uid,
		 all ? "all morsels" : "that user's morsels");
	*ret_theirs = fds[1];
	return 0;
}

int record_call(struct call *call, sd_bus_error *error)
{
	static const struct bus_option options[] = {
		{ "all", "b", bus_option_bool, 0 },
	};
	bool all = false;
	int fd = -1, r;

	r = bus_options_read(call->message, options, G_N_ELEMENTS(options), &all, error);
	if (r < 0)
		return r;
	if (all) {
		r = authority_check(call, ACTION_INSPECT, "record others' morsels", error);
		if (r <= 0)
			return r;
	}
	r = morsel_bus_check_descriptors(call, error);
	if (r < 0)
		return r;
	if (!call->manager->tiering || !tiering_can_watch(call->manager))
		return bus_error_setf(
			error, ERROR_NOT_SUPPORTED,
			"nothing can be recorded: what is accessed is seen of morsels of the kernel"
			" module only, and it is not in use (morselctl doctor says why)");
	if (manager_descriptors_short(call->manager, -1))
		return bus_error_setf(
			error, ERROR_NO_DESCRIPTORS,
			"the daemon has no descriptor left for a recording (limit %u)",
			call->manager->descriptors);
	r = check_number(call->manager, call->caller, error);
	if (r < 0)
		return r;
	r = begin(call, all || caller_is_admin(call->caller), &fd);
	if (r < 0)
		return r;
	/* Where this fails the taker's end is closed, and so the recording ends. */
	r = sd_bus_reply_method_return(call->message, "h", fd);
	close(fd);
	return r;
}
