// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * check-flood SOCKET MORSEL UID SECONDS: how long a call of this user's takes while user UID floods
 * (flood.h); prints it, and fails where one in a hundred takes longer than the goal in milliseconds
 * that $GOAL_MS names.
 */
#include <stdio.h>
#include <stdlib.h>

#include "flood.h"

#define ROOM 100000

int main(int argc, char **argv)
{
	double *samples = calloc(ROOM, sizeof(double)), p99, calm;
	const char *goal = getenv("GOAL_MS");
	struct flood flood;
	size_t n;

	if (argc != 5 || !samples) {
		fprintf(stderr, "usage: check-flood SOCKET MORSEL UID SECONDS\n");
		return 2;
	}
	n = flood_measure(argv[1], argv[2], 2, samples, ROOM);
	calm = 1e3 * samples[(size_t)(0.99 * (double)(n - 1))];
	flood_start(&flood, argv[1], (uid_t)strtoul(argv[3], NULL, 10));
	n = flood_measure(argv[1], argv[2], strtod(argv[4], NULL), samples, ROOM);
	if (flood_stop(&flood) > 0) {
		fprintf(stderr, "a process of the flood ended by itself\n");
		return 1;
	}
	p99 = 1e3 * samples[(size_t)(0.99 * (double)(n - 1))];
	printf("p99 of another user's calls: %.3f ms (before the flood %.3f ms); %zu calls, median"
	       " %.3f ms, longest %.3f ms\n",
	       p99, calm, n, 1e3 * samples[n / 2], 1e3 * samples[n - 1]);
	free(samples);
	return goal && p99 > strtod(goal, NULL);
}
