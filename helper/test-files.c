// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

static void test_list(void)
{
	static const char *const good[] = {
		"sys/firmware/acpi/tables/SRAT",	"sys/firmware/acpi/tables/HMAT",
		"sys/firmware/acpi/tables/CEDT",	"sys/bus/cxl/devices/endpoint3/CDAT",
		"sys/bus/cxl/devices/decoder0.0/start", "sys/bus/dax/devices/dax0.0/resource",
		"sys/bus/nd/devices/region1/resource",	"sys/bus/nd/devices/namespace0.0/resource",
	};
	static const char *const bad[] = {
		"",
		"/sys/firmware/acpi/tables/SRAT",
		"sys/firmware/acpi/tables/SRAT/",
		"sys/firmware/acpi/tables/SRATX",
		"sys/firmware/acpi/tables/DSDT",
		"sys/firmware/acpi/tables/../tables/SRAT",
		"sys/bus/cxl/devices//CDAT",
		"sys/bus/cxl/devices/./CDAT",
		"sys/bus/cxl/devices/../CDAT",
		"sys/bus/cxl/devices/a/b/CDAT",
		"sys/bus/cxl/devices/../../../../etc/CDAT",
		"sys/bus/cxl/devices/endpoint3/CDAT2",
		"sys/bus/cxl/devices/endpoint3/",
		"sys/bus/cxl/devices/endpoint3",
		"sys/bus/dax/devices/*/resource",
		"sys/bus/dax/devices/dax0.0/../dax0.0/resource",
		"etc/shadow",
		"dev/mem",
		"dev/morsel0",
		"dev/morsel/x",
		"proc/kcore",
	};

	for (gsize i = 0; i < G_N_ELEMENTS(good); i++)
		g_assert_true(files_allowed(good[i]));
	for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
		if (files_allowed(bad[i]))
			g_error("'%s' is allowed", bad[i]);
}

static void test_open(void)
{
	g_autofree char *root = g_dir_make_tmp("morsel-files-XXXXXX", NULL);
	g_autofree char *tables = g_build_filename(root, "sys/firmware/acpi/tables", NULL);
	g_autofree char *srat = g_build_filename(tables, "SRAT", NULL);
	g_autofree char *hmat = g_build_filename(tables, "HMAT", NULL);
	g_autofree char *dev = g_build_filename(root, "dev", NULL);
	g_autofree char *device = g_build_filename(dev, "morsel", NULL);
	int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;
	char text[8] = "";

	g_assert_cmpint(g_mkdir_with_parents(tables, 0700), ==, 0);
	g_assert_true(g_file_set_contents(srat, "table", -1, NULL));
	g_assert_cmpint(mkfifo(hmat, 0600), ==, 0);

	fd = files_open(root_fd, "sys/firmware/acpi/tables/SRAT");
	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(read(fd, text, sizeof(text)), ==, 5);
	g_assert_cmpstr(text, ==, "table");
	/* Reading is all that a descriptor of this list is good for. */
	g_assert_cmpint(fcntl(fd, F_GETFL) & O_ACCMODE, ==, O_RDONLY);
	close(fd);
	g_assert_cmpint(files_open(root_fd, "sys/firmware/acpi/tables/HMAT"), ==, -EINVAL);
	g_assert_cmpint(files_open(root_fd, "sys/firmware/acpi/tables/CEDT"), ==, -ENOENT);
	g_assert_cmpint(files_open(root_fd, "sys/firmware/acpi/tables"), ==, -EACCES);
	/* The one that is for writing too, and a device or nothing. */
	g_assert_cmpint(files_open(root_fd, "dev/morsel"), ==, -ENOENT);
	g_assert_cmpint(g_mkdir_with_parents(dev, 0700), ==, 0);
	g_assert_cmpint(symlink(srat, device), ==, 0);
	g_assert_cmpint(files_open(root_fd, "dev/morsel"), ==, -EINVAL);
	g_unlink(device);
	g_assert_cmpint(symlink("/dev/null", device), ==, 0);
	fd = files_open(root_fd, "dev/morsel");
	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(fcntl(fd, F_GETFL) & O_ACCMODE, ==, O_RDWR);
	close(fd);
	g_unlink(device);
	g_rmdir(dev);
	close(root_fd);
	g_unlink(srat);
	g_unlink(hmat);
	for (char *p = tables; strlen(p) >= strlen(root); *strrchr(p, '/') = 0)
		g_rmdir(p);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/files/list", test_list);
	g_test_add_func("/files/open", test_open);
	return g_test_run();
}
