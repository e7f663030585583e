// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <ndctl/libndctl.h>
#include <string.h>
#include <sys/random.h>
#include <syslog.h>

#include "machine-internal.h"

/* Mappings of device-dax are made of these. */
#define SPACE_ALIGN (2ul << 20)
#define CXL_PROVIDER "CXL"

static void ndctl_unrefp(struct ndctl_ctx **ctx)
{
	if (*ctx)
		ndctl_unref(*ctx);
}
#define autondctl __attribute__((cleanup(ndctl_unrefp))) struct ndctl_ctx

static int new_ctx(struct ndctl_ctx **ret_ctx)
{
	int r = ndctl_new(ret_ctx);

	if (r == 0)
		ndctl_set_log_priority(*ret_ctx, LOG_EMERG);
	return r;
}

/* The nd region that the kernel made of the CXL region at that address. */
static struct ndctl_region *region_at(struct ndctl_ctx *ctx, uint64_t start)
{
	struct ndctl_region *region;
	struct ndctl_bus *bus;

	ndctl_bus_foreach(ctx, bus)
	{
		if (strcmp(ndctl_bus_get_provider(bus), CXL_PROVIDER) != 0)
			continue;
		ndctl_region_foreach(bus, region)
		{
			if (ndctl_region_get_resource(region) == start)
				return region;
		}
	}
	return NULL;
}

/* The first that holds something; *ret_more: how many others do. */
static struct ndctl_namespace *space_of(struct ndctl_region *region)
{
	struct ndctl_namespace *space;

	ndctl_namespace_foreach(region, space)
	{
		if (ndctl_namespace_get_size(space) > 0)
			return space;
	}
	return NULL;
}

int look_for_space(struct provision_facts *f, uint64_t start, char ret_path[static 64])
{
	struct ndctl_namespace *space;
	struct ndctl_region *region;
	autondctl *ctx = NULL;
	int r;

	ret_path[0] = 0;
	r = new_ctx(&ctx);
	if (r < 0)
		return r;
	region = region_at(ctx, start);
	if (!region)
		return 0;
	g_snprintf(ret_path, 64, "/%s/%s/", ndctl_bus_get_devname(ndctl_region_get_bus(region)),
		   ndctl_region_get_devname(region));
	space = space_of(region);
	if (space) {
		put_name(f->space, ndctl_namespace_get_devname(space));
		f->space_devdax = ndctl_namespace_get_dax(space) != NULL;
	}
	return 0;
}

static int new_uuid(uuid_t uuid)
{
	if (getrandom(uuid, sizeof(uuid_t), 0) != sizeof(uuid_t))
		return -EIO;
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
	return 0;
}

static int fill_space(struct ndctl_namespace *space, uint64_t size)
{
	uuid_t uuid;
	int r;

	r = new_uuid(uuid);
	if (r == 0)
		r = ndctl_namespace_set_uuid(space, uuid);
	if (r == 0)
		r = ndctl_namespace_set_size(space, size);
	if (r == 0)
		r = ndctl_namespace_set_enforce_mode(space, NDCTL_NS_MODE_DEVDAX);
	return r;
}

static int make_devdax(struct ndctl_region *region, struct ndctl_namespace *space)
{
	struct ndctl_dax *dax = ndctl_region_get_dax_seed(region);
	uuid_t uuid;
	int r;

	if (!dax)
		return -ENXIO;
	r = new_uuid(uuid);
	if (r == 0)
		r = ndctl_dax_set_uuid(dax, uuid);
	/* Page descriptors in ordinary memory: on the device they would cost an access to it for each
	 * change of a page. */
	if (r == 0)
		r = ndctl_dax_set_location(dax, NDCTL_PFN_LOC_RAM);
	if (r == 0 && ndctl_dax_has_align(dax))
		r = ndctl_dax_set_align(dax, SPACE_ALIGN);
	if (r == 0)
		r = ndctl_dax_set_namespace(dax, space);
	if (r == 0)
		r = ndctl_dax_enable(dax);
	if (r < 0)
		ndctl_dax_delete(dax);
	return r;
}

struct appear {
	uint64_t start;
};

static bool region_is_there(void *userdata)
{
	const struct appear *a = userdata;
	struct ndctl_region *region;
	autondctl *ctx = NULL;

	if (new_ctx(&ctx) < 0)
		return false;
	region = region_at(ctx, a->start);
	return region && ndctl_region_get_namespace_seed(region) &&
	       ndctl_region_get_dax_seed(region);
}

static int create(struct machine *m, uint64_t start, char text[static HELPER_TEXT_MAX])
{
	struct appear appear = { .start = start };
	struct ndctl_namespace *space;
	struct ndctl_region *region;
	autondctl *ctx = NULL;
	int r;

	r = module_load("nd_pmem", text);
	if (r == 0)
		r = module_load("dax_pmem", text);
	if (r == 0 && await(region_is_there, &appear) < 0) {
		g_snprintf(
			text, HELPER_TEXT_MAX,
			"the kernel made no nvdimm region of %s in %u s. \"dmesg | grep -i -e cxl -e nd_\" "
			"says why; labels that cannot be read are one cause (\"ndctl check-labels\").",
			m->facts.region, (unsigned int)(APPEAR_USEC / 1000000));
		r = -ENXIO;
	}
	if (r == 0)
		r = new_ctx(&ctx);
	if (r < 0)
		return r;
	region = region_at(ctx, start);
	if (!region)
		return -ENODEV;
	/* Labels that an earlier region left bring a namespace back: it is used as it is. */
	space = space_of(region);
	if (space && ndctl_namespace_get_dax(space)) {
		put_name(m->facts.space, ndctl_namespace_get_devname(space));
		return 0;
	}
	if (space)
		return -EBUSY;
	space = ndctl_region_get_namespace_seed(region);
	r = fill_space(space, ndctl_region_get_available_size(region));
	if (r == 0)
		r = make_devdax(region, space);
	if (r < 0) {
		ndctl_namespace_delete(space);
		return r;
	}
	put_name(m->facts.space, ndctl_namespace_get_devname(space));
	m->facts.space_devdax = true;
	return 0;
}

static int destroy(struct machine *m, uint64_t start)
{
	struct ndctl_namespace *space;
	struct ndctl_region *region;
	struct ndctl_dax *dax;
	autondctl *ctx = NULL;
	int r;

	r = new_ctx(&ctx);
	if (r < 0)
		return r;
	region = region_at(ctx, start);
	space = region ? space_of(region) : NULL;
	if (space) {
		dax = ndctl_namespace_get_dax(space);
		r = dax ? ndctl_dax_delete(dax) : ndctl_namespace_disable_safe(space);
		if (r >= 0)
			r = ndctl_namespace_delete(space);
		if (r < 0)
			return r;
	}
	m->facts.space[0] = 0;
	m->facts.space_devdax = false;
	m->facts.dax[0] = 0;
	return 0;
}

int space_step(struct machine *m, const struct provision_step *step,
	       char text[static HELPER_TEXT_MAX])
{
	struct cxl_region *region;
	struct cxl_ctx *cxl;
	uint64_t start = 0;
	int r;

	r = cxl_new(&cxl);
	if (r < 0)
		return r;
	region = find_region(cxl, m->facts.region);
	if (region)
		start = cxl_region_get_resource(region);
	cxl_unref(cxl);
	if (!region)
		return step->verb == STEP_DESTROY_SPACE ? 0 : -ENODEV;
	return step->verb == STEP_CREATE_SPACE ? create(m, start, text) : destroy(m, start);
}
