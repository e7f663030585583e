/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

struct hotplug;
struct manager;

/* Calls manager_refresh() soon after memory, nodes or devices that may back tiers come, go or change.
 * Only for the machine's own root. */
int hotplug_new(struct manager *manager, struct hotplug **ret_hotplug);
struct hotplug *hotplug_free(struct hotplug *h); /* takes NULL, returns NULL */
