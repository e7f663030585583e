/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "config.h"
#include "inventory-draft.h"
#include "inventory-dax.h"

/*
 * Which dax devices are morsel's to overwrite. A device may hold somebody's data, so only the operator's word makes it
 * so, in a [tier] section: Volatile=yes with the identity of what is meant. Memory that keeps its content has a
 * namespace, whose UUID must be said: a device's name may be another one's after the next boot. Memory that does
 * not may be named by its device.
 */

/* The section that gives the device to morsel, or NULL. *ret_refused (may be NULL): one that wanted to, by a
 * name that does not do; NULL: none did. */
const struct config_tier *claim_find(const struct config *config, const struct dax_device *d,
				     const struct config_tier **ret_refused);

/*
 * Tiers of devices that are morsel's become pools: online where the module is there to make them (module), else with
 * what is missing as their reason. After names were given, before Enabled=.
 */
void claim_devices(const struct dax_facts *facts, const struct config *config, bool module,
		   GPtrArray *drafts);
