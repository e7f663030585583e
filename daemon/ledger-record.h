/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "ledger-file.h"
#include "morsel.h"

/*
 * What a morsel and a job are in the registry's file: a serialised GVariant each, little endian. A change of
 * these types is a new LEDGER_VERSION.
 */

/* Records that last; more are joined, as MORSEL_RECORDS_MAX has it. */
#define LEDGER_RECORDS_MAX 64

/* m->seq must be set. */
GBytes *ledger_morsel_body(const struct morsel *m);
/*
 * -EINVAL: not what ledger_morsel_body() writes (*ret_text); everything in it is checked. The morsel has no
 * object and no storage yet; *ret_storage is the name of the one it is to have (interned).
 */
int ledger_morsel_parse(sd_id128_t id, GBytes *body, struct morsel **ret_morsel,
			enum page_backing *ret_backing, const char **ret_storage, char **ret_text);

/* A move that had not ended. */
struct ledger_job {
	uint32_t id;
	uid_t owner, morsel_owner;
	sd_id128_t morsel;
	char *morsel_name, *tier;
	uint64_t offset, length;
	uint64_t created_usec; /* real-time clock */
};
void ledger_job_clear(struct ledger_job *job);
GBytes *ledger_job_body(const struct ledger_job *job);
/* -EINVAL */
int ledger_job_parse(sd_id128_t id, GBytes *body, struct ledger_job *ret_job);
