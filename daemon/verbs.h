/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>

struct doctor_facts;

/*
 * What each storage does: the table of docs/architecture.md (a test holds the two together), and which one does
 * it on this machine.
 */
struct verb {
	const char *verb, *module, *node, *pool;
	/* "node: …", or "–" and why not; free with g_free. */
	char *(*here)(const struct doctor_facts *facts);
};

extern const struct verb verbs[];
extern const size_t n_verbs;
