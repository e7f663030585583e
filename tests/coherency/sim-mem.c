/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim.h"

/*
 * Threads as coroutines, and the memory they see. Three kinds: words of the coherent range and of the
 * host's own memory are plain words behind each thread's store buffer; data lines live in per-host caches
 * over one memory. Weaker than x86 where the contract in core/mem.h is (mem.h says what may be reordered).
 */

#ifndef __has_feature /* gcc has macros instead */
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SIM_ASAN 1
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define SIM_TSAN 1
#include <sanitizer/tsan_interface.h>
#endif

struct sim_stats sim_stats;
struct sim_line sim_cache[SIM_HOSTS][SIM_LINES];
struct sim_memory_line sim_memory[SIM_LINES];

/* An address range for the core to compute with; nothing may touch it. */
static uint8_t data_range[SIM_EXTENTS * COH_EXTENT_SIZE] __attribute__((aligned(4096)));
uint8_t *sim_data = data_range;

/* ---- coroutines ----------------------------------------------------------------------------------- */

static void *main_sp;
static struct sim_agent *current;
#ifdef SIM_TSAN
static void *main_fiber;
#endif
#ifdef SIM_ASAN
static const void *main_stack;
static size_t main_stack_size;
#endif

#if defined(__x86_64__)
/* System V: callee-saved registers on the stack, then swap stacks. A system call per switch (swapcontext) costs
 * ten times as much, and 10^8 steps are wanted. */
void sim_switch(void **save, void *to);
__asm__(".text\n.globl sim_switch\n.type sim_switch,@function\nsim_switch:\n"
	"pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
	"movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
	"popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
	".size sim_switch,.-sim_switch\n");
#elif defined(__aarch64__)
void sim_switch(void **save, void *to);
__asm__(".text\n.globl sim_switch\n.type sim_switch,%function\nsim_switch:\n"
	"sub sp,sp,#160\nstp x19,x20,[sp,#0]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\n"
	"stp x25,x26,[sp,#48]\nstp x27,x28,[sp,#64]\nstp x29,x30,[sp,#80]\n"
	"stp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\n"
	"mov x2,sp\nstr x2,[x0]\nmov sp,x1\n"
	"ldp x19,x20,[sp,#0]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\n"
	"ldp x25,x26,[sp,#48]\nldp x27,x28,[sp,#64]\nldp x29,x30,[sp,#80]\n"
	"ldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\nldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\n"
	"add sp,sp,#160\nret\n");
#else
#error "sim_switch() is written for x86-64 and arm64"
#endif

/* Around a switch from one stack to another, tell the sanitizer where we go and that we came. */
static void leave(void **fake, struct sim_agent *to)
{
#ifdef SIM_ASAN
	__sanitizer_start_switch_fiber(fake, to ? to->stack : main_stack,
				       to ? SIM_STACK : main_stack_size);
#endif
#ifdef SIM_TSAN
	__tsan_switch_to_fiber(to ? to->fiber : main_fiber, 0);
#endif
}

static void arrive(void *fake)
{
#ifdef SIM_ASAN
	const void *bottom;
	size_t size;

	__sanitizer_finish_switch_fiber(fake, &bottom, &size);
	if (!main_stack) {
		main_stack = bottom;
		main_stack_size = size;
	}
#endif
}

struct sim_agent *sim_current(void)
{
	return current;
}

static void start(void)
{
	struct sim_agent *a = current;

	arrive(NULL);
	a->entry(a);
	a->status = SIM_DEAD;
	for (;;)
		sim_give_way(a);
}

void sim_give_way(struct sim_agent *a)
{
	void *fake = NULL;

	leave(&fake, NULL);
	sim_switch(&a->sp, main_sp);
	arrive(fake);
}

void sim_agent_run(struct sim_agent *a)
{
	void *fake = NULL;
	static const unsigned quanta[4] = { 1, 1, 3, 8 };

	a->quantum = quanta[sim_choose(4)];
	current = a;
#ifdef SIM_TSAN
	main_fiber = __tsan_get_current_fiber();
#endif
	leave(&fake, a);
	sim_switch(&main_sp, a->sp);
	arrive(fake);
	current = NULL;
}

void sim_agent_start(struct sim_agent *a, void (*entry)(struct sim_agent *))
{
	void **top;

	if (!a->stack) {
		a->stack = mmap(NULL, SIM_STACK, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (a->stack == MAP_FAILED)
			abort();
	}
#ifdef SIM_ASAN
	/* An abandoned coroutine leaves the shadow of its frames poisoned. */
	extern void __asan_unpoison_memory_region(void const volatile *, size_t);
	__asan_unpoison_memory_region(a->stack, SIM_STACK);
#endif
#ifdef SIM_TSAN
	if (a->fiber)
		__tsan_destroy_fiber(a->fiber);
	a->fiber = __tsan_create_fiber(0);
#endif
	a->entry = entry;
	a->status = SIM_READY;
	a->stores = 0;
	a->flushes = 0;
	a->loaded = false;
	a->mem.ops = &sim_ops;
	top = (void **)((char *)a->stack + SIM_STACK);
#if defined(__x86_64__)
	*--top = NULL; /* so that the stack is aligned as after a call */
	*--top = (void *)start;
	for (int i = 0; i < 6; i++)
		*--top = NULL;
#else
	top -= 20;
	memset(top, 0, 160);
	top[11] = (void *)start;
#endif
	a->sp = top;
}

void sim_agent_free(struct sim_agent *a)
{
	if (a->stack)
		munmap(a->stack, SIM_STACK);
	a->stack = NULL;
#ifdef SIM_TSAN
	if (a->fiber)
		__tsan_destroy_fiber(a->fiber);
	a->fiber = NULL;
#endif
}

void sim_step(struct sim_agent *a)
{
	sim_stats.steps++;
	if (a->quantum > 1) {
		a->quantum--;
		return;
	}
	sim_give_way(a);
}

/* ---- caches --------------------------------------------------------------------------------------- */

static uint32_t now(void)
{
	return (uint32_t)sim_stats.steps;
}

static void to_memory(struct sim_line *c, uint32_t line)
{
	struct sim_memory_line *m = &sim_memory[line];

	m->before = m->value;
	m->value = c->value;
	m->changed = now();
	c->state = SIM_CLEAN;
}

void sim_write_back(unsigned host, uint32_t line)
{
	struct sim_line *c = &sim_cache[host][line];

	if (c->state == SIM_DIRTY) {
		to_memory(c, line);
		sim_stats.evicted_dirty++;
	}
}

void sim_evict(unsigned host, uint32_t line)
{
	sim_write_back(host, line);
	sim_cache[host][line].state = SIM_ABSENT;
}

void sim_prefetch(unsigned host, uint32_t line)
{
	struct sim_line *c = &sim_cache[host][line];

	if (c->state == SIM_ABSENT) {
		c->value = sim_memory[line].value;
		c->state = SIM_CLEAN;
		c->filled = now();
	}
}

void sim_cache_lose(unsigned host)
{
	for (uint32_t l = 0; l < SIM_LINES; l++) {
		if (sim_cache[host][l].state == SIM_DIRTY && sim_choose(2))
			to_memory(&sim_cache[host][l], l);
		sim_cache[host][l].state = SIM_ABSENT;
	}
}

void sim_memory_reset(void)
{
	memset(sim_cache, 0, sizeof(sim_cache));
	memset(sim_memory, 0, sizeof(sim_memory));
}

void sim_helper_store(unsigned host, uint32_t line, uint64_t value)
{
	struct sim_line *c = &sim_cache[host][line];

	sim_prefetch(host, line);
	if (c->state == SIM_CLEAN)
		sim_stats.dirtied++;
	c->value = value;
	c->state = SIM_DIRTY;
	c->stored = now();
	c->by = NULL;
}

/* ---- one thread's view ---------------------------------------------------------------------------- */

static void commit(struct sim_agent *a)
{
	if (a->store[0].p) {
		*a->store[0].p = a->store[0].value;
	} else {
		sim_helper_store(a->host, a->store[0].line, a->store[0].value);
		sim_cache[a->host][a->store[0].line].by = a;
	}
	a->stores--;
	memmove(&a->store[0], &a->store[1], a->stores * sizeof(a->store[0]));
}

void sim_drain(struct sim_agent *a, bool all)
{
	while (a->stores) {
		commit(a);
		if (!all)
			return;
	}
}

/* Flushes are ordered after the own earlier stores to the line; the buffer is a queue, so after all before it. */
static void complete_one(struct sim_agent *a, unsigned i)
{
	uint32_t line = a->flush[i].line;
	struct sim_line *c = &sim_cache[a->host][line];

	for (unsigned s = a->stores; s > 0; s--) {
		if (a->store[s - 1].p || a->store[s - 1].line != line)
			continue;
		while (s--)
			commit(a);
		break;
	}
	if (c->state == SIM_DIRTY) {
		to_memory(c, line);
		sim_stats.flushed_dirty++;
	}
	if (a->flush[i].drop) {
		sim_stats.invalidated += c->state != SIM_ABSENT;
		c->state = SIM_ABSENT;
	}
	a->flush[i] = a->flush[--a->flushes];
}

void sim_complete(struct sim_agent *a, bool all)
{
	while (a->flushes) {
		complete_one(a, all ? 0 : sim_choose(a->flushes));
		if (!all)
			return;
	}
}

/*
 * Could this flush have happened as early as the first load since the last fence, and the line look as it
 * does now? Then it may be that it did.
 */
static bool may_have_run_early(struct sim_agent *a, uint32_t line)
{
	struct sim_line *c = &sim_cache[a->host][line];
	struct sim_memory_line *m = &sim_memory[line];

	if (!a->loaded)
		return false;
	for (unsigned s = 0; s < a->stores; s++)
		if (!a->store[s].p && a->store[s].line == line)
			return false;
	/* Flushes stay behind the own stores to the line, not behind those of other threads. */
	if (c->state == SIM_DIRTY)
		return c->stored > a->loaded_at && c->by != a;
	return c->state == SIM_ABSENT || c->filled > a->loaded_at || c->value == m->value ||
	       (m->changed > a->loaded_at && c->value == m->before);
}

static void flush_range(struct morsel_mem *mem, const void *p, size_t n, bool drop)
{
	struct sim_agent *a = (struct sim_agent *)mem;
	uint32_t line = (uint32_t)(((uintptr_t)p - (uintptr_t)sim_data) / MORSEL_LINE);

	for (size_t i = 0; i < n; i += MORSEL_LINE, line++) {
		sim_step(a);
		sim_stats.flush_ops++;
		if (line >= SIM_LINES) {
			sim_fail("a flush outside the data range");
			return;
		}
		if (may_have_run_early(a, line) && sim_choose(4) == 1)
			continue;
		if (a->flushes == SIM_FLUSHES)
			sim_complete(a, false);
		a->flush[a->flushes].line = line;
		a->flush[a->flushes++].drop = drop;
	}
}

static void note_load(struct sim_agent *a)
{
	if (!a->loaded) {
		a->loaded = true;
		a->loaded_at = now();
	}
}

static uint64_t op_load(struct morsel_mem *mem, const uint64_t *p)
{
	struct sim_agent *a = (struct sim_agent *)mem;

	sim_step(a);
	note_load(a);
	for (unsigned s = a->stores; s > 0; s--)
		if (a->store[s - 1].p == p)
			return a->store[s - 1].value;
	return *p;
}

static void op_store(struct morsel_mem *mem, uint64_t *p, uint64_t v)
{
	struct sim_agent *a = (struct sim_agent *)mem;

	sim_step(a);
	if (a->stores == SIM_STORES)
		sim_drain(a, false);
	a->store[a->stores].p = p;
	a->store[a->stores++].value = v;
}

static bool op_cas(struct morsel_mem *mem, uint64_t *p, uint64_t *expected, uint64_t desired)
{
	struct sim_agent *a = (struct sim_agent *)mem;
	bool same;

	sim_before_cas(a, p, *expected, desired);
	sim_step(a);
	sim_drain(a, true);
	note_load(a);
	same = *p == *expected;
	if (sim_verbose)
		sim_log_cas(a, p, *expected, desired, same);
	if (same)
		*p = desired;
	else
		*expected = *p;
	return same;
}

static void op_barrier(struct morsel_mem *mem)
{
	struct sim_agent *a = (struct sim_agent *)mem;

	sim_step(a);
	sim_drain(a, true);
}

static void op_write_back(struct morsel_mem *mem, const void *p, size_t n)
{
	flush_range(mem, p, n, false);
}

static void op_invalidate(struct morsel_mem *mem, const void *p, size_t n)
{
	flush_range(mem, p, n, true);
}

static void op_fence(struct morsel_mem *mem)
{
	struct sim_agent *a = (struct sim_agent *)mem;

	sim_step(a);
	sim_drain(a, true);
	sim_complete(a, true);
	a->loaded = false;
}

const struct morsel_mem_ops sim_ops = {
	.load = op_load,
	.store = op_store,
	.cas = op_cas,
	.barrier = op_barrier,
	.write_back = op_write_back,
	.invalidate = op_invalidate,
	.fence = op_fence,
};

uint64_t sim_data_load(struct sim_agent *a, uint32_t line)
{
	sim_step(a);
	note_load(a);
	for (unsigned s = a->stores; s > 0; s--)
		if (!a->store[s - 1].p && a->store[s - 1].line == line)
			return a->store[s - 1].value;
	sim_prefetch(a->host, line);
	return sim_cache[a->host][line].value;
}

void sim_data_store(struct sim_agent *a, uint32_t line, uint64_t value)
{
	sim_step(a);
	if (a->stores == SIM_STORES)
		sim_drain(a, false);
	a->store[a->stores].p = NULL;
	a->store[a->stores].line = line;
	a->store[a->stores++].value = value;
}
