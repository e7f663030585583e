/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>

/*
 * The files of the kernel's that tell where memory is and how fast, and that only root may read. This list,
 * and reading, is all that HELPER_OPEN can do:
 *
 *   sys/firmware/acpi/tables/{SRAT,HMAT,CEDT}      the firmware's tables
 *   sys/bus/cxl/devices/NAME/CDAT                  a CXL device's own table
 *   sys/bus/cxl/devices/NAME/start                 where a CXL window begins
 *   sys/bus/{dax,nd}/devices/NAME/resource         where a device's memory begins
 */
bool files_allowed(const char *path);

/* "dev/dax0.0": one that dax_device_open() decides about. */
bool files_is_dax(const char *path);

/* The descriptor, or a negative errno; -EACCES: not in the list. */
int files_open(int root_fd, const char *path);
