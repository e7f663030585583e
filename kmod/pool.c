// SPDX-License-Identifier: GPL-2.0-only
/* Pools: which memory they have, and how they grow and shrink. */
#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "internal.h"

static struct pool *pools[MORSEL_MAX_POOLS + 1];
/*
 * A pool that is found under it stays until it is unlocked. Inside of mmap_lock, where morsel_lock must not be: user memory
 * is touched under that.
 */
static DEFINE_MUTEX(state_lock);

struct pool *pool_find(u32 id)
{
	return id && id <= MORSEL_MAX_POOLS ? pools[id] : NULL;
}

/*
 * With grow held: give back up to @count blocks that are wholly free, from the end. How many. Bad ones
 * are kept out of use by keeping them, until the pool ends.
 */
static u64 shrink(struct pool *p, u64 count, bool bad_too)
{
	struct llfree_huge_state state;
	u64 huge, done = 0;

	if (pool_is_extents(p)) {
		/* Nobody uses it, or it is not made yet. */
		for (huge = 0; huge < p->huge; huge++)
			if (p->block[huge])
				block_release(p, huge);
		return p->huge;
	}
	for (huge = p->huge; huge-- > 0 && done < count;) {
		if (!p->block[huge])
			continue;
		/* Offline by the operator, or bad: what is in use stays in use, so look. */
		if (llfree_huge_state(&p->llfree, huge, &state) < 0 || (state.bad && !bad_too))
			continue;
		if (test_bit(huge, p->offline) || state.bad
			    ? state.free < GRANULE_PAGES
			    : llfree_offline(&p->llfree, huge, 1, 0) < 0)
			continue;
		block_release(p, huge);
		done++;
		cond_resched();
	}
	return done;
}

static int add_anywhere(struct pool *p, gfp_t kind, u64 *ret_huge)
{
	u64 huge;

	/* What the operator took out of use is not replaced by what is put in its place. */
	for (huge = 0; huge < p->huge; huge++)
		if (!p->block[huge] && !test_bit(huge, p->offline)) {
			*ret_huge = huge;
			return block_add(p, huge, kind);
		}
	return -ENOSPC;
}

int pool_grow(struct pool *p, long seen)
{
	u64 huge;
	int r = 0;

	if (p->kind != MORSEL_POOL_NODE)
		return -ENOSPC; /* all of it is there from the start */
	mutex_lock(&p->grow);
	/* Somebody else may have done it. */
	if (atomic_long_read(&p->blocks) <= seen)
		r = add_anywhere(p, 0, &huge);
	mutex_unlock(&p->grow);
	return r;
}

int pool_grow_compound(struct pool *p, u64 *ret_frame)
{
	struct llfree_request request = { .order = LLFREE_HUGE_ORDER };
	u64 huge;
	int r;

	r = add_anywhere(p, __GFP_COMP, &huge);
	if (r < 0)
		return r;
	*ret_frame = huge << 9;
	/* Who else finds frames of it gives them back at once: frame_get(). */
	while (llfree_get_at(&p->llfree, *ret_frame, request) == LLFREE_EBUSY) {
		llfree_drain(&p->llfree, LLFREE_ALL_SLOTS);
		schedule_timeout_uninterruptible(1);
	}
	return 0;
}

static unsigned long shrinker_count(struct shrinker *s, struct shrink_control *c)
{
	struct pool *p = s->private_data;
	struct llfree_stats stats;

	if (p->kind != MORSEL_POOL_NODE || c->nid != p->node ||
	    llfree_stats_fast(&p->llfree, &stats) < 0)
		return 0;
	return stats.free_huge * GRANULE_PAGES ?: SHRINK_EMPTY;
}

static unsigned long shrinker_scan(struct shrinker *s, struct shrink_control *c)
{
	struct pool *p = s->private_data;
	u64 done;

	/* Reclaim may run inside of our own allocation. */
	if (!mutex_trylock(&p->grow))
		return SHRINK_STOP;
	done = shrink(p, DIV_ROUND_UP(c->nr_to_scan, GRANULE_PAGES), false);
	mutex_unlock(&p->grow);
	return done ? done * GRANULE_PAGES : SHRINK_STOP;
}

static void look(struct work_struct *work)
{
	frame_quarantine_look(container_of(to_delayed_work(work), struct pool, look));
}

/*
 * All of the pool, for the creator's cgroup: only that of the running process can be charged, and frames are filled and
 * moved by whoever comes along.
 */
static int charge_dmem(struct pool *p)
{
	u64 bytes = p->huge << GRANULE_SHIFT;
	struct dmem_cgroup_region *region = morsel_dmem_region(bytes, p->id);
	int r;

	if (IS_ERR_OR_NULL(region))
		return PTR_ERR_OR_ZERO(region);
	p->dmem = region;
	r = dmem_cgroup_try_charge(region, bytes, &p->charged, NULL);
	return r == -EAGAIN ? -EDQUOT : r;
}

static void pool_free(struct pool *p)
{
	dmem_cgroup_uncharge(p->charged, p->huge << GRANULE_SHIFT);
	dmem_cgroup_unregister_region(p->dmem);
	if (p->shrinker)
		shrinker_free(p->shrinker);
	cancel_delayed_work_sync(&p->look);
	dax_release(p);
	kvfree(p->block);
	bitmap_free(p->offline);
	vfree(p->lower);
	vfree(p->upper);
	kfree(p);
}

static int allocator_new(struct pool *p)
{
	struct llfree_config config = { .frames = p->huge * GRANULE_PAGES,
					.online = GRANULE_PAGES,
					.classes = 1,
					.slots = p->slots,
					.owners = 1 };
	struct llfree_meta meta = {};
	int r;

	r = llfree_sizes(&config, &meta.lower_size, &meta.upper_size);
	if (r < 0)
		return r;
	p->lower_size = meta.lower_size;
	p->upper_size = meta.upper_size;
	p->lower = morsel_inject() ? NULL : vmalloc_user(meta.lower_size);
	p->upper = morsel_inject() ? NULL : vmalloc_user(meta.upper_size);
	if (!p->lower || !p->upper)
		return -ENOMEM;
	meta.lower = p->lower;
	meta.upper = p->upper;
	r = llfree_init(&p->llfree, &config, &meta);
	/* config.online cannot say that none is online. */
	return r < 0 ? r : llfree_offline(&p->llfree, 0, 1, 0);
}

static int pool_new(const struct morsel_pool_create *arg, struct pool **ret)
{
	struct pool *p;
	int r = -ENOMEM;

	p = morsel_inject() ? NULL : kzalloc(sizeof(*p), GFP_KERNEL);
	if (!p)
		return -ENOMEM;
	p->kind = arg->kind;
	p->tier = arg->tier;
	p->node = arg->node;
	p->huge = arg->max_bytes >> GRANULE_SHIFT;
	p->slots = min(num_possible_cpus(), 64u);
	mutex_init(&p->grow);
	spin_lock_init(&p->quarantine_lock);
	INIT_LIST_HEAD(&p->quarantine);
	INIT_DELAYED_WORK(&p->look, look);
	p->block = morsel_inject() ? NULL : kvcalloc(p->huge, sizeof(*p->block), GFP_KERNEL);
	p->offline = morsel_inject() ? NULL : bitmap_zalloc(p->huge, GFP_KERNEL);
	if (p->block && p->offline)
		r = pool_is_extents(p) ? 0 : allocator_new(p);
	if (r >= 0) {
		p->shrinker = morsel_inject() ? NULL
					      : shrinker_alloc(SHRINKER_NUMA_AWARE, "morsel-pool");
		r = p->shrinker ? 0 : -ENOMEM;
	}
	if (r < 0) {
		pool_free(p);
		return r;
	}
	p->shrinker->count_objects = shrinker_count;
	p->shrinker->scan_objects = shrinker_scan;
	p->shrinker->private_data = p;
	*ret = p;
	return 0;
}

static int check_create(const struct morsel_pool_create *arg)
{
	if (arg->tier >= MORSEL_MAX_TIERS || !arg->max_bytes ||
	    !IS_ALIGNED(arg->max_bytes, MORSEL_GRANULE))
		return -EINVAL;
	if (arg->kind == MORSEL_POOL_DAX || arg->kind == MORSEL_POOL_EXTENTS)
		return arg->node != NUMA_NO_NODE || arg->start_bytes || !arg->address ||
				       !IS_ALIGNED(arg->address, MORSEL_GRANULE) ||
				       arg->max_bytes > MORSEL_MAX_OBJECT_SIZE
			       ? -EINVAL
			       : 0;
	if (arg->kind != MORSEL_POOL_NODE || arg->address ||
	    !IS_ALIGNED(arg->start_bytes, MORSEL_GRANULE) || arg->start_bytes > arg->max_bytes)
		return -EINVAL;
	if (arg->node < 0 || arg->node >= MAX_NUMNODES || !node_state(arg->node, N_MEMORY))
		return -ENODEV;
	if (arg->max_bytes >> PAGE_SHIFT > node_present_pages(arg->node))
		return -ENOSPC;
	return 0;
}

int pool_create(struct morsel_pool_create *arg)
{
	u64 i, start = arg->start_bytes >> GRANULE_SHIFT;
	struct pool *p;
	u32 id;
	int r;

	r = check_create(arg);
	if (r < 0)
		return r;
	r = pool_new(arg, &p);
	if (r < 0)
		return r;

	mutex_lock(&morsel_lock);
	for (id = 1; id <= MORSEL_MAX_POOLS && pools[id]; id++)
		;
	if (id > MORSEL_MAX_POOLS) {
		mutex_unlock(&morsel_lock);
		pool_free(p);
		return -ENOSPC;
	}
	p->id = id;
	mutex_lock(&p->grow);
	r = charge_dmem(p);
	if (r >= 0 && p->kind != MORSEL_POOL_NODE)
		r = dax_take(p, arg->address);
	for (i = 0; i < start && r >= 0; i++) {
		r = fatal_signal_pending(current) ? -EINTR : block_add(p, i, 0);
		cond_resched();
	}
	if (r < 0)
		shrink(p, p->huge, true);
	mutex_unlock(&p->grow);
	if (r < 0) {
		mutex_unlock(&morsel_lock);
		pool_free(p);
		return r;
	}
	shrinker_register(p->shrinker);
	__module_get(THIS_MODULE);
	pools[id] = p;
	atomic64_inc(&morsel_count.pools);
	mutex_unlock(&morsel_lock);
	arg->pool = id;
	return 0;
}

int pool_destroy(u32 id)
{
	struct pool *p;
	int r = 0;

	extents_look();
	mutex_lock(&morsel_lock);
	p = pool_find(id);
	if (!p) {
		r = -ENOENT;
		goto unlock;
	}
	frame_quarantine_look(p);
	if (p->users) {
		r = -EBUSY;
		goto unlock;
	}
	mutex_lock(&p->grow);
	shrink(p, p->huge, true);
	r = atomic_long_read(&p->blocks) ? -EBUSY : 0;
	mutex_unlock(&p->grow);
	if (r < 0)
		goto unlock;
	mutex_lock(&state_lock);
	pools[id] = NULL;
	mutex_unlock(&state_lock);
	atomic64_dec(&morsel_count.pools);
	pool_free(p);
	module_put(THIS_MODULE);
unlock:
	mutex_unlock(&morsel_lock);
	return r;
}

static int with_pool(u32 id, struct pool **ret)
{
	mutex_lock(&morsel_lock);
	*ret = pool_find(id);
	if (*ret)
		return 0;
	mutex_unlock(&morsel_lock);
	return -ENOENT;
}

int pool_stat(struct morsel_pool_stat *arg)
{
	struct llfree_stats stats = {};
	struct pool *p;
	u64 huge;
	int r;

	r = with_pool(arg->pool, &p);
	if (r < 0)
		return r;
	frame_quarantine_look(p);
	mutex_lock(&p->grow);
	if (pool_is_extents(p))
		stats.used = atomic64_read(&p->used);
	else
		r = llfree_stats_fast(&p->llfree, &stats);
	arg->kind = p->kind;
	arg->tier = p->tier;
	arg->node = p->node;
	arg->max_bytes = p->huge << GRANULE_SHIFT;
	arg->bytes = (u64)atomic_long_read(&p->blocks) << GRANULE_SHIFT;
	arg->used_bytes = stats.used << PAGE_SHIFT;
	arg->free_bytes = stats.free << PAGE_SHIFT;
	arg->free_huge_bytes = stats.free_huge << GRANULE_SHIFT;
	arg->quarantine_bytes = (u64)atomic64_read(&p->quarantined) << PAGE_SHIFT;
	arg->offline_bytes = 0;
	for_each_set_bit(huge, p->offline, p->huge)
		if (p->block[huge])
			arg->offline_bytes += MORSEL_GRANULE;
	arg->bad_bytes = stats.bad_huge << GRANULE_SHIFT;
	arg->grown = p->grown;
	arg->shrunk = p->shrunk;
	arg->lower_bytes = p->lower_size;
	arg->start = p->kind != MORSEL_POOL_NODE ? PFN_PHYS(p->block[0]) : 0;
	arg->upper_bytes = p->upper_size;
	mutex_unlock(&p->grow);
	mutex_unlock(&morsel_lock);
	return r;
}

int pool_map_state(struct file *file, struct vm_area_struct *vma)
{
	u64 offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	struct pool *p;
	int r;

	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	vm_flags_clear(vma, VM_MAYWRITE);
	mutex_lock(&state_lock);
	p = pool_find(min(offset >> 40, (u64)U32_MAX));
	/* The pages have references of their own then: the pool may go. */
	r = !p ? -ENOENT
	    : pool_is_extents(p)
		    ? -EOPNOTSUPP
		    : remap_vmalloc_range(vma, offset & 1ull << 39 ? p->upper : p->lower,
					  (offset & ((1ull << 39) - 1)) >> PAGE_SHIFT);
	mutex_unlock(&state_lock);
	return r;
}

int pool_resize(struct morsel_pool_resize *arg)
{
	struct pool *p;
	u64 huge;
	long want;
	int r;

	if (!IS_ALIGNED(arg->bytes, MORSEL_GRANULE))
		return -EINVAL;
	r = with_pool(arg->pool, &p);
	if (r < 0)
		return r;
	want = arg->bytes >> GRANULE_SHIFT;
	if (want > p->huge || p->kind != MORSEL_POOL_NODE) {
		r = want > p->huge ? -ENOSPC : -EOPNOTSUPP;
		mutex_unlock(&morsel_lock);
		return r;
	}
	frame_quarantine_look(p);
	mutex_lock(&p->grow);
	while (r >= 0 && atomic_long_read(&p->blocks) < want) {
		r = fatal_signal_pending(current) ? -EINTR : add_anywhere(p, 0, &huge);
		cond_resched();
	}
	if (atomic_long_read(&p->blocks) > want)
		shrink(p, atomic_long_read(&p->blocks) - want, false);
	if (atomic_long_read(&p->blocks) > want)
		r = -EBUSY;
	arg->bytes = (u64)atomic_long_read(&p->blocks) << GRANULE_SHIFT;
	mutex_unlock(&p->grow);
	mutex_unlock(&morsel_lock);
	return r;
}

/* Blocks that are not there count as offline for LLFree already: only the bitmap knows the difference. */
static int set_offline(struct pool *p, const struct morsel_pool_offline *arg)
{
	unsigned int flags = arg->flags & MORSEL_OFFLINE_DRAIN ? LLFREE_OFFLINE_DRAIN : 0;
	u64 i, end = arg->first + arg->count;
	int r = 0;

	if (find_next_bit(p->offline, end, arg->first) < end)
		return -EALREADY;
	for (i = arg->first; i < end; i++) {
		if (p->block[i])
			r = llfree_offline(&p->llfree, i, 1, flags);
		if (r < 0 && !(r == -EBUSY && flags))
			break;
		set_bit(i, p->offline);
	}
	if (i == end)
		return 0;
	/* All or none. */
	while (i-- > arg->first) {
		clear_bit(i, p->offline);
		if (p->block[i])
			llfree_online(&p->llfree, i, 1, 0);
	}
	return r;
}

static int set_online(struct pool *p, const struct morsel_pool_offline *arg)
{
	u64 i, end = arg->first + arg->count;

	if (find_next_zero_bit(p->offline, end, arg->first) < end)
		return -EALREADY;
	for (i = arg->first; i < end; i++) {
		clear_bit(i, p->offline);
		if (p->block[i])
			llfree_online(&p->llfree, i, 1, 0);
	}
	return 0;
}

int pool_set_offline(const struct morsel_pool_offline *arg, bool offline)
{
	struct pool *p;
	int r;

	if (arg->flags & ~(offline ? MORSEL_OFFLINE_DRAIN : 0) || !arg->count)
		return -EINVAL;
	r = with_pool(arg->pool, &p);
	if (r < 0)
		return r;
	if (pool_is_extents(p)) {
		r = -EOPNOTSUPP;
	} else if (arg->first >= p->huge || arg->count > p->huge - arg->first) {
		r = -ERANGE;
	} else {
		mutex_lock(&p->grow);
		r = offline ? set_offline(p, arg) : set_online(p, arg);
		mutex_unlock(&p->grow);
	}
	mutex_unlock(&morsel_lock);
	return r;
}
