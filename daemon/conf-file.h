/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stddef.h>

/*
 * Configuration files: "[section]" or "[section name]", "Key=value", comments on lines of their own
 * that begin with '#' or ';'. No quotes, no continued lines, no comments behind values: what
 * stands there is the value. UTF-8, lines up to 4096 bytes, files up to 1 MiB.
 *
 * Why no library: of those packaged, GKeyFile and libeconf 0.5 (Debian 12) cannot give the line of a
 * value, and inih cuts lines at 200 bytes, passes over text behind ']' and takes an indented key
 * for more of the value before. An operator's message needs the line, and nothing may be passed over.
 */

/* One entry, or with key NULL the beginning of a section. value and section have no white space at
 * their ends. Returns 0, or a negative errno with *ret_message saying what is wrong and what
 * would be right; the reader puts "FILE:LINE: key=value: " before it. */
typedef int (*conf_entry_t)(const char *file, unsigned int line, const char *section,
			    const char *key, const char *value, void *userdata, char **ret_message);

/*
 * Reads one file. -ENOENT: there is none (and no message). A link to /dev/null is an empty file.
 * A file that everyone may write is refused (-EPERM): what it says is done with privilege.
 */
int conf_file_read(const char *path, conf_entry_t entry, void *userdata, char **ret_message);

/* The same of a text in memory, which is cut up; path: how messages call it. data[len] is 0. */
int conf_text_read(const char *path, char *data, size_t len, conf_entry_t entry, void *userdata,
		   char **ret_message);

/* Appends the names (char *) of a directory's *.conf to names and sorts them by their bytes. No directory: none. */
int conf_dir_list(const char *dir, GPtrArray *names, char **ret_message);

/* main_path, if there, then main_path.d/NAME.conf in the order of their bytes. */
int conf_file_read_all(const char *main_path, conf_entry_t entry, void *userdata,
		       char **ret_message);
