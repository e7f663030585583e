/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests/lab/checks/62-module-tiering: check-hot NAME MIB TIER HOT_MIB
 *
 * Counts in words of the pages of HOT_MIB at an eighth of a morsel that began on TIER; from SIGUSR1 on at five
 * eighths. Ends by SIGTERM, with 0 if every word is what was counted.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libclient/morsel.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE UINT64_C(4096)

static volatile sig_atomic_t jumped, ended;
static morsel_client *client;

static void on_jump(int unused)
{
	jumped = 1;
}

static void on_end(int unused)
{
	ended = 1;
}

static int must(int r, const char *what)
{
	if (r >= 0)
		return r;
	fprintf(stderr, "check-hot: %s: %s: %s\n", what, strerror(-r),
		client ? morsel_error(client) : "");
	exit(1);
}

int main(int argc, char **argv)
{
	struct morsel_options options = { MORSEL_OPTIONS_INIT, .populate = 1 };
	uint64_t bytes = argc > 4 ? strtoull(argv[2], NULL, 10) * MIB : 0, *counted;
	uint64_t hot = argc > 4 ? strtoull(argv[4], NULL, 10) * MIB : 0, sum = 0;
	const struct timespec pause = { .tv_nsec = 2000000 };
	volatile uint64_t *words;
	morsel *m = NULL;

	if (bytes == 0 || hot == 0 || hot > bytes / 4) {
		fprintf(stderr, "check-hot NAME MIB TIER HOT_MIB\n");
		return 2;
	}
	signal(SIGUSR1, on_jump);
	signal(SIGTERM, on_end);
	counted = calloc(bytes / PAGE, sizeof(*counted));
	if (!counted)
		must(-ENOMEM, "calloc");
	options.prefer = argv[3];
	must(morsel_connect(NULL, &client), "connect");
	must(morsel_create(client, argv[1], bytes, &options, &m), "create");
	must(morsel_map(m, 0, 0, MORSEL_RDWR, (void **)&words), "map");
	for (uint64_t page = 0; page < bytes / PAGE; page++)
		words[page * PAGE / 8] = counted[page] = page;
	while (!ended) {
		uint64_t first = bytes / 8 * (jumped ? 5 : 1) / PAGE;

		for (uint64_t page = first; page < first + hot / PAGE; page++) {
			words[page * PAGE / 8]++;
			counted[page]++;
			sum++;
		}
		nanosleep(&pause, NULL);
	}
	for (uint64_t page = 0; page < bytes / PAGE; page++)
		if (words[page * PAGE / 8] != counted[page]) {
			fprintf(stderr,
				"check-hot: page %" PRIu64 " is %" PRIu64 ", not %" PRIu64 "\n",
				page, words[page * PAGE / 8], counted[page]);
			return 1;
		}
	printf("%" PRIu64 " increments, every word exact\n", sum);
	morsel_close(m);
	free(counted);
	return 0;
}
