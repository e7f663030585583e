/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#ifndef MORSEL_CORE_TEST_CHECK_H
#define MORSEL_CORE_TEST_CHECK_H

#include <stdio.h>
#include <stdlib.h>

/* For tests without a framework: checks are counted, the rest goes on. One file per program. */

static int failures;

#define CHECK(cond)                                                               \
	do {                                                                      \
		if (!(cond)) {                                                    \
			printf("not ok: %s:%d: %s\n", __func__, __LINE__, #cond); \
			failures++;                                               \
		}                                                                 \
	} while (0)

/* The last line, and main's return value. */
static inline int check_result(void)
{
	printf(failures ? "%d checks failed\n" : "ok\n", failures);
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
