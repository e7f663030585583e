// SPDX-License-Identifier: GPL-2.0-only
/* /dev/morsel, the control descriptor. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "core.h"
#include "version.h"

static int morsel_control_open(struct inode *inode, struct file *file)
{
	return 0;
}

static int morsel_control_release(struct inode *inode, struct file *file)
{
	return 0;
}

static const struct file_operations morsel_control_fops = {
	.owner = THIS_MODULE,
	.open = morsel_control_open,
	.release = morsel_control_release,
	.llseek = noop_llseek,
};

static struct miscdevice morsel_control_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "morsel",
	.fops = &morsel_control_fops,
	.mode = 0600,
};
module_misc_device(morsel_control_device);

MODULE_DESCRIPTION("Memory objects across HBM, DRAM, CXL and NVM");
MODULE_AUTHOR("morsel developers <morsel@parperos.org>");
MODULE_VERSION(MORSEL_VERSION);
MODULE_LICENSE("GPL");
