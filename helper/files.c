// SPDX-License-Identifier: GPL-2.0-or-later
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "*" /* one component of the characters that names of devices have */

/* The module's device, which is nobody's but root's: whoever has it open is trusted with all objects. */
#define DEVICE "dev/morsel"

static const char *const allowed[] = {
	"sys/firmware/acpi/tables/SRAT",	"sys/firmware/acpi/tables/HMAT",
	"sys/firmware/acpi/tables/CEDT",	"sys/bus/cxl/devices/" NAME "/CDAT",
	"sys/bus/cxl/devices/" NAME "/start",	"sys/bus/dax/devices/" NAME "/resource",
	"sys/bus/nd/devices/" NAME "/resource", DEVICE,
};

static bool name_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static bool matches(const char *pattern, const char *path)
{
	for (; *pattern; pattern++) {
		if (*pattern != NAME[0]) {
			if (*path++ != *pattern)
				return false;
			continue;
		}
		/* Not "." or "..", nor empty: names begin with a letter. */
		if (*path < 'a' || *path > 'z')
			return false;
		while (name_character(*path))
			path++;
	}
	return *path == 0;
}

bool files_allowed(const char *path)
{
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (matches(allowed[i], path))
			return true;
	return false;
}

bool files_is_dax(const char *path)
{
	const char *at = path;

	if (strncmp(at, "dev/dax", 7) != 0)
		return false;
	at += 7;
	for (int part = 0; part < 2; part++) {
		if (*at < '0' || *at > '9')
			return false;
		while (*at >= '0' && *at <= '9')
			at++;
		if (part == 0 && *at++ != '.')
			return false;
	}
	return *at == 0;
}

int files_open(int root_fd, const char *path)
{
	bool device = strcmp(path, DEVICE) == 0;
	struct stat st;
	int fd;

	if (!files_allowed(path))
		return -EACCES;
	fd = openat(root_fd, path,
		    (device ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	/* A filter of device nodes that was made before there was this one: EPERM would be read as ours. */
	if (fd < 0)
		return device && errno == EPERM ? -ENODEV : -errno;
	if (fstat(fd, &st) < 0 || !(device ? S_ISCHR(st.st_mode) : S_ISREG(st.st_mode))) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}
