/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests/lab/checks/40-restart:
 *   check-restart create PREFIX N S   N morsels of one page, or how many there is room for, or time in S seconds;
 *                                     prints how many
 *   check-restart write NAME          writes a morsel of 8 MiB, pass after pass, until SIGTERM; then compares all
 *                                     of it with what it wrote, through a mapping made then
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libclient/morsel.h"

#define SIZE (UINT64_C(8) << 20)
#define WORDS (SIZE / sizeof(uint64_t))
/* One word of each 64 bytes is written: the emulated CPU has other things to do, too. */
#define STEP 8

static volatile sig_atomic_t stop;

static void on_term(int signo)
{
	stop = 1;
}

static void die(const char *what, int r, const morsel_client *c)
{
	fprintf(stderr, "check-restart: %s: %s\n", what, c ? morsel_error(c) : strerror(-r));
	exit(1);
}

static int create(morsel_client *c, const char *prefix, unsigned int n, unsigned int seconds)
{
	time_t end = time(NULL) + seconds;

	for (unsigned int i = 0; i < n; i++) {
		char name[64];
		morsel *m = NULL;
		int r;

		snprintf(name, sizeof(name), "%s%u", prefix, i);
		r = morsel_create(c, name, 4096, NULL, &m);
		if (r >= 0 && time(NULL) > end)
			n = i + 1;
		if (r == -ENOSPC) {
			printf("%u\n", i);
			return 0;
		}
		if (r < 0)
			die(name, r, c);
		morsel_close(m);
	}
	printf("%u\n", n);
	return 0;
}

static int write_on(morsel_client *c, const char *name)
{
	uint64_t passes = 0;
	volatile uint64_t *p;
	const uint64_t *again;
	void *address = NULL;
	morsel *m = NULL;
	int r;

	signal(SIGTERM, on_term);
	r = morsel_create(c, name, SIZE, NULL, &m);
	if (r >= 0)
		r = morsel_map(m, 0, 0, MORSEL_RDWR, &address);
	if (r < 0)
		die(name, r, c);
	p = address;
	puts("ready");
	fflush(stdout);
	while (!stop) {
		for (uint64_t i = 0; i < WORDS; i += STEP)
			p[i] += i + 1;
		passes++;
		usleep(20000);
	}
	/* By the descriptor that was there all along: the name may be lost. */
	r = morsel_map(m, 0, 0, MORSEL_RDONLY, &address);
	if (r < 0)
		die("mapping again", r, c);
	again = address;
	for (uint64_t i = 0; i < WORDS; i++)
		if (again[i] != (i % STEP ? 0 : (i + 1) * passes)) {
			fprintf(stderr,
				"check-restart: word %" PRIu64 " of %s is %" PRIu64 ", not %" PRIu64
				"\n",
				i, name, again[i], i % STEP ? 0 : (i + 1) * passes);
			return 1;
		}
	printf("%" PRIu64 " passes\n", passes);
	return passes == 0;
}

int main(int argc, char **argv)
{
	morsel_client *c = NULL;
	int r;

	if (argc < 3)
		return 2;
	r = morsel_connect(NULL, &c);
	if (r < 0)
		die("morsel_connect", r, NULL);
	if (strcmp(argv[1], "create") == 0 && argc == 5)
		return create(c, argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
	if (strcmp(argv[1], "write") == 0)
		return write_on(c, argv[2]);
	return 2;
}
