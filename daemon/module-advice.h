/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>

#include "config.h"
#include "storage-module-open.h"

/* Why the module storage is, or is not, the one of new morsels, and what would change that. */

struct module_facts {
	struct module_probe probe;	     /* of the start */
	enum storage_wish wish;		     /* Storage= of morseld.conf */
	struct storage_module_strays strays; /* of the start */
	unsigned int unreachable; /* morsels of the module that are left in the registry */
};

/* What the kernel's files tell of a module that is not there. */
struct module_signs {
	bool loaded;	  /* /sys/module/morsel */
	bool device;	  /* /dev/morsel */
	int installed;	  /* a morsel.ko for this kernel: 1 yes, 0 no, -1 cannot be seen */
	bool secure_boot; /* the firmware's */
	bool lockdown;	  /* the kernel takes signed modules only */
};
/* release: of the running kernel (uname). */
void module_signs_read(int root_fd, const char *release, struct module_signs *ret_signs);

/* Are new morsels the module's? */
bool module_is_chosen(const struct module_facts *facts);
/* Why not, in a few words, for whoever asked for it with Storage=module; free with g_free. */
char *module_refusal(const struct module_facts *facts);

struct module_advice {
	bool chosen, usable;   /* usable: it could be chosen */
	char *detail, *advice; /* never NULL; owned */
};
void module_advise(const struct module_facts *facts, const struct module_signs *signs,
		   struct module_advice *ret_advice);
void module_advice_done(struct module_advice *a);
