// SPDX-License-Identifier: GPL-2.0-or-later
#include <daxctl/libdaxctl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <linux/morsel.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/dax-device.h"
#include "daemon/kernfile.h"
#include "machine-internal.h"

#define DAX_DIR "sys/bus/dax/devices"
#define MEMORY_DIR "sys/devices/system/memory"

/* Offlining goes on for as long as some page cannot be moved; then it is interrupted. */
#define OFFLINE_SEC 60

static void daxctl_unrefp(struct daxctl_ctx **ctx)
{
	if (*ctx)
		daxctl_unref(*ctx);
}
#define autodaxctl __attribute__((cleanup(daxctl_unrefp))) struct daxctl_ctx

static int new_ctx(struct daxctl_ctx **ret_ctx)
{
	int r = daxctl_new(ret_ctx);

	if (r == 0)
		daxctl_set_log_priority(*ret_ctx, LOG_EMERG);
	return r;
}

static int root(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd;
}

/* The first device below a region with that part in its path. */
static struct daxctl_dev *find(struct daxctl_ctx *ctx, const char *path, unsigned int *ret_n)
{
	struct daxctl_dev *dev, *first = NULL;
	struct daxctl_region *region;

	*ret_n = 0;
	daxctl_region_foreach(ctx, region)
	{
		if (!strstr(daxctl_region_get_path(region), path))
			continue;
		daxctl_dev_foreach(region, dev)
		{
			if (daxctl_dev_get_size(dev) == 0)
				continue;
			if (!first)
				first = dev;
			++*ret_n;
		}
	}
	return first;
}

static enum dax_state state_of(const char *name)
{
	g_autofree char *driver = NULL;

	if (kernfile_link_basef(root(), &driver, DAX_DIR "/%s/driver", name) < 0)
		return DAX_DISABLED;
	return strcmp(driver, "kmem") == 0 ? DAX_SYSTEM_RAM : DAX_DEVDAX;
}

/* Whole memory blocks inside the device: what kmem makes system memory of. */
static void count_blocks(struct provision_facts *f, uint64_t start, uint64_t size)
{
	g_autofree char *text = NULL;
	uint64_t block, first, last;

	f->blocks = f->online = f->online_kernel = 0;
	if (kernfile_read_text(root(), MEMORY_DIR "/block_size_bytes", &text) < 0)
		return;
	/* It is hexadecimal without 0x. */
	block = g_ascii_strtoull(text, NULL, 16);
	if (block == 0)
		return;
	first = (start + block - 1) / block;
	last = (start + size) / block;
	for (uint64_t i = first; i < last; i++) {
		g_autofree char *state = NULL, *zones = NULL;

		if (kernfile_read_textf(root(), &state, MEMORY_DIR "/memory%" PRIu64 "/state", i) <
		    0)
			continue;
		f->blocks++;
		if (strcmp(state, "offline") == 0)
			continue;
		f->online++;
		if (kernfile_read_textf(root(), &zones, MEMORY_DIR "/memory%" PRIu64 "/valid_zones",
					i) == 0 &&
		    !g_str_has_prefix(zones, "Movable"))
			f->online_kernel++;
	}
}

/* Somebody who maps the device. Unbinding its driver would not wait for him. */
static void find_holder(struct provision_facts *f)
{
	char comm[16];

	f->holder = dax_device_holder(root(), f->dax, comm);
	put_name(f->holder_name, comm);
}

static bool is_pool(uint64_t start)
{
	int fd = open("/dev/morsel", O_RDWR | O_CLOEXEC);
	bool found = false;

	for (uint32_t id = 1; fd >= 0 && id <= MORSEL_MAX_POOLS && !found; id++) {
		struct morsel_pool_stat stat = { .size = sizeof(stat), .pool = id };

		found = ioctl(fd, MORSEL_IOC_POOL_STAT, &stat) == 0 &&
			stat.kind == MORSEL_POOL_DAX && stat.start == start;
	}
	if (fd >= 0)
		close(fd);
	return found;
}

static void describe(struct provision_facts *f, struct daxctl_dev *dev)
{
	put_name(f->dax, daxctl_dev_get_devname(dev));
	f->node = daxctl_dev_get_target_node(dev);
	f->dax_state = state_of(f->dax);
	f->blocks = f->online = f->online_kernel = 0;
	if (f->dax_state == DAX_SYSTEM_RAM)
		count_blocks(f, daxctl_dev_get_resource(dev), daxctl_dev_get_size(dev));
	if (f->dax_state == DAX_DEVDAX)
		find_holder(f);
	f->pool = f->dax_state == DAX_DEVDAX && is_pool(daxctl_dev_get_resource(dev));
}

int look_for_dax(struct provision_facts *f, const char *path)
{
	struct daxctl_dev *dev;
	autodaxctl *ctx = NULL;
	int r;

	f->dax_state = DAX_NONE;
	f->dax[0] = 0;
	f->node = -1;
	r = new_ctx(&ctx);
	if (r < 0)
		return r;
	dev = find(ctx, path, &f->dax_devices);
	if (dev)
		describe(f, dev);
	return 0;
}

struct appear {
	struct machine *m;
	char path[64];
};

static bool is_there(void *userdata)
{
	struct appear *a = userdata;

	return dax_path_of(a->m, a->path) == 0 && a->path[0] &&
	       look_for_dax(&a->m->facts, a->path) == 0 && a->m->facts.dax[0];
}

static void on_alarm(int signo)
{
}

static int offline(struct machine *m, struct daxctl_dev *dev)
{
	struct sigaction act = { .sa_handler = on_alarm }, before;
	struct provision_facts *f = &m->facts;
	struct daxctl_memory *memory = daxctl_dev_get_memory(dev);
	int r;

	if (f->dax_state != DAX_SYSTEM_RAM || f->online == 0)
		return 0;
	if (!memory)
		return -ENXIO;
	sigaction(SIGALRM, &act, &before);
	alarm(OFFLINE_SEC);
	r = daxctl_memory_offline(memory);
	alarm(0);
	sigaction(SIGALRM, &before, NULL);
	count_blocks(f, daxctl_dev_get_resource(dev), daxctl_dev_get_size(dev));
	return f->online == 0 ? 0 : r < 0 ? r : -EBUSY;
}

static int online(struct machine *m, struct daxctl_dev *dev, bool kernel)
{
	struct provision_facts *f = &m->facts;
	struct daxctl_memory *memory = daxctl_dev_get_memory(dev);
	int r;

	if (f->dax_state != DAX_SYSTEM_RAM || !memory)
		return -ENXIO;
	/* Onlined by the kernel or by udev, in the other zone. */
	if (f->online_kernel != (kernel ? f->online : 0)) {
		r = offline(m, dev);
		if (r < 0)
			return r;
	}
	r = kernel ? daxctl_memory_online_no_movable(memory) : daxctl_memory_online(memory);
	count_blocks(f, daxctl_dev_get_resource(dev), daxctl_dev_get_size(dev));
	if (f->blocks > 0 && f->online == f->blocks && f->online_kernel == (kernel ? f->blocks : 0))
		return 0;
	return r < 0 ? r : -EIO;
}

static int disable(struct machine *m, struct daxctl_dev *dev)
{
	int r;

	if (m->facts.dax_state == DAX_DISABLED)
		return 0;
	r = offline(m, dev);
	if (r == 0)
		r = daxctl_dev_disable(dev);
	if (r == 0)
		m->facts.dax_state = DAX_DISABLED;
	return r;
}

static int bind(struct machine *m, struct daxctl_dev *dev, enum dax_state state, char *text)
{
	struct provision_facts *f = &m->facts;
	int r;

	r = module_load(state == DAX_DEVDAX ? "device_dax" : "kmem", text);
	if (r < 0)
		return r;
	/* Loading it may have bound the device already. */
	describe(f, dev);
	if (f->dax_state == state)
		return 0;
	r = disable(m, dev);
	if (r == 0)
		r = state == DAX_DEVDAX ? daxctl_dev_enable_devdax(dev)
					: daxctl_dev_enable_ram(dev);
	describe(f, dev);
	return f->dax_state == state ? 0 : r < 0 ? r : -EIO;
}

int dax_step(struct machine *m, const struct provision_step *step,
	     char text[static HELPER_TEXT_MAX])
{
	bool taking = step->verb == STEP_OFFLINE || step->verb == STEP_DISABLE_DAX;
	struct appear appear = { .m = m };
	struct daxctl_dev *dev;
	autodaxctl *ctx = NULL;
	unsigned int n;
	int r;

	if (taking ? !is_there(&appear) : await(is_there, &appear) < 0) {
		if (taking)
			return 0;
		g_snprintf(
			text, HELPER_TEXT_MAX,
			"no dax device of %s appeared in %u s. \"dmesg | grep -e cxl -e dax\" says why.",
			m->facts.region[0] ? m->facts.region : "the region",
			(unsigned int)(APPEAR_USEC / 1000000));
		return -ENXIO;
	}
	r = new_ctx(&ctx);
	if (r < 0)
		return r;
	dev = find(ctx, appear.path, &n);
	if (!dev)
		return -ENODEV;
	switch (step->verb) {
	case STEP_SET_DEVDAX:
		return bind(m, dev, DAX_DEVDAX, text);
	case STEP_SET_SYSTEM_RAM:
		return bind(m, dev, DAX_SYSTEM_RAM, text);
	case STEP_DISABLE_DAX:
		return disable(m, dev);
	case STEP_ONLINE_MOVABLE:
	case STEP_ONLINE_KERNEL:
		return online(m, dev, step->verb == STEP_ONLINE_KERNEL);
	case STEP_OFFLINE:
		return offline(m, dev);
	default:
		return -EINVAL;
	}
}
