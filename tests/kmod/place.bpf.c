// SPDX-License-Identifier: GPL-2.0-only
/*
 * Placement programs for 58-module-placement, one per object file: MORSEL_PLACE_TEST says what it
 * answers.
 */
#include "placement.h"

#define REVERSE 1    /* the last pool first */
#define LAST_ONLY 2  /* the last pool or none */
#define SILENT 3     /* no opinion */
#define TWICE 4	     /* the first pool twice */
#define UNKNOWN 5    /* a pool that is not of the object */
#define NEGATIVE 6   /* an error */
#define TOO_MANY 7   /* more than there are, and than fit */
#define BAD_STORE 8  /* writes what was asked: not to be loaded */
#define BAD_STORE2 9 /* writes behind the answer: not to be loaded */

char _license[] SEC("license") = "GPL";

SEC("struct_ops/place")
int BPF_PROG(place, struct morsel_place *p)
{
	__u32 pools[MORSEL_PLACE_POOLS], order[MORSEL_PLACE_POOLS] = {};
	__u32 i, n = p->count;

	if (n < 1 || n > MORSEL_PLACE_POOLS || morsel_place_pools(p, pools) < 0)
		return 0;
	for (i = 0; i < MORSEL_PLACE_POOLS && i < n; i++)
		order[i] = pools[(n - 1 - i) & (MORSEL_PLACE_POOLS - 1)];
#if MORSEL_PLACE_TEST == REVERSE
	return morsel_place_answer(p, order, n);
#elif MORSEL_PLACE_TEST == LAST_ONLY
	return morsel_place_answer(p, order, 1);
#elif MORSEL_PLACE_TEST == SILENT
	return morsel_place_answer(p, order, 0);
#elif MORSEL_PLACE_TEST == TWICE
	order[1] = order[0];
	return morsel_place_answer(p, order, 2);
#elif MORSEL_PLACE_TEST == UNKNOWN
	order[0] = 4711;
	return morsel_place_answer(p, order, 1);
#elif MORSEL_PLACE_TEST == NEGATIVE
	return morsel_place_answer(p, order, -12);
#elif MORSEL_PLACE_TEST == TOO_MANY
	return morsel_place_answer(p, order, 1000000);
#elif MORSEL_PLACE_TEST == BAD_STORE
	p->count = 1;
	return morsel_place_answer(p, order, n);
#elif MORSEL_PLACE_TEST == BAD_STORE2
	*(__u32 *)((char *)p + sizeof(*p)) = 1;
	return morsel_place_answer(p, order, n);
#endif
}

SEC(".struct_ops.link")
struct morsel_placement_ops MORSEL_PLACE_NAME = {
	.place = (void *)place,
};
