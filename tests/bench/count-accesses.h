/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What bench-placement and the plugin that counts its accesses (count-accesses.c) agree on. The program is linked so that its code lies
 * at COUNT_TEXT, and tells by instructions without effect, xchg of a register with itself, what it begins.
 */
#define COUNT_TEXT 0x60000000ull /* tests/bench/meson.build has it too */
#define COUNT_TEXT_SIZE 0x1000000ull

#define COUNT_CODE_BEGIN "\x4d\x87\xe4"
#define COUNT_CODE_INTERVAL "\x4d\x87\xed"
#define COUNT_CODE_PHASE "\x4d\x87\xf6"
#define COUNT_CODE_END "\x4d\x87\xff"

/* Count from now on what is accessed from first to last, both included: they are read. */
#define COUNT_BEGIN(first, last)                                                   \
	__asm__ volatile("xchg %%r12, %%r12\n\tmovb (%0), %%al\n\tmovb (%1), %%al" \
			 :                                                         \
			 : "r"(first), "r"(last)                                   \
			 : "al", "memory")
#define COUNT_INTERVAL() __asm__ volatile("xchg %%r13, %%r13" : : : "memory")
#define COUNT_PHASE() __asm__ volatile("xchg %%r14, %%r14" : : : "memory")
#define COUNT_END() __asm__ volatile("xchg %%r15, %%r15" : : : "memory")
