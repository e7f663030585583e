// SPDX-License-Identifier: GPL-2.0-only
/* /dev/morsel, the control descriptor: every call is checked here, or where its structure is used. */
#include <linux/file.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "internal.h"

int ioctl_copy_in(void *arg, size_t size, const void __user *from)
{
	u32 user_size;
	int r;

	if (get_user(user_size, (const u32 __user *)from))
		return -EFAULT;
	if (user_size > PAGE_SIZE)
		return -E2BIG;
	/* There is one version of every structure yet: this is the smallest. */
	if (user_size < size)
		return -EINVAL;
	r = copy_struct_from_user(arg, size, from, user_size);
	/* The caller's own copy may have changed meanwhile. */
	if (!r && *(u32 *)arg != user_size)
		r = -EINVAL;
	return r;
}

int ioctl_copy_out(void __user *to, const void *arg, size_t size)
{
	return copy_to_user(to, arg, size) ? -EFAULT : 0;
}

#define RESERVED_ZERO(arg) (!memchr_inv((arg)->reserved, 0, sizeof((arg)->reserved)))

static int hello(struct morsel_hello *arg)
{
	if (arg->version != MORSEL_UAPI_VERSION) {
		arg->version = MORSEL_UAPI_VERSION;
		return -EPROTONOSUPPORT;
	}
	arg->features = MORSEL_FEATURE_EXTENTS | MORSEL_FEATURE_PLACED;
#ifdef MORSEL_TEST_BUILD
	arg->features |= MORSEL_FEATURE_TEST;
#endif
	if (placement_can_be_asked())
		arg->features |= MORSEL_FEATURE_PLACEMENT;
	return 0;
}

static int stats(struct morsel_stats *arg)
{
	const struct morsel_counters *c = &morsel_count;

	if (arg->flags)
		return -EINVAL;
	arg->pools = atomic64_read(&c->pools);
	arg->accounts = atomic64_read(&c->accounts);
	arg->objects = atomic64_read(&c->objects);
	arg->descriptors = atomic64_read(&c->descriptors);
	arg->mappings = atomic64_read(&c->mappings);
	arg->tables = atomic64_read(&c->tables);
	arg->faults = atomic64_read(&c->faults);
	arg->links = atomic64_read(&c->links);
	arg->unlinks = atomic64_read(&c->unlinks);
	arg->flushes = atomic64_read(&c->flushes);
	arg->flush_cpus = atomic64_read(&c->flush_cpus);
	arg->moved_pages = atomic64_read(&c->moved);
	arg->move_busy = atomic64_read(&c->move_busy);
	arg->move_recopied = atomic64_read(&c->move_recopied);
	arg->quarantined = atomic64_read(&c->quarantined);
	arg->failures_injected = atomic64_read(&c->injected);
	arg->placement_calls = atomic64_read(&c->placement_calls);
	arg->placement_refused = atomic64_read(&c->placement_refused);
	return 0;
}

int ioctl_ranges(struct object *o, struct morsel_ranges *arg, bool populate)
{
	struct morsel_extent __user *from = u64_to_user_ptr(arg->ranges);
	struct morsel_extent range;
	u32 i;
	int r = 0;

	if (!RESERVED_ZERO(arg) || arg->count > MORSEL_MAX_BATCH)
		return -EINVAL;
	arg->bytes = 0;
	if (object_has_extents(o))
		return -EOPNOTSUPP;
	for (i = 0; i < arg->count && r >= 0; i++) {
		if (copy_from_user(&range, &from[i], sizeof(range)))
			return -EFAULT;
		r = object_check_range(o, range.offset, range.length);
		if (r < 0)
			break;
		r = populate ? object_populate(o, range.offset, range.length, &arg->bytes)
			     : object_evict(o, range.offset, range.length, &arg->bytes);
		/* Only once something was done: whoever calls again gets on, however many signals come. */
		if (r >= 0 && arg->bytes && i + 1 < arg->count && task_sigpending(current))
			r = -EINTR;
	}
	return r;
}

static int move(struct object *o, struct morsel_move *arg)
{
	u32 count = arg->count;

	if (!RESERVED_ZERO(arg) || count > MORSEL_MAX_BATCH)
		return -EINVAL;
	arg->count = 0;
	if (object_has_extents(o))
		return -EOPNOTSUPP;
	return object_move(o, u64_to_user_ptr(arg->ranges), count, &arg->count);
}

union argument {
	u32 size;
	struct morsel_hello hello;
	struct morsel_stats stats;
	struct morsel_pool_create pool_create;
	struct morsel_pool_stat pool_stat;
	struct morsel_pool_resize pool_resize;
	struct morsel_pool_offline pool_offline;
	struct morsel_id id;
	struct morsel_account_create account_create;
	struct morsel_account_limit account_limit;
	struct morsel_account_stat account_stat;
	struct morsel_object_create object_create;
	struct morsel_object_open object_open;
	struct morsel_object_list object_list;
	struct morsel_object_set object_set;
	struct morsel_object_stat object_stat;
	struct morsel_ranges ranges;
	struct morsel_move move;
	struct morsel_harvest harvest;
	struct morsel_residency residency;
};

/* Calls that name an object by its id. */
static int with_object(unsigned int nr, union argument *arg, u64 id)
{
	/* What is destroyed can still be asked after, until it is gone. */
	struct object *o = object_by_id(id, nr == _IOC_NR(MORSEL_IOC_OBJECT_STAT));
	int r;

	if (IS_ERR(o))
		return PTR_ERR(o);
	switch (nr) {
	case _IOC_NR(MORSEL_IOC_OBJECT_STAT):
		r = object_stat(o, &arg->object_stat, false);
		break;
	case _IOC_NR(MORSEL_IOC_POPULATE):
		r = ioctl_ranges(o, &arg->ranges, true);
		break;
	case _IOC_NR(MORSEL_IOC_EVICT):
		r = ioctl_ranges(o, &arg->ranges, false);
		break;
	case _IOC_NR(MORSEL_IOC_MOVE):
		r = move(o, &arg->move);
		break;
	case _IOC_NR(MORSEL_IOC_HARVEST):
		r = RESERVED_ZERO(&arg->harvest) ? object_harvest(o, &arg->harvest) : -EINVAL;
		break;
	default:
		r = RESERVED_ZERO(&arg->residency) ? object_residency(o, &arg->residency) : -EINVAL;
		break;
	}
	object_put(o);
	return r;
}

#define IF_RESERVED_ZERO(member, call) (RESERVED_ZERO(&arg->member) ? (call) : -EINVAL)

/* *ret_file: a descriptor to install when the caller has been told its number. */
static int dispatch(unsigned int nr, union argument *arg, struct file **ret_file, s32 *ret_fd)
{
	int r;

	switch (nr) {
	case _IOC_NR(MORSEL_IOC_HELLO):
		return IF_RESERVED_ZERO(hello, hello(&arg->hello));
	case _IOC_NR(MORSEL_IOC_STATS):
		return IF_RESERVED_ZERO(stats, stats(&arg->stats));
	case _IOC_NR(MORSEL_IOC_POOL_CREATE):
		if (arg->pool_create.flags)
			return -EINVAL;
		return IF_RESERVED_ZERO(pool_create, pool_create(&arg->pool_create));
	case _IOC_NR(MORSEL_IOC_POOL_DESTROY):
		return arg->id.flags ? -EINVAL : pool_destroy(min(arg->id.id, (u64)U32_MAX));
	case _IOC_NR(MORSEL_IOC_POOL_STAT):
		return IF_RESERVED_ZERO(pool_stat, pool_stat(&arg->pool_stat));
	case _IOC_NR(MORSEL_IOC_POOL_RESIZE):
		return IF_RESERVED_ZERO(pool_resize, pool_resize(&arg->pool_resize));
	case _IOC_NR(MORSEL_IOC_POOL_OFFLINE):
	case _IOC_NR(MORSEL_IOC_POOL_ONLINE):
		if (arg->pool_offline.pad)
			return -EINVAL;
		return IF_RESERVED_ZERO(pool_offline,
					pool_set_offline(&arg->pool_offline,
							 nr == _IOC_NR(MORSEL_IOC_POOL_OFFLINE)));
	case _IOC_NR(MORSEL_IOC_ACCOUNT_CREATE):
		if (arg->account_create.flags)
			return -EINVAL;
		return IF_RESERVED_ZERO(account_create, account_create(&arg->account_create));
	case _IOC_NR(MORSEL_IOC_ACCOUNT_DESTROY):
		return arg->id.flags ? -EINVAL : account_destroy(arg->id.id);
	case _IOC_NR(MORSEL_IOC_ACCOUNT_LIMIT):
		return IF_RESERVED_ZERO(account_limit, account_set_limit(&arg->account_limit));
	case _IOC_NR(MORSEL_IOC_ACCOUNT_STAT):
		if (arg->account_stat.flags & ~MORSEL_ACCOUNT_NEXT)
			return -EINVAL;
		return IF_RESERVED_ZERO(account_stat, account_stat(&arg->account_stat));
	case _IOC_NR(MORSEL_IOC_OBJECT_CREATE):
		if (arg->object_create.pad)
			return -EINVAL;
		r = IF_RESERVED_ZERO(object_create, object_create(&arg->object_create, ret_file));
		*ret_fd = arg->object_create.fd;
		return r;
	case _IOC_NR(MORSEL_IOC_OBJECT_OPEN):
		if (arg->object_open.pad)
			return -EINVAL;
		r = IF_RESERVED_ZERO(object_open, object_open(&arg->object_open, ret_file));
		*ret_fd = arg->object_open.fd;
		return r;
	case _IOC_NR(MORSEL_IOC_OBJECT_DESTROY):
		return arg->id.flags ? -EINVAL : object_destroy(arg->id.id);
	case _IOC_NR(MORSEL_IOC_OBJECT_LIST):
		return IF_RESERVED_ZERO(object_list, object_list(&arg->object_list));
	case _IOC_NR(MORSEL_IOC_OBJECT_SET):
		if (arg->object_set.flags & ~MORSEL_OBJECT_PLACED)
			return -EINVAL;
		return IF_RESERVED_ZERO(object_set, object_set(&arg->object_set));
	case _IOC_NR(MORSEL_IOC_OBJECT_STAT):
		return IF_RESERVED_ZERO(object_stat, with_object(nr, arg, arg->object_stat.id));
	case _IOC_NR(MORSEL_IOC_POPULATE):
	case _IOC_NR(MORSEL_IOC_EVICT):
		return with_object(nr, arg, arg->ranges.id);
	case _IOC_NR(MORSEL_IOC_MOVE):
		return with_object(nr, arg, arg->move.id);
	case _IOC_NR(MORSEL_IOC_HARVEST):
		return with_object(nr, arg, arg->harvest.id);
	case _IOC_NR(MORSEL_IOC_RESIDENCY):
		return with_object(nr, arg, arg->residency.id);
	}
	return -ENOTTY;
}

#define SIZE_OF(call, member) [_IOC_NR(call) - 0x40] = sizeof(((union argument *)NULL)->member)

static const u16 sizes[] = {
	SIZE_OF(MORSEL_IOC_HELLO, hello),
	SIZE_OF(MORSEL_IOC_STATS, stats),
	SIZE_OF(MORSEL_IOC_POOL_CREATE, pool_create),
	SIZE_OF(MORSEL_IOC_POOL_DESTROY, id),
	SIZE_OF(MORSEL_IOC_POOL_STAT, pool_stat),
	SIZE_OF(MORSEL_IOC_POOL_RESIZE, pool_resize),
	SIZE_OF(MORSEL_IOC_POOL_OFFLINE, pool_offline),
	SIZE_OF(MORSEL_IOC_POOL_ONLINE, pool_offline),
	SIZE_OF(MORSEL_IOC_ACCOUNT_CREATE, account_create),
	SIZE_OF(MORSEL_IOC_ACCOUNT_DESTROY, id),
	SIZE_OF(MORSEL_IOC_ACCOUNT_LIMIT, account_limit),
	SIZE_OF(MORSEL_IOC_ACCOUNT_STAT, account_stat),
	SIZE_OF(MORSEL_IOC_OBJECT_CREATE, object_create),
	SIZE_OF(MORSEL_IOC_OBJECT_OPEN, object_open),
	SIZE_OF(MORSEL_IOC_OBJECT_DESTROY, id),
	SIZE_OF(MORSEL_IOC_OBJECT_LIST, object_list),
	SIZE_OF(MORSEL_IOC_OBJECT_SET, object_set),
	SIZE_OF(MORSEL_IOC_OBJECT_STAT, object_stat),
	SIZE_OF(MORSEL_IOC_POPULATE, ranges),
	SIZE_OF(MORSEL_IOC_EVICT, ranges),
	SIZE_OF(MORSEL_IOC_MOVE, move),
	SIZE_OF(MORSEL_IOC_HARVEST, harvest),
	SIZE_OF(MORSEL_IOC_RESIDENCY, residency),
};

static long control_ioctl(struct file *file, unsigned int cmd, unsigned long user)
{
	void __user *at = (void __user *)user;
	unsigned int nr = _IOC_NR(cmd);
	struct file *new = NULL;
	union argument arg;
	int copied, r;
	s32 fd = -1;

	if (_IOC_TYPE(cmd) != 'M' || nr < 0x40 || nr - 0x40 >= ARRAY_SIZE(sizes))
		return -ENOTTY;
	r = ioctl_copy_in(&arg, sizes[nr - 0x40], at);
	if (r < 0)
		return r;
	r = dispatch(nr, &arg, &new, &fd);
	/* Out on failure too: counts of what was done. */
	copied = ioctl_copy_out(at, &arg, sizes[nr - 0x40]);
	/* Nobody will ever know its id. */
	if (copied < 0 && r >= 0 && nr == _IOC_NR(MORSEL_IOC_POOL_CREATE))
		pool_destroy(arg.pool_create.pool);
	if (new &&copied >= 0) {
		fd_install(fd, new);
	} else if (new) {
		put_unused_fd(fd);
		fput(new);
		if (nr == _IOC_NR(MORSEL_IOC_OBJECT_CREATE))
			object_destroy(arg.object_create.id);
	}
	return copied < 0 ? copied : r;
}

const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = pool_map_state,
	.llseek = noop_llseek,
};
