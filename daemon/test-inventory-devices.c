/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory on its way from a bare CXL device over a region and device-dax to a node, and back: one tier
 * with one name. What single machines are seen as is pinned in tests/topology. */
#include <errno.h>
#include <string.h>

#include "dax-device.h"
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

/* --- Whose a dax device is to overwrite ------------------------------------------------------- */

#define ND "sys/devices/ndbus0/region1/dax1.0"
#define UUID "4f0c2b1e-7d3a-4c55-9a61-0123456789ab"

/* A region with one devdax namespace over all of it. */
static void add_nvdimm(struct tree *t)
{
	tree_write(t, "sys/devices/ndbus0/provider", "ACPI.NFIT\n");
	tree_write(t, "sys/devices/ndbus0/region1/size", "1073741824\n");
	tree_write(t, "sys/devices/ndbus0/region1/resource", "0x2000000000\n");
	tree_link(t, "sys/bus/nd/devices/region1", "../../../devices/ndbus0/region1");
	tree_write(t, ND "/uuid", UUID "\n");
	tree_write(t, ND "/dax1.0/size", "1073741824\n");
	tree_write(t, ND "/dax1.0/resource", "0x2000000000\n");
	tree_write(t, ND "/dax1.0/target_node", "2\n");
	tree_write(t, ND "/dax1.0/dev", "250:1\n");
	tree_link(t, ND "/dax1.0/driver", "../../../../../bus/dax/drivers/device_dax");
	tree_link(t, "sys/bus/dax/devices/dax1.0", "../../../devices/ndbus0/region1/dax1.0/dax1.0");
}

static void configure(struct tree *t, struct config **config, const char *text)
{
	g_autofree char *path = g_build_filename(t->path, "morseld.conf", NULL), *message = NULL;

	*config = config_free(*config);
	tree_write(t, "morseld.conf", text);
	if (config_load(path, config, &message) < 0)
		g_error("%s", message);
}

static const struct tier *nvm(struct inventory *inv, const struct config *config)
{
	g_assert_cmpint(inventory_refresh(inv, config, NULL, NULL, NULL), ==, 0);
	return inventory_tier(inv, "nvm0");
}

static void test_claim(void)
{
	struct config *c = NULL;
	const struct tier *tier;
	struct inventory *inv;
	struct tree t;

	machine(&t);
	tree_write(&t, "sys/devices/system/node/possible", "0-3\n");
	add_nvdimm(&t);
	g_assert_cmpint(inventory_new(t.fd, false, &inv), ==, 0);
	inventory_set_module(inv, true);

	/* Nobody said anything: it may hold somebody's data. */
	tier = nvm(inv, NULL);
	g_assert_cmpint(tier->state, ==, TIER_OFFLINE);
	g_assert_false(tier_is_pool(tier));
	g_assert_nonnull(strstr(tier->state_reason, "Volatile=yes and Uuid=" UUID));
	/* A name alone is nobody's: it may be another device's after a boot. */
	configure(&t, &c, "[tier nvm0]\nDevice=/dev/dax1.0\nVolatile=yes\n");
	tier = nvm(inv, c);
	g_assert_false(tier->pool);
	g_assert_cmpuint(tier->warnings->len, ==, 1);
	g_assert_nonnull(strstr(tier->warnings->pdata[0], "Uuid=" UUID " must say"));
	configure(&t, &c, "[tier nvm0]\nUuid=4f0c2b1e-7d3a-4c55-9a61-0123456789ac\nVolatile=yes\n");
	tier = nvm(inv, c);
	g_assert_cmpint(tier->state, ==, TIER_MISSING);
	configure(&t, &c, "[tier nvm0]\nUuid=" UUID "\nVolatile=no\n");
	g_assert_false(nvm(inv, c)->pool);

	configure(&t, &c, "[tier nvm0]\nUuid=4F0C2B1E-7D3A-4C55-9A61-0123456789AB\nVolatile=yes\n");
	tier = nvm(inv, c);
	g_assert_true(tier_is_pool(tier));
	g_assert_false(tier_has_pages(tier));
	g_assert_cmpstr(tier->state_reason, ==, "");
	g_assert_cmpuint(tier->start, ==, 0x2000000000);
	/* Its bytes are counted above all nodes, the same after each look. */
	g_assert_cmpuint(tier_n_places(tier), ==, 1);
	g_assert_cmpint(tier_place(tier, 0), ==, 4);
	g_assert_false(inventory_is_node(inv, 4));
	g_assert_true(inventory_is_node(inv, 3));
	g_assert_true(inventory_tier_of_node(inv, 4) == tier);
	g_assert_cmpint(nvm(inv, c)->place, ==, 4);

	inventory_set_module(inv, false);
	tier = nvm(inv, c);
	g_assert_cmpint(tier->state, ==, TIER_OFFLINE);
	g_assert_nonnull(strstr(tier->state_reason, "pools of the module, which is not in use"));
	inventory_set_module(inv, true);
	configure(&t, &c, "[tier nvm0]\nUuid=" UUID "\nVolatile=yes\nEnabled=no\n");
	tier = nvm(inv, c);
	g_assert_cmpint(tier->state, ==, TIER_OFFLINE);
	g_assert_false(tier_is_pool(tier));
	g_assert_cmpint(tier->place, ==, 4);

	/* What keeps no content may be named by its device. */
	add_memdev(&t, "mem0");
	add_region(&t);
	add_dax(&t, "device_dax");
	configure(&t, &c, "[tier far]\nDevice=/dev/dax0.0\nVolatile=yes\n");
	(void)nvm(inv, c);
	g_assert_true(tier_is_pool(inventory_tier(inv, "far")));
	g_assert_cmpint(inventory_tier(inv, "far")->place, ==, 5);
	config_free(c);
	inventory_free(inv);
	tree_done(&t);
}

static void want_refusal(struct tree *t, const char *config, const char *name, int error,
			 const char *text)
{
	g_autofree char *path = g_build_filename(t->path, "morseld.conf", NULL), *got = NULL;
	int r;

	tree_write(t, "morseld.conf", config);
	r = dax_device_open(t->fd, path, name, &got);
	g_assert_cmpint(r, ==, error);
	if (!got || !strstr(got, text))
		g_error("'%s' is not in '%s'", text, got ? got : "");
}

static void test_open(void)
{
	static const char ours[] = "[tier nvm0]\nUuid=" UUID "\nVolatile=yes\n";
	struct tree t;

	machine(&t);
	add_nvdimm(&t);
	want_refusal(&t, ours, "dax9.0", -ENODEV, "there is no dax device dax9.0");
	want_refusal(&t, "", "dax1.0", -EACCES, "Volatile=yes of it by Uuid=" UUID);
	want_refusal(&t, "[tier nvm0]\nDevice=/dev/dax1.0\nVolatile=yes\n", "dax1.0", -EACCES,
		     "not morsel's");
	want_refusal(&t, "[tier nvm0]\nUuid=x\n", "dax1.0", -EINVAL, "a UUID is wanted");
	want_refusal(&t, ours, "dax1.0", -ENOENT, "/dev/dax1.0 cannot be opened");
	/* Something else lies there. */
	tree_write(&t, "dev/dax1.0", "");
	want_refusal(&t, ours, "dax1.0", -EINVAL, "is not the dax device");
	tree_remove(&t, "dev/dax1.0");
	tree_link(&t, "dev/dax1.0", "/dev/null");
	want_refusal(&t, ours, "dax1.0", -EINVAL, "is not the dax device");
	tree_write(&t, "proc/77/maps", "7f00-7f10 rw-s 00000000 00:05 99  /dev/dax1.0\n");
	tree_write(&t, "proc/77/comm", "redis-server\n");
	want_refusal(&t, ours, "dax1.0", -EBUSY, "process 77 (redis-server) maps it");
	tree_remove(&t, ND "/dax1.0/driver");
	want_refusal(&t, ours, "dax1.0", -ENODEV, "not in devdax mode");
	tree_done(&t);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/inventory/devices/life", test_life);
	g_test_add_func("/inventory/devices/override", test_override);
	g_test_add_func("/inventory/devices/claim", test_claim);
	g_test_add_func("/inventory/devices/open", test_open);
	return g_test_run();
}
