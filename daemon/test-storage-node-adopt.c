// SPDX-License-Identifier: GPL-2.0-or-later
/* Objects of a daemon before: taken over as they were, and nothing else is. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake-inventory.h"
#include "storage-node.h"

#define MIB (UINT64_C(1) << 20)

struct fixture {
	struct storage *s;
	struct inventory *inv;
};

static void set_up(struct fixture *f, gconstpointer data)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	g_assert_cmpint(storage_node_new(root, &f->s), ==, 0);
	close(root);
	f->inv = fake_inventory_new();
	g_assert_cmpuint(fake_inventory_add_machine(f->inv), >, 0);
}

static void tear_down(struct fixture *f, gconstpointer data)
{
	storage_node_free(f->s);
	fake_inventory_free(f->inv);
}

static int adopt(struct fixture *f, uint64_t size, struct placement *p, int fd,
		 struct storage_object **ret_object, char **ret_error)
{
	return f->s->ops->adopt(
		f->s, f->inv,
		&(struct storage_spec){ .label = "kept", .size = size, .placement = p }, PAGES_4K,
		fd, ret_object, ret_error);
}

/* The same file, its bytes, its rules of moving; tiers that are gone do not hinder. */
static void test_adopted(struct fixture *f, gconstpointer data)
{
	const struct storage_ops *ops = f->s->ops;
	struct storage_object *before = NULL, *o = NULL;
	g_autoptr(Placement) p = placement_new();
	g_autofree char *error = NULL;
	struct storage_move_result result;
	struct stat a, b;
	char byte;
	int fd;

	g_ptr_array_add(p->allow, g_strdup("node0"));
	g_assert_cmpint(ops->create(f->s, f->inv,
				    &(struct storage_spec){
					    .label = "kept", .size = 4 * MIB, .placement = p },
				    &before, &error),
			==, 0);
	fd = fcntl(ops->descriptor(before), F_DUPFD_CLOEXEC, 0);
	g_assert_cmpint(pwrite(fd, "x", 1, MIB), ==, 1);
	g_assert_cmpint(fstat(fd, &a), ==, 0);
	ops->free(before);

	g_ptr_array_add(p->allow, g_strdup("gone9"));
	g_assert_cmpint(adopt(f, 4 * MIB, p, fd, &o, &error), ==, 0);
	g_assert_false(ops->needs_prepare(o));
	g_assert_cmpint(fstat(ops->descriptor(o), &b), ==, 0);
	g_assert_cmpuint(a.st_ino, ==, b.st_ino);
	fd = ops->open_fd(o, false);
	g_assert_cmpint(pread(fd, &byte, 1, MIB), ==, 1);
	g_assert_cmpint(byte, ==, 'x');
	close(fd);
	if (((struct node_storage *)f->s)->caps.move_pages >= 0) {
		g_assert_cmpint(ops->move(o, 0, 4 * MIB, inventory_tier(f->inv, "node0"), 0, NULL,
					  NULL, &result, &error),
				==, 0);
		g_assert_cmpuint(result.already, ==, 4096);
		g_assert_cmpint(result.policy_error, ==, 0);
		storage_move_result_done(&result);
	}
	ops->free(o);
}

static void refuse(struct fixture *f, uint64_t size, int fd, const char *words)
{
	struct storage_object *o = NULL;
	g_autofree char *error = NULL;

	g_assert_cmpint(adopt(f, size, NULL, fd, &o, &error), ==, -EINVAL);
	if (!strstr(error, words))
		g_error("'%s' does not contain '%s'", error, words);
	/* It was closed all the same. */
	g_assert_cmpint(fcntl(fd, F_GETFD), ==, -1);
}

static int make(off_t size, mode_t mode, unsigned int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	g_assert_cmpint(ftruncate(fd, size), ==, 0);
	g_assert_cmpint(fchmod(fd, mode), ==, 0);
	g_assert_cmpint(fcntl(fd, F_ADD_SEALS, seals), ==, 0);
	return fd;
}

static void test_refused(struct fixture *f, gconstpointer data)
{
	const unsigned int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	refuse(f, 4096, open("/dev/null", O_RDWR | O_CLOEXEC), "not a memory file");
	refuse(f, 4096, make(4096, 0600, F_SEAL_SHRINK), "not sealed");
	refuse(f, 4096, make(4096, 0600, seals & ~F_SEAL_GROW), "not sealed");
	refuse(f, 4096, make(4096, 0644, seals), "this user's alone");
	refuse(f, 8192, make(4096, 0600, seals), "another size");
	if (geteuid() == 0) {
		int fd = make(4096, 0600, seals);

		g_assert_cmpint(fchown(fd, 65534, 65534), ==, 0);
		refuse(f, 4096, fd, "this user's alone");
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add("/storage-node-adopt/adopted", struct fixture, NULL, set_up, test_adopted,
		   tear_down);
	g_test_add("/storage-node-adopt/refused", struct fixture, NULL, set_up, test_refused,
		   tear_down);
	return g_test_run();
}
