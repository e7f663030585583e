// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * wc(1) by many processes on one copy of the text.
 *
 *	wordcount --morsel NAME [--workers N] [--verbose] [FILE]
 *
 * The file is loaded into a morsel once; when the morsel is there already, it is used as it is. Then N
 * processes of their own (this program, executed again) open the morsel by its name, map it
 * read-only and count a part each. Nobody copies the text, and the parts need no seams: a process
 * that begins in the middle of a word looks at the byte before.
 *
 * Lines, words and bytes are those of wc in the C locale. What a word is depends on the wc: a run of
 * anything but white space in POSIX; GNU's 9.1 counts such a run only if a printable character is in
 * it, and GNU's 9.7 takes the byte 0xa0 for white space as well. --words says which; by default this
 * machine's wc is asked.
 */
#define _GNU_SOURCE 1 /* pipe2() */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <morsel.h>

#define PAGE ((uint64_t)4096)
#define MAX_WORKERS 256

/* The first page of the morsel; the text follows on the next. */
struct header {
	_Atomic uint64_t magic; /* written last: the text is complete */
	uint64_t length;	/* bytes of text */
	int64_t mtime_sec, mtime_nsec;
};
#define HEADER_MAGIC UINT64_C(0x3174787464726f77) /* "wordtxt1" */

struct counts {
	uint64_t lines, words, bytes;
};

enum word_rule {
	WORDS_AUTO,
	WORDS_POSIX,
	WORDS_PRINTABLE,
	WORDS_NBSP,
};

static const char *const word_rules[] = { "", "posix", "printable", "nbsp" };

struct arguments {
	const char *morsel, *file;
	unsigned int workers;
	enum word_rule words;
	bool verbose;
	/* Of a worker: */
	bool is_worker;
	unsigned int part;
};

static int complain(const char *what, const char *text)
{
	fprintf(stderr, "wordcount: %s: %s\n", what, text);
	return -1;
}

/* --- Counting -------------------------------------------------------------------------------- */

/* main() sets no locale, so these are the C locale's: of bytes. */
static bool is_space(unsigned char c, enum word_rule rule)
{
	return isspace(c) || (rule == WORDS_NBSP && c == 0xa0);
}

/* Does a run with this byte count as a word? */
static bool makes_word(unsigned char c, enum word_rule rule)
{
	return rule != WORDS_PRINTABLE || isprint(c);
}

static void count(const unsigned char *text, uint64_t begin, uint64_t end, enum word_rule rule,
		  struct counts *ret_counts)
{
	/* One look per byte: bit 0 white space, bit 1 makes a word, bit 2 end of line. */
	unsigned char class[256];
	struct counts n = { .bytes = end - begin };
	bool counted = false;
	uint64_t i;
	int c;

	for (c = 0; c < 256; c++)
		class[c] = (unsigned char)((is_space((unsigned char)c, rule) ? 1 : 0) |
					   (makes_word((unsigned char)c, rule) ? 2 : 0) |
					   (c == '\n' ? 4 : 0));
	/* A run that reaches in from the part before is counted there, if it counts there already. */
	for (i = begin; i > 0 && !(class[text[i - 1]] & 1) && !counted; i--)
		counted = class[text[i - 1]] & 2;
	for (i = begin; i < end; i++) {
		unsigned char k = class[text[i]];

		if (k & 1) {
			counted = false;
			n.lines += k >> 2;
		} else if (!counted && (k & 2)) {
			counted = true;
			n.words++;
		}
	}
	*ret_counts = n;
}

/* How many words the machine's wc finds in what printf makes of text; -1: it cannot be asked. */
static int ask_wc(const char *text)
{
	char command[100];
	int words;
	FILE *f;

	snprintf(command, sizeof(command), "printf '%s' | LC_ALL=C wc -w 2>/dev/null", text);
	f = popen(command, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%d", &words) != 1)
		words = -1;
	pclose(f);
	return words;
}

static enum word_rule rule_of_wc(void)
{
	if (ask_wc("\\001") == 0)
		return WORDS_PRINTABLE;
	return ask_wc("a\\240b") == 2 ? WORDS_NBSP : WORDS_POSIX;
}

/* --- Loading --------------------------------------------------------------------------------- */

static int read_text(int fd, unsigned char *text, uint64_t length, const char *file)
{
	uint64_t done = 0;
	ssize_t n;

	while (done < length) {
		n = read(fd, text + done, length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return complain(file, strerror(errno));
		if (n == 0)
			return complain(file, "became shorter while it was read");
		done += (uint64_t)n;
	}
	return 0;
}

static int fill(morsel_client *client, morsel *m, int fd, const struct stat *st,
		const struct arguments *a)
{
	struct header *header;
	void *p;
	int r;

	if (morsel_map(m, 0, 0, MORSEL_RDWR, &p) < 0)
		return complain(a->morsel, morsel_error(client));
	header = p;
	r = read_text(fd, (unsigned char *)p + PAGE, (uint64_t)st->st_size, a->file);
	if (r == 0) {
		header->length = (uint64_t)st->st_size;
		header->mtime_sec = st->st_mtim.tv_sec;
		header->mtime_nsec = st->st_mtim.tv_nsec;
		/* Release: who sees the magic sees the text. */
		atomic_store_explicit(&header->magic, HEADER_MAGIC, memory_order_release);
	}
	morsel_unmap(p, morsel_size(m));
	return r;
}

/* Is what the morsel holds this file's text? */
static int check_text(const struct header *header, uint64_t size, const struct stat *st,
		      const struct arguments *a)
{
	if (atomic_load_explicit(&header->magic, memory_order_acquire) != HEADER_MAGIC ||
	    header->length > size - PAGE)
		return complain(a->morsel,
				"holds no text of wordcount's, or one whose loading has not ended; "
				"destroy it (morselctl destroy) or name another");
	if (st &&
	    (header->length != (uint64_t)st->st_size || header->mtime_sec != st->st_mtim.tv_sec ||
	     header->mtime_nsec != st->st_mtim.tv_nsec))
		return complain(a->morsel,
				"holds another text, or an older one; destroy it (morselctl "
				"destroy) or name another");
	return 0;
}

static int load(morsel_client *client, const struct arguments *a, morsel **ret_morsel)
{
	struct morsel_options options = { MORSEL_OPTIONS_INIT, .page_size = MORSEL_PAGE_4K };
	struct stat st;
	morsel *m;
	int fd, r;

	fd = open(a->file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		complain(a->file, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		return complain(a->file, "is not a regular file");
	}
	r = morsel_create(client, a->morsel, PAGE + ((uint64_t)st.st_size + PAGE - 1) / PAGE * PAGE,
			  &options, &m);
	if (r >= 0) {
		r = fill(client, m, fd, &st, a);
		if (r < 0) {
			morsel_close(m);
			morsel_destroy(client, a->morsel);
		} else {
			fprintf(stderr, "wordcount: loaded %s into morsel %s\n", a->file,
				a->morsel);
			*ret_morsel = m;
		}
		close(fd);
		return r;
	}
	close(fd);
	if (r != -EEXIST)
		return complain(a->morsel, morsel_error(client));
	r = morsel_open(client, a->morsel, MORSEL_RDONLY, &m);
	if (r < 0)
		return complain(a->morsel, morsel_error(client));
	void *p;

	r = morsel_map(m, 0, PAGE, MORSEL_RDONLY, &p);
	if (r < 0) {
		complain(a->morsel, morsel_error(client));
	} else {
		r = check_text(p, morsel_size(m), &st, a);
		morsel_unmap(p, PAGE);
	}
	if (r < 0) {
		morsel_close(m);
		return -1;
	}
	*ret_morsel = m;
	return 0;
}

/* --- Workers --------------------------------------------------------------------------------- */

/* A process of its own: connect, open by name, map, count one part, write the counts to stdout. */
static int work(const struct arguments *a)
{
	morsel_client *client = NULL;
	morsel *m = NULL;
	const struct header *header;
	struct counts counts;
	uint64_t length;
	void *p;
	int r;

	r = morsel_connect(NULL, &client);
	if (r < 0)
		return complain("morseld", strerror(-r));
	r = morsel_open(client, a->morsel, MORSEL_RDONLY, &m);
	if (r >= 0)
		r = morsel_map(m, 0, 0, MORSEL_RDONLY, &p);
	if (r < 0) {
		complain(a->morsel, morsel_error(client));
		goto out;
	}
	header = p;
	r = check_text(header, morsel_size(m), NULL, a);
	if (r == 0) {
		length = header->length;
		/* Not length * part / workers, which may overflow. */
		uint64_t step = length / a->workers, rest = length % a->workers;
		uint64_t begin = step * a->part + (a->part < rest ? a->part : rest);
		uint64_t end = begin + step + (a->part < rest ? 1 : 0);

		count((const unsigned char *)p + PAGE, begin, end, a->words, &counts);
		if (write(STDOUT_FILENO, &counts, sizeof(counts)) != (ssize_t)sizeof(counts))
			r = complain("result", strerror(errno));
	}
	morsel_unmap(p, morsel_size(m));
out:
	morsel_close(m);
	morsel_disconnect(client);
	return r;
}

struct worker {
	pid_t pid;
	int fd; /* its stdout */
};

static int start(const struct arguments *a, unsigned int part, struct worker *ret_worker)
{
	char part_text[16], workers_text[16];
	int fds[2];
	pid_t pid;

	snprintf(part_text, sizeof(part_text), "%u", part);
	snprintf(workers_text, sizeof(workers_text), "%u", a->workers);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return complain("pipe", strerror(errno));
	pid = fork();
	if (pid < 0) {
		close(fds[0]);
		close(fds[1]);
		return complain("fork", strerror(errno));
	}
	if (pid == 0) {
		if (dup2(fds[1], STDOUT_FILENO) >= 0)
			execl("/proc/self/exe", "wordcount", "--morsel", a->morsel, "--workers",
			      workers_text, "--words", word_rules[a->words], "--part", part_text,
			      (char *)NULL);
		complain("exec", strerror(errno));
		_exit(127);
	}
	close(fds[1]);
	*ret_worker = (struct worker){ .pid = pid, .fd = fds[0] };
	return 0;
}

static int collect(const struct worker *w, struct counts *counts)
{
	struct counts part;
	int status = 0;
	ssize_t n;

	do {
		n = read(w->fd, &part, sizeof(part));
	} while (n < 0 && errno == EINTR);
	close(w->fd);
	while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (n != (ssize_t)sizeof(part) || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return complain("a worker", "ended without a result");
	counts->lines += part.lines;
	counts->words += part.words;
	counts->bytes += part.bytes;
	return 0;
}

static int count_parallel(const struct arguments *a, struct counts *ret_counts)
{
	struct worker workers[MAX_WORKERS];
	struct counts counts = {};
	unsigned int i, started;
	int r = 0;

	for (started = 0; started < a->workers; started++)
		if (start(a, started, &workers[started]) < 0) {
			r = -1;
			break;
		}
	/* All of them, so that no child is left behind. */
	for (i = 0; i < started; i++)
		if (collect(&workers[i], &counts) < 0)
			r = -1;
	if (r == 0)
		*ret_counts = counts;
	return r;
}

/* --- The program ----------------------------------------------------------------------------- */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_where(morsel_client *client, morsel *m)
{
	struct morsel_tier_bytes tiers[32];
	uint64_t absent;
	int n, i;

	n = morsel_residency(m, 0, tiers, sizeof(tiers) / sizeof(tiers[0]), &absent);
	if (n < 0) {
		complain("residency", morsel_error(client));
		return;
	}
	for (i = 0; i < n && i < (int)(sizeof(tiers) / sizeof(tiers[0])); i++)
		fprintf(stderr, "wordcount: %" PRIu64 " bytes lie on %s\n", tiers[i].bytes,
			tiers[i].tier);
	if (absent)
		fprintf(stderr, "wordcount: %" PRIu64 " bytes have no page\n", absent);
}

static int run(const struct arguments *a)
{
	morsel_client *client = NULL;
	struct counts counts;
	morsel *m = NULL;
	double t0 = seconds(), t1, t2;
	int r, width;

	r = morsel_connect(NULL, &client);
	if (r < 0)
		return complain("morseld is not reachable", strerror(-r));
	if (a->file) {
		r = load(client, a, &m);
	} else {
		r = morsel_open(client, a->morsel, MORSEL_RDONLY, &m);
		if (r < 0)
			complain(a->morsel, morsel_error(client));
	}
	t1 = seconds();
	if (r >= 0)
		r = count_parallel(a, &counts);
	t2 = seconds();
	if (r >= 0) {
		/* As wide as wc makes its columns for one file. */
		width = snprintf(NULL, 0, "%" PRIu64, counts.bytes);
		printf("%*" PRIu64 " %*" PRIu64 " %*" PRIu64 " %s\n", width, counts.lines, width,
		       counts.words, width, counts.bytes, a->file ? a->file : a->morsel);
		if (a->verbose) {
			fprintf(stderr,
				"wordcount: loading took %.3f s, counting %.3f s in %u processes\n",
				t1 - t0, t2 - t1, a->workers);
			print_where(client, m);
		}
	}
	morsel_close(m);
	morsel_disconnect(client);
	return r;
}

static int usage(int status)
{
	fputs("Usage: wordcount --morsel NAME [OPTION…] [FILE]\n"
	      "Count lines, words and bytes as LC_ALL=C wc does, by several processes that share one\n"
	      "copy of the text in the morsel NAME. It is loaded from FILE if it is not there yet.\n\n"
	      "  --workers N               processes, 1 to 256 (4)\n"
	      "  --words RULE              what a word is: 'posix', any run without white space;\n"
	      "                            'printable', one with a printable character (GNU 9.1);\n"
	      "                            'nbsp', byte 0xa0 is white space too (GNU 9.7);\n"
	      "                            default: as this machine's wc\n"
	      "  --verbose                 how long it took, and on which tiers the text lies\n",
	      status ? stderr : stdout);
	return status;
}

static bool parse_number(const char *s, unsigned long max, unsigned int *ret_number)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(s, &end, 10);
	if (!isdigit((unsigned char)s[0]) || *end || errno || v > max)
		return false;
	*ret_number = (unsigned int)v;
	return true;
}

/* Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {
		{ "morsel", required_argument, NULL, 'm' },
		{ "workers", required_argument, NULL, 'w' },
		{ "words", required_argument, NULL, 'r' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "part", required_argument, NULL, 'p' }, /* a worker's share; not for people */
		{ "help", no_argument, NULL, 'h' },
		{},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (c) {
		case 'm':
			a->morsel = optarg;
			break;
		case 'w':
			if (!parse_number(optarg, MAX_WORKERS, &a->workers) || !a->workers) {
				complain(optarg, "not a number of workers from 1 to 256");
				return 2;
			}
			break;
		case 'r':
			a->words = WORDS_POSIX;
			while (a->words <= WORDS_NBSP && strcmp(optarg, word_rules[a->words]) != 0)
				a->words++;
			if (a->words > WORDS_NBSP)
				return usage(2);
			break;
		case 'v':
			a->verbose = true;
			break;
		case 'p':
			if (!parse_number(optarg, MAX_WORKERS - 1, &a->part))
				return usage(2);
			a->is_worker = true;
			break;
		case 'h':
			return usage(0);
		default:
			return usage(2);
		}
	}
	if (!a->morsel || argc - optind > 1 || (a->is_worker && a->part >= a->workers))
		return usage(2);
	a->file = argv[optind]; /* NULL: what the morsel holds */
	return -1;
}

int main(int argc, char **argv)
{
	struct arguments a = { .workers = 4 };
	int r;

	r = parse(argc, argv, &a);
	if (r >= 0)
		return r;
	if (a.words == WORDS_AUTO)
		a.words = rule_of_wc();
	return (a.is_worker ? work(&a) : run(&a)) < 0 ? 1 : 0;
}
