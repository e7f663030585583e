/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hotplug.h"

#include <glib.h>
#include <systemd/sd-device.h>

#include "settle.h"

/* Onlining a device makes an event for each of its memory blocks, a fraction of a ms apart. */
#define QUIET_USEC UINT64_C(100000)
/* 1 TiB in blocks of 128 MiB takes seconds: what is there so far is worth showing meanwhile. */
#define MAX_USEC UINT64_C(1000000)

struct hotplug {
	sd_device_monitor *monitor;
	struct settle *settle;
};

static int on_device(sd_device_monitor *monitor, sd_device *device, void *userdata)
{
	struct hotplug *h = userdata;

	/* What changed is read from sysfs: events may be lost, and some come before the files. */
	return settle_poke(h->settle);
}

int hotplug_new(sd_event *event, void (*changed)(void *userdata), void *userdata,
		struct hotplug **ret_hotplug)
{
	/* block: namespaces in fsdax mode come and go as pmem devices only. */
	static const char *const subsystems[] = { "node", "memory", "dax", "cxl", "nd", "block" };
	struct hotplug *h = g_new0(struct hotplug, 1);
	int r;

	r = settle_new(event, QUIET_USEC, MAX_USEC, changed, userdata, &h->settle);
	if (r >= 0)
		r = sd_device_monitor_new(&h->monitor);
	for (unsigned int i = 0; i < G_N_ELEMENTS(subsystems) && r >= 0; i++)
		r = sd_device_monitor_filter_add_match_subsystem_devtype(h->monitor, subsystems[i],
									 NULL);
	if (r >= 0)
		r = sd_device_monitor_attach_event(h->monitor, event);
	if (r >= 0)
		r = sd_device_monitor_start(h->monitor, on_device, h);
	if (r < 0) {
		hotplug_free(h);
		return r;
	}
	*ret_hotplug = h;
	return 0;
}

struct hotplug *hotplug_free(struct hotplug *h)
{
	if (h == NULL)
		return NULL;
	sd_device_monitor_unref(h->monitor);
	settle_free(h->settle);
	g_free(h);
	return NULL;
}
