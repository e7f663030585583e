/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole inventory on a machine some of whose files lie. The machine is a copy of the fixture in
 * $MORSEL_FUZZ_TREE; the input is changes to it, each four bytes and what follows:
 *   which file (two bytes, modulo their number) · what: 0 its content, 1 it is gone, 2 a link to the file
 *   numbered by the content, 3 a directory, 4 one bit of its content changes · length of the content
 * Then the tree is as before.
 */
#include <fcntl.h>
#include <ftw.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "fuzz.h"
#include "inventory.h"

struct file {
	char *path; /* in the copy */
	char *link; /* its target, or NULL */
	char *data;
	gsize len;
};

static GPtrArray *files; /* of struct file * */
static char *copy_root, *original_root;
static int root_fd = -1;

static void restore(const struct file *f)
{
	if (g_remove(f->path) < 0)
		g_rmdir(f->path);
	if (f->link != NULL)
		g_assert_cmpint(symlink(f->link, f->path), ==, 0);
	else
		g_assert_true(g_file_set_contents_full(f->path, f->data, (gssize)f->len,
						       G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	g_autofree char *to = g_strconcat(copy_root, path + strlen(original_root), NULL);
	struct file *f;

	if (type == FTW_D)
		return g_mkdir_with_parents(to, 0755);
	f = g_new0(struct file, 1);
	f->path = g_steal_pointer(&to);
	if (type == FTW_SL)
		f->link = g_file_read_link(path, NULL);
	else
		g_assert_true(g_file_get_contents(path, &f->data, &f->len, NULL));
	g_ptr_array_add(files, f);
	restore(f);
	return 0;
}

static int compare(gconstpointer a, gconstpointer b)
{
	const struct file *x = *(struct file *const *)a, *y = *(struct file *const *)b;

	return strcmp(x->path, y->path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void remove_copy(void)
{
	nftw(copy_root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *tree = getenv("MORSEL_FUZZ_TREE");

	if (tree == NULL) {
		fprintf(stderr,
			"MORSEL_FUZZ_TREE is not set: the directory of a fixture is wanted\n");
		exit(2);
	}
	files = g_ptr_array_new();
	original_root = g_strdup(tree);
	copy_root = g_dir_make_tmp("morsel-fuzz-XXXXXX", NULL);
	g_assert_nonnull(copy_root);
	atexit(remove_copy);
	g_assert_cmpint(nftw(original_root, copy_one, 16, FTW_PHYS), ==, 0);
	g_ptr_array_sort(files, compare);
	root_fd = open(copy_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	g_assert_cmpint(root_fd, >=, 0);
	return 0;
}

static void change(const struct file *f, unsigned int what, const uint8_t *data, size_t len)
{
	const struct file *target;

	if (g_remove(f->path) < 0)
		g_rmdir(f->path);
	switch (what) {
	case 1:
		return;
	case 2:
		target = files->pdata[len >= 2 ? le16(data) % files->len : 0];
		g_assert_cmpint(symlink(target->path + strlen(copy_root), f->path), ==, 0);
		return;
	case 3:
		g_assert_cmpint(mkdir(f->path, 0755), ==, 0);
		return;
	case 4:
		if (f->link == NULL && f->len > 0 && len >= 2) {
			g_autofree char *changed = g_memdup2(f->data, f->len);

			changed[le16(data) % f->len] ^= (char)(1 << (data[len - 1] & 7));
			g_assert_true(g_file_set_contents_full(f->path, changed, (gssize)f->len,
							       G_FILE_SET_CONTENTS_NONE, 0644,
							       NULL));
			return;
		}
		break;
	default:
		break;
	}
	g_assert_true(g_file_set_contents_full(f->path, (const char *)data, (gssize)len,
					       G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static void check(struct inventory *inv)
{
	for (unsigned int i = 0; i < inventory_tiers(inv)->len; i++) {
		const struct tier *t = inventory_tiers(inv)->pdata[i];

		g_assert_true(g_utf8_validate(t->name, -1, NULL));
		g_assert_true(g_utf8_validate(t->evidence_detail, -1, NULL));
		g_assert_true(g_utf8_validate(t->state_reason, -1, NULL));
		g_assert_true(t->device == NULL || g_utf8_validate(t->device, -1, NULL));
		g_assert_true(inventory_tier(inv, t->name) == t);
		g_assert_cmpuint(t->free, <=, t->capacity);
		g_assert_cmpuint(t->perf->len, ==, inventory_initiators(inv)->len);
		g_assert_cmpuint(t->warnings->len, <=, 16);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GPtrArray) changed = g_ptr_array_new();
	struct inventory *inv;
	bool differs;

	while (size >= 4 && changed->len < 16) {
		struct file *f = files->pdata[le16(data) % files->len];
		size_t n = MIN((size_t)data[3], size - 4);

		/* Through a directory that became a link or is gone there is no way any more. */
		change(f, data[2] % 5, data + 4, n);
		if (!g_ptr_array_find(changed, f, NULL))
			g_ptr_array_add(changed, f);
		data += 4 + n;
		size -= 4 + n;
	}
	g_assert_cmpint(inventory_new(root_fd, false, &inv), ==, 0);
	g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, &differs), ==, 0);
	check(inv);
	g_assert_cmpint(inventory_refresh(inv, NULL, NULL, NULL, &differs), ==, 0);
	g_assert_false(differs);
	inventory_free(inv);
	for (unsigned int i = 0; i < changed->len; i++)
		restore(changed->pdata[i]);
	return 0;
}
