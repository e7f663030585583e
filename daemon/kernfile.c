/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kernfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "numlist.h"

/* More entries than this in one directory are not the kernel's: memory blocks of 128 MiB reach it at
 * 32 TiB. */
#define ENTRIES_MAX 262144u

/* More than any storm of renames was seen to cost; each try takes microseconds. */
#define OPEN_TRIES_MAX 1000

static int open_below(int root_fd, const char *path, int flags)
{
	/* openat2 refuses O_PATH with flags that mean nothing to it. */
	int more = flags & O_PATH ? O_CLOEXEC : O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	struct open_how how = {
		.flags = (uint64_t)(flags | more),
		/* A fixture's absolute links stay in the fixture. */
		.resolve = root_fd == AT_FDCWD ? 0 : RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	/* A rename anywhere in the system while ".." is resolved makes the kernel give up, and sysfs' links
	 * are full of them. */
	for (int tries = 0; tries < OPEN_TRIES_MAX; tries++) {
		fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
		if (fd >= 0)
			return fd;
		if (errno != EAGAIN)
			break;
	}
	/* A seccomp filter that does not know openat2 answers so. */
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	fd = openat(root_fd, path, (int)how.flags);
	return fd >= 0 ? fd : -errno;
}

static kernfile_opener_t opener;

void kernfile_set_opener(kernfile_opener_t o)
{
	opener = o;
}

int kernfile_read(int root_fd, const char *path, size_t max, char **ret_data, size_t *ret_len)
{
	g_autofree char *data = NULL;
	size_t len = 0, room;
	struct stat st;
	int fd, r;

	fd = open_below(root_fd, path, O_RDONLY);
	if (fd == -EACCES && opener) {
		int other = opener(path);

		fd = other >= 0 ? other : fd;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0) {
		r = -errno;
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		r = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
		goto out;
	}
	/* st_size is a page for sysfs, 0 for /proc: read to the end, growing. */
	room = MIN(max, (size_t)4096);
	data = g_malloc(room + 1);
	for (;;) {
		ssize_t n;

		if (len == room) {
			if (room == max) {
				char more;

				n = read(fd, &more, 1);
				r = n < 0 ? -errno : n > 0 ? -EFBIG : 0;
				if (r == -EINTR)
					continue;
				break;
			}
			room = MIN(max, room * 2);
			data = g_realloc(data, room + 1);
		}
		n = read(fd, data + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		r = n < 0 ? -errno : 0;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (r == 0) {
		data[len] = 0;
		*ret_data = g_steal_pointer(&data);
		if (ret_len)
			*ret_len = len;
	}
out:
	close(fd);
	return r;
}

int kernfile_read_text(int root_fd, const char *path, char **ret_text)
{
	g_autofree char *text = NULL;
	size_t len;
	int r;

	r = kernfile_read(root_fd, path, KERNFILE_TEXT_MAX, &text, &len);
	if (r < 0)
		return r;
	for (size_t i = 0; i < len; i++)
		if (text[i] == 0 || (unsigned char)text[i] > 126)
			return -EBADMSG;
	g_strstrip(text);
	*ret_text = g_steal_pointer(&text);
	return 0;
}

int kernfile_read_textf(int root_fd, char **ret_text, const char *format, ...)
{
	g_autofree char *path = NULL;
	va_list ap;

	va_start(ap, format);
	path = g_strdup_vprintf(format, ap);
	va_end(ap);
	return kernfile_read_text(root_fd, path, ret_text);
}

int kernfile_parse_u64(const char *text, uint64_t *ret_n)
{
	unsigned int base = 10;
	uint64_t n = 0;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	}
	if (*text == 0)
		return -EBADMSG;
	for (; *text; text++) {
		int digit = g_ascii_xdigit_value(*text);

		if (digit < 0 || digit >= (int)base)
			return -EBADMSG;
		if (__builtin_mul_overflow(n, (uint64_t)base, &n) ||
		    __builtin_add_overflow(n, (uint64_t)digit, &n))
			return -ERANGE;
	}
	*ret_n = n;
	return 0;
}

int kernfile_read_u64f(int root_fd, uint64_t *ret_n, const char *format, ...)
{
	g_autofree char *path = NULL, *text = NULL;
	va_list ap;
	int r;

	va_start(ap, format);
	path = g_strdup_vprintf(format, ap);
	va_end(ap);
	r = kernfile_read_text(root_fd, path, &text);
	if (r < 0)
		return r;
	return kernfile_parse_u64(text, ret_n);
}

int kernfile_read_intf(int root_fd, int *ret_n, const char *format, ...)
{
	g_autofree char *path = NULL, *text = NULL;
	uint64_t n;
	bool minus;
	va_list ap;
	int r;

	va_start(ap, format);
	path = g_strdup_vprintf(format, ap);
	va_end(ap);
	r = kernfile_read_text(root_fd, path, &text);
	if (r < 0)
		return r;
	minus = text[0] == '-';
	r = kernfile_parse_u64(text + minus, &n);
	if (r < 0)
		return r;
	if (n > INT32_MAX)
		return -ERANGE;
	*ret_n = minus ? -(int)n : (int)n;
	return 0;
}

int kernfile_read_listf(int root_fd, int max, GArray **ret_list, const char *format, ...)
{
	g_autofree char *path = NULL, *text = NULL;
	va_list ap;
	int r;

	va_start(ap, format);
	path = g_strdup_vprintf(format, ap);
	va_end(ap);
	r = kernfile_read_text(root_fd, path, &text);
	if (r < 0)
		return r;
	r = numlist_parse(text, strlen(text), max, ret_list);
	return r == -EINVAL ? -EBADMSG : r;
}

int kernfile_link_basef(int root_fd, char **ret_base, const char *format, ...)
{
	g_autofree char *path = NULL;
	char target[4096];
	const char *base;
	va_list ap;
	ssize_t n;
	int dir_fd;

	va_start(ap, format);
	path = g_strdup_vprintf(format, ap);
	va_end(ap);

	/* The link itself is read, not followed; the way to it may lead through links. */
	dir_fd = -1;
	base = strrchr(path, '/');
	if (base != NULL) {
		g_autofree char *dir = g_strndup(path, (size_t)(base - path));

		dir_fd = open_below(root_fd, dir, O_PATH | O_DIRECTORY);
		if (dir_fd < 0)
			return dir_fd;
	}
	n = readlinkat(dir_fd >= 0 ? dir_fd : root_fd, base ? base + 1 : path, target,
		       sizeof(target) - 1);
	if (n < 0)
		n = -errno;
	if (dir_fd >= 0)
		close(dir_fd);
	if (n < 0)
		return (int)n;
	target[n] = 0;
	base = strrchr(target, '/');
	*ret_base = g_strdup(base ? base + 1 : target);
	return 0;
}

int kernfile_realpath(int root_fd, const char *path, char **ret_path)
{
	g_autofree char *root = NULL, *full = NULL, *link_root = NULL, *link = NULL;
	size_t len;
	int fd;

	fd = open_below(root_fd, path, O_PATH);
	if (fd < 0)
		return fd;
	link_root = g_strdup_printf("/proc/self/fd/%d", root_fd);
	link = g_strdup_printf("/proc/self/fd/%d", fd);
	root = g_file_read_link(link_root, NULL);
	full = g_file_read_link(link, NULL);
	close(fd);
	if (root == NULL || full == NULL)
		return -EIO;
	len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(full, root, len) != 0 || full[len] != '/')
		return -EXDEV;
	*ret_path = g_strdup(full + len + 1);
	return 0;
}

int kernfile_compare_names(const char *a, const char *b)
{
	while (*a && *b) {
		if (g_ascii_isdigit(*a) && g_ascii_isdigit(*b)) {
			size_t la, lb;
			int c;

			while (*a == '0' && g_ascii_isdigit(a[1]))
				a++;
			while (*b == '0' && g_ascii_isdigit(b[1]))
				b++;
			la = strspn(a, "0123456789");
			lb = strspn(b, "0123456789");
			if (la != lb)
				return la < lb ? -1 : 1;
			c = strncmp(a, b, la);
			if (c != 0)
				return c;
			a += la;
			b += lb;
			continue;
		}
		if (*a != *b)
			break;
		a++;
		b++;
	}
	return (unsigned char)*a - (unsigned char)*b;
}

static int compare_name_ptrs(gconstpointer a, gconstpointer b)
{
	return kernfile_compare_names(*(const char *const *)a, *(const char *const *)b);
}

int kernfile_names(int root_fd, const char *dir, const char *prefix, GPtrArray **ret_names)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	int fd, r = 0;
	DIR *d;

	fd = open_below(root_fd, dir, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	d = fdopendir(fd);
	if (d == NULL) {
		r = -errno;
		close(fd);
		return r;
	}
	for (;;) {
		struct dirent *e;
		const char *c;

		errno = 0;
		e = readdir(d);
		if (e == NULL) {
			r = -errno;
			break;
		}
		if (e->d_name[0] == '.' || strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		for (c = e->d_name; g_ascii_isalnum(*c) || (*c && strchr("._:-", *c)); c++)
			;
		if (*c != 0)
			continue;
		if (names->len == ENTRIES_MAX) {
			r = -E2BIG;
			break;
		}
		g_ptr_array_add(names, g_strdup(e->d_name));
	}
	closedir(d);
	if (r < 0)
		return r;
	g_ptr_array_sort(names, compare_name_ptrs);
	*ret_names = g_steal_pointer(&names);
	return 0;
}

static int compare_ints(gconstpointer a, gconstpointer b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return x < y ? -1 : x > y;
}

int kernfile_numbered(int root_fd, const char *dir, const char *prefix, GArray **ret_numbers)
{
	g_autoptr(GPtrArray) names = NULL;
	GArray *numbers;
	int r;

	r = kernfile_names(root_fd, dir, prefix, &names);
	if (r < 0)
		return r;
	numbers = g_array_new(FALSE, FALSE, sizeof(int));
	for (unsigned int i = 0; i < names->len; i++) {
		const char *digits = (const char *)names->pdata[i] + strlen(prefix);
		uint64_t n;
		int value;

		if (!g_ascii_isdigit(*digits) || (digits[0] == '0' && digits[1] != 0) ||
		    kernfile_parse_u64(digits, &n) < 0 || n > INT32_MAX)
			continue;
		value = (int)n;
		g_array_append_val(numbers, value);
	}
	g_array_sort(numbers, compare_ints);
	*ret_numbers = numbers;
	return 0;
}

const char *kernfile_strerror(int r)
{
	switch (-r) {
	case EBADMSG:
		return "what it holds makes no sense";
	case ERANGE:
		return "a number in it is too large";
	case EFBIG:
		return "it is longer than any such file";
	default:
		return g_strerror(-r);
	}
}

char *kernfile_quote(const char *text)
{
	const size_t longest = 48;
	GString *s = g_string_new("\"");

	for (size_t i = 0; text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		if (i == longest) {
			g_string_append(s, "…");
			break;
		}
		if (c < 32 || c > 126 || c == '"' || c == '\\')
			g_string_append_printf(s, "\\x%02x", c);
		else
			g_string_append_c(s, (char)c);
	}
	g_string_append_c(s, '"');
	return g_string_free(s, FALSE);
}
