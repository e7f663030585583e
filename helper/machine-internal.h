/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <cxl/libcxl.h>
#include <stdio.h>

#include "machine.h"

/* Waiting for what the kernel does on its own after a write: a device that appears, a driver that binds. Far more
 * than any took, also under emulation. */
#define APPEAR_USEC (20 * UINT64_C(1000000))
/* done() until it says true: 0, or -ETIMEDOUT. */
int await(bool (*done)(void *userdata), void *userdata);

static inline void put_name(char to[static HELPER_NAME_MAX], const char *name)
{
	snprintf(to, HELPER_NAME_MAX, "%s", name ? name : "");
}

/* --- Regions (libcxl), machine-region.c ------------------------------------------------------ */

struct cxl_memdev *find_memdev(struct cxl_ctx *ctx, uint64_t serial);
enum cxl_decoder_mode cxl_mode(enum provision_mode mode);
/* The root decoder that m's region lies in, or would. NULL: none. */
struct cxl_decoder *find_window(struct cxl_ctx *ctx, struct cxl_memdev *memdev,
				enum provision_mode mode);
/* All regions, until one_more() says false. */
void each_region(struct cxl_ctx *ctx, bool (*one_more)(struct cxl_region *region, void *userdata),
		 void *userdata);
/* The region of that name. */
struct cxl_region *find_region(struct cxl_ctx *ctx, const char *name);
void describe_region(struct cxl_region *region, struct record *ret_record);
int region_step(struct machine *m, const struct provision_step *step,
		char text[static HELPER_TEXT_MAX]);

/* --- Namespaces (libndctl), machine-space.c -------------------------------------------------- */

/* The pmem region's namespace, and the part of a dax device's path that is its nd region's ("" if there is
 * none yet). start: the CXL region's address. */
int look_for_space(struct provision_facts *f, uint64_t start, char ret_path[static 64]);
int space_step(struct machine *m, const struct provision_step *step,
	       char text[static HELPER_TEXT_MAX]);

/* --- Dax devices and memory (libdaxctl), machine-dax.c ---------------------------------------- */

/* The dax device below a path that has this part, and all of facts that is about it. */
int look_for_dax(struct provision_facts *f, const char *path);
/* What "/dax_region…" of the region's paths looks like: "/region0/". */
int dax_path_of(struct machine *m, char ret_path[static 64]);
int dax_step(struct machine *m, const struct provision_step *step,
	     char text[static HELPER_TEXT_MAX]);

/* --- Modules, modules.c ----------------------------------------------------------------------- */

/* Ask systemd to load it (modprobe@.service). 0: it is there; else text says what to do. */
int module_load(const char *name, char text[static HELPER_TEXT_MAX]);
