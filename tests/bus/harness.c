// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "threads.h"

#define DEADLINE_USEC (20 * G_USEC_PER_SEC)

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

void harness_wait(bool (*condition)(void *data), void *data, const char *what)
{
	gint64 end = g_get_monotonic_time() + DEADLINE_USEC;

	while (!condition(data)) {
		if (g_get_monotonic_time() > end)
			g_error("waited in vain until %s", what);
		poll(NULL, 0, 5);
	}
}

static const char *morseld(void)
{
	const char *path = g_getenv("MORSELD");

	g_assert_nonnull(path);
	return path;
}

static void child_setup(gpointer data)
{
	struct harness_options *o = data;

	/* A test that fails aborts. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (o && o->descriptors > 0)
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ o->descriptors, o->descriptors });
	if (o && o->file_size > 0)
		setrlimit(RLIMIT_FSIZE, &(struct rlimit){ o->file_size, RLIM_INFINITY });
}

static GPid spawn(char **argv, const char *log, struct harness_options *options)
{
	autofd int log_fd = open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	g_autoptr(GError) error = NULL;
	GPid pid;

	g_assert_cmpint(log_fd, >=, 0);
	g_spawn_async_with_pipes_and_fds(NULL, (const char *const *)argv, NULL,
					 G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH,
					 child_setup, options, -1, log_fd, log_fd, NULL, NULL, 0,
					 &pid, NULL, NULL, NULL, &error);
	g_assert_no_error(error);
	return pid;
}

void harness_start_bus(struct harness *h)
{
	g_autofree char *path = g_build_filename(h->dir, "dbus", NULL);
	g_autofree char *config_path = g_build_filename(h->dir, "dbus.conf", NULL);
	g_autofree char *log = g_build_filename(h->dir, "dbus.log", NULL);
	g_autofree char *config_arg = g_strdup_printf("--config-file=%s", config_path);
	g_autofree char *config = g_strdup_printf(
		"<busconfig><type>system</type><listen>unix:path=%s</listen><policy context='default'>"
		"<allow user='*'/><allow own='*'/><allow send_destination='*'/>"
		"<allow receive_sender='*'/></policy></busconfig>",
		path);
	char *argv[] = { "dbus-daemon", "--nofork", config_arg, "--print-address=3", NULL };
	char line[256];
	ssize_t n;
	int fds[2];

	g_assert_true(g_file_set_contents(config_path, config, -1, NULL));
	g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
	if (fds[1] == 3) { /* g_spawn wants to dup to the same number */
		int moved = fcntl(fds[1], F_DUPFD_CLOEXEC, 10);

		close(fds[1]);
		fds[1] = moved;
	}
	{
		autofd int log_fd = open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
		g_autoptr(GError) error = NULL;
		int target = 3;

		g_spawn_async_with_pipes_and_fds(NULL, (const char *const *)argv, NULL,
						 G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH,
						 child_setup, NULL, -1, log_fd, log_fd, &fds[1],
						 &target, 1, &h->bus, NULL, NULL, NULL, &error);
		g_assert_no_error(error);
	}
	close(fds[1]);
	n = read(fds[0], line, sizeof(line) - 1); /* it prints when it listens */
	g_assert_cmpint(n, >, 0);
	close(fds[0]);
	if (!h->bus_address)
		h->bus_address = g_strdup_printf("unix:path=%s", path);
	g_assert_cmpint(chmod(path, 0666), ==, 0);
}

static bool has_started(void *data)
{
	struct harness *h = data;
	g_autofree char *log = harness_log(h);
	int status;

	if (waitpid(h->daemon, &status, WNOHANG) == h->daemon)
		g_error("morseld ended with %d:\n%s", status, log);
	/* It listens by then. A connection to find that out would still be among its descriptors. */
	return strlen(log) > h->log_seen && strstr(log + h->log_seen, "started: ");
}

void harness_stop_bus(struct harness *h)
{
	kill(h->bus, SIGTERM);
	g_assert_cmpint(waitpid(h->bus, NULL, 0), ==, h->bus);
	h->bus = 0;
}

static unsigned int count_threads(void)
{
	g_autofree char *status = NULL;
	const char *line;

	g_assert_true(g_file_get_contents("/proc/self/status", &status, NULL, NULL));
	line = strstr(status, "\nThreads:");
	g_assert_nonnull(line);
	return strtoul(line + strlen("\nThreads:"), NULL, 10);
}

/* A sanitizer has one of its own. */
static unsigned int first_threads;

struct harness *harness_new(const struct harness_options *options)
{
	static const struct harness_options none;
	struct harness *h = g_new0(struct harness, 1);

	if (first_threads == 0)
		first_threads = count_threads();
	h->options = options ? *options : none;
	signal(SIGPIPE, SIG_IGN);
	h->dir = g_dir_make_tmp("morsel-bus-XXXXXX", NULL);
	g_assert_nonnull(h->dir);
	g_assert_cmpint(chmod(h->dir, 0755), ==, 0); /* other users' children connect */
	h->socket_path = g_build_filename(h->dir, "bus", NULL);
	h->config_path = g_build_filename(h->dir, "morseld.conf", NULL);
	h->log_path = g_build_filename(h->dir, "log", NULL);
	g_assert_true(g_file_set_contents(h->config_path,
					  h->options.config ? h->options.config : "", -1, NULL));
	if (h->options.with_bus)
		harness_start_bus(h);
	if (h->options.with_keeper) {
		h->keeper_path = g_build_filename(h->dir, "keeper", NULL);
		harness_start_keeper(h);
	}
	harness_restart_daemon(h);
	return h;
}

/* Seen from outside: a connection to find it out would take the place of the daemon's. */
static bool keeper_listens(void *data)
{
	struct harness *h = data;
	g_autofree char *sockets = NULL;
	g_auto(GStrv) lines = NULL;

	g_assert_true(g_file_get_contents("/proc/net/unix", &sockets, NULL, NULL));
	lines = g_strsplit(sockets, "\n", -1);
	for (unsigned int i = 0; lines[i]; i++)
		/* The flags of a socket that listens, and its path. */
		if (strstr(lines[i], " 00010000 ") && g_str_has_suffix(lines[i], h->keeper_path))
			return true;
	return false;
}

void harness_start_keeper(struct harness *h)
{
	char *argv[] = { (char *)g_getenv("MORSEL_KEEPER"), "--listen", h->keeper_path, NULL };
	g_autofree char *log = g_build_filename(h->dir, "keeper.log", NULL);

	g_assert_nonnull(argv[0]);
	h->keeper = spawn(argv, log, NULL);
	harness_wait(keeper_listens, h, "morsel-keeper listens");
}

static void kill_and_wait(GPid *pid)
{
	kill(*pid, SIGKILL);
	g_assert_cmpint(waitpid(*pid, NULL, 0), ==, *pid);
	*pid = 0;
}

void harness_kill_keeper(struct harness *h)
{
	kill_and_wait(&h->keeper);
}

void harness_release_moves(struct harness *h)
{
	threads_release(g_steal_pointer(&h->held));
}

void harness_kill_daemon(struct harness *h)
{
	kill(h->daemon, SIGKILL);
	threads_reap(g_steal_pointer(&h->held));
	kill_and_wait(&h->daemon);
}

void harness_restart_daemon(struct harness *h)
{
	g_autofree char *state = g_build_filename(h->dir, "state", NULL);
	g_autofree char *helper = g_build_filename(h->dir, "helper", NULL);
	g_autofree char *runtime = g_build_filename(h->dir, "run", NULL);
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	g_autofree char *log = harness_log(h);

	h->log_seen = strlen(log);
	if (h->options.user_namespace) {
		g_ptr_array_add(argv, "unshare");
		g_ptr_array_add(argv, "--user");
		g_ptr_array_add(argv, "--map-root-user");
	}
	g_ptr_array_add(argv, (char *)morseld());
	g_ptr_array_add(argv, "--address");
	g_ptr_array_add(argv, h->bus_address ? h->bus_address : "none");
	g_ptr_array_add(argv, "--listen");
	g_ptr_array_add(argv, h->socket_path);
	g_ptr_array_add(argv, "--config");
	g_ptr_array_add(argv, h->config_path);
	g_ptr_array_add(argv, "--state-dir");
	g_ptr_array_add(argv, state);
	g_ptr_array_add(argv, "--runtime-dir");
	g_ptr_array_add(argv, runtime);
	/* Never the machine's own. */
	g_ptr_array_add(argv, "--helper");
	g_ptr_array_add(argv, h->options.with_helper ? helper : "none");
	if (h->keeper_path) {
		g_ptr_array_add(argv, "--keeper");
		g_ptr_array_add(argv, h->keeper_path);
	}
	if (h->options.dry_run)
		g_ptr_array_add(argv, "--dry-run");
	g_ptr_array_add(argv, NULL);
	h->daemon = spawn((char **)argv->pdata, h->log_path, &h->options);
	harness_wait(has_started, h, "morseld has started");
}

static void remove_tree(const char *path)
{
	GDir *d = g_dir_open(path, 0, NULL);
	const char *name;

	while (d && (name = g_dir_read_name(d))) {
		g_autofree char *child = g_build_filename(path, name, NULL);

		if (g_file_test(child, G_FILE_TEST_IS_DIR) &&
		    !g_file_test(child, G_FILE_TEST_IS_SYMLINK))
			remove_tree(child);
		else
			unlink(child);
	}
	if (d)
		g_dir_close(d);
	rmdir(path);
}

void harness_free(struct harness *h)
{
	g_autofree char *log = NULL;
	int status;

	kill(h->daemon, SIGTERM);
	g_assert_cmpint(waitpid(h->daemon, &status, 0), ==, h->daemon);
	log = harness_log(h);
	if (status != 0 || strstr(log, "Sanitizer"))
		g_error("morseld ended with %d:\n%s", status, log);
	g_assert_false(g_file_test(h->socket_path, G_FILE_TEST_EXISTS));
	if (h->bus)
		harness_stop_bus(h);
	if (h->keeper)
		harness_kill_keeper(h);
	g_free(h->keeper_path);
	remove_tree(h->dir);
	g_free(h->dir);
	g_free(h->socket_path);
	g_free(h->config_path);
	g_free(h->log_path);
	g_free(h->bus_address);
	g_free(h);
}

int harness_run_daemon(const char *const *arguments, char **ret_log)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	g_autoptr(GError) error = NULL;
	int status;

	g_ptr_array_add(argv, (char *)morseld());
	for (; *arguments; arguments++)
		g_ptr_array_add(argv, (char *)*arguments);
	g_ptr_array_add(argv, NULL);
	g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, ret_log,
		     &status, &error);
	g_assert_no_error(error);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int harness_connect_raw(struct harness *h)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_assert_cmpint(fd, >=, 0);
	g_strlcpy(address.sun_path, h->socket_path, sizeof(address.sun_path));
	g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	return fd;
}

sd_bus *harness_connect(struct harness *h)
{
	g_autofree char *address = g_strdup_printf("unix:path=%s", h->socket_path);
	sd_bus *bus;

	g_assert_cmpint(sd_bus_new(&bus), >=, 0);
	g_assert_cmpint(sd_bus_set_address(bus, address), >=, 0);
	g_assert_cmpint(sd_bus_negotiate_fds(bus, true), >=, 0);
	g_assert_cmpint(sd_bus_start(bus), >=, 0);
	return bus;
}

sd_bus *harness_connect_bus(struct harness *h)
{
	sd_bus *bus;

	g_assert_cmpint(sd_bus_new(&bus), >=, 0);
	g_assert_cmpint(sd_bus_set_address(bus, h->bus_address), >=, 0);
	g_assert_cmpint(sd_bus_set_bus_client(bus, true), >=, 0);
	g_assert_cmpint(sd_bus_negotiate_fds(bus, true), >=, 0);
	g_assert_cmpint(sd_bus_start(bus), >=, 0);
	return bus;
}

pid_t harness_fork(void)
{
	pid_t pid;

	/* The child of a process with threads finds every lock as it was, and nobody to unlock it. */
	g_assert_cmpuint(count_threads(), ==, first_threads);
	fflush(NULL);
	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

void harness_as_user(struct harness *h, uid_t uid, gid_t supplementary,
		     sd_bus *(*connect_to)(struct harness *h), void (*function)(sd_bus *bus))
{
	int status;
	pid_t pid;

	pid = harness_fork();
	if (pid == 0) {
		sd_bus *bus;

		if (setgroups(supplementary ? 1 : 0, &supplementary) < 0 || setgid(uid) < 0 ||
		    setuid(uid) < 0)
			g_error("cannot become uid %u: %s", uid, g_strerror(errno));
		bus = connect_to(h);
		function(bus);
		sd_bus_flush_close_unref(bus);
		_exit(0);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
}

static unsigned int count_descriptors(struct harness *h)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/fd", h->daemon);
	GDir *d = g_dir_open(path, 0, NULL);
	unsigned int n = 0;

	g_assert_nonnull(d);
	while (g_dir_read_name(d))
		n++;
	g_dir_close(d);
	return n;
}

struct settling {
	struct harness *h;
	unsigned int n, times;
};

static bool has_settled(void *data)
{
	struct settling *s = data;
	unsigned int n = count_descriptors(s->h);
	bool quiet = threads_sleep(s->h->daemon) &&
		     (s->h->keeper == 0 || threads_sleep(s->h->keeper)) &&
		     (s->h->bus == 0 || threads_sleep(s->h->bus));

	s->times = quiet && n == s->n ? s->times + 1 : 0;
	s->n = n;
	return s->times >= 10;
}

unsigned int harness_descriptors(struct harness *h)
{
	struct settling s = { .h = h };

	/* A connection may still wait to be accepted, a reply's descriptor to be closed. */
	harness_wait(has_settled, &s, "morseld is quiet, its descriptors stay the same");
	return s.n;
}

void harness_hold_moves(struct harness *h)
{
	/* A thread that is held on its way to where it waits counts as one that is busy: there would be another. */
	(void)harness_descriptors(h);
	h->held = threads_hold(h->daemon, "morsel-move");
}

char *harness_log(struct harness *h)
{
	char *text = NULL;

	if (!g_file_get_contents(h->log_path, &text, NULL, NULL))
		return g_strdup("");
	return text;
}

struct wanted {
	struct harness *h;
	unsigned int n;
	const char *text;
};

static bool has_descriptors(void *data)
{
	struct wanted *w = data;

	return count_descriptors(w->h) == w->n;
}

void harness_wait_descriptors(struct harness *h, unsigned int n)
{
	struct wanted w = { .h = h, .n = n };
	g_autofree char *what = g_strdup_printf("morseld has %u descriptors open, as before", n);

	harness_wait(has_descriptors, &w, what);
}

static bool has_logged(void *data)
{
	struct wanted *w = data;
	g_autofree char *log = harness_log(w->h);

	return strstr(log, w->text) != NULL;
}

void harness_wait_log(struct harness *h, const char *text)
{
	struct wanted w = { .h = h, .text = text };
	g_autofree char *what = g_strdup_printf("morseld logs '%s'", text);

	harness_wait(has_logged, &w, what);
}

sd_bus_message *manager_message(sd_bus *bus, const char *method)
{
	const char *destination = sd_bus_is_bus_client(bus) ? "org.parperos.Morsel1" : NULL;
	sd_bus_message *m;

	g_assert_cmpint(sd_bus_message_new_method_call(bus, &m, destination, MANAGER_PATH, MANAGER,
						       method),
			>=, 0);
	return m;
}

sd_bus_message *must_call(sd_bus *bus, const char *method, const char *types, ...)
{
	automessage *m = manager_message(bus, method);
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply;
	va_list args;
	int r;

	va_start(args, types);
	r = types[0] ? sd_bus_message_appendv(m, types, args) : 0;
	va_end(args);
	g_assert_cmpint(r, >=, 0);
	r = sd_bus_call(bus, m, 0, &error, &reply);
	if (r < 0)
		g_error("%s: %s: %s", method, error.name ? error.name : g_strerror(-r),
			error.message ? error.message : "");
	return reply;
}

void must_fail_message(sd_bus *bus, const char *name, const char *words, sd_bus_message *m)
{
	g_autofree char *full = strchr(name, '.') ? g_strdup(name)
						  : g_strconcat(ERROR(""), name, NULL);
	g_auto(GStrv) list = g_strsplit(words, "|", -1);
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_call(bus, m, 0, &error, NULL);

	if (r >= 0)
		g_error("%s succeeded, not: %s (%s)", sd_bus_message_get_member(m), full, words);
	if (g_strcmp0(error.name, full) != 0)
		g_error("%s: %s: %s (errno %d), not: %s", sd_bus_message_get_member(m), error.name,
			error.message, -r, full);
	for (unsigned int i = 0; list[i]; i++)
		if (!strstr(error.message, list[i]))
			g_error("%s: '%s' does not contain '%s'", error.name, error.message,
				list[i]);
	g_assert_cmpuint(strlen(error.message), <, 2048);
	sd_bus_error_free(&error);
}

void must_fail(sd_bus *bus, const char *error, const char *words, const char *method,
	       const char *types, ...)
{
	automessage *m = manager_message(bus, method);
	va_list args;
	int r;

	va_start(args, types);
	r = types[0] ? sd_bus_message_appendv(m, types, args) : 0;
	va_end(args);
	g_assert_cmpint(r, >=, 0);
	must_fail_message(bus, error, words, m);
}

char *must_create(sd_bus *bus, const char *name, uint64_t size)
{
	automessage *reply = must_call(bus, "Create", "sta{sv}", name, size, 0);
	const char *id;
	int fd;

	g_assert_cmpint(sd_bus_message_read(reply, "sh", &id, &fd), >, 0);
	g_assert_cmpint(fcntl(fd, F_GETFD), >=, 0);
	return g_strdup(id);
}

uint64_t harness_property_t(sd_bus *bus, const char *property)
{
	automessage *reply = must_call(bus, "Stats", "");
	g_autoptr(GHashTable) stats = read_dict(reply);
	const char *value = g_hash_table_lookup(stats, property);

	g_assert_nonnull(value);
	return g_ascii_strtoull(value, NULL, 10);
}

static char *read_value(sd_bus_message *m, char type)
{
	union {
		const char *s;
		uint64_t t;
		int64_t x;
		uint32_t u;
		int32_t i;
		int b;
	} v;

	g_assert_cmpint(sd_bus_message_read_basic(m, type, &v), >, 0);
	switch (type) {
	case 's':
	case 'o':
		return g_strdup(v.s);
	case 't':
		return g_strdup_printf("%" PRIu64, v.t);
	case 'x':
		return g_strdup_printf("%" PRId64, v.x);
	case 'u':
		return g_strdup_printf("%" PRIu32, v.u);
	case 'i':
		return g_strdup_printf("%" PRId32, v.i);
	case 'b':
		return g_strdup(v.b ? "true" : "false");
	}
	g_error("type %c in a dictionary", type);
}

/* Arrays: "a b c"; dictionaries in it: "key=value key=value"; deeper ones are skipped. */
static char *read_array(sd_bus_message *m, const char *type)
{
	GString *s = g_string_new(NULL);

	if (type[1] == 'a' || (type[1] == '{' && type[3] == 'v')) {
		g_assert_cmpint(sd_bus_message_skip(m, type), >=, 0);
		return g_string_free(s, FALSE);
	}
	g_assert_cmpint(sd_bus_message_enter_container(m, 'a', type + 1), >=, 0);
	while (sd_bus_message_at_end(m, false) == 0) {
		g_autofree char *value = NULL;

		if (type[1] == '{') {
			g_autofree char *key = NULL;
			char inner[3] = { type[2], type[3], '\0' };

			g_assert_cmpint(sd_bus_message_enter_container(m, 'e', inner), >, 0);
			key = read_value(m, type[2]);
			g_string_append_printf(s, "%s%s=", s->len ? " " : "", key);
			value = read_value(m, type[3]);
			g_string_append(s, value);
			g_assert_cmpint(sd_bus_message_exit_container(m), >=, 0);
		} else {
			value = read_value(m, type[1]);
			g_string_append_printf(s, "%s%s", s->len ? " " : "", value);
		}
	}
	g_assert_cmpint(sd_bus_message_exit_container(m), >=, 0);
	return g_string_free(s, FALSE);
}

GHashTable *read_dict(sd_bus_message *m)
{
	GHashTable *dict = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

	g_assert_cmpint(sd_bus_message_enter_container(m, 'a', "{sv}"), >=, 0);
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		const char *key, *type;
		char *value;

		g_assert_cmpint(sd_bus_message_read(m, "s", &key), >, 0);
		g_assert_cmpint(sd_bus_message_peek_type(m, NULL, &type), >, 0);
		g_assert_cmpint(sd_bus_message_enter_container(m, 'v', type), >, 0);
		value = type[0] == 'a' ? read_array(m, type) : read_value(m, type[0]);
		g_assert_true(g_hash_table_insert(dict, g_strdup(key), value));
		g_assert_cmpint(sd_bus_message_exit_container(m), >=, 0);
		g_assert_cmpint(sd_bus_message_exit_container(m), >=, 0);
	}
	g_assert_cmpint(sd_bus_message_exit_container(m), >=, 0);
	return dict;
}
