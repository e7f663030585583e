// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>

#include "doctor.h"
#include "verbs.h"

static char *frames_here(const struct doctor_facts *f)
{
	return g_strdup_printf(module_is_chosen(&f->module)
				       ? "module: pools on %u node%s, made when wanted"
				       : "node: the kernel's allocator on %u node%s",
			       f->memory_nodes, f->memory_nodes == 1 ? "" : "s");
}

static char *map_here(const struct doctor_facts *f)
{
	return g_strdup(module_is_chosen(&f->module) ? "module: subtree linked"
						     : "node: mmap of the memfd");
}

static char *move_here(const struct doctor_facts *f)
{
	bool module = module_is_chosen(&f->module);

	if (f->memory_nodes < 2)
		return g_strdup_printf("%s: one node, nowhere to move to",
				       module ? "module" : "node");
	if (module)
		return g_strdup_printf("module: between pools of %u nodes", f->memory_nodes);
	return g_strdup_printf("node: between %u nodes%s", f->memory_nodes,
			       f->cap_sys_nice ? "" : "; not what others map (no CAP_SYS_NICE)");
}

static char *budgets_here(const struct doctor_facts *f)
{
	return g_strdup(
		module_is_chosen(&f->module)
			? "module: counted by cgroup and tier, and kept to Max of their policies"
			: "node: Max of policies is advisory");
}

static char *heat_here(const struct doctor_facts *f)
{
	if (module_is_chosen(&f->module))
		return g_strdup("module: where a cgroup has Migrate=on or dry-run");
	return g_strdup(f->damon ? "– (DAMON is there; this version does not read it)"
				 : "– (no DAMON in this kernel)");
}

static char *compaction_here(const struct doctor_facts *f)
{
	return g_strdup(module_is_chosen(&f->module) ? "– (this version does not ask for it)"
						     : "node: the kernel's own");
}

static char *none_here(const struct doctor_facts *f)
{
	return g_strdup("–");
}

static char *isolation_here(const struct doctor_facts *f)
{
	return g_strdup(module_is_chosen(&f->module) ? "module: per object descriptor"
						     : "node: per object descriptor (inode 0600)");
}

const struct verb verbs[] = {
	{ "frames", "LLFree pools on nodes or dax devices",
	  "the kernel's allocator, memfd with a shared policy", "LLFree in the pool's own state",
	  frames_here },
	{ "map", "subtree linked: O(1)", "mmap of the memfd", "mmap of extents", map_here },
	{ "live move", "any tier to any", "between NUMA nodes", "compaction inside the pool",
	  move_here },
	{ "budgets", "enforced at the frame (accounts)", "advisory", "size only", budgets_here },
	{ "heat", "accessed/dirty bits of shared tables", "not yet", "–", heat_here },
	{ "compaction", "yes", "the kernel's own", "yes", compaction_here },
	{ "zeroing", "yes", "no", "no", none_here },
	{ "file tier", "yes", "no", "no", none_here },
	{ "snapshot", "yes", "no", "no", none_here },
	{ "isolation", "per object descriptor", "per object descriptor (inode 0600)",
	  "one trust domain per pool", isolation_here },
};
const size_t n_verbs = G_N_ELEMENTS(verbs);
