// SPDX-License-Identifier: GPL-2.0-or-later
/* morseld's end of the keeper with the real keeper, which is killed, filled, confused and too small. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper-io.h"
#include "keeper.h"
#include "log.h"

#define DEADLINE_USEC (20 * G_USEC_PER_SEC)

struct world {
	sd_event *event;
	char *dir, *path;
	pid_t keeper;
	unsigned int kept, not_kept, dropped;
};

static bool answers(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool ok;

	strcpy(address.sun_path, path);
	ok = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return ok;
}

static void start_keeper(struct world *w, rlim_t descriptors)
{
	gint64 end = g_get_monotonic_time() + DEADLINE_USEC;

	w->keeper = fork();
	g_assert_cmpint(w->keeper, >=, 0);
	if (w->keeper == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (descriptors > 0)
			setrlimit(RLIMIT_NOFILE, &(struct rlimit){ descriptors, descriptors });
		execl(g_getenv("MORSEL_KEEPER"), "morsel-keeper", "--listen", w->path, NULL);
		_exit(127);
	}
	while (!answers(w->path)) {
		g_assert_cmpint(g_get_monotonic_time(), <, end);
		poll(NULL, 0, 5);
	}
}

static void stop_keeper(struct world *w)
{
	kill(w->keeper, SIGKILL);
	g_assert_cmpint(waitpid(w->keeper, NULL, 0), ==, w->keeper);
}

static void begin(struct world *w, rlim_t descriptors)
{
	*w = (struct world){};
	g_assert_cmpint(sd_event_new(&w->event), >=, 0);
	w->dir = g_dir_make_tmp("morsel-keeper-XXXXXX", NULL);
	w->path = g_build_filename(w->dir, "keeper", NULL);
	start_keeper(w, descriptors);
}

static void end(struct world *w)
{
	stop_keeper(w);
	unlink(w->path);
	rmdir(w->dir);
	g_free(w->path);
	g_free(w->dir);
	sd_event_unref(w->event);
}

static void on_put(bool kept, void *userdata)
{
	struct world *w = userdata;

	*(kept ? &w->kept : &w->not_kept) += 1;
}

static void on_drop(void *userdata)
{
	((struct world *)userdata)->dropped++;
}

static void run_once(struct world *w, gint64 end)
{
	g_assert_cmpint(g_get_monotonic_time(), <, end);
	g_assert_cmpint(sd_event_run(w->event, 10000), >=, 0);
}

#define RUN_UNTIL(w, condition)                                       \
	do {                                                          \
		gint64 end_ = g_get_monotonic_time() + DEADLINE_USEC; \
                                                                      \
		while (!(condition))                                  \
			run_once(w, end_);                            \
	} while (0)

/* The daemon's start: connected, nothing held yet. */
static struct keeper *start_client(struct world *w, unsigned int held)
{
	struct keeper *k = keeper_new(w->event, w->path);
	g_autoptr(GHashTable) kept = NULL;
	g_autofree char *text = NULL;

	g_assert_cmpint(keeper_fetch(k, 100000, &kept, &text), ==, 0);
	g_assert_cmpuint(g_hash_table_size(kept), ==, held);
	keeper_start(k);
	g_assert_cmpint(keeper_state(k), ==, KEEPER_COMPLETE);
	return k;
}

struct object {
	sd_id128_t id;
	int fd;
	struct stat st;
};

static struct object *make_objects(unsigned int n)
{
	struct object *o = g_new0(struct object, n);

	for (unsigned int i = 0; i < n; i++) {
		g_assert_cmpint(sd_id128_randomize(&o[i].id), >=, 0);
		o[i].fd = memfd_create("test-keeper", MFD_CLOEXEC);
		g_assert_cmpint(o[i].fd, >=, 0);
		g_assert_cmpint(fstat(o[i].fd, &o[i].st), ==, 0);
	}
	return o;
}

static void free_objects(struct object *o, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		close(o[i].fd);
	g_free(o);
}

static void put(struct world *w, struct keeper *k, const struct object *o, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		keeper_put(k, o[i].id, o[i].fd, on_put, w);
}

/* Exactly these are held. */
static void must_hold(struct world *w, const struct object *o, unsigned int n)
{
	struct keeper *k = keeper_new(w->event, w->path);
	g_autoptr(GHashTable) kept = NULL;
	g_autofree char *text = NULL;

	g_assert_cmpint(keeper_fetch(k, 100000, &kept, &text), ==, 0);
	g_assert_cmpuint(g_hash_table_size(kept), ==, n);
	for (unsigned int i = 0; i < n; i++) {
		struct kept *one = kept_find(kept, o[i].id);
		struct stat st;

		g_assert_nonnull(one);
		g_assert_cmpint(fstat(one->fd, &st), ==, 0);
		g_assert_cmpuint(st.st_ino, ==, o[i].st.st_ino);
		g_assert_cmpuint(st.st_dev, ==, o[i].st.st_dev);
	}
	keeper_free(k);
}

/* 1,000 are four messages; what is dropped is gone, the rest is the same files. */
static void test_keep(void)
{
	struct object *o = make_objects(1000);
	struct keeper *k;
	struct world w;

	begin(&w, 0);
	k = start_client(&w, 0);
	put(&w, k, o, 1000);
	RUN_UNTIL(&w, w.kept == 1000);
	g_assert_cmpuint(keeper_held(k), ==, 1000);
	for (unsigned int i = 900; i < 1000; i++)
		keeper_drop(k, o[i].id, on_drop, &w);
	RUN_UNTIL(&w, w.dropped == 100);
	keeper_free(k);
	must_hold(&w, o, 900);
	/* Told to be kept, and nothing was waited for since. */
	k = start_client(&w, 900);
	put(&w, k, o + 900, 100);
	RUN_UNTIL(&w, w.kept == 1100);
	keeper_free(k);
	must_hold(&w, o, 1000);
	g_assert_cmpuint(w.not_kept, ==, 0);
	end(&w);
	free_objects(o, 1000);
}

static void test_killed(void)
{
	struct object *o = make_objects(1000);
	struct keeper *k;
	struct world w;

	begin(&w, 0);
	k = start_client(&w, 0);
	put(&w, k, o, 600);
	RUN_UNTIL(&w, w.kept == 600);
	stop_keeper(&w);
	RUN_UNTIL(&w, keeper_state(k) == KEEPER_AWAY);
	g_assert_cmpstr(keeper_trouble(k), !=, "");
	g_assert_cmpuint(keeper_held(k), ==, 0);
	/* Nobody waits for it. */
	put(&w, k, o + 600, 400);
	g_assert_cmpuint(w.not_kept, ==, 400);
	keeper_drop(k, o[999].id, on_drop, &w);
	g_assert_cmpuint(w.dropped, ==, 1);
	start_keeper(&w, 0);
	RUN_UNTIL(&w, keeper_state(k) == KEEPER_COMPLETE);
	g_assert_cmpuint(keeper_held(k), ==, 999);
	keeper_free(k);
	must_hold(&w, o, 999);
	end(&w);
	free_objects(o, 1000);
}

/* Everything again to a keeper that has it, and more: the more goes. */
static void test_handed_over_again(void)
{
	struct object *o = make_objects(300);
	struct keeper *k;
	struct world w;

	begin(&w, 0);
	k = start_client(&w, 0);
	put(&w, k, o, 300);
	RUN_UNTIL(&w, w.kept == 300);
	/* Another connection takes the place of this one. */
	must_hold(&w, o, 300);
	RUN_UNTIL(&w, keeper_state(k) == KEEPER_AWAY);
	for (unsigned int i = 200; i < 300; i++)
		keeper_drop(k, o[i].id, NULL, NULL);
	RUN_UNTIL(&w, keeper_state(k) == KEEPER_COMPLETE);
	keeper_free(k);
	must_hold(&w, o, 200);
	end(&w);
	free_objects(o, 300);
}

/* A keeper that may have too few descriptors holds what it can, says so, and recovers. */
static void test_full(void)
{
	struct object *o = make_objects(100);
	struct keeper *k;
	struct world w;
	unsigned int room;

	begin(&w, 300);
	k = start_client(&w, 0);
	put(&w, k, o, 100);
	RUN_UNTIL(&w, w.kept + w.not_kept == 100);
	g_assert_cmpint(keeper_state(k), ==, KEEPER_FULL);
	room = w.kept;
	g_assert_cmpuint(room, >, 0);
	g_assert_cmpuint(room, <, 100);
	g_assert_cmpuint(keeper_held(k), ==, room);
	for (unsigned int i = 0; i < 100 - room; i++)
		keeper_drop(k, o[i].id, NULL, NULL);
	RUN_UNTIL(&w, keeper_state(k) == KEEPER_COMPLETE);
	keeper_free(k);
	must_hold(&w, o + 100 - room, room);
	end(&w);
	free_objects(o, 100);
}

/* It does not answer: those who wait are let go, later ones do not wait; then it goes on. */
static void test_stopped(void)
{
	struct object *o = make_objects(1);
	unsigned int n = 0;
	struct keeper *k;
	struct world w;

	begin(&w, 0);
	k = start_client(&w, 0);
	kill(w.keeper, SIGSTOP);
	/* One by one, until the socket's buffer is full. */
	while (w.kept == n) {
		sd_id128_t id;

		g_assert_cmpuint(++n, <, 100000);
		g_assert_cmpint(sd_id128_randomize(&id), >=, 0);
		keeper_put(k, id, o[0].fd, on_put, &w);
		g_assert_cmpint(sd_event_run(w.event, 0), >=, 0);
	}
	RUN_UNTIL(&w, w.kept + w.not_kept == n);
	g_assert_cmpuint(w.not_kept, ==, 1);
	g_assert_cmpstr(keeper_trouble(k), ==, "it does not answer");
	put(&w, k, o, 1);
	g_assert_cmpuint(w.not_kept, ==, 2);
	kill(w.keeper, SIGCONT);
	RUN_UNTIL(&w, keeper_state(k) == KEEPER_COMPLETE);
	g_assert_cmpuint(keeper_held(k), ==, n + 1);
	keeper_free(k);
	end(&w);
	free_objects(o, 1);
}

static int connect_raw(struct world *w)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, w->path);
	g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	return fd;
}

static void send_raw(int fd, struct keeper_message *m, const int *fds)
{
	g_assert_cmpint(keeper_send(fd, m, fds, 0), ==, 0);
}

/* What a client has sent counts, also where it dies with answers unread. */
static void test_last_words(void)
{
	struct object *o = make_objects(20);
	struct keeper_message drop = { .head = { KEEPER_VERSION, KEEPER_DROP, 1 } };
	struct world w;
	int fd;

	begin(&w, 0);
	fd = connect_raw(&w);
	/* Its HELLO stays unread too. */
	g_assert_cmpint(poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 20000), ==, 1);
	kill(w.keeper, SIGSTOP);
	for (unsigned int i = 0; i < 20; i++) {
		struct keeper_message m = { .head = { KEEPER_VERSION, KEEPER_PUT, 1 },
					    .ids = { o[i].id } };

		send_raw(fd, &drop, NULL);
		send_raw(fd, &m, &o[i].fd);
	}
	close(fd);
	kill(w.keeper, SIGCONT);
	must_hold(&w, o, 20);
	end(&w);
	free_objects(o, 20);
}

static void must_be_closed(int fd)
{
	struct keeper_message m;
	int fds[KEEPER_BATCH], r;
	unsigned int n;

	do {
		r = keeper_receive(fd, &m, fds, &n, 0);
	} while (r >= 0);
	g_assert_cmpint(r, ==, -ENODATA);
	close(fd);
}

/* What is not of the protocol ends that connection, and nothing else. */
static void test_nonsense(void)
{
	struct object *o = make_objects(2);
	int two[] = { o[0].fd, o[1].fd }, fd;
	struct world w;

	begin(&w, 0);
	struct keeper_message good = { .head = { KEEPER_VERSION, KEEPER_PUT, 1 }, { o[0].id } };
	struct keeper_message version = { .head = { KEEPER_VERSION + 1, KEEPER_PUT, 1 } };
	struct keeper_message type = { .head = { KEEPER_VERSION, 99, 0 } };
	struct keeper_message have = { .head = { KEEPER_VERSION, KEEPER_HAVE, 2 } };
	struct keeper_message drop = { .head = { KEEPER_VERSION, KEEPER_DROP, 2 } };

	fd = connect_raw(&w);
	send_raw(fd, &good, two);
	close(fd);

	fd = connect_raw(&w);
	send_raw(fd, &version, two);
	must_be_closed(fd);
	fd = connect_raw(&w);
	send_raw(fd, &type, NULL);
	must_be_closed(fd);
	fd = connect_raw(&w);
	send_raw(fd, &have, two);
	must_be_closed(fd);
	/* Descriptors where there are none, none where there are some, half a message. */
	fd = connect_raw(&w);
	send_raw(fd, &drop, two);
	must_be_closed(fd);
	fd = connect_raw(&w);
	send_raw(fd, &good, NULL);
	must_be_closed(fd);
	fd = connect_raw(&w);
	g_assert_cmpint(send(fd, &drop, 30, MSG_NOSIGNAL), ==, 30);
	must_be_closed(fd);
	fd = connect_raw(&w);
	g_assert_cmpint(send(fd, "x", 1, MSG_NOSIGNAL), ==, 1);
	must_be_closed(fd);

	must_hold(&w, o, 1);
	end(&w);
	free_objects(o, 2);
}

static void test_other_user(void)
{
	struct world w;
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		g_test_skip("only root can be another user");
		return;
	}
	begin(&w, 0);
	chmod(w.dir, 0755);
	/* The mode alone keeps others out; the keeper does not rely on it. */
	chmod(w.path, 0666);
	pid = fork();
	if (pid == 0) {
		int fd;

		if (setuid(65534) < 0)
			_exit(1);
		fd = connect_raw(&w);
		must_be_closed(fd);
		_exit(0);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
	must_hold(&w, NULL, 0);
	end(&w);
}

static void test_nobody(void)
{
	struct world w = {};
	struct keeper *k;
	g_autoptr(GHashTable) kept = NULL, none = NULL;
	g_autofree char *text = NULL;
	struct object *o = make_objects(1);

	g_assert_cmpint(sd_event_new(&w.event), >=, 0);
	k = keeper_new(w.event, NULL);
	g_assert_cmpint(keeper_fetch(k, 100, &none, &text), ==, 0);
	keeper_start(k);
	g_assert_cmpint(keeper_state(k), ==, KEEPER_NONE);
	put(&w, k, o, 1);
	keeper_drop(k, o[0].id, on_drop, &w);
	g_assert_cmpuint(w.not_kept, ==, 1);
	g_assert_cmpuint(w.dropped, ==, 1);
	keeper_free(k);

	k = keeper_new(w.event, "/nowhere/keeper");
	g_assert_cmpint(keeper_fetch(k, 100, &kept, &text), ==, 0);
	keeper_start(k);
	g_assert_cmpint(keeper_state(k), ==, KEEPER_AWAY);
	keeper_free(k);
	sd_event_unref(w.event);
	free_objects(o, 1);
}

/* More than this process may have: nothing is taken, and so nothing is lost. */
static void test_too_many(void)
{
	struct object *o = make_objects(10);
	struct keeper *k;
	struct world w;
	g_autoptr(GHashTable) kept = NULL;
	g_autofree char *text = NULL;

	begin(&w, 0);
	k = start_client(&w, 0);
	put(&w, k, o, 10);
	RUN_UNTIL(&w, w.kept == 10);
	keeper_free(k);
	k = keeper_new(w.event, w.path);
	g_assert_cmpint(keeper_fetch(k, 9, &kept, &text), ==, -EMFILE);
	g_assert_nonnull(strstr(text, w.path));
	keeper_free(k);
	must_hold(&w, o, 10);
	end(&w);
	free_objects(o, 10);
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	g_test_init(&argc, &argv, NULL);
	log_init(LOG_ERR);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	g_test_add_func("/keeper/keep", test_keep);
	g_test_add_func("/keeper/killed", test_killed);
	g_test_add_func("/keeper/handed-over-again", test_handed_over_again);
	g_test_add_func("/keeper/full", test_full);
	g_test_add_func("/keeper/stopped", test_stopped);
	g_test_add_func("/keeper/last-words", test_last_words);
	g_test_add_func("/keeper/nonsense", test_nonsense);
	g_test_add_func("/keeper/other-user", test_other_user);
	g_test_add_func("/keeper/nobody", test_nobody);
	g_test_add_func("/keeper/too-many", test_too_many);
	return g_test_run();
}
