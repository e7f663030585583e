// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <syslog.h>

#include "machine-internal.h"

#define CXL_DIR "/sys/bus/cxl/devices"

/* The kernel's default for a region of one device, where it means nothing. */
#define GRANULARITY 256u

static void cxl_unrefp(struct cxl_ctx **ctx)
{
	if (*ctx)
		cxl_unref(*ctx);
}
#define autocxl __attribute__((cleanup(cxl_unrefp))) struct cxl_ctx

struct cxl_memdev *find_memdev(struct cxl_ctx *ctx, uint64_t serial)
{
	struct cxl_memdev *memdev;

	cxl_memdev_foreach(ctx, memdev)
	{
		if (cxl_memdev_get_serial(memdev) == serial)
			return memdev;
	}
	return NULL;
}

enum cxl_decoder_mode cxl_mode(enum provision_mode mode)
{
	return mode == MODE_PMEM ? CXL_DECODER_MODE_PMEM : CXL_DECODER_MODE_RAM;
}

struct cxl_decoder *find_window(struct cxl_ctx *ctx, struct cxl_memdev *memdev,
				enum provision_mode mode)
{
	struct cxl_decoder *decoder, *best = NULL;
	struct cxl_bus *bus;

	cxl_bus_foreach(ctx, bus)
	{
		cxl_decoder_foreach(cxl_bus_get_port(bus), decoder)
		{
			bool fits = mode == MODE_PMEM ? cxl_decoder_is_pmem_capable(decoder)
						      : cxl_decoder_is_volatile_capable(decoder);

			/* A window over several host bridges wants a region that spans them. */
			if (!fits || cxl_decoder_get_nr_targets(decoder) > 1 ||
			    !cxl_decoder_get_target_by_memdev(decoder, memdev))
				continue;
			if (!best || cxl_decoder_get_max_available_extent(decoder) >
					     cxl_decoder_get_max_available_extent(best))
				best = decoder;
		}
	}
	return best;
}

void each_region(struct cxl_ctx *ctx, bool (*one_more)(struct cxl_region *region, void *userdata),
		 void *userdata)
{
	struct cxl_decoder *decoder;
	struct cxl_region *region;
	struct cxl_bus *bus;

	cxl_bus_foreach(ctx, bus)
	{
		cxl_decoder_foreach(cxl_bus_get_port(bus), decoder)
		{
			cxl_region_foreach(decoder, region)
			{
				if (!one_more(region, userdata))
					return;
			}
		}
	}
}

struct named {
	const char *name;
	struct cxl_region *region;
};

static bool has_other_name(struct cxl_region *region, void *userdata)
{
	struct named *named = userdata;

	if (strcmp(cxl_region_get_devname(region), named->name) != 0)
		return true;
	named->region = region;
	return false;
}

struct cxl_region *find_region(struct cxl_ctx *ctx, const char *name)
{
	struct named named = { .name = name };

	each_region(ctx, has_other_name, &named);
	return named.region;
}

void describe_region(struct cxl_region *region, struct record *ret_record)
{
	struct record record = {};
	g_autofree char *path = g_strdup_printf(CXL_DIR "/%s/", cxl_region_get_devname(region));
	struct stat st;

	put_name(record.region, cxl_region_get_devname(region));
	cxl_region_get_uuid(region, record.uuid);
	/* The kernel numbers inodes of sysfs without using one again. */
	if (stat(path, &st) == 0)
		record.inode = st.st_ino;
	record_boot(record.boot);
	*ret_record = record;
}

/* A step's objects, found anew. */
struct found {
	struct cxl_memdev *memdev;
	struct cxl_decoder *window, *decoder;
	struct cxl_region *region;
};

static struct cxl_decoder *decoder_of(struct cxl_memdev *memdev, const char *name)
{
	struct cxl_endpoint *endpoint = cxl_memdev_get_endpoint(memdev);
	struct cxl_decoder *decoder;

	if (!endpoint)
		return NULL;
	cxl_decoder_foreach(cxl_endpoint_get_port(endpoint), decoder)
	{
		if (strcmp(cxl_decoder_get_devname(decoder), name) == 0)
			return decoder;
	}
	return NULL;
}

static void find(struct cxl_ctx *ctx, const struct machine *m, struct found *ret_found)
{
	const struct provision_facts *f = &m->facts;

	ret_found->memdev = find_memdev(ctx, f->serial);
	if (ret_found->memdev && f->decoder[0])
		ret_found->decoder = decoder_of(ret_found->memdev, f->decoder);
	if (f->window[0])
		ret_found->window = cxl_decoder_get_by_name(ctx, f->window);
	if (f->region[0])
		ret_found->region = find_region(ctx, f->region);
}

static int new_uuid(uint8_t uuid[static 16])
{
	if (getrandom(uuid, 16, 0) != 16)
		return -EIO;
	uuid[6] = (uuid[6] & 0x0f) | 0x40; /* RFC 4122: version 4, */
	uuid[8] = (uuid[8] & 0x3f) | 0x80; /* variant 1 */
	return 0;
}

static struct cxl_region *new_region(struct cxl_decoder *window, enum provision_mode mode)
{
	if (mode == MODE_PMEM)
		return cxl_decoder_create_pmem_region(window);
#ifdef HAVE_CXL_DECODER_CREATE_RAM_REGION
	return cxl_decoder_create_ram_region(window);
#else
	return NULL;
#endif
}

static int create(struct machine *m, const struct found *found, uint64_t size)
{
	struct cxl_region *region;
	uint8_t uuid[16];
	int r;

	if (found->region)
		return 0;
	if (!found->window || !found->memdev)
		return -ENODEV;
	region = new_region(found->window, m->facts.mode);
	if (!region)
		return errno > 0 ? -errno : -ENXIO;
	put_name(m->facts.region, cxl_region_get_devname(region));
	describe_region(region, &m->record);
	/* From here on it is ours to remove, also after a crash. */
	r = record_write(m->record_dir, m->facts.serial, m->facts.mode, &m->record);
	if (r == 0 && m->facts.mode == MODE_PMEM) {
		r = new_uuid(uuid);
		if (r == 0)
			r = cxl_region_set_uuid(region, uuid);
	}
	if (r == 0)
		r = cxl_region_set_interleave_granularity(region, GRANULARITY);
	if (r == 0)
		r = cxl_region_set_interleave_ways(region, 1);
	if (r == 0)
		r = cxl_region_set_size(region, size);
	if (r < 0)
		return r;
	m->facts.region_size = size;
	m->facts.ours = true;
	if (m->facts.mode == MODE_PMEM) {
		memcpy(m->record.uuid, uuid, sizeof(uuid));
		r = record_write(m->record_dir, m->facts.serial, m->facts.mode, &m->record);
	}
	return r;
}

static int delete (struct machine *m, const struct found *found)
{
	int r = found->region ? cxl_region_delete(found->region) : 0;

	if (r < 0)
		return r;
	m->facts.region[0] = 0;
	m->facts.region_size = 0;
	return record_write(m->record_dir, m->facts.serial, m->facts.mode, NULL);
}

static int reserve(const struct machine *m, const struct found *found, uint64_t size)
{
	int r;

	if (!found->decoder)
		return -ENODEV;
	if (cxl_decoder_get_dpa_size(found->decoder) == size)
		return 0;
	r = cxl_decoder_set_mode(found->decoder, cxl_mode(m->facts.mode));
	return r < 0 ? r : cxl_decoder_set_dpa_size(found->decoder, size);
}

static int release(const struct found *found)
{
	/* With the device, its decoders are gone. */
	if (!found->decoder || cxl_decoder_get_dpa_size(found->decoder) == 0)
		return 0;
	return cxl_decoder_set_dpa_size(found->decoder, 0);
}

static int attach(const struct found *found)
{
	if (!found->region || !found->decoder)
		return -ENODEV;
	if (cxl_region_get_target_decoder(found->region, 0))
		return 0;
	return cxl_region_set_target(found->region, 0, found->decoder);
}

static int detach(const struct found *found)
{
	if (!found->region || !found->decoder || !cxl_region_get_target_decoder(found->region, 0))
		return 0;
	return cxl_region_clear_target(found->region, 0);
}

static int commit(const struct found *found)
{
	if (!found->region)
		return -ENODEV;
	return cxl_region_decode_is_committed(found->region)
		       ? 0
		       : cxl_region_decode_commit(found->region);
}

static int reset(const struct found *found)
{
	if (!found->region || !cxl_region_decode_is_committed(found->region))
		return 0;
	return cxl_region_decode_reset(found->region);
}

static int enable(const struct machine *m, const struct found *found,
		  char text[static HELPER_TEXT_MAX])
{
	int r = 0;

	if (!found->region)
		return -ENODEV;
	/* What turns a region into a dax device; without it the region is enabled and nothing comes. */
	if (m->facts.mode == MODE_RAM)
		r = module_load("dax_cxl", text);
	else
		r = module_load("cxl_pmem", text);
	if (r < 0)
		return r;
	return cxl_region_is_enabled(found->region) ? 0 : cxl_region_enable(found->region);
}

static int disable(const struct found *found)
{
	if (!found->region || !cxl_region_is_enabled(found->region))
		return 0;
	return cxl_region_disable(found->region);
}

int region_step(struct machine *m, const struct provision_step *step,
		char text[static HELPER_TEXT_MAX])
{
	struct found found = {};
	autocxl *ctx = NULL;
	int r;

	r = cxl_new(&ctx);
	if (r < 0)
		return r;
	cxl_set_log_priority(ctx, LOG_EMERG);
	find(ctx, m, &found);
	errno = 0;
	switch (step->verb) {
	case STEP_CREATE_REGION:
		return create(m, &found, step->size);
	case STEP_DELETE_REGION:
		return delete (m, &found);
	case STEP_RESERVE:
		return reserve(m, &found, step->size);
	case STEP_RELEASE:
		return release(&found);
	case STEP_ATTACH:
		return attach(&found);
	case STEP_DETACH:
		return detach(&found);
	case STEP_COMMIT:
		return commit(&found);
	case STEP_RESET:
		return reset(&found);
	case STEP_ENABLE_REGION:
		return enable(m, &found, text);
	case STEP_DISABLE_REGION:
		return disable(&found);
	default:
		return -EINVAL;
	}
}
