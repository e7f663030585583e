/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "config.h"

/*
 * The operator's [tier …] sections on top of what was found. config may be NULL.
 *
 * Before names are given: sections with Node= or Device= name the tier of that backing, and join the
 * tiers of several nodes into one. One whose backing is not there becomes a tier that is missing.
 * After: sections without a backing change the tier of that name, and all numbers are
 * overridden.
 */
void override_before_names(GPtrArray *drafts, const struct config *config,
			   const GArray *initiators);
void override_after_names(GPtrArray *drafts, const struct config *config, const GArray *initiators);
