/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <systemd/sd-event.h>

struct hotplug;

/*
 * Calls changed() once after each burst of events of memory, nodes or devices that may back tiers.
 * Events come from udev, after its rules have run (they may online the memory); without udev
 * none come. They are of this machine: a fixture has none.
 *
 * Negative errno: no netlink socket to be had; then changes are seen by asking again.
 */
int hotplug_new(sd_event *event, void (*changed)(void *userdata), void *userdata,
		struct hotplug **ret_hotplug);
struct hotplug *hotplug_free(struct hotplug *h); /* takes NULL, returns NULL */
