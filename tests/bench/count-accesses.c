/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A TCG plugin for tools/bench placement: counts each load and store that bench-placement makes to its data, by page and by
 * where in physical memory that page was, and writes it to out=FILE:
 *
 *	run PAGES			counting begins
 *	moved INTERVAL PAGE FROM TO	the page was met in another block of physical memory than before
 *	interval N BLOCK:COUNT…		accesses since the last one, by physical block of 128 MiB
 *	granule G COUNT…		accesses of the phase that ended, by page of 4 KiB; granules with none are left out
 *	phase N
 *	end
 *
 * The program is known by the address of its code, which no other has (COUNT_TEXT); what it does where, by
 * markers: instructions that do nothing and that no compiler writes (count-accesses.h). So nothing else is slowed or counted.
 * The prototypes are those of QEMU's plugin interface, version 4; its header is in no binary package.
 */
#include "count-accesses.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SHIFT 12
#define BLOCK_SHIFT 27
#define BLOCKS 1024u /* 128 GiB of physical memory */
#define GRANULE 512u

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
enum {
	CB_NO_REGS = 0,
	MEM_RW = 3
};

extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
						  void (*cb)(uint64_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_atexit_cb(uint64_t id, void (*cb)(uint64_t, void *), void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
							size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *data, size_t size);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
						   void (*cb)(unsigned int, void *), int flags,
						   void *data);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
					     void (*cb)(unsigned int, uint32_t, uint64_t, void *),
					     int flags, int rw, void *data);
extern struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(uint32_t info, uint64_t address);
extern uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *address);

__attribute__((visibility("default"))) int qemu_plugin_version = 4;
int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

static FILE *out;
/* One thread of the guest is counted, so that its kernel orders all that happens here. */
static uint64_t base, pages, interval, phase;
static unsigned int bounds_wanted;
static bool counting;
static uint32_t *counts;	/* of the phase, by page */
static uint16_t *block;		/* by page, + 1; 0: not met yet */
static uint64_t blocks[BLOCKS]; /* of the interval */

static void begin(uint64_t last)
{
	free(counts);
	free(block);
	pages = last > base ? (last - base + 1) >> PAGE_SHIFT : 0;
	counts = calloc(pages, sizeof(*counts));
	block = calloc(pages, sizeof(*block));
	memset(blocks, 0, sizeof(blocks));
	interval = phase = 0;
	counting = counts && block;
	fprintf(out, "run %llu\n", (unsigned long long)pages);
}

static void on_access(unsigned int vcpu, uint32_t info, uint64_t address, void *data)
{
	struct qemu_plugin_hwaddr *where;
	uint64_t page = (address - base) >> PAGE_SHIFT, at;

	if (bounds_wanted == 2) {
		base = address;
		bounds_wanted = 1;
		return;
	}
	if (bounds_wanted == 1) {
		bounds_wanted = 0;
		begin(address);
		return;
	}
	if (!counting || address < base || page >= pages)
		return;
	where = qemu_plugin_get_hwaddr(info, address);
	at = where ? qemu_plugin_hwaddr_phys_addr(where) >> BLOCK_SHIFT : BLOCKS - 1;
	if (at >= BLOCKS)
		at = BLOCKS - 1;
	blocks[at]++;
	counts[page]++;
	if (block[page] != at + 1) {
		if (block[page])
			fprintf(out, "moved %llu %llu %u %u\n", (unsigned long long)interval,
				(unsigned long long)page, block[page] - 1u, (unsigned int)at);
		block[page] = (uint16_t)(at + 1);
	}
}

static void on_begin(unsigned int vcpu, void *data)
{
	counting = false;
	bounds_wanted = 2;
}

static void on_interval(unsigned int vcpu, void *data)
{
	fprintf(out, "interval %llu", (unsigned long long)interval++);
	for (unsigned int i = 0; i < BLOCKS; i++)
		if (blocks[i])
			fprintf(out, " %u:%llu", i, (unsigned long long)blocks[i]);
	fputc('\n', out);
	memset(blocks, 0, sizeof(blocks));
}

static void on_phase(unsigned int vcpu, void *data)
{
	for (uint64_t g = 0; g < pages; g += GRANULE) {
		uint64_t n = pages - g < GRANULE ? pages - g : GRANULE, sum = 0;

		for (uint64_t i = 0; i < n; i++)
			sum += counts[g + i];
		if (!sum)
			continue;
		fprintf(out, "granule %llu", (unsigned long long)(g / GRANULE));
		for (uint64_t i = 0; i < n; i++)
			fprintf(out, " %u", counts[g + i]);
		fputc('\n', out);
	}
	fprintf(out, "phase %llu\n", (unsigned long long)phase++);
	memset(counts, 0, pages * sizeof(*counts));
}

static void on_end(unsigned int vcpu, void *data)
{
	counting = false;
	fprintf(out, "end\n");
	fflush(out);
}

static void on_translate(uint64_t id, struct qemu_plugin_tb *tb)
{
	static const struct {
		const char *code;
		void (*cb)(unsigned int, void *);
	} markers[] = {
		{ COUNT_CODE_BEGIN, on_begin },
		{ COUNT_CODE_INTERVAL, on_interval },
		{ COUNT_CODE_PHASE, on_phase },
		{ COUNT_CODE_END, on_end },
	};

	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint8_t code[16];
		size_t n;

		if (qemu_plugin_insn_vaddr(insn) < COUNT_TEXT ||
		    qemu_plugin_insn_vaddr(insn) >= COUNT_TEXT + COUNT_TEXT_SIZE)
			continue;
		n = qemu_plugin_insn_data(insn, code, sizeof(code));
		for (size_t k = 0; k < sizeof(markers) / sizeof(markers[0]); k++)
			if (n == 3 && memcmp(code, markers[k].code, 3) == 0)
				qemu_plugin_register_vcpu_insn_exec_cb(insn, markers[k].cb,
								       CB_NO_REGS, NULL);
		qemu_plugin_register_vcpu_mem_cb(insn, on_access, CB_NO_REGS, MEM_RW, NULL);
	}
}

static void at_exit(uint64_t id, void *data)
{
	fclose(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info,
							       int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4) && !out)
			out = fopen(argv[i] + 4, "w");
	if (!out) {
		fprintf(stderr, "count-accesses: out=FILE is wanted, a file that can be written\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	return 0;
}
