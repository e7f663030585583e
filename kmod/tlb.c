// SPDX-License-Identifier: GPL-2.0-only
/*
 * TLB flushes. The kernel's own are not exported, so: bump the generation of the mm, interrupt the
 * CPUs in its mask, flush there all that is not global. A CPU that is not in the mask, or loads
 * the mm later, sees from the generation that its TLB is stale.
 */
#include <linux/smp.h>
#include <asm/cpufeature.h>
#include <asm/invpcid.h>
#include <asm/special_insns.h>
#include <asm/tlbflush.h>

#include "compat.h"
#include "internal.h"

/* The kernel's inline of this, inc_mm_tlb_gen(), is hidden from modules. */
static void bump(struct mm_struct *mm)
{
	atomic64_inc_return(&mm->context.tlb_gen);
}

int tlb_check(void)
{
	/* Under Xen's paravirtual mode page tables are the hypervisor's. */
	if (boot_cpu_has(X86_FEATURE_XENPV)) {
		pr_err("morsel: Xen PV guests have no page tables of their own\n");
		return -ENODEV;
	}
	return 0;
}

static void flush_here(void *mm)
{
	unsigned long cr4;

	morsel_leave_mm(mm);
	if (cpu_feature_enabled(X86_FEATURE_INVPCID)) {
		invpcid_flush_all_nonglobals();
		return;
	}
	/* Any change of PGE flushes all of the TLB. Interrupts are off. */
	cr4 = __read_cr4();
	asm volatile("mov %0, %%cr4" : : "r"(cr4 ^ X86_CR4_PGE) : "memory");
	asm volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
}

/* @mm: whose, or NULL. The mask may be that mm's own, and lose CPUs meanwhile. */
static void flush_cpus(const struct cpumask *cpus, struct mm_struct *mm)
{
	unsigned long flags;
	unsigned int here = get_cpu();

	atomic64_inc(&morsel_count.flushes);
	atomic64_add(cpumask_weight(cpus), &morsel_count.flush_cpus);
	if (cpumask_test_cpu(here, cpus)) {
		local_irq_save(flags);
		flush_here(mm);
		local_irq_restore(flags);
	}
	smp_call_function_many(cpus, flush_here, mm, true);
	put_cpu();
}

void tlb_flush_mm(struct mm_struct *mm)
{
	/* A full barrier: the mask is read after the page tables were changed. */
	bump(mm);
	flush_cpus(MORSEL_FLUSH_ALL_CPUS ? cpu_online_mask : mm_cpumask(mm), mm);
}

void tlb_flush_object(struct object *o)
{
	struct attach *a;

	lockdep_assert_held(&o->change);
	cpumask_clear(&o->cpus);
	spin_lock(&o->attach_lock);
	list_for_each_entry(a, &o->attaches, node) {
		bump(a->mm);
		cpumask_or(&o->cpus, &o->cpus, mm_cpumask(a->mm));
	}
	spin_unlock(&o->attach_lock);
	if (MORSEL_FLUSH_ALL_CPUS && !list_empty(&o->attaches))
		flush_cpus(cpu_online_mask, NULL);
	else if (!cpumask_empty(&o->cpus))
		flush_cpus(&o->cpus, NULL);
}
