/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage-node.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage-node-hugepage.h"

/* A create that needs more policies than these leaves them to prepare(): the event loop does not wait for
 * more than about a millisecond. */
#define RANGES_AT_ONCE 512

/* "morsel:" and label; the kernel takes 249 bytes. Shown in /proc/PID/maps of every client. */
static char *memfd_name(const char *label)
{
	return g_strdup_printf("morsel:%.200s", label ?: "");
}

static int check_size(const char *label, uint64_t size, uint64_t page_size, char **ret_error)
{
	if (size == 0 || size % page_size != 0) {
		*ret_error = g_strdup_printf("size %" PRIu64 " of '%s' is not a multiple of its "
					     "page size, %" PRIu64 ", above zero",
					     size, label, page_size);
		return -EINVAL;
	}
	if (size > NODE_SIZE_MAX) {
		*ret_error = g_strdup_printf("size %" PRIu64 " of '%s' is over the limit of "
					     "%" PRIu64 " bytes for one object",
					     size, label, NODE_SIZE_MAX);
		return -EFBIG;
	}
	return 0;
}

/*
 * The memfd with its size and mode, and sealed: whoever gets a descriptor can neither grow the
 * object beyond its quota, nor shrink it under others' feet, nor reopen it by /proc without being its owner.
 */
static int create_file(struct storage_object *o, char **ret_error)
{
	g_autofree char *name = memfd_name(o->label);
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd;

	if (o->backing == PAGES_HUGETLB)
		flags |= MFD_HUGETLB | NODE_MFD_HUGE_2MB;
	fd = o->node->sys->memfd_create(name, flags | NODE_MFD_NOEXEC_SEAL);
	if (fd == -EINVAL) /* before 6.3 */
		fd = o->node->sys->memfd_create(name, flags);
	if (fd < 0) {
		*ret_error = g_strdup_printf("cannot create the memory file of '%s': %s%s",
					     o->label, g_strerror(-fd),
					     fd == -EMFILE ? " (the daemon's RLIMIT_NOFILE)" : "");
		return fd;
	}
	o->fd = fd;

	if (ftruncate(fd, (off_t)o->size) < 0 || fchmod(fd, 0600) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int r = -errno;

		*ret_error = g_strdup_printf("cannot set size and seals of '%s' (%" PRIu64
					     " bytes): %s",
					     o->label, o->size, g_strerror(-r));
		return r;
	}
	return 0;
}

static int plan_policies(struct storage_object *o, const struct inventory *inv, char **ret_error)
{
	const struct node_caps *caps = &o->node->caps;
	int r;

	r = policy_plan_new(inv, o->placement, o->size, caps, &o->allow, &o->plan, ret_error);
	if (r < 0)
		return r;
	if (o->plan->any && caps->mbind < 0) {
		if (o->node->single_node) {
			/* Everything lands on the one node there is, policy or not. */
			o->plan->any = false;
			return 0;
		}
		*ret_error = g_strdup_printf(
			"'%s' cannot be placed: this process may not set memory "
			"policies (mbind: %s; a seccomp filter, or a kernel without "
			"NUMA); without prefer, allow and spread it can be created",
			o->label, g_strerror(-caps->mbind));
		return -EOPNOTSUPP;
	}
	return 0;
}

static int policy_error(const struct storage_object *o, int r, char **ret_error)
{
	*ret_error = g_strdup_printf("cannot set the memory policy of '%s' (%" PRIu64
				     " ranges): %s",
				     o->label, policy_plan_ranges(o->plan), g_strerror(-r));
	return r;
}

static struct storage_object *node_free(struct storage_object *o)
{
	if (!o)
		return NULL;
	if (o->fd >= 0)
		close(o->fd);
	placement_unref(o->placement);
	policy_plan_free(o->plan);
	policy_map_free(o->moved);
	pthread_mutex_destroy(&o->lock);
	g_free(o->label);
	g_free(o);
	return NULL;
}

static bool node_needs_prepare(const struct storage_object *o)
{
	return !o->prepared;
}

struct storage_object *node_object_new(struct node_storage *node, const struct storage_spec *spec)
{
	struct storage_object *o = g_new0(struct storage_object, 1);

	o->node = node;
	o->label = g_strdup(spec->label ?: "");
	o->fd = -1;
	o->size = spec->size;
	o->page_size = 4096;
	o->placement = spec->placement ? placement_ref(spec->placement) : NULL;
	pthread_mutex_init(&o->lock, NULL);
	return o;
}

static int node_create(struct storage *s, const struct inventory *inv,
		       const struct storage_spec *spec, struct storage_object **ret_object,
		       char **ret_error)
{
	struct storage_object *o = node_object_new((struct node_storage *)s, spec);
	struct placement *p = spec->placement;
	uint64_t size = spec->size;
	int r = 0;

	if (p)
		r = placement_check(p, ret_error);
	if (r >= 0)
		r = check_size(o->label, size, p ? p->page_size : 4096, ret_error);
	if (r >= 0)
		r = plan_policies(o, inv, ret_error);
	if (r >= 0 && p && p->page_size == GRANULE_SIZE) {
		r = hugepage_choose(o->node->root_fd, o->label, size, o->plan, &o->backing,
				    ret_error);
		if (r >= 0 && o->backing == PAGES_HUGETLB)
			o->page_size = GRANULE_SIZE;
	}
	if (r >= 0)
		r = create_file(o, ret_error);
	if (r >= 0 && o->backing != PAGES_HUGETLB &&
	    policy_plan_ranges(o->plan) <= RANGES_AT_ONCE) {
		r = policy_plan_apply(o->plan, o->node->sys, o->fd, size, NULL, NULL);
		if (r < 0)
			policy_error(o, r, ret_error);
		o->prepared = true;
	}
	if (r < 0) {
		node_free(o);
		return r;
	}
	*ret_object = o;
	return 0;
}

static int node_prepare(struct storage_object *o, storage_progress_t progress, void *userdata,
			char **ret_error)
{
	int r;

	if (o->backing == PAGES_HUGETLB) {
		r = hugepage_fill(o, progress, userdata, ret_error);
	} else {
		r = policy_plan_apply(o->plan, o->node->sys, o->fd, o->size, progress, userdata);
		if (r == -ECANCELED)
			*ret_error = g_strdup_printf("creating '%s' was cancelled", o->label);
		else if (r < 0)
			policy_error(o, r, ret_error);
	}
	if (r >= 0)
		o->prepared = true;
	return r;
}

static int node_open_fd(struct storage_object *o, bool writable)
{
	char path[32];
	int fd;

	/* Opened anew rather than duplicated: a file offset and flags of the client's own. */
	g_snprintf(path, sizeof(path), "/proc/self/fd/%d", o->fd);
	fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int node_descriptor(const struct storage_object *o)
{
	return o->fd;
}

static enum page_backing node_page_backing(const struct storage_object *o)
{
	return o->backing;
}

static int node_allocated(struct storage_object *o, uint64_t *ret_bytes)
{
	struct stat st;

	if (fstat(o->fd, &st) < 0)
		return -errno;
	*ret_bytes = (uint64_t)st.st_blocks * 512;
	return 0;
}

int node_check_range(const struct storage_object *o, uint64_t offset, uint64_t length,
		     char **ret_error)
{
	if (length == 0 || offset % o->page_size != 0 || length % o->page_size != 0) {
		*ret_error = g_strdup_printf("range %" PRIu64 "+%" PRIu64
					     " of '%s' is not in whole "
					     "pages of %" PRIu64 " bytes, at least one",
					     offset, length, o->label, o->page_size);
		return -EINVAL;
	}
	if (offset >= o->size || length > o->size - offset) {
		*ret_error = g_strdup_printf("range %" PRIu64 "+%" PRIu64 " is not inside '%s' of "
					     "%" PRIu64 " bytes",
					     offset, length, o->label, o->size);
		return -EINVAL;
	}
	return 0;
}

static const struct storage_ops node_ops = {
	.create = node_create,
	.adopt = node_adopt,
	.free = node_free,
	.needs_prepare = node_needs_prepare,
	.prepare = node_prepare,
	.populate = node_populate,
	.open_fd = node_open_fd,
	.descriptor = node_descriptor,
	.page_backing = node_page_backing,
	.allocated = node_allocated,
	.move = node_move,
	.residency = node_residency,
};

/* Has exactly one node memory? Unknown counts as no. */
static bool only_one_node(int root_fd)
{
	char text[64];
	ssize_t n;
	int fd;

	fd = openat(root_fd, "sys/devices/system/node/has_memory", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT; /* a kernel without NUMA has no such directory */
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return strpbrk(text, ",-") == NULL;
}

int storage_node_new_with(int root_fd, const struct node_sys *sys, struct storage **ret_storage)
{
	struct node_storage *n;
	int fd;

	fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	n = g_new0(struct node_storage, 1);
	n->base.name = "node";
	n->base.ops = &node_ops;
	n->base.unplaced = "the kernel takes the node of the CPU that touches a page first";
	n->root_fd = fd;
	n->sys = sys;
	n->single_node = only_one_node(fd);
	node_caps_probe(sys, &n->caps);
	*ret_storage = &n->base;
	return 0;
}

int storage_node_new(int root_fd, struct storage **ret_storage)
{
	return storage_node_new_with(root_fd, &node_sys_real, ret_storage);
}

struct storage *storage_node_free(struct storage *s)
{
	struct node_storage *n = (struct node_storage *)s;

	if (!n)
		return NULL;
	close(n->root_fd);
	g_free(n);
	return NULL;
}
