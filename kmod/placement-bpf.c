// SPDX-License-Identifier: GPL-2.0-only
/* The struct_ops type morsel_placement_ops: how BPF programs come to be asked for the order of pools. */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>

#include "compat.h"
#include "internal.h"
#include "placement.h"

#ifdef MORSEL_HAVE_STRUCT_OPS

static struct morsel_placement_ops __rcu *program;
/* Where the verifier finds struct morsel_place: NULL without a module's BTF. */
static const struct btf *place_btf;
static u32 place_id;

bool placement_is_asked(void)
{
	return rcu_access_pointer(program);
}

bool placement_call(struct morsel_place *place, int *ret)
{
	const struct morsel_placement_ops *ops;

	rcu_read_lock();
	ops = rcu_dereference(program);
	if (ops)
		*ret = ops->place(place);
	rcu_read_unlock();
	return ops;
}

bool placement_can_be_asked(void)
{
	return place_btf;
}

/* ---- what a program may do ---- */

/* Called for stores alone. Only the answer, and only in the argument that we gave. */
static int check_store(struct bpf_verifier_log *log, const struct bpf_reg_state *reg, int off,
		       int size)
{
	const int begin = offsetof(struct morsel_place, order);

	if (reg->btf == place_btf && reg->btf_id == READ_ONCE(place_id) && off >= begin &&
	    off + size <= begin + (int)sizeof_field(struct morsel_place, order))
		return SCALAR_VALUE;
	bpf_log(log, "morsel: only order of struct morsel_place can be written\n");
	return -EACCES;
}

static const struct bpf_verifier_ops verifier_ops = {
	.get_func_proto = bpf_base_func_proto,
	.is_valid_access = bpf_tracing_btf_ctx_access,
	.btf_struct_access = check_store,
};

static int init(struct btf *btf)
{
	place_btf = btf;
	return 0;
}

/*
 * Before the verifier looks at a program. The id of the argument's type is found through the
 * member: one that is compiled in would not survive the relocation of a module's BTF.
 */
static int check_member(const struct btf_type *t, const struct btf_member *member,
			const struct bpf_prog *prog)
{
	const struct btf_type *pointer, *proto;

	/* It is called under RCU. */
	if (MORSEL_PROG_SLEEPS(prog))
		return -EINVAL;
	pointer = btf_type_by_id(place_btf, member->type);
	if (!pointer || !btf_type_is_ptr(pointer))
		return -EINVAL;
	proto = btf_type_by_id(place_btf, pointer->type);
	if (!proto || !btf_type_is_func_proto(proto) || btf_type_vlen(proto) != 1)
		return -EINVAL;
	pointer = btf_type_by_id(place_btf, btf_params(proto)[0].type);
	if (!pointer || !btf_type_is_ptr(pointer))
		return -EINVAL;
	WRITE_ONCE(place_id, pointer->type);
	return 0;
}

/* ---- coming and going; a map of this type holds the module ---- */

static int init_member(const struct btf_type *t, const struct btf_member *member, void *kdata,
		       const void *udata)
{
	return 0;
}

static int validate(void *kdata)
{
	const struct morsel_placement_ops *ops = kdata;

	return ops->place ? 0 : -EINVAL;
}

static int reg(MORSEL_STRUCT_OPS_ARGS(void *kdata))
{
	struct morsel_placement_ops *none = NULL;

	return try_cmpxchg((struct morsel_placement_ops **)&program, &none, kdata) ? 0 : -EBUSY;
}

static int update(MORSEL_STRUCT_OPS_ARGS(void *kdata, void *old))
{
	struct morsel_placement_ops *now = old;

	return try_cmpxchg((struct morsel_placement_ops **)&program, &now, kdata) ? 0 : -ENOENT;
}

static void unreg(MORSEL_STRUCT_OPS_ARGS(void *kdata))
{
	cmpxchg((struct morsel_placement_ops **)&program, kdata, NULL);
	/* Whoever saw it is done when this returns. */
	synchronize_rcu();
}

/* Never called: the kernel takes the callbacks' types from here. */
static int place_stub(struct morsel_place *place)
{
	return 0;
}

static struct morsel_placement_ops stubs = {
	.place = place_stub,
};

static struct bpf_struct_ops struct_ops = {
	.verifier_ops = &verifier_ops,
	.init = init,
	.check_member = check_member,
	.init_member = init_member,
	.validate = validate,
	.reg = reg,
	.unreg = unreg,
	.update = update,
	.cfi_stubs = &stubs,
	.name = "morsel_placement_ops",
	.owner = THIS_MODULE,
};

/* The module is as good without it, so that nothing fails here. */
void placement_register(void)
{
	int r = register_bpf_struct_ops(&struct_ops, morsel_placement_ops);

	if (r < 0) {
		place_btf = NULL;
		pr_notice("morsel: the kernel takes no placement programs (%d)\n", r);
	}
}

#else

bool placement_is_asked(void)
{
	return false;
}

bool placement_call(struct morsel_place *place, int *ret)
{
	return false;
}

bool placement_can_be_asked(void)
{
	return false;
}

void placement_register(void)
{
}

#endif
