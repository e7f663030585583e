/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage-node.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* Is it what create_file() made? Nobody but the keeper could have given another one; a mistake here would be
 * a client that can cut the file under another one's mapping. */
static const char *check_file(int fd, uint64_t size, enum page_backing backing)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return "it is not a memory file";
	if ((seals & SEALS) != SEALS)
		return "it is not sealed";
	if (st.st_uid != geteuid() || (st.st_mode & 07777) != 0600)
		return "it is not this user's alone";
	if ((uint64_t)st.st_size != size)
		return "it has another size";
	if ((backing == PAGES_HUGETLB) != (st.st_blksize == (blksize_t)GRANULE_SIZE))
		return "its pages are of another size";
	return NULL;
}

int node_adopt(struct storage *s, const struct inventory *inv, const struct storage_spec *spec,
	       enum page_backing backing, int fd, struct storage_object **ret_object,
	       char **ret_error)
{
	const char *wrong = check_file(fd, spec->size, backing);
	struct storage_object *o;

	if (wrong) {
		*ret_error = g_strdup_printf("the descriptor kept for '%s' is wrong: %s",
					     spec->label, wrong);
		close(fd);
		return -EINVAL;
	}
	o = node_object_new((struct node_storage *)s, spec);
	o->fd = fd;
	o->backing = backing;
	if (backing == PAGES_HUGETLB)
		o->page_size = GRANULE_SIZE;
	/* What new pages follow is the file's own policy, which the kernel has kept. */
	o->prepared = true;
	policy_allow_nodes(inv, spec->placement, &o->allow);
	o->plan = g_new0(struct policy_plan, 1);
	*ret_object = o;
	return 0;
}
