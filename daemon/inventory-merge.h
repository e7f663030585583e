/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "inventory-facts.h"

/*
 * From facts to tiers: what is one tier, its kind with evidence, state, capacity and numbers. Pure:
 * reads nothing but its arguments. Names, ranks and overrides come afterwards.
 *
 * Of struct draft *, owned by the array. warnings: those that belong to no tier are added.
 */
GPtrArray *merge_facts(const struct facts *f, GPtrArray *warnings);
