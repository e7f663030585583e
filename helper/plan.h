/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/*
 * Which steps bring CXL memory from how it is to how it is wanted, and which take it back. Pure: from facts
 * and a wish to a list, or to a refusal that says why and what to do. Nothing is read or done here; any
 * thread.
 */

/* How a device's memory is bound. */
enum dax_state {
	DAX_NONE,     /* there is no dax device */
	DAX_DISABLED, /* without a driver */
	DAX_DEVDAX,
	DAX_SYSTEM_RAM,
};

/* Of one partition (ram or pmem) of one CXL memory device, as found just now. Names are "" where there is none. */
struct provision_facts {
	char memdev[HELPER_NAME_MAX]; /* "": the device is gone (its region may be there) */
	uint64_t serial;
	enum provision_mode mode;
	bool endpoint;	   /* enumerated: a region can be made of it */
	uint64_t capacity; /* of the partition, bytes */
	uint64_t room;	   /* of it, what no decoder uses */
	bool can_create;   /* this build's libcxl can make regions of the mode */

	char window[HELPER_NAME_MAX];  /* the root decoder that reaches it and takes the mode */
	uint64_t window_room;	       /* the largest free range there, bytes */
	char decoder[HELPER_NAME_MAX]; /* the device's next free decoder */

	char region[HELPER_NAME_MAX]; /* the one that uses the partition */
	uint64_t region_size;
	unsigned int ways; /* devices it is interleaved over */
	bool ours;	   /* morsel made it, and it is still the same one */
	bool committed, enabled;
	unsigned int more_regions; /* beside it, on the same partition */

	char space[HELPER_NAME_MAX]; /* pmem: the namespace in the region */
	bool space_devdax;

	char dax[HELPER_NAME_MAX]; /* "dax0.0" */
	enum dax_state dax_state;
	unsigned int dax_devices;		    /* in the region */
	int node;				    /* the one its memory is or would be */
	unsigned int blocks, online, online_kernel; /* of memory, and those in a kernel zone */
	bool hypervisor; /* the kernel takes this for a virtual machine */
	int holder;	 /* a process that maps the device, 0: none is known of */
	bool pool;	 /* morsel.ko has it as a pool */
	char holder_name[HELPER_NAME_MAX];
};

enum provision_verb {
	STEP_CREATE_REGION,
	STEP_DELETE_REGION,
	STEP_RESERVE, /* the device's decoder: mode and size */
	STEP_RELEASE,
	STEP_ATTACH, /* the decoder to the region */
	STEP_DETACH,
	STEP_COMMIT, /* program all decoders on the way */
	STEP_RESET,
	STEP_ENABLE_REGION,
	STEP_DISABLE_REGION,
	STEP_CREATE_SPACE, /* pmem: one devdax namespace over all of the region */
	STEP_DESTROY_SPACE,
	STEP_SET_DEVDAX,
	STEP_SET_SYSTEM_RAM,
	STEP_DISABLE_DAX,
	STEP_ONLINE_MOVABLE,
	STEP_ONLINE_KERNEL,
	STEP_OFFLINE,
	STEP_NONE
};

struct provision_step {
	enum provision_verb verb;
	enum provision_verb undo; /* what takes it back; STEP_NONE: nothing is needed */
	uint64_t size;		  /* of regions, bytes */
};

#define PLAN_STEPS_MAX 24u
struct provision_plan {
	struct provision_step steps[PLAN_STEPS_MAX];
	unsigned int n; /* 0: it is so already */
};

/* The kernel wants regions in multiples of this. */
#define REGION_ALIGN (UINT64_C(256) << 20)

/*
 * -EINVAL, -EBUSY, -ENODEV, -ENOSPC, -EEXIST, -EOPNOTSUPP, …: refused, and ret_text (HELPER_TEXT_MAX)
 * has the cause and the next step. Outputs are written only accordingly.
 */
int plan_provision(const struct provision_facts *f, const struct provision_wish *w,
		   struct provision_plan *ret_plan, char ret_text[static HELPER_TEXT_MAX]);
int plan_unprovision(const struct provision_facts *f, const struct provision_wish *w,
		     struct provision_plan *ret_plan, char ret_text[static HELPER_TEXT_MAX]);

/* "create a 512 MiB ram region on mem0 (serial 0xc0ffee01) in decoder0.0": what the step does to these. */
void plan_describe(const struct provision_step *step, const struct provision_facts *f,
		   char ret_text[static HELPER_TEXT_MAX]);
/* What an error of the step means here, and what to do. error: negative errno. */
void plan_explain(const struct provision_step *step, int error, const struct provision_facts *f,
		  char ret_text[static HELPER_TEXT_MAX]);
