// SPDX-License-Identifier: GPL-2.0-or-later
#include "machine.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "machine-internal.h"
#include "refuse.h"

int await(bool (*done)(void *userdata), void *userdata)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	uint64_t end = now_monotonic() + APPEAR_USEC;

	while (!done(userdata)) {
		if (now_monotonic() >= end)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* One region as it is, with the device that it is of. */
struct seen {
	struct record record;
	struct cxl_memdev *memdev; /* NULL: none is attached, or it is gone */
	enum cxl_decoder_mode mode;
	uint64_t start, size;
	unsigned int ways;
	bool committed, enabled;
	char decoder[HELPER_NAME_MAX]; /* of the device */
};

static void see(struct cxl_region *region, struct seen *ret_seen)
{
	struct cxl_memdev_mapping *mapping;
	struct seen s = {
		.size = cxl_region_get_size(region),
		.start = cxl_region_get_resource(region),
		.ways = cxl_region_get_interleave_ways(region),
		.committed = cxl_region_decode_is_committed(region) > 0,
		.enabled = cxl_region_is_enabled(region) > 0,
	};
	static const uint8_t none[16];

	describe_region(region, &s.record);
	cxl_mapping_foreach(region, mapping)
	{
		struct cxl_decoder *decoder = cxl_mapping_get_decoder(mapping);

		if (s.memdev || !decoder)
			continue;
		s.memdev = cxl_decoder_get_memdev(decoder);
		s.mode = cxl_decoder_get_mode(decoder);
		put_name(s.decoder, cxl_decoder_get_devname(decoder));
	}
	/* Without a device, a pmem region is told by its UUID. */
	if (!s.memdev)
		s.mode = memcmp(s.record.uuid, none, 16) != 0 ? CXL_DECODER_MODE_PMEM
							      : CXL_DECODER_MODE_RAM;
	*ret_seen = s;
}

static bool see_one(struct cxl_region *region, void *userdata)
{
	struct seen s;

	see(region, &s);
	g_array_append_val((GArray *)userdata, s);
	return true;
}

int dax_path_of(struct machine *m, char ret_path[static 64])
{
	struct provision_facts *f = &m->facts;
	struct cxl_region *region;
	struct cxl_ctx *ctx;
	uint64_t start = 0;
	int r;

	ret_path[0] = 0;
	r = cxl_new(&ctx);
	if (r < 0)
		return r;
	region = find_region(ctx, f->region);
	if (region)
		start = cxl_region_get_resource(region);
	cxl_unref(ctx);
	if (!region)
		return -ENODEV;
	if (f->mode == MODE_PMEM)
		return look_for_space(f, start, ret_path);
	g_snprintf(ret_path, 64, "/%s/", f->region);
	return 0;
}

static void take_region(struct machine *m, const struct seen *s)
{
	struct provision_facts *f = &m->facts;
	char path[64];

	m->record = s->record;
	put_name(f->region, s->record.region);
	f->region_size = s->size;
	f->ways = s->ways;
	f->committed = s->committed;
	f->enabled = s->enabled;
	if (s->decoder[0])
		memcpy(f->decoder, s->decoder, sizeof(f->decoder));
	f->dax_state = DAX_NONE;
	f->node = -1;
	if (f->committed && f->enabled && dax_path_of(m, path) == 0 && path[0])
		(void)look_for_dax(f, path);
}

static bool all_digits(const char *s)
{
	return *s && s[strspn(s, "0123456789")] == 0;
}

/* Is it the region, or something made of it? */
static bool region_has_name(struct machine *m, const struct seen *s, const char *name)
{
	struct machine copy = { .record_dir = m->record_dir };
	struct provision_facts *f = &copy.facts;

	if (strcmp(s->record.region, name) == 0)
		return true;
	if (!g_str_has_prefix(name, "dax") && !g_str_has_prefix(name, "node"))
		return false;
	f->mode = s->mode == CXL_DECODER_MODE_PMEM ? MODE_PMEM : MODE_RAM;
	take_region(&copy, s);
	if (g_str_has_prefix(name, "node"))
		return f->dax_state == DAX_SYSTEM_RAM && all_digits(name + 4) &&
		       f->node == atoi(name + 4);
	return strcmp(f->dax, name) == 0;
}

static char *list_devices(struct cxl_ctx *ctx)
{
	GString *s = g_string_new(NULL);
	struct cxl_memdev *memdev;

	cxl_memdev_foreach(ctx, memdev)
	{
		g_string_append_printf(s, "%s%s (serial %#llx)", s->len ? ", " : "",
				       cxl_memdev_get_devname(memdev),
				       cxl_memdev_get_serial(memdev));
	}
	return g_string_free(s, FALSE);
}

static int no_device(struct cxl_ctx *ctx, const struct provision_wish *w, char *text)
{
	g_autofree char *there = list_devices(ctx);
	g_autofree char *wanted = w->select == SELECT_SERIAL
					  ? g_strdup_printf("serial %#" PRIx64, w->serial)
					  : g_strdup_printf("name %s", w->name);

	if (!there[0])
		return refuse(
			text, -ENODEV,
			"there is no CXL memory device with %s, nor any other: the hardware has none, or its "
			"drivers are not loaded (\"modprobe cxl_pci cxl_acpi cxl_mem\").",
			wanted);
	return refuse(
		text, -ENODEV,
		"there is no CXL memory device with %s, and nothing made of one. There are: %s.",
		wanted, there);
}

static uint64_t capacity(struct cxl_memdev *memdev, enum provision_mode mode)
{
	return mode == MODE_PMEM ? cxl_memdev_get_pmem_size(memdev)
				 : cxl_memdev_get_ram_size(memdev);
}

static int choose_mode(struct cxl_memdev *memdev, const struct provision_wish *w,
		       enum provision_mode *ret_mode, char *text)
{
	bool ram = cxl_memdev_get_ram_size(memdev) > 0, pmem = cxl_memdev_get_pmem_size(memdev) > 0;

	if (w->mode != MODE_ANY) {
		*ret_mode = w->mode;
		return 0;
	}
	if (ram && pmem)
		return refuse(
			text, -EINVAL,
			"%s (serial %#llx) has volatile and persistent memory: say which, with --mode ram "
			"or --mode pmem",
			cxl_memdev_get_devname(memdev), cxl_memdev_get_serial(memdev));
	*ret_mode = pmem ? MODE_PMEM : MODE_RAM;
	return 0;
}

/* What is free of the device, and its next decoder: they are used in their order. */
static void look_at_decoders(struct provision_facts *f, struct cxl_memdev *memdev)
{
	struct cxl_endpoint *endpoint = cxl_memdev_get_endpoint(memdev);
	char left[HELPER_NAME_MAX] = "";
	struct cxl_decoder *decoder;
	uint64_t used = 0;

	f->endpoint = endpoint && cxl_memdev_is_enabled(memdev) > 0;
	f->capacity = capacity(memdev, f->mode);
	if (!endpoint)
		return;
	cxl_decoder_foreach(cxl_endpoint_get_port(endpoint), decoder)
	{
		unsigned long long size = cxl_decoder_get_dpa_size(decoder);

		if (size == 0 || size == ULLONG_MAX) {
			if (!f->decoder[0])
				put_name(f->decoder, cxl_decoder_get_devname(decoder));
			continue;
		}
		if (cxl_decoder_get_mode(decoder) == cxl_mode(f->mode))
			used += size;
		/* Later ones can only be used behind it; but one that no region has is what an interrupted run
		 * of ours reserved. */
		if (cxl_decoder_get_mode(decoder) == cxl_mode(f->mode) &&
		    !cxl_decoder_get_region(decoder))
			put_name(left, cxl_decoder_get_devname(decoder));
		f->decoder[0] = 0;
	}
	if (left[0])
		memcpy(f->decoder, left, sizeof(left));
	f->room = f->capacity - MIN(used, f->capacity);
}

static void look_at_device(struct provision_facts *f, struct cxl_ctx *ctx,
			   struct cxl_memdev *memdev)
{
	struct cxl_decoder *window;
	unsigned long long room;

	put_name(f->memdev, cxl_memdev_get_devname(memdev));
	look_at_decoders(f, memdev);
	window = find_window(ctx, memdev, f->mode);
	if (!window)
		return;
	put_name(f->window, cxl_decoder_get_devname(window));
	room = cxl_decoder_get_max_available_extent(window);
	f->window_room = room == ULLONG_MAX ? 0 : room;
}

static bool has_hypervisor_flag(void)
{
	g_autofree char *text = NULL;

	return g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL) &&
	       strstr(text, " hypervisor") != NULL;
}

/* The regions of this partition; ours also without its device. */
static void look_for_regions(struct machine *m, const GArray *all, struct cxl_memdev *memdev)
{
	struct provision_facts *f = &m->facts;
	const struct seen *mine = NULL;
	struct record record = {};
	bool known = record_read(m->record_dir, f->serial, f->mode, &record) == 0;
	unsigned int n = 0;

	for (unsigned int i = 0; i < all->len; i++) {
		const struct seen *s = &g_array_index(all, struct seen, i);
		bool ours = known && record_matches(&record, &s->record);

		if (!ours && (!memdev || s->memdev != memdev || s->mode != cxl_mode(f->mode)))
			continue;
		n++;
		if (!mine || ours) {
			mine = s;
			f->ours = ours;
		}
	}
	f->more_regions = n > 1 ? n - 1 : 0;
	if (mine)
		take_region(m, mine);
}

static const struct seen *find_named(struct machine *m, const GArray *all, const char *name)
{
	for (unsigned int i = 0; i < all->len; i++) {
		const struct seen *s = &g_array_index(all, struct seen, i);

		if (region_has_name(m, s, name))
			return s;
	}
	return NULL;
}

/* Which partition of which device it is about. */
static int select_device(struct machine *m, struct cxl_ctx *ctx, const GArray *all,
			 const struct provision_wish *w, struct cxl_memdev **ret_memdev, char *text)
{
	struct provision_facts *f = &m->facts;
	struct cxl_memdev *memdev = NULL;
	const struct seen *s = NULL;
	struct record record;

	if (w->select == SELECT_SERIAL) {
		f->serial = w->serial;
		memdev = find_memdev(ctx, w->serial);
		/* Of a device that is gone only what we made can be removed. */
		if (!memdev) {
			f->mode = w->mode;
			for (int mode = MODE_RAM; mode < MODE_MAX && f->mode == MODE_ANY; mode++)
				if (record_read(m->record_dir, w->serial, mode, &record) == 0)
					f->mode = mode;
			return f->mode != MODE_ANY && record_read(m->record_dir, w->serial, f->mode,
								  &record) == 0
				       ? 0
				       : no_device(ctx, w, text);
		}
	} else {
		struct cxl_memdev *each;

		cxl_memdev_foreach(ctx, each)
		{
			if (strcmp(cxl_memdev_get_devname(each), w->name) == 0)
				memdev = each;
		}
		if (!memdev) {
			s = find_named(m, all, w->name);
			memdev = s ? s->memdev : NULL;
		}
		if (!memdev)
			return no_device(ctx, w, text);
		f->serial = cxl_memdev_get_serial(memdev);
	}
	*ret_memdev = memdev;
	if (!s)
		return choose_mode(memdev, w, &f->mode, text);
	f->mode = s->mode == CXL_DECODER_MODE_PMEM ? MODE_PMEM : MODE_RAM;
	if (w->mode != MODE_ANY && w->mode != f->mode)
		return refuse(text, -EINVAL, "%s is of %s memory", w->name,
			      f->mode == MODE_PMEM ? "persistent" : "volatile");
	return 0;
}

int machine_look(struct machine *m, const struct provision_wish *w,
		 char ret_text[static HELPER_TEXT_MAX])
{
	struct provision_facts *f = &m->facts;
	struct cxl_memdev *memdev = NULL;
	g_autoptr(GArray) all = NULL;
	struct cxl_ctx *ctx;
	int r;

	memset(f, 0, sizeof(*f));
	memset(&m->record, 0, sizeof(m->record));
	f->node = -1;
	r = cxl_new(&ctx);
	if (r < 0)
		return refuse(ret_text, r, "libcxl cannot be used: %s", g_strerror(-r));
	cxl_set_log_priority(ctx, LOG_EMERG);
	all = g_array_new(FALSE, FALSE, sizeof(struct seen));
	each_region(ctx, see_one, all);
	r = select_device(m, ctx, all, w, &memdev, ret_text);
	if (r == 0) {
		f->can_create = true;
#ifndef HAVE_CXL_DECODER_CREATE_RAM_REGION
		f->can_create = f->mode == MODE_PMEM;
#endif
		f->hypervisor = has_hypervisor_flag();
		if (memdev)
			look_at_device(f, ctx, memdev);
		look_for_regions(m, all, memdev);
	}
	cxl_unref(ctx);
	return r;
}

int machine_step(struct machine *m, const struct provision_step *step,
		 char text[static HELPER_TEXT_MAX])
{
	switch (step->verb) {
	case STEP_CREATE_SPACE:
	case STEP_DESTROY_SPACE:
		return space_step(m, step, text);
	case STEP_SET_DEVDAX:
	case STEP_SET_SYSTEM_RAM:
	case STEP_DISABLE_DAX:
	case STEP_ONLINE_MOVABLE:
	case STEP_ONLINE_KERNEL:
	case STEP_OFFLINE:
		return dax_step(m, step, text);
	default:
		return region_step(m, step, text);
	}
}
