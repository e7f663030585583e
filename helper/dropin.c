// SPDX-License-Identifier: GPL-2.0-or-later
#include "dropin.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replace.h"

static const char *mode_name(enum provision_mode mode)
{
	return mode == MODE_PMEM ? "pmem" : "ram";
}

char *dropin_name(uint64_t serial, enum provision_mode mode)
{
	return g_strdup_printf("50-provision-%" PRIx64 "-%s.conf", serial, mode_name(mode));
}

static char *content(uint64_t serial, enum provision_mode mode, const struct provision_wish *wish)
{
	g_autoptr(GString) s = g_string_new(
		"# Written by \"morselctl tier provision --persist\"; \"morselctl tier unprovision\" removes it.\n");

	g_string_append_printf(s,
			       "[provision %" PRIx64 "-%s]\nSerial=%#" PRIx64 "\nMode=%s\nAs=%s\n",
			       serial, mode_name(mode), serial, mode_name(mode),
			       wish->as == AS_SYSTEM_RAM ? "system-ram" : "devdax");
	if (wish->as == AS_SYSTEM_RAM)
		g_string_append_printf(s, "Zone=%s\n",
				       wish->zone == ZONE_KERNEL ? "kernel" : "movable");
	if (wish->size)
		g_string_append_printf(s, "Size=%" PRIu64 "\n", wish->size);
	return g_string_free(g_steal_pointer(&s), FALSE);
}

int dropin_write(const char *dir, uint64_t serial, enum provision_mode mode,
		 const struct provision_wish *wish)
{
	g_autofree char *name = dropin_name(serial, mode), *text = content(serial, mode, wish);
	g_autofree char *path = g_build_filename(dir, name, NULL), *old = NULL;
	int r;

	if (g_file_get_contents(path, &old, NULL, NULL) && strcmp(old, text) == 0)
		return 0;
	if (mkdir(dir, 0755) == 0) {
		/* Others read it too, whatever the umask. */
		if (chmod(dir, 0755) < 0)
			return -errno;
	} else if (errno != EEXIST) {
		return -errno;
	}
	r = replace_file(dir, name, text, strlen(text), 0644);
	return r < 0 ? r : 1;
}

int dropin_remove(const char *dir, uint64_t serial, enum provision_mode mode)
{
	g_autofree char *name = dropin_name(serial, mode);
	g_autofree char *path = g_build_filename(dir, name, NULL);

	if (unlink(path) == 0)
		return 1;
	return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
}
