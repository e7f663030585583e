// SPDX-License-Identifier: GPL-2.0-or-later
#include "plan.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>

#include "refuse.h"

static uint64_t mib(uint64_t bytes)
{
	return bytes >> 20;
}

static const char *mode_name(const struct provision_facts *f)
{
	return f->mode == MODE_PMEM ? "pmem" : "ram";
}

static void add(struct provision_plan *plan, enum provision_verb verb, enum provision_verb undo,
		uint64_t size)
{
	g_assert(plan->n < PLAN_STEPS_MAX);
	plan->steps[plan->n++] =
		(struct provision_step){ .verb = verb, .undo = undo, .size = size };
}

/* --- What both ways refuse ------------------------------------------------------------------ */

static int check_region(const struct provision_facts *f, const struct provision_wish *w, char *text)
{
	if (f->more_regions > 0)
		return refuse(text, -EBUSY,
			      "%u regions use the %s memory of %s (serial %#" PRIx64
			      "); morsel makes and undoes one. Remove the others with \"cxl "
			      "destroy-region\" (\"cxl list -R -m %s\" shows them).",
			      f->more_regions + 1, mode_name(f), f->memdev, f->serial, f->memdev);
	if (f->ways > 1)
		return refuse(
			text, -EOPNOTSUPP,
			"%s is interleaved over %u devices; morsel makes and undoes regions of "
			"one device only. Use cxl and daxctl for this one.",
			f->region, f->ways);
	if (!f->ours && !(w->flags & PROVISION_FORCE))
		return refuse(
			text, -EBUSY,
			"%s on %s (serial %#" PRIx64
			") was not made by morsel: somebody else, or the firmware, uses this memory, "
			"and nothing was touched. Remove it with \"cxl disable-region %s\" and \"cxl "
			"destroy-region %s\", or let morsel take it over with --force.",
			f->region, f->memdev[0] ? f->memdev : "a device that is gone", f->serial,
			f->region, f->region);
	if (f->dax_devices > 1)
		return refuse(
			text, -EBUSY,
			"%s is cut into %u dax devices; morsel works with one. Undo the cut with "
			"\"daxctl destroy-device\" (\"daxctl list -r %s\" shows them).",
			f->region, f->dax_devices, f->region);
	return 0;
}

/* The device's pages are somebody's: taking it away would kill him, or tear his data apart. */
static int check_holder(const struct provision_facts *f, char *text)
{
	/* Unbinding would wait until the pool is gone, and could not be stopped. */
	if (f->dax_state == DAX_DEVDAX && f->pool)
		return refuse(
			text, -EBUSY,
			"/dev/%s is a pool of the kernel module, and morsels may lie there, or are allowed "
			"to. Move or destroy them (morselctl list), take Volatile=yes of it out of "
			"morseld.conf (systemctl reload morseld), and try again.",
			f->dax);
	if (f->dax_state != DAX_DEVDAX || f->holder == 0)
		return 0;
	return refuse(
		text, -EBUSY,
		"/dev/%s is in use: process %d (%s) maps it, and would be killed at its next access. "
		"End it, or let it unmap the device, and try again.",
		f->dax, f->holder, f->holder_name);
}

static int lose_data(const struct provision_facts *f, char *text, const char *what)
{
	return refuse(
		text, -EPERM,
		"%s holds persistent data (%s on %s, serial %#" PRIx64
		"), and %s: it cannot be found again afterwards. Save what is wanted, then repeat "
		"this with --drop-data.",
		f->space, f->region, f->memdev, f->serial, what);
}

/* --- Provision ------------------------------------------------------------------------------- */

static int check_new_region(const struct provision_facts *f, const struct provision_wish *w,
			    uint64_t *ret_size, char *text)
{
	uint64_t room = MIN(f->room, f->window_room) / REGION_ALIGN * REGION_ALIGN;
	uint64_t size = w->size ? w->size : room;

	if (!f->can_create)
		return refuse(
			text, -EOPNOTSUPP,
			"this morsel was built with a libcxl that cannot create %s regions (it can "
			"from version 77 on). Create the region with a newer \"cxl create-region\", "
			"or install a morsel that was built with a newer libcxl.",
			mode_name(f));
	if (f->capacity == 0)
		return refuse(text, -ENODEV,
			      "%s (serial %#" PRIx64
			      ") has no %s memory. \"cxl list -M -m %s\" shows what "
			      "it has; \"cxl set-partition\" can change it on some devices.",
			      f->memdev, f->serial, mode_name(f), f->memdev);
	if (!f->endpoint)
		return refuse(
			text, -ENODEV,
			"%s (serial %#" PRIx64
			") is known, but not enumerated below a CXL host bridge (it has no endpoint), so "
			"no region can be made of it. \"dmesg | grep cxl\" says why; \"cxl enable-memdev "
			"%s\" tries again.",
			f->memdev, f->serial, f->memdev);
	if (!f->window[0])
		return refuse(
			text, -ENOSPC,
			"the firmware has no CXL window (CFMWS) that reaches %s and takes %s memory, so "
			"no region can be made of it. Look for CXL memory windows in the firmware's "
			"setup; \"cxl list -D -d root\" shows those there are.",
			f->memdev, mode_name(f));
	if (!f->decoder[0])
		return refuse(
			text, -ENOSPC,
			"all decoders of %s (serial %#" PRIx64
			") are in use: it can be part of no further region. \"cxl list -R -m %s\" shows "
			"the regions that use them.",
			f->memdev, f->serial, f->memdev);
	if (size % REGION_ALIGN != 0)
		return refuse(text, -EINVAL,
			      "a region is a multiple of 256 MiB, and %" PRIu64
			      " bytes are not; %" PRIu64 " MiB is the next smaller size",
			      size, mib(size / REGION_ALIGN * REGION_ALIGN));
	if (size == 0 || size > f->room)
		return refuse(text, -ENOSPC,
			      "%s (serial %#" PRIx64 ") has %" PRIu64 " MiB of %" PRIu64
			      " MiB of its %s memory free, %" PRIu64
			      " MiB are wanted. \"cxl list -R -m %s\" shows what uses the rest.",
			      f->memdev, f->serial, mib(f->room), mib(f->capacity), mode_name(f),
			      mib(size ? size : REGION_ALIGN), f->memdev);
	if (size > f->window_room)
		return refuse(
			text, -ENOSPC,
			"the largest free range of the CXL window %s is %" PRIu64 " MiB, %" PRIu64
			" MiB are wanted. Other regions use the window (\"cxl list -R\"); a smaller "
			"--size fits.",
			f->window, mib(f->window_room), mib(size));
	*ret_size = size;
	return 0;
}

static void add_region(struct provision_plan *plan, uint64_t size)
{
	add(plan, STEP_CREATE_REGION, STEP_DELETE_REGION, size);
	add(plan, STEP_RESERVE, STEP_RELEASE, size);
	add(plan, STEP_ATTACH, STEP_DETACH, size);
	add(plan, STEP_COMMIT, STEP_RESET, size);
	add(plan, STEP_ENABLE_REGION, STEP_DISABLE_REGION, size);
}

/* Of a region of ours that an interrupted run left half made. */
static void add_remains(struct provision_plan *plan, const struct provision_facts *f)
{
	if (f->enabled)
		add(plan, STEP_DISABLE_REGION, STEP_NONE, f->region_size);
	if (f->committed)
		add(plan, STEP_RESET, STEP_NONE, f->region_size);
	add(plan, STEP_DETACH, STEP_NONE, f->region_size);
	add(plan, STEP_RELEASE, STEP_NONE, f->region_size);
	add(plan, STEP_DELETE_REGION, STEP_NONE, f->region_size);
}

static enum provision_verb back_to(enum dax_state state)
{
	return state == DAX_DEVDAX	 ? STEP_SET_DEVDAX
	       : state == DAX_SYSTEM_RAM ? STEP_SET_SYSTEM_RAM
					 : STEP_DISABLE_DAX;
}

/* What brings memory that goes offline back. */
static enum provision_verb back_online(const struct provision_facts *f)
{
	return f->online_kernel > 0 ? STEP_ONLINE_KERNEL : STEP_ONLINE_MOVABLE;
}

static void add_dax(struct provision_plan *plan, const struct provision_facts *f,
		    const struct provision_wish *w, enum dax_state now, bool region_is_new)
{
	enum provision_verb online = w->zone == ZONE_KERNEL ? STEP_ONLINE_KERNEL
							    : STEP_ONLINE_MOVABLE;
	bool right = f->online == f->blocks && f->blocks > 0 &&
		     f->online_kernel == (w->zone == ZONE_KERNEL ? f->blocks : 0);

	if (w->as == AS_DEVDAX) {
		if (now == DAX_SYSTEM_RAM && f->online > 0)
			add(plan, STEP_OFFLINE, back_online(f), 0);
		/* A new device may be bound already: the step looks, and so costs nothing. */
		if (now != DAX_DEVDAX || region_is_new)
			add(plan, STEP_SET_DEVDAX, back_to(now), 0);
		return;
	}
	if (now == DAX_SYSTEM_RAM && !region_is_new && right)
		return;
	if (now != DAX_SYSTEM_RAM || region_is_new)
		add(plan, STEP_SET_SYSTEM_RAM, back_to(now), 0);
	else if (f->online > 0)
		add(plan, STEP_OFFLINE, back_online(f), 0);
	add(plan, online, STEP_OFFLINE, 0);
}

int plan_provision(const struct provision_facts *f, const struct provision_wish *w,
		   struct provision_plan *ret_plan, char ret_text[static HELPER_TEXT_MAX])
{
	struct provision_plan plan = {};
	enum dax_state now = f->dax_state;
	bool fresh = !f->region[0], fresh_space = fresh || !f->space[0];
	uint64_t size = f->region_size;
	int r = 0;

	if (!f->memdev[0])
		return refuse(
			ret_text, -ENODEV,
			"the CXL device with serial %#" PRIx64
			" is gone: nothing can be made of it. \"tier unprovision\" removes what is "
			"left of its region.",
			f->serial);
	if (!fresh) {
		r = check_region(f, w, ret_text);
		if (r < 0)
			return r;
		if (!f->committed || !f->enabled) {
			add_remains(&plan, f);
			fresh = fresh_space = true;
			now = DAX_NONE;
		} else if (w->size != 0 && w->size != f->region_size) {
			return refuse(
				ret_text, -EEXIST,
				"%s on %s (serial %#" PRIx64 ") is there with %" PRIu64
				" MiB, and a region's size cannot be changed. Leave --size out, or "
				"unprovision it first.",
				f->region, f->memdev, f->serial, mib(f->region_size));
		}
	}
	if (fresh) {
		struct provision_facts after = *f;

		/* What the remains hold is free again by then. */
		if (f->region[0]) {
			after.room = MIN(f->capacity, f->room + f->region_size);
			after.window_room = MAX(f->window_room, f->region_size);
		}
		r = check_new_region(&after, w, &size, ret_text);
		if (r < 0)
			return r;
		add_region(&plan, size);
	}
	if (f->mode == MODE_PMEM && !fresh && f->space[0] && !f->space_devdax)
		return refuse(
			ret_text, -EBUSY,
			"%s in %s is no devdax namespace; somebody made it for something else, and "
			"nothing was touched. \"ndctl list -N\" shows it, \"ndctl destroy-namespace -f "
			"%s\" removes it with all that is stored there.",
			f->space, f->region, f->space);
	if (f->mode == MODE_PMEM && fresh_space)
		add(&plan, STEP_CREATE_SPACE, STEP_DESTROY_SPACE, size);
	if (w->as == AS_SYSTEM_RAM && now == DAX_DEVDAX) {
		r = check_holder(f, ret_text);
		if (r < 0)
			return r;
		if (f->mode == MODE_PMEM && !(w->flags & PROVISION_DROP_DATA))
			return lose_data(f, ret_text, "as system memory it is written over");
	}
	add_dax(&plan, f, w, now, fresh || (f->mode == MODE_PMEM && fresh_space));
	*ret_plan = plan;
	return 0;
}

/* --- Unprovision ----------------------------------------------------------------------------- */

int plan_unprovision(const struct provision_facts *f, const struct provision_wish *w,
		     struct provision_plan *ret_plan, char ret_text[static HELPER_TEXT_MAX])
{
	struct provision_plan plan = {};
	uint64_t size = f->region_size;
	int r;

	if (!f->region[0]) {
		*ret_plan = plan;
		return 0;
	}
	r = check_region(f, w, ret_text);
	if (r == 0)
		r = check_holder(f, ret_text);
	if (r < 0)
		return r;
	if (f->space[0] && f->dax_state != DAX_SYSTEM_RAM && !(w->flags & PROVISION_DROP_DATA))
		return lose_data(f, ret_text, "without its region and namespace");

	if (f->dax_state == DAX_SYSTEM_RAM && f->online > 0)
		add(&plan, STEP_OFFLINE, back_online(f), 0);
	if (f->dax_state == DAX_SYSTEM_RAM || f->dax_state == DAX_DEVDAX)
		add(&plan, STEP_DISABLE_DAX, back_to(f->dax_state), 0);
	/* What was stored is given up here: nothing brings it back, a namespace of its kind does. */
	if (f->space[0])
		add(&plan, STEP_DESTROY_SPACE, STEP_CREATE_SPACE, size);
	if (f->enabled)
		add(&plan, STEP_DISABLE_REGION, STEP_ENABLE_REGION, size);
	if (f->committed)
		add(&plan, STEP_RESET, STEP_COMMIT, size);
	if (f->memdev[0]) {
		add(&plan, STEP_DETACH, STEP_ATTACH, size);
		add(&plan, STEP_RELEASE, STEP_RESERVE, size);
	}
	add(&plan, STEP_DELETE_REGION, STEP_CREATE_REGION, size);
	*ret_plan = plan;
	return 0;
}

/* --- Words ----------------------------------------------------------------------------------- */

void plan_describe(const struct provision_step *step, const struct provision_facts *f,
		   char ret_text[static HELPER_TEXT_MAX])
{
	const char *region = f->region[0] ? f->region : "the region";
	const char *dax = f->dax[0] ? f->dax : "its dax device";
	const char *memdev = f->memdev[0] ? f->memdev : "the device";
	g_autofree char *text = NULL;

	switch (step->verb) {
	case STEP_CREATE_REGION:
		text = g_strdup_printf("create a %s region of %" PRIu64
				       " MiB in %s for %s (serial %#" PRIx64 ")",
				       mode_name(f), mib(step->size),
				       f->window[0] ? f->window : "its window", memdev, f->serial);
		break;
	case STEP_DELETE_REGION:
		text = g_strdup_printf("delete %s", region);
		break;
	case STEP_RESERVE:
		text = g_strdup_printf("reserve %" PRIu64 " MiB of the %s memory of %s",
				       mib(step->size), mode_name(f), memdev);
		break;
	case STEP_RELEASE:
		text = g_strdup_printf("release the %s memory of %s", mode_name(f), memdev);
		break;
	case STEP_ATTACH:
		text = g_strdup_printf("attach %s to %s", memdev, region);
		break;
	case STEP_DETACH:
		text = g_strdup_printf("detach %s from %s", memdev, region);
		break;
	case STEP_COMMIT:
		text = g_strdup_printf("commit %s (program the decoders)", region);
		break;
	case STEP_RESET:
		text = g_strdup_printf("reset the decoders of %s", region);
		break;
	case STEP_ENABLE_REGION:
		text = g_strdup_printf("enable %s", region);
		break;
	case STEP_DISABLE_REGION:
		text = g_strdup_printf("disable %s", region);
		break;
	case STEP_CREATE_SPACE:
		text = g_strdup_printf("create a devdax namespace over all of %s", region);
		break;
	case STEP_DESTROY_SPACE:
		text = g_strdup_printf("destroy %s and what is stored there",
				       f->space[0] ? f->space : "the namespace");
		break;
	case STEP_SET_DEVDAX:
		text = g_strdup_printf("make %s a device (devdax)", dax);
		break;
	case STEP_SET_SYSTEM_RAM:
		text = g_strdup_printf("make %s system memory (kmem)", dax);
		break;
	case STEP_DISABLE_DAX:
		text = g_strdup_printf("take %s from its driver", dax);
		break;
	case STEP_ONLINE_MOVABLE:
		text = g_strdup_printf(
			"online the memory of %s in the movable zone (it can go offline again; the kernel "
			"itself and module pools cannot use it)",
			dax);
		break;
	case STEP_ONLINE_KERNEL:
		text = g_strdup_printf(
			"online the memory of %s in a kernel zone (everything can use it; once the kernel "
			"does, it may not go offline before a reboot)",
			dax);
		break;
	case STEP_OFFLINE:
		text = g_strdup_printf("offline the memory of %s", dax);
		break;
	case STEP_NONE:
		text = g_strdup("nothing");
		break;
	}
	g_strlcpy(ret_text, text, HELPER_TEXT_MAX);
}

static const char *next_of_dmesg = "The kernel's own words are in \"dmesg | grep -i cxl\".";

static char *explain_region(const struct provision_step *step, int error,
			    const struct provision_facts *f)
{
	if (step->verb == STEP_COMMIT && f->hypervisor)
		return g_strdup(
			"this kernel takes the machine for a virtual one (CPU flag \"hypervisor\") and refuses to "
			"program CXL decoders there, because it cannot flush the CPUs' caches (\"failed to "
			"commit decode\", \"failed to synchronize CPU cache state\" in dmesg). Start the "
			"virtual machine without that flag (QEMU: -cpu …,-hypervisor).");
	if (step->verb == STEP_CREATE_REGION && (error == -ENOSPC || error == -ERANGE))
		return g_strdup_printf(
			"the CXL window %s has no free range of %" PRIu64
			" MiB. \"cxl list -R\" shows what is there; a smaller --size may fit.",
			f->window, mib(step->size));
	if (step->verb == STEP_RESERVE && (error == -EBUSY || error == -ENOSPC))
		return g_strdup_printf(
			"%s gives the memory of %s to nobody else: decoders are filled in their order, and "
			"another one is being set up or was left behind. \"cxl list -D -m %s\" shows "
			"them; \"cxl free-dpa %s\" releases what was left.",
			f->decoder, f->memdev, f->memdev, f->memdev);
	if (error == -EBUSY)
		return g_strdup_printf(
			"the kernel says that it is busy: something else works on the same decoders or devices. "
			"Wait for it and try again. %s",
			next_of_dmesg);
	return g_strdup_printf("the kernel refuses it (%s). %s", g_strerror(-error), next_of_dmesg);
}

static char *explain_memory(const struct provision_step *step, int error,
			    const struct provision_facts *f)
{
	if (step->verb == STEP_OFFLINE)
		return g_strdup_printf(
			"%u of %u memory blocks of node %d stay online (%s): %s. %s", f->online,
			f->blocks, f->node, g_strerror(-error),
			f->online_kernel > 0
				? "they are in a kernel zone, and the kernel itself has put things there that "
				  "cannot be moved"
				: "pages there are pinned (by DMA, RDMA or io_uring), or there is no room for "
				  "them elsewhere",
			f->online_kernel > 0
				? "End the programs that use the node (\"numastat -p\"), and try again; if that "
				  "does not help, only a reboot frees it. Online it with --zone movable next time."
				: "End the programs that use the node (\"numastat -p\" shows them), or free "
				  "memory on other nodes, and try again.");
	if (error == -ENOMEM)
		return g_strdup_printf(
			"there is no memory for the kernel's own page descriptors (1.6 %% of %s's size, taken "
			"from ordinary memory). Free some, and try again.",
			f->dax);
	return g_strdup_printf(
		"the kernel refuses it (%s). %s's range may hold no whole memory block, or the zone may not be "
		"possible there: /sys/devices/system/memory/memory*/valid_zones says which are.",
		g_strerror(-error), f->dax);
}

void plan_explain(const struct provision_step *step, int error, const struct provision_facts *f,
		  char ret_text[static HELPER_TEXT_MAX])
{
	g_autofree char *text = NULL;

	if (error == -ENODEV || error == -ENOENT) {
		text = g_strdup_printf(
			"the device with serial %#" PRIx64
			" or what was made of it is gone: it was removed meanwhile. \"cxl list -M\" "
			"shows the devices that are there.",
			f->serial);
	} else if (error == -EPERM || error == -EACCES || error == -EROFS) {
		text = g_strdup_printf(
			"morsel-helper may not write there (%s): its unit, a security module or a "
			"locked-down kernel forbids it.",
			g_strerror(-error));
	} else if (error == -ECANCELED) {
		text = g_strdup("cancelled");
	} else {
		switch (step->verb) {
		case STEP_ONLINE_MOVABLE:
		case STEP_ONLINE_KERNEL:
		case STEP_OFFLINE:
			text = explain_memory(step, error, f);
			break;
		case STEP_SET_DEVDAX:
		case STEP_SET_SYSTEM_RAM:
		case STEP_DISABLE_DAX:
			text = error == -EBUSY
				       ? g_strdup_printf(
						 "%s is in use: memory of it is online still, or a program has the "
						 "device open. Offline it, or end the program, and try again.",
						 f->dax)
				       : g_strdup_printf(
						 "the kernel refuses it (%s). \"dmesg | grep -e dax -e "
						 "kmem\" has its words.",
						 g_strerror(-error));
			break;
		case STEP_CREATE_SPACE:
		case STEP_DESTROY_SPACE:
			text = error == -EBUSY
				       ? g_strdup_printf(
						 "%s is in use: a file system or a program has it open.",
						 f->space[0] ? f->space : "the namespace")
				       : g_strdup_printf(
						 "the kernel refuses it (%s). \"ndctl list -RN\" shows what "
						 "is there, \"dmesg | grep -i -e nd_ -e nvdimm\" has its words.",
						 g_strerror(-error));
			break;
		default:
			text = explain_region(step, error, f);
		}
	}
	g_strlcpy(ret_text, text, HELPER_TEXT_MAX);
}
