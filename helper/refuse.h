/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "protocol.h"

/* Why not, into text; returns error, for "return refuse(…)". */
int refuse(char text[static HELPER_TEXT_MAX], int error, const char *format, ...)
	G_GNUC_PRINTF(3, 4);
