/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inventory-perf.h"

/*
 * A CXL device's own table of its latency and bandwidth: Coherent Device Attribute Table 1.03, as
 * sysfs has it in endpointN/CDAT. Numbers are from the device's port to its memory: the way from a
 * CPU to the port is HMAT's (generic port).
 */

struct cdat_range {
	uint64_t start, end; /* device addresses, half-open */
	bool nonvolatile;
	struct perf_numbers numbers;
};

/* -EBADMSG: not a CDAT. Damaged entries are left out. ret_ranges: of struct cdat_range. */
int cdat_parse(const uint8_t *data, size_t len, GArray **ret_ranges);
