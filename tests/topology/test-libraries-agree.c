/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Our reader of the CXL bus and of device-dax against libcxl and libdaxctl, on the fixture given. The
 * libraries know only /sys and /dev: the fixture is mounted there, in a mount namespace of the
 * test's own. That takes root; without, the test is skipped.
 */
#include <cxl/libcxl.h>
#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "inventory-cxl.h"
#include "inventory-dax.h"
#include "inventory-libdaxctl.h"
#include "kernfile.h"

static int root_fd;

/* The libraries want a device's node in /dev, with the numbers that sysfs says. */
static void make_node(const char *bus, const char *name, const char *path)
{
	g_autofree char *text = NULL;
	unsigned int major_number, minor_number;

	g_assert_cmpint(kernfile_read_textf(root_fd, &text, "sys/bus/%s/devices/%s/dev", bus, name),
			==, 0);
	g_assert_cmpint(sscanf(text, "%u:%u", &major_number, &minor_number), ==, 2);
	g_assert_cmpint(mknod(path, S_IFCHR | 0600, makedev(major_number, minor_number)), ==, 0);
}

static int enter(const char *fixture)
{
	g_autofree char *sys = g_build_filename(fixture, "sys", NULL);

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(sys, "/sys", NULL, MS_BIND, NULL) < 0 ||
	    mount("none", "/dev", "tmpfs", 0, NULL) < 0)
		return -errno;
	g_assert_cmpint(mkdir("/dev/cxl", 0755), ==, 0);
	return 0;
}

static void test_memdevs(void)
{
	struct cxl_facts *f = cxl_facts_read(root_fd);
	struct cxl_memdev *memdev;
	struct cxl_ctx *ctx;
	unsigned int seen = 0;

	g_assert_cmpuint(f->warnings->len, ==, 0);
	for (unsigned int i = 0; i < f->memdevs->len; i++) {
		const struct cxl_memdev_fact *m = f->memdevs->pdata[i];
		g_autofree char *path = g_strdup_printf("/dev/cxl/%s", m->name);

		make_node("cxl", m->name, path);
	}
	g_assert_cmpint(cxl_new(&ctx), ==, 0);
	cxl_memdev_foreach(ctx, memdev)
	{
		const struct cxl_memdev_fact *m = NULL;

		for (unsigned int i = 0; i < f->memdevs->len; i++) {
			const struct cxl_memdev_fact *c = f->memdevs->pdata[i];

			if (strcmp(c->name, cxl_memdev_get_devname(memdev)) == 0)
				m = c;
		}
		g_assert_nonnull(m);
		g_assert_cmpuint(m->serial, ==, cxl_memdev_get_serial(memdev));
		g_assert_cmpuint(m->part[CXL_RAM].size, ==, cxl_memdev_get_ram_size(memdev));
		g_assert_cmpuint(m->part[CXL_PMEM].size, ==, cxl_memdev_get_pmem_size(memdev));
		g_assert_cmpint(m->numa_node, ==, cxl_memdev_get_numa_node(memdev));
		g_assert_cmpstr(m->pci, ==, cxl_memdev_get_host(memdev));
		g_assert_true(m->has_endpoint);
		seen++;
	}
	g_assert_cmpuint(seen, ==, f->memdevs->len);
	g_assert_cmpuint(seen, >, 0);
	cxl_unref(ctx);
	cxl_facts_free(f);
}

static void check_region(const struct cxl_facts *f, struct cxl_region *region)
{
	const struct cxl_region_fact *r = NULL;

	for (unsigned int i = 0; i < f->regions->len; i++) {
		const struct cxl_region_fact *c = f->regions->pdata[i];

		if (strcmp(c->name, cxl_region_get_devname(region)) == 0)
			r = c;
	}
	g_assert_nonnull(r);
	g_assert_cmpuint(r->start, ==, cxl_region_get_resource(region));
	g_assert_cmpuint(r->size, ==, cxl_region_get_size(region));
	g_assert_cmpuint(r->ways, ==, cxl_region_get_interleave_ways(region));
	g_assert_cmpuint(r->granularity, ==, cxl_region_get_interleave_granularity(region));
	g_assert_cmpint(r->committed, ==, cxl_region_decode_is_committed(region) == 1);
}

static void test_regions(void)
{
	struct cxl_facts *f = cxl_facts_read(root_fd);
	unsigned int regions = 0, windows = 0;
	struct cxl_decoder *decoder;
	struct cxl_region *region;
	struct cxl_ctx *ctx;
	struct cxl_bus *bus;

	g_assert_cmpint(cxl_new(&ctx), ==, 0);
	cxl_bus_foreach(ctx, bus)
	{
		cxl_decoder_foreach(cxl_bus_get_port(bus), decoder)
		{
			const struct cxl_window_fact *w;

			g_assert_cmpuint(windows, <, f->windows->len);
			w = f->windows->pdata[windows++];
			g_assert_cmpstr(w->name, ==, cxl_decoder_get_devname(decoder));
			g_assert_cmpuint(w->start, ==, cxl_decoder_get_resource(decoder));
			g_assert_cmpuint(w->size, ==, cxl_decoder_get_size(decoder));
			g_assert_cmpint(w->ram, ==, cxl_decoder_is_volatile_capable(decoder));
			g_assert_cmpint(w->pmem, ==, cxl_decoder_is_pmem_capable(decoder));
			cxl_region_foreach(decoder, region)
			{
				check_region(f, region);
				regions++;
			}
		}
	}
	g_assert_cmpuint(windows, ==, f->windows->len);
	g_assert_cmpuint(regions, ==, f->regions->len);
	g_assert_cmpuint(regions, >, 0);
	cxl_unref(ctx);
	cxl_facts_free(f);
}

static void test_dax(void)
{
	struct dax_facts *f = dax_facts_read(root_fd);
	struct daxctl_region *region;
	struct daxctl_ctx *ctx;
	struct daxctl_dev *dev;
	unsigned int seen = 0;

	for (unsigned int i = 0; i < f->devices->len; i++) {
		const struct dax_device *d = f->devices->pdata[i];
		g_autofree char *path = g_strdup_printf("/dev/%s", d->name);

		make_node("dax", d->name, path);
	}
	g_assert_cmpint(daxctl_new(&ctx), ==, 0);
	daxctl_region_foreach(ctx, region)
	{
		daxctl_dev_foreach(region, dev)
		{
			seen++;
		}
	}
	daxctl_unref(ctx);
	g_assert_cmpuint(seen, ==, f->devices->len);
	g_assert_cmpuint(seen, >, 0);
	libdaxctl_check(f);
	for (unsigned int i = 0; i < f->devices->len; i++) {
		struct dax_device *d = f->devices->pdata[i];

		g_assert_cmpuint(d->warnings->len, ==, 0);
		/* It does look: a size that is not the library's is said. */
		d->size++;
		libdaxctl_check(f);
		g_assert_cmpuint(d->warnings->len, ==, 1);
		d->size--;
	}
	dax_facts_free(f);
}

int main(int argc, char **argv)
{
	int r;

	g_test_init(&argc, &argv, NULL);
	if (argc != 2)
		g_error("usage: test-libraries-agree FIXTURE");
	r = enter(argv[1]);
	if (r < 0) {
		printf("1..0 # SKIP no mount namespace to be had: %s\n", g_strerror(-r));
		return 0;
	}
	root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	g_assert_cmpint(root_fd, >=, 0);
	g_test_add_func("/libraries/memdevs", test_memdevs);
	g_test_add_func("/libraries/regions", test_regions);
	g_test_add_func("/libraries/dax", test_dax);
	return g_test_run();
}
