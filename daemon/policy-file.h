/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "policy.h"

/*
 * Files of policies: [cgroup PATH] sections and nothing else, in the form of conf-file.h. Blocking; no function here
 * touches the daemon's state.
 */

/*
 * Reads the *.conf of directories (ended by NULL), appends them to files. Of several files of one name that of the first
 * directory counts. -EINVAL and other errors of reading: *ret_message names file and line.
 */
int policy_files_read(const char *const *dirs, GPtrArray *files, char **ret_message);
/* One file; -ENOENT: there is none (no message). */
int policy_file_read(const char *path, struct policy_file **ret_file, char **ret_message);
/* The same of a text, which is cut up. */
int policy_file_parse(const char *path, char *text, struct policy_file **ret_file,
		      char **ret_message);

/* "50-morselctl-NAME.conf", of a cgroup: prefix and a name that no other cgroup has. */
char *policy_dropin_name(const char *prefix, const char *cgroup);

/*
 * Changes the drop-in of a cgroup: sets keys to values (both arrays of char *, of one length), then takes back those of
 * unset; all of them where all is true. A file that says nothing any more is removed. What is written was read back
 * before. *ret_file: what stands there now, or NULL.
 */
struct policy_edit {
	const char *dir, *name, *cgroup;
	const GPtrArray *keys, *values, *unset; /* each may be NULL */
	bool all;
};
int policy_dropin_edit(const struct policy_edit *edit, struct policy_file **ret_file,
		       char **ret_message);
