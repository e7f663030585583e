// SPDX-License-Identifier: GPL-2.0-or-later
#include "ordinary-peers.h"

#include "kernfile.h"

#define BALANCING_TIERING 2u /* NUMA_BALANCING_MEMORY_TIERING */

static bool runs(int root_fd, const char *name)
{
	g_autoptr(GArray) pids = NULL;

	if (kernfile_numbered(root_fd, "proc", "", &pids) < 0)
		return false;
	for (unsigned int i = 0; i < pids->len; i++) {
		g_autofree char *comm = NULL;

		if (kernfile_read_textf(root_fd, &comm, "proc/%d/comm",
					g_array_index(pids, int, i)) == 0 &&
		    g_str_equal(comm, name))
			return true;
	}
	return false;
}

char *ordinary_peers(int root_fd, bool programs)
{
	g_autofree char *demotes = NULL;
	uint64_t balancing;

	if (kernfile_read_u64f(root_fd, &balancing, "%s", "proc/sys/kernel/numa_balancing") == 0 &&
	    balancing & BALANCING_TIERING)
		return g_strdup("the kernel's NUMA balancing is in tiering mode "
				"(sysctl kernel.numa_balancing=0)");
	if (kernfile_read_text(root_fd, "sys/kernel/mm/numa/demotion_enabled", &demotes) == 0 &&
	    g_str_equal(demotes, "true"))
		return g_strdup("the kernel demotes pages itself "
				"(echo 0 > /sys/kernel/mm/numa/demotion_enabled)");
	return programs && runs(root_fd, "memtierd") ? g_strdup("memtierd runs") : NULL;
}
