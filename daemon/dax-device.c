// SPDX-License-Identifier: GPL-2.0-or-later
#include "dax-device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "config.h"
#include "inventory-claim.h"
#include "inventory-dax.h"
#include "kernfile.h"

#define DAX_DIR "sys/bus/dax/devices"

static bool maps_it(int proc, const char *pid, const char *line_end)
{
	g_autofree char *path = g_strdup_printf("%s/maps", pid);
	int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	char *line = NULL;
	bool found = false;
	size_t size = 0;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (fd >= 0 && !f)
		close(fd);
	while (f && !found && getline(&line, &size, f) >= 0)
		found = strstr(line, line_end) != NULL;
	if (f)
		fclose(f);
	free(line);
	return found;
}

pid_t dax_device_holder(int root_fd, const char *name, char ret_comm[static 16])
{
	g_autofree char *line_end = g_strdup_printf("/dev/%s\n", name);
	int fd = openat(root_fd, "proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *proc = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	pid_t holder = 0;

	if (fd >= 0 && !proc)
		close(fd);
	ret_comm[0] = '\0';
	while (proc && holder == 0 && (entry = readdir(proc))) {
		g_autofree char *comm = NULL;
		int pid = atoi(entry->d_name);

		if (pid <= 0 || !maps_it(fd, entry->d_name, line_end))
			continue;
		holder = pid;
		if (kernfile_read_textf(root_fd, &comm, "proc/%d/comm", pid) == 0)
			g_strlcpy(ret_comm, comm, 16);
	}
	if (proc)
		closedir(proc);
	return holder;
}

static int check(int root_fd, const struct config *config, const struct dax_device *d,
		 const char *name, char **ret_text)
{
	const struct config_tier *refused, *ct = d ? claim_find(config, d, &refused) : NULL;
	char comm[16];
	pid_t holder;

	if (!d) {
		*ret_text = g_strdup_printf("there is no dax device %s", name);
		return -ENODEV;
	}
	if (!ct) {
		*ret_text = g_strdup_printf(
			"%s is not morsel's: no [tier] of morseld.conf says Volatile=yes of it by %s%s",
			name, d->nd_region ? "Uuid=" : "Device=/dev/",
			d->nd_region ? d->uuid ?: "UUID" : name);
		return -EACCES;
	}
	if (d->mode != DAX_DEVDAX) {
		*ret_text = g_strdup_printf("%s is not in devdax mode: daxctl reconfigure-device "
					    "--mode=devdax %s",
					    name, name);
		return -ENODEV;
	}
	holder = dax_device_holder(root_fd, name, comm);
	if (holder > 0) {
		*ret_text = g_strdup_printf("%s is in use: process %d (%s) maps it", name,
					    (int)holder, comm);
		return -EBUSY;
	}
	return 0;
}

/* The node in /dev is whatever somebody made; the device's number says which it is. */
static int open_node(int root_fd, const char *name, char **ret_text)
{
	g_autofree char *path = g_strdup_printf("dev/%s", name), *text = NULL;
	g_autofree char *number = NULL;
	struct stat st;
	int fd, r = 0;

	fd = openat(root_fd, path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		/* A filter of device nodes that was made before there were any of this kind. */
		r = errno == EPERM ? -ENODEV : -errno;
		*ret_text =
			g_strdup_printf("/dev/%s cannot be opened: %s%s", name, g_strerror(errno),
					errno == EPERM ? "; systemctl stop morsel-helper.service, "
							 "and try again"
						       : "");
		return r;
	}
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISCHR(st.st_mode))
		r = -EINVAL;
	if (r >= 0)
		r = kernfile_read_textf(root_fd, &text, DAX_DIR "/%s/dev", name);
	if (r >= 0) {
		number = g_strdup_printf("%u:%u", major(st.st_rdev), minor(st.st_rdev));
		r = strcmp(number, text) == 0 ? 0 : -EINVAL;
	}
	if (r < 0) {
		*ret_text = g_strdup_printf("/dev/%s is not the dax device %s", name, name);
		close(fd);
		return r;
	}
	return fd;
}

int dax_device_open(int root_fd, const char *config_path, const char *name, char **ret_text)
{
	const struct dax_device *d = NULL;
	struct config *config = NULL;
	struct dax_facts *facts;
	int r;

	r = config_load(config_path, &config, ret_text);
	if (r < 0)
		return r;
	facts = dax_facts_read(root_fd);
	for (unsigned int i = 0; i < facts->devices->len && !d; i++) {
		const struct dax_device *other = facts->devices->pdata[i];

		if (strcmp(other->name, name) == 0)
			d = other;
	}
	r = check(root_fd, config, d, name, ret_text);
	if (r >= 0)
		r = open_node(root_fd, name, ret_text);
	dax_facts_free(facts);
	config_free(config);
	return r;
}
