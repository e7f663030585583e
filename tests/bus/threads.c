// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "threads.h"

struct thread {
	pid_t pid, tid;
};

/* NULL: it has ended. */
static char *read_of(const struct thread *t, const char *file)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/%s", t->pid, t->tid, file);
	char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? g_strchomp(text) : NULL;
}

static bool sleeps_or_ended(const struct thread *t)
{
	g_autofree char *stat = read_of(t, "stat");
	const char *state = stat ? strrchr(stat, ')') : NULL;

	return !state || g_str_has_prefix(state, ") S");
}

/* Of struct thread. */
static GArray *threads_of(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task", pid);
	GArray *threads = g_array_new(FALSE, FALSE, sizeof(struct thread));
	GDir *d = g_dir_open(path, 0, NULL);
	const char *entry;

	g_assert_nonnull(d);
	while ((entry = g_dir_read_name(d))) {
		struct thread t = { pid, (pid_t)strtol(entry, NULL, 10) };

		g_array_append_val(threads, t);
	}
	g_dir_close(d);
	return threads;
}

bool threads_sleep(pid_t pid)
{
	g_autoptr(GArray) threads = threads_of(pid);

	for (unsigned int i = 0; i < threads->len; i++)
		if (!sleeps_or_ended(&g_array_index(threads, struct thread, i)))
			return false;
	return true;
}

/* false: it has ended. */
static bool hold(const struct thread *t)
{
	int status;

	if (ptrace(PTRACE_SEIZE, t->tid, NULL, NULL) < 0) {
		if (errno == ESRCH)
			return false;
		g_error("cannot trace a thread of morseld: %s", g_strerror(errno));
	}
	g_assert_no_errno(ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL));
	g_assert_cmpint(waitpid(t->tid, &status, __WALL), ==, t->tid);
	return WIFSTOPPED(status);
}

GArray *threads_hold(pid_t pid, const char *name)
{
	g_autoptr(GArray) threads = threads_of(pid);
	GArray *held = g_array_new(FALSE, FALSE, sizeof(pid_t));

	for (unsigned int i = 0; i < threads->len; i++) {
		const struct thread *t = &g_array_index(threads, struct thread, i);
		g_autofree char *comm = read_of(t, "comm");

		if (g_strcmp0(comm, name) == 0 && hold(t))
			g_array_append_val(held, t->tid);
	}
	g_assert_cmpuint(held->len, >, 0);
	return held;
}

void threads_release(GArray *held)
{
	if (!held)
		return;
	for (unsigned int i = 0; i < held->len; i++)
		g_assert_no_errno(ptrace(PTRACE_DETACH, g_array_index(held, pid_t, i), NULL, NULL));
	g_array_unref(held);
}

void threads_reap(GArray *held)
{
	if (!held)
		return;
	for (unsigned int i = 0; i < held->len; i++) {
		pid_t tid = g_array_index(held, pid_t, i);
		int status;

		do
			g_assert_cmpint(waitpid(tid, &status, __WALL), ==, tid);
		while (WIFSTOPPED(status));
	}
	g_array_unref(held);
}
