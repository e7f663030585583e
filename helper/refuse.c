// SPDX-License-Identifier: GPL-2.0-or-later
#include "refuse.h"

#include <stdarg.h>
#include <stdio.h>

int refuse(char text[static HELPER_TEXT_MAX], int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, HELPER_TEXT_MAX, format, args);
	va_end(args);
	return error;
}
