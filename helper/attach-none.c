// SPDX-License-Identifier: GPL-2.0-or-later
/* Built without libbpf. */
#include <errno.h>
#include <glib.h>

#include "attach.h"

int attach_program(int root_fd, struct attached **ret_attached, char text[static HELPER_TEXT_MAX])
{
	g_strlcpy(text, "morsel was built without BPF (no clang or libbpf)", HELPER_TEXT_MAX);
	return -EOPNOTSUPP;
}

int attach_policy(struct attached *a, uint64_t account, const struct morsel_policy *policy)
{
	return -EOPNOTSUPP;
}

struct attached *attach_end(struct attached *a)
{
	return NULL;
}
