/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Reading small files of the kernel's (sysfs, /proc, firmware tables) below a root directory, which
 * may be a fixture that stands in for "/". Nothing read is trusted: sizes are bounded, only regular
 * files are read (a FIFO would block), links are resolved inside the root, and text that goes into a
 * message is made printable.
 *
 * Paths are relative to root_fd, without a leading '/'. Functions ending in f take the path as a
 * format. With AT_FDCWD as root_fd, paths are ordinary ones. All return 0 or a negative errno; outputs are written only on success.
 */

/* Longest text of one value. sysfs gives at most a page. */
#define KERNFILE_TEXT_MAX 65536u

/*
 * Who opens what this process may not: called with a path that gave EACCES, gives a descriptor or a
 * negative errno (then the file counts as unreadable). Set before threads are started; called on any.
 */
typedef int (*kernfile_opener_t)(const char *path);
void kernfile_set_opener(kernfile_opener_t opener);

/* The whole file, at most max bytes, -EFBIG if it is longer. A 0 byte follows the data. */
int kernfile_read(int root_fd, const char *path, size_t max, char **ret_data, size_t *ret_len);

/* Text without white space at its ends. -EBADMSG: it holds a NUL or is not ASCII. */
int kernfile_read_text(int root_fd, const char *path, char **ret_text);
int kernfile_read_textf(int root_fd, char **ret_text, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* A decimal or 0x-hexadecimal number and nothing else; -EBADMSG if not, -ERANGE over 64 bits. */
int kernfile_parse_u64(const char *text, uint64_t *ret_n);
int kernfile_read_u64f(int root_fd, uint64_t *ret_n, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* The same, from -2147483648 to 2147483647, decimal: node numbers are -1 where there is none. */
int kernfile_read_intf(int root_fd, int *ret_n, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* A list in the kernel's format (numlist.h); -EBADMSG if it is none, -ERANGE if a number is over max. */
int kernfile_read_listf(int root_fd, int max, GArray **ret_list, const char *format, ...)
	G_GNUC_PRINTF(4, 5);

/* Last component of a symbolic link's target. */
int kernfile_link_basef(int root_fd, char **ret_base, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Path below the root that a link (or a path through links) leads to, e.g. "sys/devices/…". */
int kernfile_realpath(int root_fd, const char *path, char **ret_path);

/* Numbers n of all entries "PREFIXn", ascending, n at most 2^31 - 1: of int. */
int kernfile_numbered(int root_fd, const char *dir, const char *prefix, GArray **ret_numbers);
/* Names of all entries that begin with prefix and are made of letters, digits, '.', '_', ':', '-', in
 * natural order (mem2 before mem10): of char *. */
int kernfile_names(int root_fd, const char *dir, const char *prefix, GPtrArray **ret_names);
/* Orders as kernfile_names() does. */
int kernfile_compare_names(const char *a, const char *b);

/* What one of these functions' errors says of the file, for "FILE cannot be read: %s". */
const char *kernfile_strerror(int r);

/* text in quotes, without control characters or bytes over 126, cut to a length fit for a message. The
 * caller frees it. */
char *kernfile_quote(const char *text);
