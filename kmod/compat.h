/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between the kernels that this builds on: 6.8 and later. All of it, and nothing else. */
#ifndef MORSEL_KMOD_COMPAT_H
#define MORSEL_KMOD_COMPAT_H

#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#error "morsel needs Linux 6.8: older ones do not export anon_inode_create_getfile(), a file with an inode of its own"
#endif
#if !defined(CONFIG_X86_64)
#error "morsel runs on x86-64 only yet: tlb.c has what other processors need"
#endif

/*
 * 6.14: the common part is a function of its own. 6.16: the constructor compares with init_mm, which is not
 * exported; these tables are of no mm.
 */
static inline bool morsel_pte_ctor(struct ptdesc *table)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	if (!ptlock_init(table))
		return false;
	__pagetable_ctor(table);
	return true;
#else
	return pagetable_pte_ctor(table);
#endif
}

/* 6.14: one destructor for all levels. */
static inline void morsel_pte_dtor(struct ptdesc *table)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	pagetable_dtor(table);
#else
	pagetable_pte_dtor(table);
#endif
}

/* The same for page middle directories. */
static inline bool morsel_pmd_ctor(struct ptdesc *table)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	if (!pmd_ptlock_init(table))
		return false;
	ptdesc_pmd_pts_init(table);
	__pagetable_ctor(table);
	return true;
#else
	return pagetable_pmd_ctor(table);
#endif
}

static inline void morsel_pmd_dtor(struct ptdesc *table)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	pagetable_dtor(table);
#else
	pagetable_pmd_dtor(table);
#endif
}

/*
 * 6.12: a change of protection (userfaultfd's) calls notifiers before it takes a pointer into the page middle directory.
 * Where it has one already it would go on in the object's, which the notifier can only take away above.
 */
#define MORSEL_LINK_GIBS (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0))

/* 6.9: modules may define struct_ops. 6.11: reg, unreg and update know of the link. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0) && defined(CONFIG_BPF_SYSCALL) && \
	defined(CONFIG_BPF_JIT) && defined(CONFIG_DEBUG_INFO_BTF_MODULES)
#define MORSEL_HAVE_STRUCT_OPS
#define MORSEL_PROG_SLEEPS(prog) ((prog)->sleepable)
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define MORSEL_STRUCT_OPS_ARGS(...) __VA_ARGS__, struct bpf_link *link
#else
#define MORSEL_STRUCT_OPS_ARGS(...) __VA_ARGS__
#endif
#endif

/*
 * 6.15: with INVLPGB the kernel gives mms that run on many CPUs an ASID that is the same on all, flushes it on all at
 * once, and looks at neither the generation nor the mask of CPUs. A flush must then reach all CPUs.
 */
#ifdef CONFIG_BROADCAST_TLB_FLUSH
#define MORSEL_FLUSH_ALL_CPUS cpu_feature_enabled(X86_FEATURE_INVLPGB)
#else
#define MORSEL_FLUSH_ALL_CPUS false
#endif

/* 6.14: the dmem controller, where the kernel is configured with it. 7.3: a structure tells of a region. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
#include <linux/cgroup_dmem.h>
static inline struct dmem_cgroup_region *morsel_dmem_region(u64 bytes, u32 pool)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
	const struct dmem_cgroup_init init = { .size = bytes };

	return dmem_cgroup_register_region(&init, "morsel/%u", pool);
#else
	return dmem_cgroup_register_region(bytes, "morsel/%u", pool);
#endif
}
#else
struct dmem_cgroup_region;
struct dmem_cgroup_pool_state;
static inline struct dmem_cgroup_region *morsel_dmem_region(u64 bytes, u32 pool)
{
	return NULL;
}
static inline int dmem_cgroup_try_charge(struct dmem_cgroup_region *region, u64 bytes,
					 struct dmem_cgroup_pool_state **ret,
					 struct dmem_cgroup_pool_state **ret_limit)
{
	return 0;
}
static inline void dmem_cgroup_uncharge(struct dmem_cgroup_pool_state *charged, u64 bytes)
{
}
static inline void dmem_cgroup_unregister_region(struct dmem_cgroup_region *region)
{
}
#endif

/*
 * References of a page, those of mappings of its dax device left out: they are counted since 6.15, and who owns the device
 * may map it at any time.
 */
static inline int morsel_page_refs(struct page *head)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
	if (is_zone_device_page(head))
		return page_ref_count(head) - folio_mapcount(page_folio(head));
#endif
	return page_ref_count(head);
}

/*
 * 6.14: a CPU stays in the mask of an mm that it has left, until a flush of the kernel's finds it there. So does this: on the CPU
 * itself, with interrupts off, when another mm is loaded. It comes back into the mask before it loads the mm again.
 */
static inline void morsel_leave_mm(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	if (mm && current->active_mm != mm)
		cpumask_clear_cpu(smp_processor_id(), mm_cpumask(mm));
#endif
}

/* 6.18: no hint any more. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define morsel_get_dev_pagemap(pfn) get_dev_pagemap(pfn)
#else
#define morsel_get_dev_pagemap(pfn) get_dev_pagemap(pfn, NULL)
#endif

#endif
