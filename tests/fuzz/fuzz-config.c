/* SPDX-License-Identifier: GPL-2.0-or-later */
/* morseld.conf. */
#include <glib.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *c = NULL;
	char *message = NULL;
	char path[64];
	int fd, r;

	fd = memfd_create("morseld.conf", MFD_CLOEXEC);
	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(fchmod(fd, 0600), ==, 0);
	g_assert_cmpint(write(fd, data, size), ==, (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

	r = config_load(path, &c, &message);
	if (r < 0) {
		g_assert_null(c);
		g_assert_nonnull(message);
		g_assert_true(g_utf8_validate(message, -1, NULL));
		for (const char *p = message; *p; p++)
			g_assert_false(g_ascii_iscntrl(*p));
	} else {
		g_assert_null(message);
		g_assert_cmpuint(c->job_threads, >=, 1);
		g_assert_cmpuint(c->job_threads, <=, 8);
		for (unsigned int k = 0; k < QUOTA_KINDS; k++) {
			g_assert_true(c->user_limits.of[k].set);
			g_assert_cmpuint(c->user_limits.of[k].value, >, 0);
		}
		g_assert_cmpuint(c->quotas->len, >=, 2);
		g_assert_true(c->default_page_size == 4096 || c->default_page_size == 2097152);
	}
	config_free(c);
	g_free(message);
	close(fd);
	return 0;
}
