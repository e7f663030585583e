/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What a fuzz target is for libFuzzer, and for replay.c. A target keeps nothing from one input to the
 * next, and aborts where a promise of the code's is broken. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
