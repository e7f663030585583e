/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

/*
 * One line for each thing worth telling: what, and on which object. To the journal, with a stable
 * MESSAGE_ID (packaging/morseld.catalog says what each means and what to do), where stderr is the
 * journal's; else to stderr. Never changes errno. Any thread.
 *
 * The identifiers never change their meaning; a new kind of event gets a new one.
 */
#define LOG_STARTED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d01"
#define LOG_STOPPED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d02"
#define LOG_START_FAILED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d03"
#define LOG_RELOADED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d04"
#define LOG_RELOAD_FAILED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d05"
#define LOG_TIERS_CHANGED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d06"
#define LOG_TIER_WARNING "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d07"
#define LOG_BUS_LOST "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d08"
#define LOG_BUS_CONNECTED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d09"
#define LOG_CONNECTION_REFUSED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d0a"
#define LOG_CONNECTION_DROPPED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d0b"
#define LOG_NO_DESCRIPTORS "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d0c"
#define LOG_CREATE_FAILED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d0d"
#define LOG_MOVE_ENDED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d0e"
#define LOG_MOVE_FAILED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d0f"
#define LOG_INTERNAL "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d10"
#define LOG_NO_POLKIT "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d40"
#define LOG_KEEPER_AWAY "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d30"
#define LOG_KEEPER_BACK "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d31"
#define LOG_HELPER_REQUEST "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d20"
#define LOG_HELPER_REFUSED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d21"
#define LOG_HELPER_LOST "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d22"
#define LOG_PROVISION_STEP "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d23"
#define LOG_PROVISION_ENDED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d24"
#define LOG_REGISTRY_DAMAGED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d32"
#define LOG_REGISTRY_UNSAVED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d33"
#define LOG_REGISTRY_SAVED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d34"
#define LOG_MORSEL_LOST "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d35"
#define LOG_RESTORED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d36"
#define LOG_MOVE_INTERRUPTED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d37"
#define LOG_PROVISION_INTERRUPTED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d27"
#define LOG_UNCLAIMED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d38"
#define LOG_STORAGE "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d39"
#define LOG_POLICY_WARNING "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d3a"
#define LOG_PLACEMENT "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d3d"
#define LOG_TIERING "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d3c"
#define LOG_POLICY_CHANGED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d3b"
#define LOG_PROVISION_APPLIED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d25"
#define LOG_PROVISION_FAILED "0c0ff4ddbc3b4a4bb7e3fe6aa28e0d26"

/* Decide where lines go; level: LOG_ERR … LOG_DEBUG, the least important that is written. Before
 * the first line and before threads. */
void log_init(int level);

/* object: the morsel, tier, connection or file it is about; NULL for none. */
void log_line(int level, const char *message_id, const char *object, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* At most burst lines in interval_usec; the first line that passes again is preceded by how many
 * were left out. For what clients can cause at will. Event loop's thread only. */
struct log_rate {
	uint64_t interval_usec;
	unsigned int burst;
	uint64_t begin_usec;
	unsigned int n, suppressed;
};
bool log_rate_pass(struct log_rate *rate, const char *message_id);
