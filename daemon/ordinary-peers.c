// SPDX-License-Identifier: GPL-2.0-or-later
#include "ordinary-peers.h"

#include "kernfile.h"

#define BALANCING_TIERING 2u /* NUMA_BALANCING_MEMORY_TIERING */

static bool is_on(int root_fd, const char *path)
{
	g_autofree char *text = NULL;

	return kernfile_read_text(root_fd, path, &text) == 0 &&
	       (g_str_equal(text, "Y") || g_str_equal(text, "1") || g_str_equal(text, "true"));
}

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
	static const struct {
		const char *path, *text;
	} switches[] = {
		{ "sys/kernel/mm/numa/demotion_enabled",
		  "the kernel demotes pages itself (echo 0 > /sys/kernel/mm/numa/demotion_enabled)" },
		{ "sys/module/damon_reclaim/parameters/enabled",
		  "DAMON-based reclaim is on (/sys/module/damon_reclaim/parameters/enabled)" },
		{ "sys/module/damon_lru_sort/parameters/enabled",
		  "DAMON-based sorting of LRU lists is on (/sys/module/damon_lru_sort/parameters/enabled)" },
	};
	uint64_t balancing;

	if (kernfile_read_u64f(root_fd, &balancing, "%s", "proc/sys/kernel/numa_balancing") == 0 &&
	    balancing & BALANCING_TIERING)
		return g_strdup("the kernel's NUMA balancing is in tiering mode "
				"(sysctl kernel.numa_balancing=0)");
	for (size_t i = 0; i < G_N_ELEMENTS(switches); i++)
		if (is_on(root_fd, switches[i].path))
			return g_strdup(switches[i].text);
	return programs && runs(root_fd, "memtierd") ? g_strdup("memtierd runs") : NULL;
}
