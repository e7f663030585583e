// SPDX-License-Identifier: GPL-2.0-only
/* Objects: ids, descriptors, placement. */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "internal.h"

static DEFINE_XARRAY(objects);
static u64 last_id;

/* ---- placement: with morsel_lock held ---- */

static int placement_take(const struct morsel_placement *arg, struct placement *ret)
{
	struct placement p = {};
	unsigned int i, j;

	for (i = 0; i < MORSEL_MAX_TIERS && arg->pools[i]; i++) {
		p.pool[i] = pool_find(arg->pools[i]);
		if (!p.pool[i])
			return -ENOENT;
		if (pool_is_extents(p.pool[i]))
			return -EOPNOTSUPP;
		for (j = 0; j < i; j++)
			if (p.pool[j] == p.pool[i])
				return -EINVAL;
		if (arg->weights[i] > 1000)
			return -EINVAL;
		p.weight[i] = arg->weights[i];
		p.weights += arg->weights[i];
	}
	p.n = i;
	if (!p.n)
		return -EINVAL;
	for (; i < MORSEL_MAX_TIERS; i++)
		if (arg->pools[i] || arg->weights[i])
			return -EINVAL;
	for (i = 0; i < p.n; i++)
		p.pool[i]->users++;
	*ret = p;
	return 0;
}

/* The pool of an object's extents is held in the same way. */
static int extents_pool_take(u32 id, struct placement *ret)
{
	struct pool *p = pool_find(id);

	if (!p)
		return -ENOENT;
	if (!pool_is_extents(p))
		return -EOPNOTSUPP;
	p->users++;
	*ret = (struct placement){ .n = 1, .pool = { p } };
	return 0;
}

static void placement_drop(struct placement *p)
{
	while (p->n > 0)
		p->pool[--p->n]->users--;
}

/* ---- life ---- */

static void object_free(struct object *o)
{
	if (object_has_extents(o))
		extents_empty(o);
	else
		object_empty(o);
	directories_free(o);
	mutex_lock(&morsel_lock);
	if (o->id && xa_load(&objects, o->id) == o)
		xa_erase(&objects, o->id);
	placement_drop(&o->placement);
	if (o->account)
		atomic64_dec(&o->account->objects);
	account_put(o->account);
	mutex_unlock(&morsel_lock);
	if (o->inode)
		iput(o->inode);
	kvfree(o);
	atomic64_dec(&morsel_count.objects);
	module_put(THIS_MODULE);
}

void object_put(struct object *o)
{
	if (refcount_dec_not_one(&o->refs))
		return;
	/* The last one: no mapping is left, so that nothing can be pinned that is not pinned now. */
	if (object_has_extents(o) && READ_ONCE(o->destroyed) && extents_linger(o))
		return;
	if (refcount_dec_and_test(&o->refs))
		object_free(o);
}

struct object *object_by_id(u64 id, bool destroyed)
{
	struct object *o;

	if (destroyed)
		extents_look();
	mutex_lock(&morsel_lock);
	o = id ? xa_load(&objects, id) : NULL;
	if (o && ((o->destroyed && !destroyed) || !refcount_inc_not_zero(&o->refs)))
		o = NULL;
	mutex_unlock(&morsel_lock);
	return o ?: ERR_PTR(-ENOENT);
}

static int object_release(struct inode *inode, struct file *file)
{
	atomic64_dec(&morsel_count.descriptors);
	object_put(file->private_data);
	return 0;
}

/* A new file of the object; it has a reference. */
static struct file *object_file(struct object *o, bool rdonly)
{
	struct file *file;

	if (morsel_inject())
		return ERR_PTR(-ENOMEM);
	/* A private inode: one of all anonymous files cannot be told apart in i_mmap. */
	file = anon_inode_create_getfile("[morsel]", &object_fops, o,
					 (rdonly ? O_RDONLY : O_RDWR) | O_CLOEXEC, NULL);
	if (IS_ERR(file))
		return file;
	refcount_inc(&o->refs);
	atomic64_inc(&morsel_count.descriptors);
	if (!o->inode) {
		o->inode = file_inode(file);
		ihold(o->inode);
	}
	/* All mappings hang off one inode, so that unmap_mapping_range() finds them. */
	file->f_mapping = o->inode->i_mapping;
	return file;
}

static int install(struct file *file, s32 *ret_fd)
{
	int fd = morsel_inject() ? -EMFILE : get_unused_fd_flags(O_CLOEXEC);

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	fput(file);
	return fd;
}

static int check_create(const struct morsel_object_create *arg)
{
	bool extents = arg->flags & MORSEL_OBJECT_EXTENTS;

	if (extents ? arg->flags != MORSEL_OBJECT_EXTENTS ||
			      arg->extents_count > MORSEL_MAX_EXTENTS ||
			      memchr_inv(&arg->placement, 0, sizeof(arg->placement))
		    : arg->extents || arg->extents_count || arg->extents_pool)
		return -EINVAL;
	if (arg->flags & ~(MORSEL_OBJECT_HUGE | MORSEL_OBJECT_EXTENTS | MORSEL_OBJECT_PLACED) ||
	    !arg->bytes || !PAGE_ALIGNED(arg->bytes) || arg->bytes > MORSEL_MAX_OBJECT_SIZE)
		return -EINVAL;
	return 0;
}

/* With morsel_lock held. */
static int object_enter(struct object *o, u64 id)
{
	int r;

	if (morsel_inject())
		return -ENOMEM;
	if (id) {
		o->id = id;
		r = xa_insert(&objects, id, o, GFP_KERNEL);
		return r == -EBUSY ? -EEXIST : r;
	}
	do {
		o->id = ++last_id;
		r = xa_insert(&objects, o->id, o, GFP_KERNEL);
	} while (r == -EBUSY);
	return r;
}

/* With what lies behind its granules. */
static size_t object_size(unsigned long granules)
{
	return struct_size_t(struct object, granule, granules) +
	       granules / GIB_GRANULES * sizeof(struct gib);
}

int object_create(struct morsel_object_create *arg, struct file **ret_file)
{
	unsigned long granules = DIV_ROUND_UP_ULL(arg->bytes, MORSEL_GRANULE);
	struct file *file;
	struct object *o;
	int r;

	r = check_create(arg);
	if (r < 0)
		return r;
	o = morsel_inject() ? NULL : kvzalloc(object_size(granules), GFP_KERNEL_ACCOUNT);
	if (!o)
		return -ENOMEM;
	o->bytes = arg->bytes;
	o->flags = arg->flags;
	o->granules = granules;
	o->gibs = granules / GIB_GRANULES;
	o->gib = (struct gib *)&o->granule[granules];
	refcount_set(&o->refs, 1);
	mutex_init(&o->change);
	init_rwsem(&o->frames);
	spin_lock_init(&o->attach_lock);
	INIT_LIST_HEAD(&o->attaches);
	INIT_LIST_HEAD(&o->linger);
	__module_get(THIS_MODULE);
	atomic64_inc(&morsel_count.objects);

	mutex_lock(&morsel_lock);
	r = object_has_extents(o) ? extents_pool_take(arg->extents_pool, &o->placement)
				  : placement_take(&arg->placement, &o->placement);
	if (r >= 0 && arg->account) {
		o->account = account_find(arg->account);
		if (o->account)
			atomic64_inc(&o->account->objects);
		else
			r = -ENOENT;
	}
	if (r >= 0 && object_has_extents(o)) {
		mutex_unlock(&morsel_lock);
		r = extents_fill(o, arg);
		mutex_lock(&morsel_lock);
	}
	if (r >= 0) {
		file = object_file(o, false);
		r = IS_ERR(file) ? PTR_ERR(file) : install(file, &arg->fd);
	}
	if (r >= 0) {
		r = object_enter(o, arg->id);
		if (r < 0) {
			put_unused_fd(arg->fd);
			fput(file);
		}
	}
	mutex_unlock(&morsel_lock);
	if (r < 0) {
		object_put(o);
		return r;
	}
	arg->id = o->id;
	*ret_file = file;
	return 0;
}

int object_open(struct morsel_object_open *arg, struct file **ret_file)
{
	struct object *o;
	struct file *file;
	int r;

	if (arg->flags & ~MORSEL_OPEN_RDONLY)
		return -EINVAL;
	o = object_by_id(arg->id, false);
	if (IS_ERR(o))
		return PTR_ERR(o);
	file = object_file(o, arg->flags & MORSEL_OPEN_RDONLY);
	object_put(o);
	if (IS_ERR(file))
		return PTR_ERR(file);
	r = install(file, &arg->fd);
	if (r >= 0)
		*ret_file = file;
	return r;
}

int object_destroy(u64 id)
{
	struct object *o;

	mutex_lock(&morsel_lock);
	o = id ? xa_load(&objects, id) : NULL;
	if (!o || o->destroyed) {
		mutex_unlock(&morsel_lock);
		return -ENOENT;
	}
	o->destroyed = true;
	mutex_unlock(&morsel_lock);
	object_put(o);
	return 0;
}

int object_list(struct morsel_object_list *arg)
{
	u64 __user *to = u64_to_user_ptr(arg->ids);
	unsigned long id = arg->after;
	struct object *o;
	u32 n = 0;
	int r = 0;

	mutex_lock(&morsel_lock);
	xa_for_each_start(&objects, id, o, id + 1) {
		if (n == arg->count || arg->after == U64_MAX)
			break;
		if (o->destroyed)
			continue;
		r = put_user((u64)id, to + n);
		if (r < 0)
			break;
		n++;
		cond_resched();
	}
	mutex_unlock(&morsel_lock);
	arg->count = n;
	return r;
}

int object_set(const struct morsel_object_set *arg)
{
	struct placement p;
	struct object *o;
	int r;

	o = object_by_id(arg->id, false);
	if (IS_ERR(o))
		return PTR_ERR(o);
	mutex_lock(&morsel_lock);
	r = object_has_extents(o) ? -EOPNOTSUPP : placement_take(&arg->placement, &p);
	if (r >= 0) {
		down_write(&o->frames);
		swap(p, o->placement);
		WRITE_ONCE(o->flags, o->flags | arg->flags);
		up_write(&o->frames);
		placement_drop(&p);
	}
	mutex_unlock(&morsel_lock);
	object_put(o);
	return r;
}

int object_stat(struct object *o, struct morsel_object_stat *arg, bool rdonly)
{
	unsigned int i;

	arg->flags = o->flags | (rdonly ? MORSEL_STAT_RDONLY : 0) |
		     (READ_ONCE(o->destroyed) ? MORSEL_STAT_DESTROYED : 0);
	arg->id = o->id;
	arg->bytes = o->bytes;
	arg->account = o->account ? o->account->id : 0;
	arg->used_bytes = (u64)atomic64_read(&o->used) << PAGE_SHIFT;
	arg->table_bytes =
		((u64)atomic64_read(&o->tables) << PAGE_SHIFT) + object_size(o->granules);
	for (i = 0; i <= MORSEL_MAX_POOLS; i++)
		arg->pool_bytes[i] = (u64)atomic64_read(&o->in_pool[i]) << PAGE_SHIFT;
	arg->faults = atomic64_read(&o->faults);
	arg->links = atomic64_read(&o->links);
	arg->mappings = atomic64_read(&o->mappings);
	arg->huge_bytes = (u64)atomic64_read(&o->leaves) << GRANULE_SHIFT;
	return 0;
}

int object_check_range(const struct object *o, u64 offset, u64 length)
{
	if (!length || !PAGE_ALIGNED(offset) || !PAGE_ALIGNED(length))
		return -EINVAL;
	if (offset >= o->bytes || length > o->bytes - offset)
		return -ERANGE;
	return 0;
}

static long object_ioctl(struct file *file, unsigned int cmd, unsigned long user)
{
	struct object *o = file->private_data;
	void __user *at = (void __user *)user;
	bool rdonly = !(file->f_mode & FMODE_WRITE);
	struct morsel_object_stat stat;
	struct morsel_ranges ranges;
	int r;

	switch (_IOC_TYPE(cmd) == 'M' ? _IOC_NR(cmd) : 0) {
	case _IOC_NR(MORSEL_IOC_OBJECT_STAT):
		r = ioctl_copy_in(&stat, sizeof(stat), at);
		if (r >= 0)
			r = object_stat(o, &stat, rdonly);
		return r < 0 ? r : ioctl_copy_out(at, &stat, sizeof(stat));
	case _IOC_NR(MORSEL_IOC_POPULATE):
	case _IOC_NR(MORSEL_IOC_EVICT):
		if (rdonly)
			return -EACCES;
		r = ioctl_copy_in(&ranges, sizeof(ranges), at);
		if (r < 0)
			return r;
		if (ranges.id)
			return -EINVAL;
		r = ioctl_ranges(o, &ranges, _IOC_NR(cmd) == _IOC_NR(MORSEL_IOC_POPULATE));
		return ioctl_copy_out(at, &ranges, sizeof(ranges)) ?: r;
	default:
		return -ENOTTY;
	}
}

const struct file_operations object_fops = {
	.owner = THIS_MODULE,
	.release = object_release,
	.mmap = object_mmap,
	.get_unmapped_area = object_get_area,
	.unlocked_ioctl = object_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};
