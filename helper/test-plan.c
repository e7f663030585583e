// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Plans, and carrying them out, on a model of a machine: it takes a step only when what the kernel wants of
 * it is there, so a plan in the wrong order fails; and it fails where it is told to, so that what is taken back can
 * be seen.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "execute.h"
#include "plan.h"

#define MIB (UINT64_C(1) << 20)
#define BLOCKS 2u

struct fake_machine {
	/* The state. */
	bool region, reserved, attached, committed, enabled, space;
	enum dax_state dax;
	unsigned int online, online_kernel;
	/* What it is. */
	bool pmem, binds_kmem, onlines_kernel;
	/* Where it fails: the n-th step (from 1), with that error; and with all of its undoing. */
	unsigned int fail_at, steps;
	int fail_error;
	bool half_done, undo_fails, stop;
	unsigned int stop_at;
	GString *log;
};

static bool has_dax(const struct fake_machine *m)
{
	return m->enabled && (!m->pmem || m->space);
}

static struct provision_facts facts_of(const struct fake_machine *m)
{
	struct provision_facts f = {
		.memdev = "mem0",
		.serial = 0xc0ffee01,
		.mode = m->pmem ? MODE_PMEM : MODE_RAM,
		.endpoint = true,
		.capacity = 1024 * MIB,
		.room = m->reserved ? 512 * MIB : 1024 * MIB,
		.can_create = true,
		.window = "decoder0.0",
		.window_room = 3072 * MIB,
		.decoder = "decoder2.0",
		.node = 3,
	};

	if (m->region) {
		strcpy(f.region, "region0");
		f.region_size = 512 * MIB;
		f.ways = 1;
		f.ours = true;
		f.committed = m->committed;
		f.enabled = m->enabled;
	}
	if (m->space) {
		strcpy(f.space, "namespace0.0");
		f.space_devdax = true;
	}
	if (has_dax(m)) {
		strcpy(f.dax, "dax0.0");
		f.dax_state = m->dax;
		f.dax_devices = 1;
	}
	if (m->dax == DAX_SYSTEM_RAM) {
		f.blocks = BLOCKS;
		f.online = m->online;
		f.online_kernel = m->online_kernel;
	}
	return f;
}

static struct provision_facts current;
static const struct provision_facts *on_facts(void *userdata)
{
	current = facts_of(userdata);
	return &current;
}

static bool on_stopped(void *userdata)
{
	const struct fake_machine *m = userdata;

	return m->stop && m->steps >= m->stop_at;
}

static void on_progress(void *userdata, const struct provision_step *step, unsigned int number,
			unsigned int total, bool undoing)
{
	g_assert_cmpuint(number, >=, 1);
	g_assert_cmpuint(number, <=, total);
}

static int want(bool condition)
{
	return condition ? 0 : -ENXIO;
}

/* A device that appears is bound by whichever driver is loaded. */
static void appear(struct fake_machine *m)
{
	if (!has_dax(m)) {
		m->dax = DAX_NONE;
		return;
	}
	m->dax = m->binds_kmem ? DAX_SYSTEM_RAM : DAX_DEVDAX;
	m->online = m->online_kernel = m->binds_kmem && m->onlines_kernel ? BLOCKS : 0;
}

static int bind(struct fake_machine *m, enum dax_state state)
{
	if (!has_dax(m))
		return -ENXIO;
	if (m->dax == state)
		return 0;
	m->online = m->online_kernel = 0;
	m->dax = state;
	if (state == DAX_SYSTEM_RAM && m->onlines_kernel)
		m->online = m->online_kernel = BLOCKS;
	return 0;
}

/* What the kernel does, and refuses. */
static int apply(struct fake_machine *m, enum provision_verb verb)
{
	int r = 0;

	switch (verb) {
	case STEP_CREATE_REGION:
		m->region = true;
		break;
	case STEP_DELETE_REGION:
		r = want(!m->attached && !m->committed && !m->enabled);
		m->region = r < 0 && m->region;
		break;
	case STEP_RESERVE:
		m->reserved = true;
		break;
	case STEP_RELEASE:
		r = want(!m->attached);
		m->reserved = r < 0 && m->reserved;
		break;
	case STEP_ATTACH:
		r = want(m->region && m->reserved);
		m->attached = r == 0;
		break;
	case STEP_DETACH:
		r = want(!m->committed);
		m->attached = r < 0 && m->attached;
		break;
	case STEP_COMMIT:
		r = want(m->attached);
		m->committed = r == 0;
		break;
	case STEP_RESET:
		r = want(!m->enabled);
		m->committed = r < 0 && m->committed;
		break;
	case STEP_ENABLE_REGION:
		r = want(m->committed);
		if (r == 0 && !m->enabled) {
			m->enabled = true;
			appear(m);
		}
		break;
	case STEP_DISABLE_REGION:
		r = want(m->online == 0 && !m->space);
		if (r == 0) {
			m->enabled = false;
			appear(m);
		}
		break;
	case STEP_CREATE_SPACE:
		r = want(m->pmem && m->enabled);
		if (r == 0 && !m->space) {
			m->space = true;
			appear(m);
		}
		break;
	case STEP_DESTROY_SPACE:
		r = want(m->online == 0);
		if (r == 0) {
			m->space = false;
			appear(m);
		}
		break;
	case STEP_SET_DEVDAX:
		r = bind(m, DAX_DEVDAX);
		break;
	case STEP_SET_SYSTEM_RAM:
		r = bind(m, DAX_SYSTEM_RAM);
		break;
	case STEP_DISABLE_DAX:
		r = want(m->online == 0);
		if (r == 0 && has_dax(m))
			m->dax = DAX_DISABLED;
		break;
	case STEP_ONLINE_MOVABLE:
	case STEP_ONLINE_KERNEL:
		r = want(m->dax == DAX_SYSTEM_RAM);
		if (r == 0) {
			m->online = BLOCKS;
			m->online_kernel = verb == STEP_ONLINE_KERNEL ? BLOCKS : 0;
		}
		break;
	case STEP_OFFLINE:
		m->online = m->online_kernel = 0;
		break;
	case STEP_NONE:
		g_assert_not_reached();
	}
	return r;
}

static int on_run(void *userdata, const struct provision_step *step,
		  char text[static HELPER_TEXT_MAX])
{
	struct fake_machine *m = userdata;
	int r;

	m->steps++;
	if (m->undo_fails && m->steps > m->fail_at && m->fail_at > 0)
		return -EIO;
	if (m->steps == m->fail_at) {
		/* Some of it may have come about. */
		if (m->half_done)
			(void)apply(m, step->verb);
		return m->fail_error;
	}
	r = apply(m, step->verb);
	/* An order that the kernel would not take is a fault of the plan. */
	if (r < 0)
		g_error("step %d cannot be done: region %d reserved %d attached %d committed %d "
			"enabled %d space %d dax %d online %u",
			step->verb, m->region, m->reserved, m->attached, m->committed, m->enabled,
			m->space, m->dax, m->online);
	return r;
}

static const struct execute_ops ops = {
	.run = on_run,
	.progress = on_progress,
	.stopped = on_stopped,
	.facts = on_facts,
};

static struct fake_machine empty(bool pmem)
{
	return (struct fake_machine){ .pmem = pmem };
}

static struct fake_machine full(bool pmem, enum dax_state dax, unsigned int kernel)
{
	return (struct fake_machine){
		.pmem = pmem,
		.region = true,
		.reserved = true,
		.attached = true,
		.committed = true,
		.enabled = true,
		.space = pmem,
		.dax = dax,
		.online = dax == DAX_SYSTEM_RAM ? BLOCKS : 0,
		.online_kernel = kernel,
	};
}

static struct provision_wish wish(enum provision_as as, enum provision_zone zone)
{
	return (struct provision_wish){ .select = SELECT_SERIAL,
					.serial = 0xc0ffee01,
					.as = as,
					.zone = zone,
					.flags = PROVISION_DROP_DATA };
}

static void same_state(const struct fake_machine *a, const struct fake_machine *b)
{
	g_assert_cmpint(a->region, ==, b->region);
	g_assert_cmpint(a->reserved, ==, b->reserved);
	g_assert_cmpint(a->attached, ==, b->attached);
	g_assert_cmpint(a->committed, ==, b->committed);
	g_assert_cmpint(a->enabled, ==, b->enabled);
	g_assert_cmpint(a->space, ==, b->space);
	g_assert_cmpint(a->dax, ==, b->dax);
	g_assert_cmpuint(a->online, ==, b->online);
	g_assert_cmpuint(a->online_kernel, ==, b->online_kernel);
}

static unsigned int plan_for(const struct fake_machine *m, const struct provision_wish *w, bool up,
			     struct provision_plan *ret_plan)
{
	struct provision_facts f = facts_of(m);
	char text[HELPER_TEXT_MAX];

	g_assert_cmpint(up ? plan_provision(&f, w, ret_plan, text)
			   : plan_unprovision(&f, w, ret_plan, text),
			==, 0);
	return ret_plan->n;
}

/* From each state, to each wish: it works, a second time there is nothing to do; a failure or a stop at each
 * step leaves the state as it was. */
static void check_all(struct fake_machine from, const struct provision_wish *w, bool up)
{
	char text[HELPER_TEXT_MAX];
	struct provision_plan plan;
	struct fake_machine m = from;
	unsigned int n = plan_for(&from, w, up, &plan);

	g_assert_cmpint(execute(&plan, &ops, &m, text), ==, 0);
	if (up) {
		g_assert_true(has_dax(&m));
		g_assert_cmpint(m.dax, ==, w->as == AS_DEVDAX ? DAX_DEVDAX : DAX_SYSTEM_RAM);
		g_assert_cmpuint(m.online, ==, w->as == AS_DEVDAX ? 0 : BLOCKS);
		g_assert_cmpuint(m.online_kernel, ==,
				 w->as == AS_SYSTEM_RAM && w->zone == ZONE_KERNEL ? BLOCKS : 0);
	} else {
		struct fake_machine nothing = empty(from.pmem);

		same_state(&m, &nothing);
	}
	m.steps = 0;
	g_assert_cmpuint(plan_for(&m, w, up, &plan), ==, 0);

	for (unsigned int i = 1; i <= n; i++)
		for (unsigned int half = 0; half < 2; half++) {
			g_assert_cmpuint(plan_for(&from, w, up, &plan), ==, n);
			m = from;
			m.fail_at = i;
			m.fail_error = i % 2 ? -EBUSY : -ENODEV;
			m.half_done = half;
			g_assert_cmpint(execute(&plan, &ops, &m, text), ==, m.fail_error);
			same_state(&m, &from);
			g_assert_true(g_str_has_prefix(text, "cannot "));
			g_assert_true(g_str_has_suffix(text, "Everything is as it was before."));
		}
	for (unsigned int i = 0; i < n; i++) {
		m = from;
		m.stop = true;
		m.stop_at = i;
		g_assert_cmpint(execute(&plan, &ops, &m, text), ==, -ECANCELED);
		same_state(&m, &from);
	}
}

static void test_ways(void)
{
	static const struct {
		enum provision_as as;
		enum provision_zone zone;
	} wishes[] = {
		{ AS_DEVDAX, ZONE_MOVABLE },
		{ AS_SYSTEM_RAM, ZONE_MOVABLE },
		{ AS_SYSTEM_RAM, ZONE_KERNEL },
	};

	for (int pmem = 0; pmem < 2; pmem++) {
		struct fake_machine states[] = {
			empty(pmem),
			full(pmem, DAX_DEVDAX, 0),
			full(pmem, DAX_SYSTEM_RAM, 0),
			full(pmem, DAX_SYSTEM_RAM, BLOCKS),
		};

		for (gsize s = 0; s < G_N_ELEMENTS(states); s++) {
			struct provision_wish down = wish(0, 0);

			if (s > 0)
				check_all(states[s], &down, false);
			for (gsize i = 0; i < G_N_ELEMENTS(wishes); i++) {
				struct provision_wish w = wish(wishes[i].as, wishes[i].zone);

				check_all(states[s], &w, true);
			}
		}
	}
}

/* The kernel binds new devices to kmem and onlines them itself: the steps make it so as wished all the same. */
static void test_kernel_was_first(void)
{
	for (int zone = ZONE_MOVABLE; zone < ZONE_MAX; zone++) {
		struct provision_wish w = wish(AS_SYSTEM_RAM, zone);
		struct provision_plan plan;
		struct fake_machine m = empty(false);
		char text[HELPER_TEXT_MAX];

		m.binds_kmem = m.onlines_kernel = true;
		plan_for(&m, &w, true, &plan);
		g_assert_cmpint(execute(&plan, &ops, &m, text), ==, 0);
		g_assert_cmpuint(m.online_kernel, ==, zone == ZONE_KERNEL ? BLOCKS : 0);
		w.as = AS_DEVDAX;
		w.zone = 0;
		plan_for(&m, &w, true, &plan);
		g_assert_cmpint(execute(&plan, &ops, &m, text), ==, 0);
		g_assert_cmpint(m.dax, ==, DAX_DEVDAX);
	}
}

/* What an interrupted run of ours left is removed first. */
static void test_remains(void)
{
	struct fake_machine m = empty(false);
	struct provision_wish w = wish(AS_DEVDAX, 0);
	struct provision_plan plan;
	char text[HELPER_TEXT_MAX];

	m.region = m.reserved = m.attached = true;
	g_assert_cmpuint(plan_for(&m, &w, true, &plan), ==, 3 + 5 + 1);
	g_assert_cmpint(execute(&plan, &ops, &m, text), ==, 0);
	g_assert_true(m.enabled);
	g_assert_cmpint(m.dax, ==, DAX_DEVDAX);

	m = empty(true);
	m.region = m.reserved = m.attached = m.committed = true;
	w.flags = 0;
	plan_for(&m, &w, false, &plan);
	g_assert_cmpint(execute(&plan, &ops, &m, text), ==, 0);
	g_assert_false(m.region || m.reserved);
}

/* Also what cannot be taken back is told. */
static void test_left(void)
{
	struct provision_wish w = wish(AS_DEVDAX, 0);
	struct fake_machine m = empty(false);
	struct provision_plan plan;
	char text[HELPER_TEXT_MAX];

	plan_for(&m, &w, true, &plan);
	m.fail_at = 4;
	m.fail_error = -EBUSY;
	m.undo_fails = true;
	g_assert_cmpint(execute(&plan, &ops, &m, text), ==, -EBUSY);
	g_assert_nonnull(strstr(text, "cannot commit region0 (program the decoders): "));
	g_assert_nonnull(strstr(text, "to reset the decoders of region0 failed too: "));
	g_assert_true(g_str_has_suffix(text, "\"tier unprovision\" removes what is left."));
}

static void refused(const struct provision_facts *f, const struct provision_wish *w, bool up,
		    int error, const char *part, const char *next)
{
	struct provision_plan plan = { .n = 99 };
	char text[HELPER_TEXT_MAX] = "";
	int r = up ? plan_provision(f, w, &plan, text) : plan_unprovision(f, w, &plan, text);

	if (r != error || !strstr(text, part) || !strstr(text, next))
		g_error("%d (not %d): %s\nwanted: %s … %s", r, error, text, part, next);
	g_assert_cmpuint(plan.n, ==, 99);
}

static void test_refusals(void)
{
	struct fake_machine none = empty(false), ram = full(false, DAX_DEVDAX, 0),
			    pmem = full(true, DAX_DEVDAX, 0);
	struct provision_wish w = wish(AS_DEVDAX, 0), careful = w;
	struct provision_facts f;
	struct provision_plan plan;
	char text[HELPER_TEXT_MAX];

	careful.flags = 0;

	f = facts_of(&ram);
	f.ours = false;
	refused(&f, &w, true, -EBUSY, "region0 on mem0 (serial 0xc0ffee01) was not made by morsel",
		"--force");
	refused(&f, &w, false, -EBUSY, "was not made by morsel", "cxl destroy-region");
	w.flags |= PROVISION_FORCE;
	g_assert_cmpint(plan_unprovision(&f, &w, &plan, text), ==, 0);
	w.flags &= ~(uint32_t)PROVISION_FORCE;

	f = facts_of(&ram);
	f.ways = 2;
	refused(&f, &w, false, -EOPNOTSUPP, "interleaved over 2 devices", "cxl and daxctl");
	f = facts_of(&ram);
	f.more_regions = 1;
	refused(&f, &w, true, -EBUSY, "2 regions use the ram memory", "cxl list -R -m mem0");
	f = facts_of(&ram);
	f.dax_devices = 2;
	refused(&f, &w, false, -EBUSY, "cut into 2 dax devices", "daxctl destroy-device");
	f = facts_of(&ram);
	w.size = 256 * MIB;
	refused(&f, &w, true, -EEXIST, "is there with 512 MiB", "unprovision it first");
	w.size = 0;

	f = facts_of(&ram);
	f.pool = true;
	refused(&f, &w, false, -EBUSY, "/dev/dax0.0 is a pool of the kernel module",
		"morselctl list");
	f = facts_of(&ram);
	f.holder = 42;
	strcpy(f.holder_name, "redis");
	refused(&f, &w, false, -EBUSY, "/dev/dax0.0 is in use: process 42 (redis)", "unmap");
	w.as = AS_SYSTEM_RAM;
	refused(&f, &w, true, -EBUSY, "process 42 (redis)", "End it");
	/* As it is, it may stay. */
	w.as = AS_DEVDAX;
	g_assert_cmpint(plan_provision(&f, &w, &plan, text), ==, 0);
	g_assert_cmpuint(plan.n, ==, 0);

	f = facts_of(&pmem);
	refused(&f, &careful, false, -EPERM, "namespace0.0 holds persistent data", "--drop-data");
	careful.as = AS_SYSTEM_RAM;
	refused(&f, &careful, true, -EPERM, "written over", "--drop-data");
	careful.as = AS_DEVDAX;
	f.space_devdax = false;
	refused(&f, &w, true, -EBUSY, "no devdax namespace", "ndctl destroy-namespace");

	f = facts_of(&none);
	f.can_create = false;
	refused(&f, &w, true, -EOPNOTSUPP, "libcxl that cannot create ram regions", "77");
	f = facts_of(&none);
	f.capacity = 0;
	refused(&f, &w, true, -ENODEV, "has no ram memory", "cxl list -M");
	f = facts_of(&none);
	f.endpoint = false;
	refused(&f, &w, true, -ENODEV, "has no endpoint", "cxl enable-memdev mem0");
	f = facts_of(&none);
	f.window[0] = 0;
	refused(&f, &w, true, -ENOSPC, "no CXL window", "firmware's setup");
	f = facts_of(&none);
	f.decoder[0] = 0;
	refused(&f, &w, true, -ENOSPC, "all decoders of mem0", "cxl list -R -m mem0");
	f = facts_of(&none);
	w.size = 300 * MIB;
	refused(&f, &w, true, -EINVAL, "a multiple of 256 MiB", "256 MiB is the next smaller size");
	w.size = 2048 * MIB;
	refused(&f, &w, true, -ENOSPC, "has 1024 MiB of 1024 MiB of its ram memory free, 2048",
		"cxl list -R");
	w.size = 0;
	f.room = 128 * MIB;
	refused(&f, &w, true, -ENOSPC, "has 128 MiB of 1024 MiB", "256 MiB are wanted");
	f = facts_of(&none);
	f.window_room = 256 * MIB;
	w.size = 512 * MIB;
	refused(&f, &w, true, -ENOSPC, "largest free range of the CXL window decoder0.0 is 256 MiB",
		"smaller --size");
	/* Without a size it is what fits. */
	w.size = 0;
	g_assert_cmpint(plan_provision(&f, &w, &plan, text), ==, 0);
	g_assert_cmpuint(plan.steps[0].size, ==, 256 * MIB);

	f.memdev[0] = 0;
	refused(&f, &w, true, -ENODEV, "serial 0xc0ffee01 is gone", "tier unprovision");
}

/* Without the device its region still goes, as far as there is something of it. */
static void test_gone(void)
{
	struct fake_machine ram = full(false, DAX_DEVDAX, 0);
	struct provision_wish w = wish(0, 0);
	struct provision_facts f = facts_of(&ram);
	struct provision_plan plan;
	char text[HELPER_TEXT_MAX];

	f.memdev[0] = 0;
	f.enabled = f.committed = false;
	f.dax_state = DAX_NONE;
	g_assert_cmpint(plan_unprovision(&f, &w, &plan, text), ==, 0);
	g_assert_cmpuint(plan.n, ==, 1);
	g_assert_cmpint(plan.steps[0].verb, ==, STEP_DELETE_REGION);
}

static void explained(enum provision_verb verb, int error, const struct provision_facts *f,
		      const char *part, const char *next)
{
	struct provision_step step = { .verb = verb, .size = 512 * MIB };
	char text[HELPER_TEXT_MAX];

	plan_explain(&step, error, f, text);
	if (!strstr(text, part) || !strstr(text, next))
		g_error("%s\nwanted: %s … %s", text, part, next);
}

static void test_explanations(void)
{
	struct fake_machine m = full(false, DAX_SYSTEM_RAM, BLOCKS);
	struct provision_facts f = facts_of(&m);
	char text[HELPER_TEXT_MAX];

	f.hypervisor = true;
	explained(STEP_COMMIT, -ENXIO, &f, "\"hypervisor\"", "-cpu …,-hypervisor");
	f.hypervisor = false;
	explained(STEP_COMMIT, -ENXIO, &f, "No such device", "dmesg");
	explained(STEP_CREATE_REGION, -ENOSPC, &f, "decoder0.0 has no free range of 512 MiB",
		  "--size");
	explained(STEP_RESERVE, -EBUSY, &f, "decoders are filled in their order", "cxl free-dpa");
	explained(STEP_ATTACH, -EBUSY, &f, "busy", "try again");
	explained(STEP_OFFLINE, -EBUSY, &f, "2 of 2 memory blocks of node 3 stay online", "reboot");
	f.online_kernel = 0;
	explained(STEP_OFFLINE, -EINTR, &f, "pinned", "numastat");
	explained(STEP_ONLINE_MOVABLE, -ENOMEM, &f, "page descriptors", "Free some");
	explained(STEP_ONLINE_KERNEL, -EINVAL, &f, "no whole memory block", "valid_zones");
	explained(STEP_DISABLE_DAX, -EBUSY, &f, "dax0.0 is in use", "try again");
	explained(STEP_SET_SYSTEM_RAM, -EIO, &f, "refuses", "dmesg");
	explained(STEP_CREATE_SPACE, -EBUSY, &f, "file system", "");
	explained(STEP_CREATE_SPACE, -EIO, &f, "refuses", "ndctl list");
	explained(STEP_RESET, -ENODEV, &f, "removed meanwhile", "cxl list -M");
	explained(STEP_RESET, -EACCES, &f, "may not write", "security module");
	/* The two zones differ in what they cost, and that is said before. */
	plan_describe(&(struct provision_step){ .verb = STEP_ONLINE_MOVABLE }, &f, text);
	g_assert_nonnull(strstr(text, "module pools cannot use it"));
	plan_describe(&(struct provision_step){ .verb = STEP_ONLINE_KERNEL }, &f, text);
	g_assert_nonnull(strstr(text, "may not go offline before a reboot"));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/plan/ways", test_ways);
	g_test_add_func("/plan/kernel-was-first", test_kernel_was_first);
	g_test_add_func("/plan/remains", test_remains);
	g_test_add_func("/plan/left", test_left);
	g_test_add_func("/plan/refusals", test_refusals);
	g_test_add_func("/plan/gone", test_gone);
	g_test_add_func("/plan/explanations", test_explanations);
	return g_test_run();
}
