/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "harness.h"

/* What a polkit authority says on the private bus: org.freedesktop.PolicyKit1 in a process of its own (a thread of the
 * test would be there when harness_as_user() forks). The real one is asked in the lab (tests/lab/checks/42-rights). */
enum fake_polkit_answer {
	FAKE_POLKIT_NO,
	FAKE_POLKIT_YES,
	FAKE_POLKIT_CHALLENGE, /* yes, were a dialog allowed */
	FAKE_POLKIT_SILENCE,   /* no answer at all, until the next one is set */
};

struct fake_polkit;
struct fake_polkit *fake_polkit_new(struct harness *h);
struct fake_polkit *fake_polkit_free(struct fake_polkit *p); /* the name goes; returns NULL */
/* Questions that wait are answered so too. */
void fake_polkit_set(struct fake_polkit *p, enum fake_polkit_answer answer);
/* How many questions came, and the last one: "ACTION of :1.5, dialog". g_free. */
unsigned int fake_polkit_asked(struct fake_polkit *p, char **ret_last);
