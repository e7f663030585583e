// SPDX-License-Identifier: GPL-2.0-only
/* Loading and unloading. Every pool, account and object holds the module: nothing is left at the end. */
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "internal.h"
#include "version.h"

DEFINE_MUTEX(morsel_lock);
struct morsel_counters morsel_count;

#ifdef MORSEL_TEST_BUILD
static uint fail_every;
module_param(fail_every, uint, 0600);
MODULE_PARM_DESC(fail_every, "test builds: every Nth allocation fails (0: none)");

static atomic_t fail_at;
module_param_named(fail_at, fail_at.counter, int, 0600);
MODULE_PARM_DESC(fail_at,
		 "test builds: the Nth allocation from now fails, once (0: none, or it did)");

/* So that a test can say which allocations it saw fail. */
static char fail_site[64];
module_param_string(fail_site, fail_site, sizeof(fail_site), 0400);
MODULE_PARM_DESC(fail_site, "test builds: the function whose allocation failed last by fail_at");

bool morsel_inject(void)
{
	static atomic_t calls;
	uint n = READ_ONCE(fail_every);

	if (unlikely(atomic_read(&fail_at) > 0) && atomic_dec_if_positive(&fail_at) == 0)
		snprintf(fail_site, sizeof(fail_site), "%ps", __builtin_return_address(0));
	else if (!n || (uint)atomic_inc_return(&calls) % n)
		return false;
	atomic64_inc(&morsel_count.injected);
	return true;
}
#endif

static struct miscdevice control_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "morsel",
	.fops = &control_fops,
	.mode = 0600,
};

static int __init morsel_init(void)
{
	int r = tlb_check();

	if (r >= 0)
		r = copy_check();
	if (r < 0)
		return r;
	placement_register();
	return misc_register(&control_device);
}

static void __exit morsel_exit(void)
{
	misc_deregister(&control_device);
	extents_exit();
	/* Tables wait for walkers that may still be in them. */
	rcu_barrier();
}

module_init(morsel_init);
module_exit(morsel_exit);

MODULE_DESCRIPTION("Memory objects across HBM, DRAM, CXL and NVM");
MODULE_AUTHOR("morsel developers <morsel@parperos.org>");
MODULE_VERSION(MORSEL_VERSION);
MODULE_LICENSE("GPL");
