// SPDX-License-Identifier: GPL-2.0-or-later
#include "tiering-pressure.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "kernfile.h"

#define FULL 500 /* hundredths of a per cent */
#define NONE 5000

int tiering_pressure_parse(const char *text)
{
	unsigned int whole, part;

	if (sscanf(text, "some avg10=%u.%2u", &whole, &part) != 2 || whole > 100)
		return -1;
	return (int)(whole * 100 + part);
}

uint64_t tiering_pressure_apply(int pressure, uint64_t budget)
{
	if (pressure <= FULL)
		return budget;
	if (pressure >= NONE)
		return 0;
	return (uint64_t)((unsigned __int128)budget * (unsigned int)(NONE - pressure) /
			  (NONE - FULL));
}

uint64_t tiering_pressure_scale(int root_fd, uint64_t budget)
{
	static const char *const files[] = { "proc/pressure/memory", "proc/pressure/cpu" };
	/* A busy CPU is no reason to leave memory where it is slow for ever. */
	static const unsigned int floors[] = { 0, 8 };
	uint64_t least = budget;

	for (unsigned int i = 0; i < G_N_ELEMENTS(files); i++) {
		g_autofree char *text = NULL;

		if (kernfile_read_text(root_fd, files[i], &text) >= 0)
			least = MIN(least, MAX(tiering_pressure_apply(tiering_pressure_parse(text),
								      budget),
					       floors[i] > 0 ? budget / floors[i] : 0));
	}
	return least;
}
