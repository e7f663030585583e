/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "helper/protocol.h"

/* [provision NAME] of morseld.conf: memory that is made so at each start. */
struct config_provision {
	char *name;
	char *origin; /* "morseld.conf:12", for messages */
	struct provision_wish wish;
	bool has_serial, has_zone;
};

void config_provision_free(gpointer p); /* a struct config_provision * */
/* Finds it or appends it to provisions. -EINVAL: *ret_message. */
int config_provision_section(GPtrArray *provisions, const char *name, const char *file,
			     unsigned int line, struct config_provision **ret_provision,
			     char **ret_message);
int config_provision_key(struct config_provision *p, const char *key, const char *value,
			 char **ret_message);
/* What no single line shows. */
int config_provision_check(const GPtrArray *provisions, char **ret_message);
