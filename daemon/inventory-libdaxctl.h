/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "inventory-dax.h"

/*
 * What libdaxctl says of the devices that our own reader found, on the machine's own root only (it
 * knows no other). Sizes and nodes must agree, else the tier gets a warning; and memory that was
 * onlined where it cannot be taken back gets one, which takes the zones of all its blocks.
 *
 * libcxl is not asked here: its first look at the devices waits until the kernel has done all
 * pending work on CXL ports (/sys/bus/cxl/flush), which may be the offlining of a terabyte, and an
 * event loop may not wait for that. The lab's checks hold the two against each other.
 */
void libdaxctl_check(const struct dax_facts *f);
