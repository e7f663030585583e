// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "dropin.h"
#include "record.h"

static char *dir;

static struct record a_record(void)
{
	struct record r = { .region = "region0", .inode = 4711 };

	record_boot(r.boot);
	return r;
}

static void test_record(void)
{
	g_autofree char *path = g_build_filename(dir, "regions", NULL);
	struct record written = a_record(), read;
	struct stat st;

	g_assert_cmpuint(strlen(written.boot), ==, 36);
	g_assert_cmpint(record_read(dir, 7, MODE_RAM, &read), ==, -ENOENT);
	g_assert_cmpint(record_write(dir, 7, MODE_RAM, &written), ==, 0);
	g_assert_cmpint(stat(path, &st), ==, 0);
	g_assert_cmpint(st.st_mode & 0777, ==, 0600);
	g_assert_cmpint(record_read(dir, 7, MODE_RAM, &read), ==, 0);
	g_assert_true(record_matches(&read, &written));
	/* Another device's, or its other memory's, is not touched. */
	g_assert_cmpint(record_read(dir, 7, MODE_PMEM, &read), ==, -ENOENT);
	memset(written.uuid, 0x5a, sizeof(written.uuid));
	g_assert_cmpint(record_write(dir, UINT64_MAX, MODE_PMEM, &written), ==, 0);
	g_assert_cmpint(record_write(dir, 7, MODE_RAM, NULL), ==, 0);
	g_assert_cmpint(record_write(dir, 7, MODE_RAM, NULL), ==, 0);
	g_assert_cmpint(record_read(dir, 7, MODE_RAM, &read), ==, -ENOENT);
	g_assert_cmpint(record_read(dir, UINT64_MAX, MODE_PMEM, &read), ==, 0);
	g_assert_cmpmem(read.uuid, 16, written.uuid, 16);

	/* Rubbish makes nothing ours, and does not stay in the way. */
	g_assert_true(g_file_set_contents(path, "[0x7 ram\nregion", -1, NULL));
	g_assert_cmpint(record_read(dir, 7, MODE_RAM, &read), ==, -EBADMSG);
	g_assert_cmpint(record_write(dir, 7, MODE_RAM, &written), ==, 0);
	g_assert_cmpint(record_read(dir, 7, MODE_RAM, &read), ==, 0);
	g_assert_true(g_file_set_contents(path, "[0x7 ram]\nuuid=xyz\n", -1, NULL));
	g_assert_cmpint(record_read(dir, 7, MODE_RAM, &read), ==, 0);
	g_assert_false(record_matches(&read, &written));
	g_unlink(path);
	g_assert_cmpint(record_write("/nonexistent", 7, MODE_RAM, &written), ==, -ENOENT);
}

static void test_matches(void)
{
	struct record a = a_record(), b = a, none = {};

	g_assert_true(record_matches(&a, &b));
	b.inode++; /* deleted, and made by somebody else under the same name */
	g_assert_false(record_matches(&a, &b));
	b = a;
	b.boot[0] ^= 1;
	g_assert_false(record_matches(&a, &b));
	b = a;
	strcpy(b.region, "region1");
	g_assert_false(record_matches(&a, &b));
	g_assert_false(record_matches(&none, &none));
	/* A UUID outlives the boot and the name. */
	memset(a.uuid, 1, sizeof(a.uuid));
	b = a;
	b.inode++;
	b.boot[0] ^= 1;
	strcpy(b.region, "region5");
	g_assert_true(record_matches(&a, &b));
	b.uuid[15] = 2;
	g_assert_false(record_matches(&a, &b));
}

static void test_dropin(void)
{
	g_autofree char *below = g_build_filename(dir, "morseld.conf.d", NULL);
	g_autofree char *path = g_build_filename(below, "50-provision-c0ffee01-ram.conf", NULL);
	g_autofree char *text = NULL;
	struct provision_wish w = { .as = AS_SYSTEM_RAM, .zone = ZONE_KERNEL, .size = 1 << 28 };
	struct stat st;

	g_assert_cmpint(dropin_remove(below, 0xc0ffee01, MODE_RAM), ==, 0);
	g_assert_cmpint(dropin_write(below, 0xc0ffee01, MODE_RAM, &w), ==, 1);
	g_assert_cmpint(dropin_write(below, 0xc0ffee01, MODE_RAM, &w), ==, 0);
	g_assert_cmpint(stat(path, &st), ==, 0);
	g_assert_cmpint(st.st_mode & 0777, ==, 0644);
	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	g_assert_nonnull(strstr(text, "[provision c0ffee01-ram]\nSerial=0xc0ffee01\nMode=ram\n"
				      "As=system-ram\nZone=kernel\nSize=268435456\n"));
	w.as = AS_DEVDAX;
	w.size = 0;
	g_assert_cmpint(dropin_write(below, 0xc0ffee01, MODE_RAM, &w), ==, 1);
	g_assert_cmpint(dropin_remove(below, 0xc0ffee01, MODE_PMEM), ==, 0);
	g_assert_cmpint(dropin_remove(below, 0xc0ffee01, MODE_RAM), ==, 1);
	g_assert_cmpint(dropin_remove(below, 0xc0ffee01, MODE_RAM), ==, 0);
	g_assert_cmpint(dropin_write("/nonexistent/morseld.conf.d", 1, MODE_RAM, &w), ==, -ENOENT);
	g_rmdir(below);
}

int main(int argc, char **argv)
{
	int r;

	g_test_init(&argc, &argv, NULL);
	dir = g_dir_make_tmp("morsel-record-XXXXXX", NULL);
	g_test_add_func("/record/record", test_record);
	g_test_add_func("/record/matches", test_matches);
	g_test_add_func("/record/dropin", test_dropin);
	r = g_test_run();
	g_rmdir(dir);
	g_free(dir);
	return r;
}
