/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

/* Adds a message to a list of char * unless it is there already or the list is long: a lying
 * directory tree must not make the daemon's answers endless. */
void warnings_add(GPtrArray *warnings, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Copies those of from. */
void warnings_add_all(GPtrArray *warnings, const GPtrArray *from);
