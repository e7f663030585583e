/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "conf-file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kernfile.h"

#define FILE_BYTES_MAX ((size_t)1 << 20)
#define LINE_BYTES_MAX 4096u

static bool is_null_device(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static int read_whole(const char *path, char **ret_data, size_t *ret_len, char **ret_message)
{
	struct stat st;
	int r;

	if (is_null_device(path)) {
		*ret_data = g_strdup("");
		*ret_len = 0;
		return 0;
	}
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IWOTH)) {
		*ret_message = g_strdup_printf("%s: everyone may write it (mode %04o): chmod o-w",
					       path, (unsigned int)st.st_mode & 07777);
		return -EPERM;
	}
	r = kernfile_read(AT_FDCWD, path, FILE_BYTES_MAX, ret_data, ret_len);
	if (r == -ENOENT)
		return r;
	if (r < 0)
		*ret_message = g_strdup_printf("%s: %s", path,
					       r == -EFBIG    ? "is over 1 MiB: no configuration"
					       : r == -EISDIR ? "is a directory, a file is wanted"
					       : r == -EINVAL ? "is no regular file"
							      : g_strerror(-r));
	return r;
}

static int take_section(char *text, char **section, char **ret_message)
{
	char *close = strchr(text, ']');

	if (close == NULL) {
		*ret_message = g_strdup("']' is missing behind the section's name");
		return -EINVAL;
	}
	if (close[1] != 0) {
		*ret_message =
			g_strdup("nothing may follow ']'; comments stand on lines of their own");
		return -EINVAL;
	}
	*close = 0;
	g_free(*section);
	*section = g_strdup(g_strstrip(text + 1));
	return 0;
}

static int take_line(const char *path, unsigned int line, char *text, char **section,
		     conf_entry_t entry, void *userdata, char **ret_message)
{
	g_autofree char *shown = NULL;
	char *equals, *key, *value;
	const char *whole;
	int r;

	g_strstrip(text);
	if (text[0] == 0 || text[0] == '#' || text[0] == ';')
		return 0;
	/* For messages, before it is cut up. */
	shown = g_strndup(text, 200);
	if (!g_utf8_validate(shown, -1, &whole))
		shown[whole - shown] = 0; /* cut in the middle of a character */
	if (text[0] == '[') {
		r = take_section(text, section, ret_message);
		if (r == 0)
			r = entry(path, line, *section, NULL, NULL, userdata, ret_message);
	} else {
		equals = strchr(text, '=');
		if (equals == NULL || equals == text) {
			*ret_message = g_strdup("Key=value or [section] is wanted");
			r = -EINVAL;
		} else if (*section == NULL) {
			*ret_message = g_strdup("no [section] stands before it");
			r = -EINVAL;
		} else {
			*equals = 0;
			key = g_strchomp(text);
			value = g_strchug(equals + 1);
			r = entry(path, line, *section, key, value, userdata, ret_message);
		}
	}
	if (r < 0) {
		g_autofree char *what = *ret_message;

		/* A control character in a message would garble the journal. */
		for (char *c = shown; *c; c++)
			if (g_ascii_iscntrl(*c))
				*c = '?';
		*ret_message = g_strdup_printf("%s:%u: %s: %s", path, line, shown,
					       what ? what : g_strerror(-r));
	}
	return r;
}

int conf_text_read(const char *path, char *data, size_t len, conf_entry_t entry, void *userdata,
		   char **ret_message)
{
	g_autofree char *section = NULL;
	unsigned int line = 0;
	char *p;
	int r;

	/* Editors of another system leave a byte order mark. */
	p = g_str_has_prefix(data, "\xef\xbb\xbf") ? data + 3 : data;
	while (p < data + len) {
		char *end = memchr(p, '\n', (size_t)(data + len - p));
		size_t n = (size_t)((end ? end : data + len) - p);
		const char *wrong = NULL;

		line++;
		if (n > LINE_BYTES_MAX)
			wrong = "the line is longer than 4096 bytes";
		else if (memchr(p, 0, n) != NULL)
			wrong = "the line holds a NUL byte";
		else if (!g_utf8_validate(p, (gssize)n, NULL))
			wrong = "the line is not UTF-8";
		if (wrong != NULL) {
			*ret_message = g_strdup_printf("%s:%u: %s", path, line, wrong);
			return -EINVAL;
		}
		p[n] = 0;
		r = take_line(path, line, p, &section, entry, userdata, ret_message);
		if (r < 0)
			return r;
		p += n + 1;
	}
	return 0;
}

int conf_file_read(const char *path, conf_entry_t entry, void *userdata, char **ret_message)
{
	g_autofree char *data = NULL;
	size_t len;
	int r;

	r = read_whole(path, &data, &len, ret_message);
	return r < 0 ? r : conf_text_read(path, data, len, entry, userdata, ret_message);
}

static int compare_strings(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int conf_dir_list(const char *dir, GPtrArray *names, char **ret_message)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (d == NULL && errno == ENOENT)
		return 0;
	if (d == NULL) {
		r = -errno;
		*ret_message = g_strdup_printf("%s: %s", dir, g_strerror(-r));
		return r;
	}
	for (;;) {
		errno = 0;
		e = readdir(d);
		if (e == NULL) {
			r = -errno;
			break;
		}
		if (e->d_name[0] != '.' && g_str_has_suffix(e->d_name, ".conf"))
			g_ptr_array_add(names, g_strdup(e->d_name));
	}
	closedir(d);
	if (r < 0)
		*ret_message = g_strdup_printf("%s: %s", dir, g_strerror(-r));
	g_ptr_array_sort(names, compare_strings);
	return r;
}

int conf_file_read_all(const char *main_path, conf_entry_t entry, void *userdata,
		       char **ret_message)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *dir = g_strconcat(main_path, ".d", NULL);
	int r;

	r = conf_file_read(main_path, entry, userdata, ret_message);
	if (r < 0 && r != -ENOENT)
		return r;
	r = conf_dir_list(dir, names, ret_message);
	for (unsigned int i = 0; r == 0 && i < names->len; i++) {
		g_autofree char *path = g_build_filename(dir, names->pdata[i], NULL);

		r = conf_file_read(path, entry, userdata, ret_message);
		/* A drop-in that went away since the listing, or a dangling link. */
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}
