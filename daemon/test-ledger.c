// SPDX-License-Identifier: GPL-2.0-or-later
/* The registry's files: every truncation, every changed byte, a full disk, a writer that is killed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../core/crc32c.h"
#include "ledger.h"
#include "log.h"

static sd_id128_t id_of(uint32_t n)
{
	return ledger_job_id(n);
}

/* A body of no meaning but its own. */
static GBytes *body_of(uint32_t n)
{
	g_autofree char *text = g_strdup_printf("the body of %u", n);

	return g_bytes_new(text, strlen(text) + 1);
}

static GBytes *find(const struct ledger_image *image, enum ledger_kind kind, sd_id128_t id)
{
	struct ledger_entry key = { .kind = kind, .id = id };
	struct ledger_entry *e = g_hash_table_lookup(image->entries, &key);

	return e ? e->body : NULL;
}

static bool has(const struct ledger_image *image, uint32_t n)
{
	g_autoptr(GBytes) want = body_of(n);
	GBytes *body = find(image, LEDGER_MORSEL, id_of(n));

	if (body)
		g_assert_true(g_bytes_equal(body, want));
	return body != NULL;
}

/* --- The format ----------------------------------------------------------------------------- */

/* Three of the base, then: a fourth, a job, the second again, the first dropped, the job dropped. */
#define BASE 3
#define CHANGES 5

/* [i]: how many bytes are whole after i records. */
static GByteArray *example(size_t ends[BASE + CHANGES + 1])
{
	struct ledger_image image;
	g_autoptr(GBytes) four = body_of(4), job = body_of(99), two = body_of(2);
	GByteArray *data;
	uint32_t check;
	size_t record = 0;

	ledger_image_init(&image);
	image.seq = 7;
	for (uint32_t n = 1; n <= BASE; n++) {
		g_autoptr(GBytes) body = body_of(n);

		ledger_apply(&image, LEDGER_MORSEL, id_of(n), body);
	}
	data = ledger_format(&image, &check);
	ledger_image_done(&image);
	record = (data->len - LEDGER_HEADER_SIZE) / BASE;
	for (unsigned int i = 0; i <= BASE; i++)
		ends[i] = LEDGER_HEADER_SIZE + i * record;
	ledger_append_record(data, check, 8, LEDGER_MORSEL, id_of(4), four);
	ends[BASE + 1] = data->len;
	ledger_append_record(data, check, 9, LEDGER_JOB, ledger_job_id(12), job);
	ends[BASE + 2] = data->len;
	ledger_append_record(data, check, 10, LEDGER_MORSEL, id_of(2), two);
	ends[BASE + 3] = data->len;
	ledger_append_record(data, check, 11, LEDGER_MORSEL, id_of(1), NULL);
	ends[BASE + 4] = data->len;
	ledger_append_record(data, check, 12, LEDGER_JOB, ledger_job_id(12), NULL);
	ends[BASE + 5] = data->len;
	return data;
}

/* image is what n whole records come to. */
static void check_prefix(const struct ledger_image *image, unsigned int n)
{
	for (uint32_t i = 1; i <= 4; i++)
		g_assert_cmpint(has(image, i), ==, n >= i && !(i == 1 && n >= BASE + 4));
	g_assert_cmpint(find(image, LEDGER_JOB, ledger_job_id(12)) != NULL, ==,
			n >= BASE + 2 && n < BASE + 5);
	g_assert_cmpint(image->has_base, ==, n >= BASE);
	if (n >= BASE)
		g_assert_cmpuint(image->seq, ==, 7 + n - BASE);
	g_assert_cmpuint(image->last_job, ==, n >= BASE + 2 ? 12 : 0);
}

static void test_round_trip(void)
{
	size_t ends[BASE + CHANGES + 1];
	g_autoptr(GByteArray) data = example(ends), again = NULL;
	struct ledger_image image, second;
	uint32_t check;

	ledger_image_init(&image);
	g_assert_cmpint(ledger_parse(data->data, data->len, &image), ==, 0);
	g_assert_null(image.damage);
	g_assert_cmpuint(image.good, ==, data->len);
	check_prefix(&image, BASE + CHANGES);
	again = ledger_format(&image, &check);
	ledger_image_init(&second);
	g_assert_cmpint(ledger_parse(again->data, again->len, &second), ==, 0);
	g_assert_null(second.damage);
	g_assert_cmpuint(second.seq, ==, image.seq);
	/* A number that was given to a job is never given again. */
	g_assert_cmpuint(second.last_job, ==, 12);
	g_assert_cmpuint(g_hash_table_size(second.entries), ==, 3);
	ledger_image_done(&image);
	ledger_image_done(&second);
}

static void test_truncated(void)
{
	size_t ends[BASE + CHANGES + 1];
	g_autoptr(GByteArray) data = example(ends);

	for (size_t length = 0; length < data->len; length++) {
		/* A block of just this size, so that reading behind it is seen. */
		g_autofree uint8_t *copy = g_memdup2(data->data, MAX(length, 1));
		struct ledger_image image;
		unsigned int n = 0;

		while (n < BASE + CHANGES && ends[n + 1] <= length)
			n++;
		ledger_image_init(&image);
		g_assert_cmpint(ledger_parse(copy, length, &image), ==, 0);
		check_prefix(&image, n);
		g_assert_cmpuint(image.good, ==, length < ends[0] ? 0 : ends[n]);
		g_assert_cmpint(image.damage != NULL, ==, n < BASE || ends[n] != length);
		ledger_image_done(&image);
	}
}

/* Each bit of each byte: what stands before the record with it counts, and nothing behind. */
static void test_altered(void)
{
	size_t ends[BASE + CHANGES + 1];
	g_autoptr(GByteArray) data = example(ends);

	for (size_t at = 0; at < data->len; at++)
		for (unsigned int bit = 0; bit < 8; bit++) {
			struct ledger_image image;
			unsigned int n = 0;

			while (ends[n + 1] <= at)
				n++;
			data->data[at] ^= 1u << bit;
			ledger_image_init(&image);
			g_assert_cmpint(ledger_parse(data->data, data->len, &image), ==, 0);
			g_assert_nonnull(image.damage);
			check_prefix(&image, at < ends[0] ? 0 : n);
			g_assert_cmpuint(image.good, ==, at < ends[0] ? 0 : ends[n]);
			ledger_image_done(&image);
			data->data[at] ^= 1u << bit;
		}
}

/* Whole records in the wrong place: left out, twice, of another file. */
static void test_misplaced(void)
{
	size_t ends[BASE + CHANGES + 1];
	g_autoptr(GByteArray) data = example(ends);
	g_autoptr(GByteArray) missing = g_byte_array_new(), twice = g_byte_array_new();
	struct ledger_image image;

	g_byte_array_append(missing, data->data, ends[BASE + 1]);
	g_byte_array_append(missing, data->data + ends[BASE + 2], data->len - ends[BASE + 2]);
	g_byte_array_append(twice, data->data, ends[BASE + 1]);
	g_byte_array_append(twice, data->data + ends[BASE], data->len - ends[BASE]);
	for (int i = 0; i < 2; i++) {
		const GByteArray *bad = i == 0 ? missing : twice;

		ledger_image_init(&image);
		g_assert_cmpint(ledger_parse(bad->data, bad->len, &image), ==, 0);
		g_assert_nonnull(image.damage);
		check_prefix(&image, BASE + 1);
		ledger_image_done(&image);
	}

	/* The same state at another number is another file. */
	ledger_image_init(&image);
	{
		g_autoptr(GByteArray) other = NULL;
		struct ledger_image read;
		uint32_t check;

		image.seq = 8;
		other = ledger_format(&image, &check);
		g_byte_array_append(other, data->data + ends[BASE + 1], data->len - ends[BASE + 1]);
		ledger_image_init(&read);
		g_assert_cmpint(ledger_parse(other->data, other->len, &read), ==, 0);
		g_assert_nonnull(read.damage);
		g_assert_cmpuint(g_hash_table_size(read.entries), ==, 0);
		ledger_image_done(&read);
	}
	ledger_image_done(&image);
}

/* --- The files ------------------------------------------------------------------------------ */

struct world {
	sd_event *event;
	char *dir;
	int dir_fd;
	unsigned int done, failed;
	int last;
};

static void begin(struct world *w)
{
	*w = (struct world){};
	g_assert_cmpint(sd_event_new(&w->event), >=, 0);
	w->dir = g_dir_make_tmp("morsel-ledger-XXXXXX", NULL);
	w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	g_assert_cmpint(w->dir_fd, >=, 0);
}

static void end(struct world *w)
{
	GDir *d = g_dir_open(w->dir, 0, NULL);
	const char *name;

	while ((name = g_dir_read_name(d))) {
		g_assert_true(g_str_equal(name, "registry") || g_str_equal(name, "registry.copy"));
		unlinkat(w->dir_fd, name, 0);
	}
	g_dir_close(d);
	close(w->dir_fd);
	g_assert_cmpint(rmdir(w->dir), ==, 0);
	g_free(w->dir);
	sd_event_unref(w->event);
}

static struct ledger *open_ledger(struct world *w)
{
	g_autofree char *text = NULL;
	struct ledger *l = NULL;
	int r = ledger_open(w->event, w->dir_fd, &l, &text);

	if (r < 0)
		g_error("ledger_open: %s", text);
	return l;
}

static void on_done(int r, void *userdata)
{
	struct world *w = userdata;

	w->last = r;
	*(r < 0 ? &w->failed : &w->done) += 1;
}

static void put(struct world *w, struct ledger *l, uint32_t n)
{
	ledger_put(l, LEDGER_MORSEL, id_of(n), body_of(n), on_done, w);
}

static void drop(struct world *w, struct ledger *l, uint32_t n)
{
	ledger_drop(l, LEDGER_MORSEL, id_of(n), on_done, w);
}

static void run_until(struct world *w, unsigned int ends)
{
	gint64 deadline = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

	while (w->done + w->failed < ends) {
		g_assert_cmpint(g_get_monotonic_time(), <, deadline);
		g_assert_cmpint(sd_event_run(w->event, 10000), >=, 0);
	}
}

static void test_last(void)
{
	struct ledger *l;
	struct world w;

	begin(&w);
	l = open_ledger(&w);
	g_assert_false(ledger_doubtful(l));
	g_assert_false(ledger_rebooted(l));
	for (uint32_t n = 1; n <= 100; n++)
		put(&w, l, n);
	for (uint32_t n = 1; n <= 50; n++)
		drop(&w, l, n);
	run_until(&w, 150);
	g_assert_cmpuint(w.failed, ==, 0);
	put(&w, l, 101); /* not waited for: written at the end */
	ledger_free(l);
	g_assert_cmpuint(w.done, ==, 151);

	for (int round = 0; round < 2; round++) {
		l = open_ledger(&w);
		g_assert_false(ledger_doubtful(l));
		g_assert_cmpuint(g_hash_table_size(ledger_image(l)->entries), ==, 51);
		for (uint32_t n = 1; n <= 101; n++)
			g_assert_cmpint(has(ledger_image(l), n), ==, n > 50);
		ledger_free(l);
	}
	end(&w);
}

/* The log does not grow for ever; what is written anew is the same. */
static void test_compacted(void)
{
	struct ledger *l;
	struct world w;
	struct stat st;

	begin(&w);
	l = open_ledger(&w);
	for (unsigned int round = 0; round < 40; round++) {
		for (uint32_t n = 1; n <= 500; n++)
			put(&w, l, n);
		for (uint32_t n = 1; n <= 500; n += 2)
			drop(&w, l, n);
		run_until(&w, (round + 1) * 750);
	}
	ledger_free(l);
	g_assert_cmpint(fstatat(w.dir_fd, "registry", &st, 0), ==, 0);
	g_assert_cmpint(st.st_size, <, 3 * LEDGER_LOG_BYTES / 2);
	l = open_ledger(&w);
	for (uint32_t n = 1; n <= 500; n++)
		g_assert_cmpint(has(ledger_image(l), n), ==, n % 2 == 0);
	ledger_free(l);
	end(&w);
}

static void write_file(struct world *w, const char *name, const char *data, size_t size)
{
	g_autofree char *path = g_build_filename(w->dir, name, NULL);

	g_assert_true(g_file_set_contents(path, data, size, NULL));
}

/* 1, 2, 3, 4, without 2; what is in the file then. */
static char *write_example(struct world *w, size_t *ret_size)
{
	struct ledger *l = open_ledger(w);
	g_autofree char *path = g_build_filename(w->dir, "registry", NULL);
	char *data;

	for (uint32_t n = 1; n <= 4; n++)
		put(w, l, n);
	drop(w, l, 2);
	run_until(w, 5);
	ledger_free(l);
	g_assert_true(g_file_get_contents(path, &data, ret_size, NULL));
	return data;
}

/* One of the two files cut or changed, or away: nothing is missing. (Each byte: above; here each costs a disk's time.) */
static void test_one_damaged(void)
{
	static const char *const names[] = { "registry", "registry.copy" };
	g_autofree char *path = NULL, *data = NULL;
	struct ledger *l;
	struct world w;
	size_t size;

	begin(&w);
	data = write_example(&w, &size);
	path = g_build_filename(w.dir, "registry", NULL);

	for (int which = 0; which < 2; which++)
		for (size_t at = 0; at < 2 * size + 1; at += at < 2 * size - 29 ? 29 : 1) {
			write_file(&w, names[1 - which], data, size);
			if (at < size) {
				data[at] ^= 0x10;
				write_file(&w, names[which], data, size);
				data[at] ^= 0x10;
			} else if (at < 2 * size) {
				write_file(&w, names[which], data, at - size);
			} else {
				unlinkat(w.dir_fd, names[which], 0);
			}
			l = open_ledger(&w);
			g_assert_false(ledger_doubtful(l));
			for (uint32_t n = 1; n <= 4; n++)
				g_assert_cmpint(has(ledger_image(l), n), ==, n != 2);
			/* Both are whole again. */
			if (at % 3 == 0) {
				g_autofree char *other =
					g_build_filename(w.dir, names[which], NULL);
				g_autofree char *a = NULL, *b = NULL;
				size_t a_size, b_size;

				ledger_free(l);
				l = NULL;
				g_assert_true(g_file_get_contents(path, &a, &a_size, NULL));
				g_assert_true(g_file_get_contents(other, &b, &b_size, NULL));
				g_assert_cmpmem(a, a_size, b, b_size);
			}
			ledger_free(l);
		}
	end(&w);
}

/* Both: what stands before the damage is there, and it is said that something may be missing. */
static void test_both_damaged(void)
{
	g_autofree char *data = NULL;
	struct ledger *l;
	struct world w;
	size_t size;

	begin(&w);
	data = write_example(&w, &size);
	/* The last record is the drop. */
	write_file(&w, "registry", data, size - 1);
	write_file(&w, "registry.copy", data, size - 60);
	l = open_ledger(&w);
	g_assert_true(ledger_doubtful(l));
	for (uint32_t n = 1; n <= 4; n++)
		g_assert_true(has(ledger_image(l), n));
	ledger_free(l);
	end(&w);
}

/* Killed while it wrote: more in the first, which then breaks off. The other one is whole. */
static void test_torn(void)
{
	g_autofree char *data = NULL, *torn = NULL;
	struct ledger *l;
	struct world w;
	size_t size;

	begin(&w);
	data = write_example(&w, &size);
	torn = g_malloc0(size + 20);
	memcpy(torn, data, size);
	write_file(&w, "registry", torn, size + 20);
	write_file(&w, "registry.copy", data, size - LEDGER_RECORD_SIZE);
	l = open_ledger(&w);
	g_assert_false(ledger_doubtful(l));
	/* The drop that the copy lacks. */
	g_assert_false(has(ledger_image(l), 2));
	ledger_free(l);
	end(&w);
}

/* A whole file of a version to come is no damage: it is left alone. */
static void test_newer(void)
{
	struct ledger_image image;
	g_autoptr(GByteArray) data = NULL;
	g_autofree char *text = NULL, *path = NULL, *after = NULL;
	struct ledger *l = NULL;
	struct world w;
	uint32_t check;
	size_t size;

	begin(&w);
	ledger_image_init(&image);
	data = ledger_format(&image, &check);
	ledger_image_done(&image);
	data->data[8] = LEDGER_VERSION + 1;
	check = GUINT32_TO_LE(crc32c(0, data->data, LEDGER_HEADER_SIZE - 4));
	memcpy(data->data + LEDGER_HEADER_SIZE - 4, &check, sizeof(check));
	write_file(&w, "registry", (char *)data->data, data->len);
	g_assert_cmpint(ledger_open(w.event, w.dir_fd, &l, &text), ==, -EPROTONOSUPPORT);
	g_assert_nonnull(strstr(text, "newer morseld"));
	path = g_build_filename(w.dir, "registry", NULL);
	g_assert_true(g_file_get_contents(path, &after, &size, NULL));
	g_assert_cmpmem(after, size, data->data, data->len);
	end(&w);
}

/* Of an older morseld: it is read, and written anew before there is anything in it that it would not know. */
static void test_older(void)
{
	struct ledger_image image;
	g_autoptr(GByteArray) data = NULL;
	g_autoptr(GBytes) body = body_of(1);
	g_autofree char *text = NULL, *path = NULL, *after = NULL;
	struct ledger *l = NULL;
	struct world w;
	uint32_t check;
	size_t size;

	begin(&w);
	ledger_image_init(&image);
	g_assert_cmpint(sd_id128_get_boot(&image.boot), >=, 0);
	data = ledger_format(&image, &check);
	ledger_image_done(&image);
	data->data[8] = 1;
	check = crc32c(0, data->data, LEDGER_HEADER_SIZE - 4);
	for (int i = 0; i < 4; i++)
		data->data[LEDGER_HEADER_SIZE - 4 + i] = (uint8_t)(check >> (8 * i));
	ledger_append_record(data, check, 1, LEDGER_MORSEL, id_of(1), body);
	write_file(&w, "registry", (char *)data->data, data->len);
	write_file(&w, "registry.copy", (char *)data->data, data->len);
	g_assert_cmpint(ledger_open(w.event, w.dir_fd, &l, &text), ==, 0);
	g_assert_true(has(ledger_image(l), 1));
	g_assert_false(ledger_doubtful(l));
	for (int i = 0; i < 2; i++) {
		path = g_build_filename(w.dir, i ? "registry.copy" : "registry", NULL);
		g_assert_true(g_file_get_contents(path, &after, &size, NULL));
		g_assert_cmpuint(size, >, LEDGER_HEADER_SIZE);
		g_assert_cmpuint((uint8_t)after[8], ==, LEDGER_VERSION);
		g_clear_pointer(&path, g_free);
		g_clear_pointer(&after, g_free);
	}
	ledger_free(l);
	end(&w);
}

/* Disk full: what waits fails and leaves nothing, what has happened is written later. */
static void test_full(void)
{
	struct rlimit limit, small;
	struct ledger *l;
	struct world w;
	struct stat st;

	begin(&w);
	signal(SIGXFSZ, SIG_IGN);
	l = open_ledger(&w);
	for (uint32_t n = 1; n <= 10; n++)
		put(&w, l, n);
	run_until(&w, 10);
	g_assert_cmpint(fstatat(w.dir_fd, "registry", &st, 0), ==, 0);

	g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &limit), ==, 0);
	small = (struct rlimit){ st.st_size + 20, limit.rlim_max };
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
	put(&w, l, 11);
	run_until(&w, 11);
	g_assert_cmpuint(w.failed, ==, 1);
	g_assert_cmpint(w.last, ==, -EFBIG);
	g_assert_cmpstr(ledger_trouble(l), !=, "");
	/* That what was written before is on the disk now does not make room. */
	for (gint64 end = g_get_monotonic_time() + 2 * LEDGER_SYNC_USEC;
	     g_get_monotonic_time() < end;)
		g_assert_cmpint(sd_event_run(w.event, 10000), >=, 0);
	g_assert_cmpstr(ledger_trouble(l), !=, "");
	drop(&w, l, 3);
	run_until(&w, 12);
	g_assert_cmpuint(w.failed, ==, 1);
	put(&w, l, 12);
	run_until(&w, 13);
	/* Without the third there is room for another one. */
	g_assert_cmpuint(w.failed, ==, 1);
	g_assert_cmpstr(ledger_trouble(l), ==, "");
	put(&w, l, 13);
	run_until(&w, 14);
	g_assert_cmpuint(w.failed, ==, 2);

	/* As a restart would find it, with the disk still full. */
	{
		struct ledger *other = open_ledger(&w);

		for (uint32_t n = 1; n <= 13; n++)
			g_assert_cmpint(has(ledger_image(other), n), ==,
					n != 3 && n != 11 && n != 13);
		ledger_free(other);
	}
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
	put(&w, l, 13);
	run_until(&w, 15);
	g_assert_cmpuint(w.failed, ==, 2);
	ledger_free(l);
	l = open_ledger(&w);
	g_assert_true(has(ledger_image(l), 13));
	ledger_free(l);
	end(&w);
}

/* --- A writer that is killed ------------------------------------------------------------------ */

static void report(int r, void *userdata)
{
	g_assert_cmpint(r, ==, 0);
	g_assert_cmpint(write(GPOINTER_TO_INT(userdata), "x", 1), ==, 1);
}

/* Puts 1, 2, 3, … and reports each that is done. */
static void write_for_ever(struct world *w, int pipe_fd)
{
	struct ledger *l;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sd_event_unref(w->event);
	g_assert_cmpint(sd_event_new(&w->event), >=, 0);
	l = open_ledger(w);
	for (uint32_t n = g_hash_table_size(ledger_image(l)->entries) + 1;; n++) {
		ledger_put(l, LEDGER_MORSEL, id_of(n), body_of(n), report,
			   GINT_TO_POINTER(pipe_fd));
		if (n % 3 == 0)
			sd_event_run(w->event, 1000);
	}
}

static void test_killed(void)
{
	unsigned int acknowledged = 0;
	struct world w;

	begin(&w);
	for (unsigned int round = 0; round < 40; round++) {
		struct ledger *l;
		char buffer[4096];
		ssize_t n;
		int fds[2];
		pid_t pid;

		g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
		pid = fork();
		if (pid == 0)
			write_for_ever(&w, fds[1]);
		close(fds[1]);
		/* Killed after so many bytes were seen: at another moment each time. */
		for (unsigned int seen = 0; seen < 20 + 37 * round; seen += n) {
			n = read(fds[0], buffer, 1 + round % 7);
			g_assert_cmpint(n, >, 0);
			acknowledged += n;
		}
		kill(pid, SIGKILL);
		while ((n = read(fds[0], buffer, sizeof(buffer))) > 0)
			acknowledged += n;
		g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
		close(fds[0]);

		l = open_ledger(&w);
		g_assert_false(ledger_doubtful(l));
		g_assert_cmpuint(g_hash_table_size(ledger_image(l)->entries), >=, acknowledged);
		acknowledged = g_hash_table_size(ledger_image(l)->entries);
		for (uint32_t i = 1; i <= acknowledged; i++)
			g_assert_true(has(ledger_image(l), i));
		ledger_free(l);
	}
	unlinkat(w.dir_fd, "registry.new", 0);
	unlinkat(w.dir_fd, "registry.copy.new", 0);
	end(&w);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	log_init(LOG_CRIT);
	g_test_add_func("/ledger/round-trip", test_round_trip);
	g_test_add_func("/ledger/truncated", test_truncated);
	g_test_add_func("/ledger/altered", test_altered);
	g_test_add_func("/ledger/misplaced", test_misplaced);
	g_test_add_func("/ledger/newer", test_newer);
	g_test_add_func("/ledger/older", test_older);
	g_test_add_func("/ledger/last", test_last);
	g_test_add_func("/ledger/compacted", test_compacted);
	g_test_add_func("/ledger/one-damaged", test_one_damaged);
	g_test_add_func("/ledger/both-damaged", test_both_damaged);
	g_test_add_func("/ledger/torn", test_torn);
	g_test_add_func("/ledger/full", test_full);
	g_test_add_func("/ledger/killed", test_killed);
	return g_test_run();
}
