/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <linux/morsel.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Common ground of the programs that test morsel.ko: they run as root in the lab's guest with the
 * module loaded, print TAP, and end with 1 if anything was not as it should be. Children that
 * they fork report failures of their own through shared memory.
 */
#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define PAGE UINT64_C(4096)
#define GRANULE ((uint64_t)MORSEL_GRANULE)

/* What the control descriptor's calls go to. */
extern int km_control;

/*
 * Opens the control descriptor and says hello; ends the program where there is no module. A fault that is not
 * expected (km_touch) ends the process with 128 + SIGBUS or SIGSEGV.
 */
void km_begin(void);
/* Destroys what is left, checks that the module's counters are zero; prints the plan. The exit status. */
int km_end(void);
/* Runs one test, prints its line. */
void km_test(const char *name, void (*run)(void));
/* A line "# …" on standard output. */
void km_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A failure of the running test, with its place; true, so that it can stand in a condition. */
bool km_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* How many there were, in all processes. */
uint64_t km_failures(void);
void km_failed(const char *file, int line, const char *condition, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* A condition of the test; the text says what was there instead. */
#define km_check(condition, ...)                                                    \
	do {                                                                        \
		if (!(condition))                                                   \
			km_failed(__FILE__, __LINE__, #condition, " " __VA_ARGS__); \
	} while (0)
/* Without it nothing that follows makes sense: ends the program, or the child. */
#define km_require(condition, ...)                                                  \
	do {                                                                        \
		if (!(condition)) {                                                 \
			km_failed(__FILE__, __LINE__, #condition, " " __VA_ARGS__); \
			km_give_up();                                               \
		}                                                                   \
	} while (0)
/* That a call (0 or a negative error) ended as wanted. */
#define km_expect(want, call) km_expect_at(__FILE__, __LINE__, #call, (want), (call))
void km_expect_at(const char *file, int line, const char *what, int want, int got);
void km_give_up(void) __attribute__((noreturn));

/* 0 or what the call gave if it was not negative; else -errno. EINTR is not hidden. */
int km_ioctl(int fd, unsigned long request, void *argument);
/* -errno if a call of the C library gave -1. */
int km_error(long r);

/* Of any call, and longer than any. */
union km_argument {
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
	uint32_t size;
	char bytes[8192];
};

/* ---- pools, accounts, objects: those without _try end the program if they cannot ---- */
int km_pool_try(int node, uint32_t tier, uint64_t max, uint64_t start, uint32_t *ret_pool);
uint32_t km_pool(int node, uint32_t tier, uint64_t max);
/* Over a device-dax file's first bytes; 0: the module has no such pools. */
uint32_t km_dax_pool(const char *path, uint32_t tier, uint64_t bytes);
uint32_t km_device_pool(const char *path, uint32_t kind, uint32_t tier, uint64_t bytes);
/* Waits until nothing is left in quarantine, then destroys; fails the test if that takes more than 20 s. */
void km_pool_destroy(uint32_t pool);
struct morsel_pool_stat km_pool_stat(uint32_t pool);
/* Waits for at most 20 s until a pool's quarantine is empty. */
bool km_quarantine_empties(uint32_t pool);

int km_account_create(uint64_t id, uint64_t parent);
int km_account_limit(uint64_t id, uint32_t tier, uint64_t bytes);
int km_account_destroy(uint64_t id);
struct morsel_account_stat km_account_stat(uint64_t id);

struct km_object {
	uint64_t id;
	uint64_t bytes;
	int fd;
};
/* Pools: up to 16, ended by 0. */
int km_object_try(uint64_t bytes, uint32_t flags, uint64_t account, const uint32_t *pools,
		  struct km_object *ret);
struct km_object km_object(uint64_t bytes, uint32_t flags, uint64_t account, uint32_t pool);
/* Another descriptor of it, or a negative error. */
int km_object_open(uint64_t id, uint32_t flags);
/* Closes the descriptor and destroys. */
void km_object_done(struct km_object *o);
int km_object_destroy(uint64_t id);
/* By a descriptor of the object. */
struct morsel_object_stat km_object_stat(int fd);
struct morsel_stats km_stats(void);

int km_populate(int fd, uint64_t offset, uint64_t length, uint64_t *ret_bytes);
int km_evict(int fd, uint64_t offset, uint64_t length, uint64_t *ret_bytes);
/* The call's error, or that of the range. ret may be NULL. */
int km_move(uint64_t id, uint64_t offset, uint64_t length, uint32_t pool,
	    struct morsel_move_range *ret);

/* ---- memory ---- */
/* Shared, with EINTR tried again; ends the program if it cannot. */
char *km_map(int fd, uint64_t bytes, int protection);
void km_unmap(void *p, uint64_t bytes);
/* One access; false if it gave SIGBUS or SIGSEGV. */
bool km_touch(volatile void *p, bool write);
/* One access of a word; false the same way. */
bool km_load(volatile uint64_t *p, uint64_t *ret);
bool km_store(volatile uint64_t *p, uint64_t value);
/* Offset of the first byte that is not zero, or bytes. */
uint64_t km_first_nonzero(const void *p, uint64_t bytes);
/* A word of each page, made of its number and a seed: km_filled gives the first page that differs, or pages. */
void km_fill(char *p, uint64_t bytes, uint64_t seed);
uint64_t km_filled(const char *p, uint64_t bytes, uint64_t seed);
uint64_t km_minor_faults(void);

/* ---- processes and the machine ---- */
pid_t km_fork(void (*run)(void *argument), void *argument);
/* Ended with 0? */
bool km_wait(pid_t pid);
/* Both. */
bool km_in_child(void (*run)(void *argument), void *argument);
/* Zeroed memory that children share. */
void *km_shared(size_t bytes);
void km_nap_ms(unsigned int ms);
uint64_t km_now_ns(void);
/* Nodes that have memory, at most max; how many. */
unsigned int km_nodes(int *nodes, unsigned int max);
void km_pin_cpu(unsigned int cpu);
unsigned int km_cpus(void);
uint64_t km_random(uint64_t *state);
/* A number with K, M or G; ends the program where it is none. */
uint64_t km_size(const char *text);
