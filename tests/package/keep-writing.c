// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * keep-writing NAME MIB PROGRESS: a program that uses a morsel while its package is upgraded or removed.
 *
 * Creates the morsel, maps it and goes over all its words, pass after pass: each must hold what the pass
 * before wrote there. The number of passes done stands in the file PROGRESS. SIGTERM ends it after the
 * pass it is in, with 0; a word that is not as it was left ends it at once, with 1.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <morsel.h>

static volatile sig_atomic_t stop;

static void on_term(int signo)
{
	stop = 1;
}

static void must(int r, const char *what, const morsel_client *c)
{
	if (r >= 0)
		return;
	fprintf(stderr, "keep-writing: %s: %s\n", what, c ? morsel_error(c) : strerror(-r));
	exit(1);
}

int main(int argc, char **argv)
{
	uint64_t size, words, pass = 0;
	volatile uint64_t *word;
	morsel_client *c = NULL;
	morsel *m = NULL;
	void *p;
	int fd;

	if (argc != 4 || (size = strtoull(argv[2], NULL, 10) << 20) == 0) {
		fprintf(stderr, "Usage: keep-writing NAME MIB PROGRESS\n");
		return 2;
	}
	signal(SIGTERM, on_term);
	must(morsel_connect(NULL, &c), "connect", NULL);
	must(morsel_create(c, argv[1], size, NULL, &m), "create", c);
	must(morsel_map(m, 0, 0, MORSEL_RDWR, &p), "map", c);
	fd = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0) {
		perror(argv[3]);
		return 1;
	}
	words = size / sizeof(*word);
	word = p;
	while (!stop) {
		char text[32];

		for (uint64_t i = 0; i < words; i++) {
			if (word[i] != (pass ? pass ^ i : 0)) {
				fprintf(stderr,
					"keep-writing: word %" PRIu64 " is not of pass %" PRIu64
					"\n",
					i, pass);
				return 1;
			}
			word[i] = (pass + 1) ^ i;
		}
		pass++;
		snprintf(text, sizeof(text), "%020" PRIu64 "\n", pass);
		if (pwrite(fd, text, strlen(text), 0) < 0)
			return 1;
	}
	printf("%" PRIu64 " passes, every word as it was left\n", pass);
	return 0;
}
