/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/*
 * A fake of morseld for libmorsel's unit tests: one socket, a thread that serves one connection after
 * the other, and objects that are plain memfds of the size asked for. What it does is chosen by the
 * name that Create or Open carries:
 *
 *   error:NAME      answers with the error NAME of the interface, text "fake: NAME"
 *   foreign:NAME    the same with the error name as given
 *   options         answers InvalidArgument; the text is the options that came, printed
 *   hangup          closes the connection instead of answering
 *   no-id, bad-type, long-id, no-info, extra
 *                   answers with an info dictionary that is so
 *   hugetlb, thp    says that the object's pages are of that kind
 *   signals         sends 1000 PropertiesChanged before the answer
 *   anything else   works
 * Move makes a job whose Wait answers by the tier's name: "done", "failed" or "cancelled"; Wait sends
 * 1000 signals first. With tier "held" it answers "done" only after fake_release(). Residency has tiers dram0 and hbm0.
 */
struct fake;

struct fake *fake_start(const char *path); /* aborts on failure */
unsigned int fake_calls(struct fake *f);   /* method calls so far */
unsigned int fake_connections(struct fake *f);
void fake_release(struct fake *f);
void fake_stop(struct fake *f);
