// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies that survive a memory error. The kernel's copy_mc_to_kernel() copies bytes where the CPU says that these are as
 * fast as words: an emulated CPU says so, and is eight times slower. A machine check at an instruction with an
 * entry of this type goes on at the fixup; the tables of modules are searched like the kernel's own.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/extable_fixup_types.h>

#include "internal.h"

/*
 * Intel's before Ice Lake, the first with short string copies: some of them cannot recover inside of a string copy. The
 * kernel has a list, which is hidden from modules.
 */
static bool is_fragile(void)
{
	return boot_cpu_data.x86_vendor == X86_VENDOR_INTEL && !boot_cpu_has(X86_FEATURE_FSRM);
}

/* What could not be copied, in words. */
static unsigned long copy_words(void *to, const void *from, unsigned long words)
{
	asm volatile("1: rep movsq\n"
		     "2:\n" _ASM_EXTABLE_TYPE(1b, 2b, EX_TYPE_DEFAULT_MCE_SAFE)
		     : "+D"(to), "+S"(from), "+c"(words)
		     :
		     : "memory");
	return words;
}

#ifdef MORSEL_TEST_BUILD
/* From a page of which the second half is not there: that goes to the same fixup as a machine check. */
int copy_check(void)
{
	u8 *from = vmalloc(PAGE_SIZE), *to = kzalloc(PAGE_SIZE, GFP_KERNEL);
	unsigned long left = 0, half = PAGE_SIZE / 2 / sizeof(long);

	if (from && to) {
		memset(from, 0x5a, PAGE_SIZE);
		/* After it is a page that guards it. */
		left = copy_words(to, from + PAGE_SIZE / 2, 2 * half);
	}
	pr_info("morsel: of %lu words %lu were left\n", 2 * half, left);
	if (left == half && (to[PAGE_SIZE / 2 - 1] != 0x5a || to[PAGE_SIZE / 2]))
		left = 0;
	vfree(from);
	kfree(to);
	return left == half ? 0 : -EIO;
}
#endif

bool frame_copy(unsigned long to, unsigned long from)
{
	void *dst = page_address(pfn_to_page(to)), *src = page_address(pfn_to_page(from));

	if (PageHWPoison(pfn_to_page(from)))
		return false;
	return (is_fragile() ? copy_mc_to_kernel(dst, src, PAGE_SIZE)
			     : copy_words(dst, src, PAGE_SIZE / sizeof(long))) == 0;
}
