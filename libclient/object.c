// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "module.h"

/* Take over what the caller's structure has; fields that its version lacks stay zero. */
static int copy_options(morsel_client *c, const struct morsel_options *options,
			struct morsel_options *ret)
{
	const unsigned char *tail;
	size_t size, i;

	memset(ret, 0, sizeof(*ret));
	if (!options)
		return 0;
	size = options->struct_size;
	if (size < sizeof(options->struct_size) || size > 4096)
		return client_fail_locked(c, -EINVAL,
					  "morsel_options.struct_size is %zu: set it with "
					  "MORSEL_OPTIONS_INIT",
					  size);
	tail = (const unsigned char *)options;
	for (i = sizeof(*ret); i < size; i++)
		if (tail[i])
			return client_fail_locked(
				c, -E2BIG,
				"morsel_options has a field set (at byte %zu) that "
				"this libmorsel does not know",
				i);
	memcpy(ret, options, size < sizeof(*ret) ? size : sizeof(*ret));
	return 0;
}

static int append_options(morsel_client *c, sd_bus_message *m, const struct morsel_options *o)
{
	char bad[100] = "";
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0 && o->prefer)
		r = dict_append_words(m, "prefer", o->prefer);
	if (r >= 0 && o->allow)
		r = dict_append_words(m, "allow", o->allow);
	if (r >= 0 && o->spread) {
		r = dict_append_weights(m, "spread", o->spread, bad);
		if (bad[0])
			return client_fail_locked(c, r, "spread: '%s' is not TIER=WEIGHT", bad);
	}
	if (r >= 0 && o->initiators) {
		r = dict_append_numbers(m, "initiators", o->initiators, bad);
		if (bad[0])
			return client_fail_locked(c, r, "initiators: '%s' is not a node number",
						  bad);
	}
	if (r >= 0 && o->page_size)
		r = dict_append_u64(m, "page_size", o->page_size);
	if (r >= 0 && o->mode)
		r = dict_append_u32(m, "mode", o->mode);
	if (r >= 0 && o->has_group)
		r = dict_append_u32(m, "group", o->group);
	if (r >= 0 && o->populate)
		r = dict_append_bool(m, "populate", true);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? client_fail_message(c, r, "Create") : 0;
}

/* Read (descriptor, info) into a new handle. The message keeps its own descriptor. */
static int read_handle(morsel_client *c, sd_bus_message *reply, enum morsel_access access,
		       morsel **ret_morsel)
{
	const char *id = "", *name = "", *backing = "", *storage = "";
	morsel h = { .client = c, .access = access };
	const struct dict_field fields[] = {
		{ "id", 's', &id },
		{ "size_bytes", 't', &h.size },
		{ "owner", 'u', &h.owner },
		{ "group", 'u', &h.group },
		{ "mode", 'u', &h.mode },
		{ "page_size_bytes", 't', &h.page_size },
		{ "created_usec", 't', &h.created_usec },
		{ "name", 's', &name },
		{ "page_backing", 's', &backing },
		{ "storage", 's', &storage },
	};
	uint64_t seen = 0, needed = 0x3; /* id and size: nothing works without them */
	morsel *m;
	int fd, r;

	r = sd_bus_message_read_basic(reply, 'h', &fd);
	if (r >= 0)
		r = dict_read(reply, fields, sizeof(fields) / sizeof(fields[0]), &seen);
	if (r >= 0 && ((seen & needed) != needed || strlen(id) >= sizeof(h.id) || h.size == 0))
		r = -EBADMSG;
	if (r < 0)
		return client_fail_message(c, r, "Open");

	h.hugetlb = strcmp(backing, "hugetlb") == 0;
	h.module = strcmp(storage, "module") == 0;
	/* The module looks after its pages itself. */
	h.thp = strcmp(backing, "thp") == 0 && !h.module;
	memcpy(h.id, id, strlen(id) + 1);
	h.name = strdup(name[0] ? name : id);
	m = malloc(sizeof(*m));
	if (!m || !h.name) {
		r = client_fail_locked(c, -ENOMEM, "%s: out of memory", name);
		goto fail;
	}
	h.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (h.fd < 0) {
		r = -errno;
		client_fail_locked(c, r, "%s: no file descriptor for it: %s", name, strerror(-r));
		goto fail;
	}
	*m = h;
	client_ref(c);
	*ret_morsel = m;
	return 0;
fail:
	free(h.name);
	free(m);
	return r;
}

int morsel_create(morsel_client *c, const char *name, uint64_t size,
		  const struct morsel_options *options, morsel **ret_morsel)
{
	_cleanup_end_ morsel_client *locked = NULL;
	_cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
	struct morsel_options o;
	const char *id;
	int r;

	if (!c || !ret_morsel)
		return -EINVAL;
	r = client_begin(c, &locked);
	if (r < 0)
		return r;
	if (!name)
		return client_fail_locked(c, -EINVAL, "A morsel needs a name");
	r = copy_options(c, options, &o);
	if (r < 0)
		return r;
	/* The reply's descriptor and the handle's. */
	r = client_check_descriptors(c, 2);
	if (r < 0)
		return r;
	r = client_message(c, MANAGER_PATH, MANAGER_IFACE, "Create", &m);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "st", name, size);
	if (r < 0)
		return client_fail_message(c, r, "Create");
	r = append_options(c, m, &o);
	if (r < 0)
		return r;
	/* Allocating terabytes takes its time, with 2 MiB pages of hugetlb also without being asked. */
	r = client_call(c, m, TIMEOUT_NONE, &reply);
	if (r < 0)
		return r;
	r = sd_bus_message_read_basic(reply, 's', &id);
	if (r < 0)
		client_fail_message(c, r, "Create");
	else
		r = read_handle(c, reply, MORSEL_RDWR, ret_morsel);
	return r < 0 ? r : 0;
}

int morsel_open(morsel_client *c, const char *name, enum morsel_access access, morsel **ret_morsel)
{
	_cleanup_end_ morsel_client *locked = NULL;
	_cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
	int r;

	if (!c || !ret_morsel)
		return -EINVAL;
	r = client_begin(c, &locked);
	if (r < 0)
		return r;
	if (!name || (access != MORSEL_RDONLY && access != MORSEL_RDWR))
		return client_fail_locked(c, -EINVAL, "%s",
					  name ? "access is neither MORSEL_RDONLY nor MORSEL_RDWR"
					       : "A morsel is opened by name or id");
	r = client_check_descriptors(c, 2);
	if (r < 0)
		return r;
	r = client_message(c, MANAGER_PATH, MANAGER_IFACE, "Open", &m);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "ss", name, access == MORSEL_RDWR ? "rw" : "ro");
	if (r < 0)
		return client_fail_message(c, r, "Open");
	r = client_call(c, m, TIMEOUT_DEFAULT, &reply);
	if (r >= 0)
		r = read_handle(c, reply, access, ret_morsel);
	return r < 0 ? r : 0;
}

int morsel_destroy(morsel_client *c, const char *name)
{
	_cleanup_end_ morsel_client *locked = NULL;
	_cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
	int r;

	if (!c)
		return -EINVAL;
	r = client_begin(c, &locked);
	if (r < 0)
		return r;
	if (!name)
		return client_fail_locked(c, -EINVAL, "A morsel is destroyed by name or id");
	r = client_message(c, MANAGER_PATH, MANAGER_IFACE, "Destroy", &m);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "s", name);
	if (r < 0)
		client_fail_message(c, r, "Destroy");
	else
		r = client_call(c, m, TIMEOUT_DEFAULT, &reply);
	return r < 0 ? r : 0;
}

static int set_access(morsel_client *c, const char *name, uint32_t mode, uint32_t owner,
		      uint32_t group)
{
	_cleanup_end_ morsel_client *locked = NULL;
	_cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
	int r;

	if (!c)
		return -EINVAL;
	r = client_begin(c, &locked);
	if (r < 0)
		return r;
	if (!name)
		return client_fail_locked(c, -EINVAL, "A morsel is given by name or id");
	r = client_message(c, MANAGER_PATH, MANAGER_IFACE, "SetAccess", &m);
	if (r < 0)
		return r;
	r = sd_bus_message_append(m, "s", name);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0 && mode != UINT32_MAX)
		r = dict_append_u32(m, "mode", mode);
	if (r >= 0 && owner != UINT32_MAX)
		r = dict_append_u32(m, "owner", owner);
	if (r >= 0 && group != UINT32_MAX)
		r = dict_append_u32(m, "group", group);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r < 0)
		client_fail_message(c, r, "SetAccess");
	else
		r = client_call(c, m, TIMEOUT_DEFAULT, &reply);
	return r < 0 ? r : 0;
}

int morsel_chmod(morsel_client *c, const char *name, mode_t mode)
{
	return set_access(c, name, mode, UINT32_MAX, UINT32_MAX);
}

int morsel_chown(morsel_client *c, const char *name, uid_t owner, gid_t group)
{
	return set_access(c, name, UINT32_MAX, owner, group);
}

morsel *morsel_close(morsel *m)
{
	if (!m)
		return NULL;
	close(m->fd);
	client_unref(m->client);
	free(m->name);
	free(m);
	return NULL;
}

int morsel_stat(morsel *m, struct morsel_stat *stat)
{
	struct morsel_stat full = {};
	size_t size;
	struct stat st;
	int r;

	if (!m || !stat)
		return -EINVAL;
	r = client_check_pid(m->client);
	if (r < 0)
		return r;
	size = stat->struct_size;
	if (size < sizeof(stat->struct_size) || size > 4096)
		return client_fail(m->client, -EINVAL,
				   "morsel_stat.struct_size is %zu: set it with MORSEL_STAT_INIT",
				   size);
	if (m->module)
		r = module_allocated(m->fd, &full.allocated);
	else
		r = fstat(m->fd, &st) < 0 ? -errno : 0;
	if (r < 0)
		return client_fail(m->client, r, "%s: fstat: %s", m->name, strerror(-r));
	if (!m->module) /* POSIX leaves the unit open; Linux: 512 */
		full.allocated = (uint64_t)st.st_blocks * 512;
	full.struct_size = size;
	memcpy(full.id, m->id, sizeof(full.id));
	full.size = m->size;
	full.page_size = m->page_size;
	full.owner = m->owner;
	full.group = m->group;
	full.mode = m->mode;
	full.created_usec = m->created_usec;
	/* A newer program's larger structure: zero where this version has nothing to say. */
	memset(stat, 0, size);
	memcpy(stat, &full, size < sizeof(full) ? size : sizeof(full));
	return 0;
}

int morsel_fd(const morsel *m)
{
	return m ? m->fd : -EINVAL;
}

uint64_t morsel_size(const morsel *m)
{
	return m ? m->size : 0;
}
