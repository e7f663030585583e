/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "helper/protocol.h"
#include "ledger-file.h"
#include "morsel.h"

/*
 * What things are in the registry's file: a serialised GVariant each, little endian. A change of
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

/* A provisioning, or its undoing, that had not ended. */
struct ledger_provision {
	uint32_t id;
	uid_t owner;
	enum helper_verb verb;
	char *memory;  /* as it was named */
	char *outcome; /* what morsel-helper said of it at last; "": it could not be heard */
	uint64_t created_usec; /* real-time clock */
};
void ledger_provision_clear(struct ledger_provision *p);
GBytes *ledger_provision_body(const struct ledger_provision *p);
/* -EINVAL */
int ledger_provision_parse(sd_id128_t id, GBytes *body, struct ledger_provision *ret_provision);

/* A destroyed morsel whose memory is not known to be free. */
#define LEDGER_LINGER_OBJECT (-1) /* an object of the module: it is asked, not watched */
struct ledger_linger {
	uid_t owner;
	char *account; /* cgroup of the creator, or "" */
	uint64_t bytes;
	int watch; /* linger_add()'s, or LEDGER_LINGER_OBJECT */
};
void ledger_linger_clear(struct ledger_linger *l);
GBytes *ledger_linger_body(const struct ledger_linger *l);
/* -EINVAL */
int ledger_linger_parse(GBytes *body, struct ledger_linger *ret_linger);
