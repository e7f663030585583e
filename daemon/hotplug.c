// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>
#include <systemd/sd-device.h>

#include "hotplug.h"
#include "manager.h"

/* Onlining a device makes an event for each block of memory: wait until they pause. */
#define SETTLE_USEC 300000

struct hotplug {
	struct manager *manager;
	sd_device_monitor *monitor;
	sd_event_source *settle;
};

static int on_settled(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct hotplug *h = userdata;

	manager_refresh(h->manager);
	return 0;
}

static int on_device(sd_device_monitor *monitor, sd_device *device, void *userdata)
{
	struct hotplug *h = userdata;

	sd_event_source_disable_unref(h->settle);
	h->settle = NULL;
	(void)sd_event_add_time_relative(h->manager->event, &h->settle, CLOCK_MONOTONIC,
					 SETTLE_USEC, SETTLE_USEC / 4, on_settled, h);
	return 0;
}

int hotplug_new(struct manager *manager, struct hotplug **ret_hotplug)
{
	static const char *const subsystems[] = { "node", "memory", "memory_tiering",
						  "cxl",  "dax",    "nd" };
	struct hotplug *h = g_new0(struct hotplug, 1);
	int r;

	h->manager = manager;
	/* The kernel's own events: the daemon also runs where there is no udev. */
	r = sd_device_monitor_new(&h->monitor);
	if (r < 0)
		goto fail;
	for (size_t i = 0; i < G_N_ELEMENTS(subsystems); i++) {
		r = sd_device_monitor_filter_add_match_subsystem_devtype(h->monitor, subsystems[i],
									 NULL);
		if (r < 0)
			goto fail;
	}
	r = sd_device_monitor_attach_event(h->monitor, manager->event);
	if (r < 0)
		goto fail;
	r = sd_device_monitor_start(h->monitor, on_device, h);
	if (r < 0)
		goto fail;
	*ret_hotplug = h;
	return 0;
fail:
	hotplug_free(h);
	return r;
}

struct hotplug *hotplug_free(struct hotplug *h)
{
	if (!h)
		return NULL;
	sd_event_source_disable_unref(h->settle);
	sd_device_monitor_unref(h->monitor);
	g_free(h);
	return NULL;
}
