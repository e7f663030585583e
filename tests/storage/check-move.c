/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the lab: live moves between nodes. Run as root. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check-common.h"

#define WRITERS 2
#define ROUNDS 3

static struct lab lab;

/* What writers and the test share; not the object itself. */
struct board {
	_Atomic bool stop;
	_Atomic uint64_t passes[WRITERS];
};

static void write_until_told(struct storage_object *o, struct board *board, unsigned int id)
{
	char *p = lab_map(&lab, o, o->size);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	do {
		for (uint64_t at = 0; at < o->size; at += PAGE)
			(*(volatile uint64_t *)(p + at + 8 * id))++;
		board->passes[id]++;
	} while (!board->stop);
	_exit(0);
}

/* Each page has a pattern that stays, and a counter of each writer, which has seen every pass. */
static void test_writers(void)
{
	const uint64_t size = 24 * MIB;
	static const int route[] = { 1, 2, 0 };
	struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct storage_object *o = lab_create(&lab, size, NULL);
	struct storage_move_result res;
	pid_t writers[WRITERS];
	char *p = lab_map(&lab, o, size);
	uint64_t failed = 0;

	for (uint64_t at = 0; at < size; at++)
		if (at % PAGE >= 8 * WRITERS)
			p[at] = (char)(at * 2654435761u >> 7);
	for (unsigned int i = 0; i < WRITERS; i++) {
		writers[i] = fork();
		if (writers[i] == 0)
			write_until_told(o, board, i);
	}
	for (unsigned int round = 0; round < ROUNDS; round++)
		for (unsigned int k = 0; k < G_N_ELEMENTS(route); k++) {
			lab_move(&lab, o, route[k], &res);
			failed += res.failed;
			g_assert_cmpuint(res.absent, ==, 0);
			g_assert_cmpuint(res.moved, >, size / 2);
			storage_move_result_done(&res);
		}
	board->stop = true;
	for (unsigned int i = 0; i < WRITERS; i++) {
		int status;

		g_assert_cmpint(waitpid(writers[i], &status, 0), ==, writers[i]);
		g_assert_cmpint(status, ==, 0);
	}
	g_test_message("%" PRIu64 " + %" PRIu64 " passes, %" PRIu64 " bytes stayed behind",
		       board->passes[0], board->passes[1], failed);
	for (uint64_t at = 0; at < size; at += PAGE)
		for (unsigned int i = 0; i < WRITERS; i++)
			g_assert_cmpuint(*(uint64_t *)(p + at + 8 * i), ==, board->passes[i]);
	for (uint64_t at = 0; at < size; at++)
		if (at % PAGE >= 8 * WRITERS && p[at] != (char)(at * 2654435761u >> 7))
			g_error("byte %" PRIu64 " has changed", at);

	/* Nobody holds a page any more: now all of it goes, and numa_maps says the same. */
	lab_move(&lab, o, 2, &res);
	g_assert_cmpuint(res.failed, ==, 0);
	storage_move_result_done(&res);
	lab_move(&lab, o, 2, &res);
	g_assert_cmpuint(res.already, ==, size);
	storage_move_result_done(&res);
	for (int node = 0; node < 3; node++)
		g_assert_cmpuint(lab_bytes(&lab, o, 0, size, node), ==, lab_numa_maps(0, p, node));
	g_assert_cmpuint(lab_numa_maps(0, p, 2), ==, size);
	munmap(p, size);
	munmap(board, sizeof(*board));
	lab.s->ops->free(o);
}

/* A part moves, the rest stays; holes stay holes, and what is written there later comes to the new place. */
static void test_part(void)
{
	struct tier *tier = lab_tier(&lab, 1);
	struct storage_object *o;
	struct storage_move_result res;
	g_autoptr(Placement) placement = placement_new();
	g_autofree char *error = NULL;
	uint64_t bytes;
	char *p;

	g_ptr_array_add(placement->prefer, g_strdup("node2"));
	o = lab_create(&lab, 16 * MIB, placement);
	p = lab_map(&lab, o, 16 * MIB);
	memset(p, 1, 8 * MIB);
	g_assert_cmpint(lab.s->ops->move(o, 4 * MIB + PAGE, 8 * MIB, tier, 0, NULL, NULL, &res,
					 &error),
			==, 0);
	g_assert_cmpuint(res.moved, ==, 4 * MIB - PAGE);
	g_assert_cmpuint(res.absent, ==, 4 * MIB + PAGE);
	g_assert_cmpint(res.policy_error, ==, 0);
	storage_move_result_done(&res);
	g_assert_cmpint(lab.s->ops->allocated(o, &bytes), ==, 0);
	g_assert_cmpuint(bytes, ==, 8 * MIB);
	memset(p + 8 * MIB, 2, 8 * MIB);
	g_assert_cmpuint(lab_bytes(&lab, o, 0, 4 * MIB + PAGE, 2), ==, 4 * MIB + PAGE);
	g_assert_cmpuint(lab_bytes(&lab, o, 4 * MIB + PAGE, 8 * MIB, 1), ==, 8 * MIB);
	g_assert_cmpuint(lab_bytes(&lab, o, 12 * MIB + PAGE, 4 * MIB - PAGE, 2), ==,
			 4 * MIB - PAGE);

	/* Half of it is there already: told apart. */
	lab_move(&lab, o, 1, &res);
	g_assert_cmpuint(res.already, ==, 8 * MIB);
	g_assert_cmpuint(res.moved, ==, 8 * MIB);
	storage_move_result_done(&res);
	munmap(p, 16 * MIB);
	lab.s->ops->free(o);
}

/* Without CAP_SYS_NICE what a client maps stays where it is, and the result says why. */
static void test_unprivileged(void)
{
	int status;
	pid_t child;

	child = fork();
	if (child == 0) {
		struct lab mine;
		struct storage_move_result res;
		struct storage_object *o;
		uint64_t *denied;
		char *p;

		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(1);
		prctl(PR_SET_DUMPABLE, 1); /* /proc/self is ours again */
		lab_open(&mine, 3);
		o = lab_create(&mine, 4 * MIB, NULL);
		p = lab_map(&mine, o, 4 * MIB);
		memset(p, 1, 2 * MIB); /* a client, who is this process here */
		lab_move(&mine, o, 1, &res);
		denied = g_hash_table_lookup(res.reasons, GINT_TO_POINTER(EACCES));
		_exit(res.moved == 0 && denied && *denied == 2 * MIB ? 0 : 2);
	}
	g_assert_cmpint(waitpid(child, &status, 0), ==, child);
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

int main(int argc, char *argv[])
{
	g_test_init(&argc, &argv, NULL);
	lab_open(&lab, 3);
	g_test_add_func("/move/writers", test_writers);
	g_test_add_func("/move/part", test_part);
	g_test_add_func("/move/unprivileged", test_unprivileged);
	return g_test_run();
}
