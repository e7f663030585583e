// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/log.h"

#define PROGRAM MORSEL_LIBEXECDIR "/placement.bpf.o"
#define MAP "policies"
/* Programs are some KiB. */
#define OBJECT_MAX (16 << 20)

struct attached {
	struct bpf_object *object;
	struct bpf_link *link;
	int map; /* -1: it has none */
};

/* Of a long text the end: there the verifier says what it does not take. */
#define SAID_MAX 1800

/* What libbpf, and the verifier through it, say of a program that is not taken. */
__attribute__((format(printf, 2, 0))) static int log_libbpf(enum libbpf_print_level level,
							    const char *format, va_list arguments)
{
	g_autofree char *text = NULL;
	size_t length, skip;

	if (level != LIBBPF_WARN)
		return 0;
	text = g_strchomp(g_strdup_vprintf(format, arguments));
	length = strlen(text);
	skip = length > SAID_MAX ? length - SAID_MAX : 0;
	log_line(LOG_WARNING, LOG_HELPER_REFUSED, NULL, "%s%s", skip > 0 ? "…" : "", text + skip);
	return 0;
}

/* A descriptor, -ENOENT, or why it is not to be trusted, with a text. */
static int open_own(int root_fd, char text[static HELPER_TEXT_MAX])
{
	int fd = openat(root_fd, ATTACH_OWN, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	int r = 0;

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0 || fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
		 st.st_mode & (S_IWGRP | S_IWOTH) || st.st_size > OBJECT_MAX)
		r = -EPERM;
	if (r == 0)
		return fd;
	g_snprintf(text, HELPER_TEXT_MAX, "/%s: %s", ATTACH_OWN,
		   r == -EPERM ? "not a file of root's that nobody else can write"
			       : g_strerror(-r));
	if (fd >= 0)
		close(fd);
	return r;
}

/* The object is read through the descriptor that was looked at. */
static struct bpf_object *open_object(int fd)
{
	g_autofree char *path = fd < 0 ? NULL : g_strdup_printf("/proc/self/fd/%d", fd);

	return bpf_object__open_file(path ? path : PROGRAM, NULL);
}

static struct bpf_map *find_program(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			return map;
	}
	return NULL;
}

static int find_policies(const struct bpf_object *object)
{
	const struct bpf_map *map = bpf_object__find_map_by_name(object, MAP);

	if (!map || bpf_map__key_size(map) != sizeof(uint64_t) ||
	    bpf_map__value_size(map) != sizeof(struct morsel_policy))
		return -1;
	return bpf_map__fd(map);
}

/* To write into the map its descriptor is enough. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = {};

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

static int attach(struct attached *a, int fd, const char *name, char text[static HELPER_TEXT_MAX])
{
	struct bpf_map *map;
	int r;

	a->object = open_object(fd);
	if (!a->object) {
		r = -errno;
		g_snprintf(text, HELPER_TEXT_MAX, "%s: no BPF object: %s", name, g_strerror(-r));
		return r;
	}
	map = find_program(a->object);
	if (!map) {
		g_snprintf(text, HELPER_TEXT_MAX, "%s: no placement program is in it", name);
		return -EINVAL;
	}
	r = bpf_object__load(a->object);
	if (r < 0) {
		g_snprintf(text, HELPER_TEXT_MAX, "%s: the kernel does not take it: %s", name,
			   g_strerror(-r));
		/* Somebody else's program is what -EBUSY says. */
		return r == -EBUSY ? -EAGAIN : r;
	}
	a->link = bpf_map__attach_struct_ops(map);
	if (!a->link) {
		r = -errno;
		g_snprintf(text, HELPER_TEXT_MAX, "%s: %s", name,
			   r == -EBUSY ? "another placement program is registered"
				       : g_strerror(-r));
		return r;
	}
	a->map = find_policies(a->object);
	r = drop_capabilities();
	if (r < 0)
		g_snprintf(text, HELPER_TEXT_MAX, "capset: %s", g_strerror(-r));
	else
		g_snprintf(text, HELPER_TEXT_MAX, "%s", name);
	return r;
}

int attach_program(int root_fd, struct attached **ret_attached, char text[static HELPER_TEXT_MAX])
{
	struct attached *a;
	int fd, r;

	fd = open_own(root_fd, text);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	libbpf_set_print(log_libbpf);
	a = g_new0(struct attached, 1);
	a->map = -1;
	r = attach(a, fd, fd < 0 ? PROGRAM : "/" ATTACH_OWN, text);
	if (fd >= 0)
		close(fd);
	if (r < 0) {
		attach_end(a);
		return r;
	}
	*ret_attached = a;
	return 0;
}

int attach_policy(struct attached *a, uint64_t account, const struct morsel_policy *policy)
{
	int r;

	if (a->map < 0)
		return 0;
	if (policy->count > 0)
		return bpf_map_update_elem(a->map, &account, policy, BPF_ANY);
	r = bpf_map_delete_elem(a->map, &account);
	return r == -ENOENT ? 0 : r;
}

struct attached *attach_end(struct attached *a)
{
	if (!a)
		return NULL;
	bpf_link__destroy(a->link);
	bpf_object__close(a->object);
	g_free(a);
	return NULL;
}
