/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "keeper.h"
#include "module-advice.h"
#include "ordinary.h"
#include "placer.h"

/*
 * What this machine and this process can do: one capability each, what is used instead where it is not
 * there, and how to get more. Found out by looking and trying, never from version numbers (but for the
 * kernel's own line).
 */
enum doctor_status {
	DOCTOR_OK,
	DOCTOR_DEGRADED,
	DOCTOR_MISSING
};
const char *doctor_status_to_string(enum doctor_status s); /* "ok", "degraded", "missing" */

struct capability {
	const char *name;
	enum doctor_status status;
	char *detail, *instead, *advice; /* "" where there is nothing to say; owned */
};

/* What is only known to the event loop goes in; the rest is found out on a worker. */
struct doctor_facts {
	int root_fd;	     /* files of the kernel are read below it; borrowed */
	const char *address; /* of the bus, NULL: none wanted; borrowed */
	char *polkit;	     /* authority_status(), or NULL; owned */
	bool bus_connected;
	unsigned int memory_nodes; /* nodes with memory that tiers are made of */
	unsigned int pools;	   /* tiers that are dax devices, and morsel's */
	unsigned int idle_devices; /* the others that could be */
	bool has_hmat;		   /* some number of a tier comes from it */
	unsigned int descriptors, descriptors_used;
	const char *state_dir;	 /* NULL: none; borrowed */
	bool registry;		 /* what is there is written down */
	char *registry_trouble;	 /* why it cannot be, or ""; owned by who made this */
	const char *keeper_path; /* NULL: none; borrowed */
	enum keeper_state keeper;
	char *keeper_trouble; /* owned by who made this */
	unsigned int morsels, kept;
	uint64_t lost; /* at the start */
	struct module_facts module;
	unsigned int policies; /* cgroups, and patterns of them, that have one */
	unsigned int policy_warnings;
	char *policy_warning;		 /* the first of them, or ""; owned by who made this */
	struct ordinary_status ordinary; /* owned by who made this */

	bool placer;			/* there is one: */
	struct placer_status placement; /* its text is owned by who made this */

	/* Found out: */
	bool cap_sys_nice;
	bool damon;
};

/* Any thread; may block. Of struct capability; frees what they own. */
GArray *doctor_examine(struct doctor_facts *facts);
