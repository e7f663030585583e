/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

/*
 * What morsel made: the region of each device's ram and pmem memory, in a file of root's own, so that nothing else
 * is ever taken for ours. Names of regions are given again by the kernel, so each record tells one region from
 * any other: a pmem region by its UUID, for good; a ram region by its inode, for this boot.
 */
#define RECORD_DIR "/var/lib/morsel-helper"

struct record {
	char region[HELPER_NAME_MAX];
	uint64_t inode;	  /* of the region's directory in sysfs */
	char boot[40];	  /* the kernel's boot id */
	uint8_t uuid[16]; /* all 0: it has none */
};

/* -ENOENT: there is none; other negative errnos: the file cannot be read (then nothing is ours). */
int record_read(const char *dir, uint64_t serial, enum provision_mode mode,
		struct record *ret_record);
/* Replaced as a whole, with fsync. NULL: forget it. */
int record_write(const char *dir, uint64_t serial, enum provision_mode mode,
		 const struct record *record);
/* The boot id of this boot, "" if it cannot be read. */
void record_boot(char ret_boot[static 40]);
/* now: the region that is there, described in the same way. */
bool record_matches(const struct record *record, const struct record *now);
