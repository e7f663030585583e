/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>

#include "protocol.h"

/*
 * The drop-in of morseld.conf that makes a provisioning last over boots: one file for each device and kind of
 * memory, named by the serial number. morseld reads it at its start and asks the helper again.
 */
#define DROPIN_DIR "/etc/morsel/morseld.conf.d"

/* "50-provision-c0ffee01-ram.conf" */
char *dropin_name(uint64_t serial, enum provision_mode mode);
/* 0: it says that already; 1: written; or a negative errno. The directory is made if its parent is there. */
int dropin_write(const char *dir, uint64_t serial, enum provision_mode mode,
		 const struct provision_wish *wish);
/* 0: there was none; 1: removed. */
int dropin_remove(const char *dir, uint64_t serial, enum provision_mode mode);
