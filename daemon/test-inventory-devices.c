/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory on its way from a bare CXL device over a region and device-dax to a node, and back: one tier
 * with one name. What single machines are seen as is pinned in tests/topology. */
#include <string.h>

#include "inventory.h"
#include "test-tree.h"

#define CXL "sys/devices/platform/ACPI0017:00/root0"
#define PCI "sys/devices/pci0000:0c/0000:0c:00.0/0000:0d:00.0"
#define DAX CXL "/decoder0.0/region0/dax_region0/dax0.0"
#define GIB (UINT64_C(1) << 30)

static void machine(struct tree *t)
{
	*t = tree_new();
	tree_write(t, "sys/devices/system/node/online", "0\n");
	tree_node(t, 0, "0-3\n", 8388608, "10\n");
	tree_write(t, CXL "/decoder0.0/devtype", "cxl_decoder_root\n");
	tree_write(t, CXL "/decoder0.0/start", "0x1000000000\n");
	tree_write(t, CXL "/decoder0.0/size", "0x1000000000\n");
	tree_write(t, CXL "/decoder0.0/cap_ram", "1\n");
	tree_write(t, CXL "/port1/endpoint2/decoder2.0/devtype", "cxl_decoder_endpoint\n");
	tree_write(t, CXL "/port1/endpoint2/decoder2.0/mode", "none\n");
	tree_link(t, "sys/bus/cxl/devices/decoder0.0",
		  "../../../devices/platform/ACPI0017:00/root0/decoder0.0");
	tree_link(t, "sys/bus/cxl/devices/endpoint2",
		  "../../../devices/platform/ACPI0017:00/root0/port1/endpoint2");
	tree_link(t, "sys/bus/cxl/devices/decoder2.0",
		  "../../../devices/platform/ACPI0017:00/root0/port1/endpoint2/decoder2.0");
}

/* The device under one of the names that it may have. */
static void add_memdev(struct tree *t, const char *name)
{
	g_autofree char *link = g_strdup_printf("sys/bus/cxl/devices/%s", name);
	g_autofree char *target =
		g_strdup_printf("../../../devices/pci0000:0c/0000:0c:00.0/0000:0d:00.0/%s", name);
	g_autofree char *uport =
		g_strdup_printf("../../../../../pci0000:0c/0000:0c:00.0/0000:0d:00.0/%s", name);
	g_autofree char *serial = g_strdup_printf(PCI "/%s/serial", name);
	g_autofree char *size = g_strdup_printf(PCI "/%s/ram/size", name);

	tree_write(t, serial, "0xabc\n");
	tree_write(t, size, "0x200000000\n");
	tree_link(t, link, target);
	tree_link(t, CXL "/port1/endpoint2/uport", uport);
}

static void remove_memdev(struct tree *t, const char *name)
{
	g_autofree char *link = g_strdup_printf("sys/bus/cxl/devices/%s", name);

	tree_remove(t, link);
	tree_remove(t, PCI);
	tree_remove(t, CXL "/port1/endpoint2/uport");
}

/* Half of the device, 4 GiB. */
static void add_region(struct tree *t)
{
	tree_write(t, CXL "/decoder0.0/region0/size", "0x100000000\n");
	tree_write(t, CXL "/decoder0.0/region0/resource", "0x1000000000\n");
	tree_write(t, CXL "/decoder0.0/region0/interleave_ways", "1\n");
	tree_write(t, CXL "/decoder0.0/region0/mode", "ram\n");
	tree_write(t, CXL "/decoder0.0/region0/commit", "1\n");
	tree_write(t, CXL "/decoder0.0/region0/target0", "decoder2.0\n");
	tree_link(t, "sys/bus/cxl/devices/region0",
		  "../../../devices/platform/ACPI0017:00/root0/decoder0.0/region0");
	tree_write(t, CXL "/port1/endpoint2/decoder2.0/mode", "ram\n");
	tree_write(t, CXL "/port1/endpoint2/decoder2.0/dpa_size", "0x100000000\n");
}

static void remove_region(struct tree *t)
{
	tree_remove(t, "sys/bus/cxl/devices/region0");
	tree_remove(t, CXL "/decoder0.0/region0");
	tree_write(t, CXL "/port1/endpoint2/decoder2.0/mode", "none\n");
	tree_write(t, CXL "/port1/endpoint2/decoder2.0/dpa_size", "0x0\n");
}

static void add_dax(struct tree *t, const char *driver)
{
	g_autofree char *target =
		g_strdup_printf("../../../../../../../../bus/dax/drivers/%s", driver);

	tree_write(t, DAX "/size", "4294967296\n");
	tree_write(t, DAX "/resource", "0x1000000000\n");
	tree_write(t, DAX "/target_node", "1\n");
	tree_link(t, DAX "/driver", target);
	tree_link(t, "sys/bus/dax/devices/dax0.0",
		  "../../../devices/platform/ACPI0017:00/root0/decoder0.0/"
		  "region0/dax_region0/dax0.0");
}

static void remove_dax(struct tree *t)
{
	tree_remove(t, "sys/bus/dax/devices/dax0.0");
	tree_remove(t, DAX);
}

/* All CXL tiers: name, kind of backing, GiB. */
static void look(struct inventory *inv, const struct config *config, const char *expected)
{
	g_autoptr(GString) s = g_string_new(NULL);
	bool changed;

	g_assert_cmpint(inventory_refresh(inv, config, NULL, NULL, &changed), ==, 0);
	g_assert_cmpint(inventory_refresh(inv, config, NULL, NULL, &changed), ==, 0);
	g_assert_false(changed);
	for (unsigned int i = 0; i < inventory_tiers(inv)->len; i++) {
		const struct tier *t = inventory_tiers(inv)->pdata[i];

		if (t->kind == TIER_CXL)
			g_string_append_printf(s, "%s%s:%s:%" G_GUINT64_FORMAT, s->len ? " " : "",
					       t->name, tier_backing_to_string(t->backing),
					       t->capacity / GIB);
	}
	g_assert_cmpstr(s->str, ==, expected);
	g_assert_cmpuint(inventory_warnings(inv)->len, ==, 0);
}

static void test_life(void)
{
	struct inventory *inv;
	struct tree t;

	machine(&t);
	g_assert_cmpint(inventory_new(t.fd, false, &inv), ==, 0);
	look(inv, NULL, "");
	add_memdev(&t, "mem0");
	look(inv, NULL, "cxl0:device:8");
	g_assert_cmpstr(inventory_tier(inv, "cxl0")->state_reason, ==,
			"no region yet: morselctl tier provision memdev:mem0 --mode ram");
	/* The region goes on under the device's name; what is left gets another. */
	add_region(&t);
	look(inv, NULL, "cxl0:device:4 cxl1:device:4");
	add_dax(&t, "device_dax");
	look(inv, NULL, "cxl0:dax:4 cxl1:device:4");
	remove_dax(&t);
	add_dax(&t, "kmem");
	look(inv, NULL, "cxl0:dax:4 cxl1:device:4");
	tree_write(&t, "sys/devices/system/node/online", "0-1\n");
	tree_node(&t, 0, "0-3\n", 8388608, "10 20\n");
	tree_node(&t, 1, "\n", 4194304, "20 10\n");
	look(inv, NULL, "cxl0:node:4 cxl1:device:4");
	g_assert_cmpint(inventory_tier(inv, "cxl0")->evidence, ==, EVIDENCE_CXL_REGION);
	g_assert_cmpstr(inventory_tier(inv, "cxl0")->evidence_detail, ==,
			"region0 (memdev mem0, serial 0xabc)");
	g_assert_true(tier_has_pages(inventory_tier(inv, "cxl0")));

	/* And back. The device comes under another name after a reset. */
	tree_write(&t, "sys/devices/system/node/online", "0\n");
	tree_remove(&t, "sys/devices/system/node/node1");
	tree_node(&t, 0, "0-3\n", 8388608, "10\n");
	remove_dax(&t);
	remove_region(&t);
	remove_memdev(&t, "mem0");
	add_memdev(&t, "mem7");
	look(inv, NULL, "cxl0:device:8");
	g_assert_cmpstr(inventory_tier(inv, "cxl0")->device, ==, "mem7");
	inventory_free(inv);
	tree_done(&t);
}

static void test_override(void)
{
	g_autofree char *path = NULL, *message = NULL;
	struct config *c = NULL;
	struct inventory *inv;
	struct tier *big;
	struct tree t;

	machine(&t);
	add_memdev(&t, "mem0");
	add_region(&t);
	add_dax(&t, "device_dax");
	tree_write(&t, "morseld.conf",
		   "[tier big]\nDevice=/dev/dax0.0\nLatency=300\n"
		   "[tier gone]\nDevice=/dev/dax9.0\n");
	path = g_build_filename(t.path, "morseld.conf", NULL);
	g_assert_cmpint(config_load(path, &c, &message), ==, 0);
	g_assert_cmpint(inventory_new(t.fd, false, &inv), ==, 0);
	look(inv, c, "big:dax:4 cxl0:device:4");
	big = inventory_tier(inv, "big");
	g_assert_cmpint(big->evidence, ==, EVIDENCE_CXL_REGION);
	g_assert_cmpuint(g_array_index(big->perf, struct tier_perf, 0).read_lat_ns, ==, 300);
	g_assert_cmpint(inventory_tier(inv, "gone")->state, ==, TIER_MISSING);
	g_assert_cmpstr(inventory_tier(inv, "gone")->state_reason, ==,
			"/dev/dax9.0, which morseld.conf:4 names, does not exist");
	config_free(c);
	inventory_free(inv);
	tree_done(&t);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/inventory/devices/life", test_life);
	g_test_add_func("/inventory/devices/override", test_override);
	return g_test_run();
}
