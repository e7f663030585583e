/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>
#include <time.h>

/* Microseconds. */
static inline uint64_t now_of(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * UINT64_C(1000000) + ts.tv_nsec / 1000;
}

static inline uint64_t now_monotonic(void)
{
	return now_of(CLOCK_MONOTONIC);
}

static inline uint64_t now_realtime(void)
{
	return now_of(CLOCK_REALTIME);
}
