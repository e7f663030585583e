// SPDX-License-Identifier: GPL-2.0-only
/* Accounts: a tree of limits, and exact use. */
#include <linux/module.h>
#include <linux/slab.h>

#include "internal.h"

static DEFINE_XARRAY(accounts);

struct account *account_get(struct account *a)
{
	if (a)
		refcount_inc(&a->refs);
	return a;
}

void account_put(struct account *a)
{
	while (a && refcount_dec_and_test(&a->refs)) {
		struct account *parent = a->parent;

		kfree(a);
		atomic64_dec(&morsel_count.accounts);
		module_put(THIS_MODULE);
		a = parent;
	}
}

struct account *account_find(u64 id)
{
	return account_get(id ? xa_load(&accounts, id) : NULL);
}

/* Never above the limit, not even for a moment: others read the use at any time. */
static bool charge_one(struct account *a, unsigned int tier, s64 frames)
{
	s64 use = atomic64_read(&a->use[tier]);

	do {
		if (use + frames > atomic64_read(&a->limit[tier])) {
			atomic64_add(frames, &a->refused);
			return false;
		}
	} while (!atomic64_try_cmpxchg(&a->use[tier], &use, use + frames));
	return true;
}

int account_charge(struct account *a, unsigned int tier, unsigned long frames)
{
	struct account *at;

	for (at = a; at; at = at->parent) {
		if (charge_one(at, tier, frames))
			continue;
		for (; a != at; a = a->parent)
			atomic64_sub(frames, &a->use[tier]);
		return -EDQUOT;
	}
	return 0;
}

void account_uncharge(struct account *a, unsigned int tier, unsigned long frames)
{
	for (; a; a = a->parent)
		atomic64_sub(frames, &a->use[tier]);
}

int account_create(struct morsel_account_create *arg)
{
	struct account *a;
	unsigned int i;
	int r;

	if (!arg->id)
		return -EINVAL;
	a = morsel_inject() ? NULL : kzalloc(sizeof(*a), GFP_KERNEL_ACCOUNT);
	if (!a)
		return -ENOMEM;
	a->id = arg->id;
	refcount_set(&a->refs, 1);
	for (i = 0; i < MORSEL_MAX_TIERS; i++)
		atomic64_set(&a->limit[i], S64_MAX >> PAGE_SHIFT);

	mutex_lock(&morsel_lock);
	r = 0;
	if (arg->parent) {
		a->parent = account_find(arg->parent);
		if (!a->parent)
			r = -ENOENT;
		else if (a->parent->depth + 1 >= MORSEL_MAX_DEPTH)
			r = -ELOOP;
		else
			a->depth = a->parent->depth + 1;
	}
	if (!r)
		r = morsel_inject() ? -ENOMEM : xa_insert(&accounts, a->id, a, GFP_KERNEL);
	if (!r) {
		__module_get(THIS_MODULE);
		atomic64_inc(&morsel_count.accounts);
	} else {
		account_put(a->parent);
		kfree(a);
	}
	mutex_unlock(&morsel_lock);
	return r == -EBUSY ? -EEXIST : r;
}

int account_destroy(u64 id)
{
	struct account *a;
	int r = 0;

	mutex_lock(&morsel_lock);
	a = account_find(id);
	if (!a) {
		r = -ENOENT;
	} else if (refcount_read(&a->refs) > 2) {
		/* Its id's reference and this one; new ones come under morsel_lock only. */
		r = -EBUSY;
	} else {
		xa_erase(&accounts, id);
		account_put(a);
	}
	account_put(a);
	mutex_unlock(&morsel_lock);
	return r;
}

int account_set_limit(const struct morsel_account_limit *arg)
{
	struct account *a;

	if (arg->tier >= MORSEL_MAX_TIERS)
		return -EINVAL;
	mutex_lock(&morsel_lock);
	a = account_find(arg->id);
	if (a)
		atomic64_set(&a->limit[arg->tier],
			     min(arg->limit_bytes, (u64)S64_MAX) >> PAGE_SHIFT);
	mutex_unlock(&morsel_lock);
	if (!a)
		return -ENOENT;
	account_put(a);
	return 0;
}

int account_stat(struct morsel_account_stat *arg)
{
	struct account *a;
	unsigned long id;
	unsigned int i;

	mutex_lock(&morsel_lock);
	if (arg->flags & MORSEL_ACCOUNT_NEXT) {
		id = arg->id;
		a = account_get(xa_find_after(&accounts, &id, ULONG_MAX, XA_PRESENT));
	} else {
		a = account_find(arg->id);
	}
	mutex_unlock(&morsel_lock);
	if (!a)
		return -ENOENT;
	arg->id = a->id;
	arg->parent = a->parent ? a->parent->id : 0;
	for (i = 0; i < MORSEL_MAX_TIERS; i++) {
		u64 limit = atomic64_read(&a->limit[i]);

		arg->use_bytes[i] = (u64)atomic64_read(&a->use[i]) << PAGE_SHIFT;
		arg->limit_bytes[i] = limit == S64_MAX >> PAGE_SHIFT ? MORSEL_NO_LIMIT
								     : limit << PAGE_SHIFT;
	}
	arg->refused = atomic64_read(&a->refused);
	arg->objects = atomic64_read(&a->objects);
	account_put(a);
	return 0;
}
