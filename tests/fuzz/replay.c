/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzz target without libFuzzer: every file of the corpus as it is, then RUNS inputs made of
 * them by a few random changes each. Same seed, same inputs: a failure comes again. Under the
 * sanitizers this finds most of what a short run of libFuzzer does, with any compiler.
 *
 * replay DIR RUNS [SEED]
 */
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define INPUT_MAX 65536u

static void change(GRand *rand, GByteArray *input, const GPtrArray *corpus)
{
	static const uint8_t telling[] = { 0,	1,   0x7f, 0x80, 0xff, '0',
					   '9', '-', ',',  '\n', '=',  '[' };
	guint at = input->len > 0 ? (guint)g_rand_int_range(rand, 0, (gint)input->len) : 0;
	const GByteArray *other;
	guint from, n;

	switch (input->len == 0 ? 3 : g_rand_int_range(rand, 0, 6)) {
	case 0:
		input->data[at] ^= (uint8_t)(1u << g_rand_int_range(rand, 0, 8));
		break;
	case 1:
		input->data[at] = telling[g_rand_int_range(rand, 0, G_N_ELEMENTS(telling))];
		break;
	case 2: /* a number that is the largest of its width */
		for (guint i = at; i < input->len && i < at + 4; i++)
			input->data[i] = 0xff;
		break;
	case 3: /* a piece of another input goes in */
		other = corpus->pdata[g_rand_int_range(rand, 0, (gint)corpus->len)];
		if (other->len == 0 || input->len >= INPUT_MAX)
			break;
		from = (guint)g_rand_int_range(rand, 0, (gint)other->len);
		n = (guint)g_rand_int_range(rand, 1, 64);
		n = MIN(other->len - from, n);
		g_byte_array_set_size(input, input->len + n);
		memmove(input->data + at + n, input->data + at, input->len - n - at);
		memcpy(input->data + at, other->data + from, n);
		break;
	case 4:
		n = (guint)g_rand_int_range(rand, 1, 32);
		n = MIN(input->len - at, n);
		g_byte_array_remove_range(input, at, n);
		break;
	default:
		g_byte_array_set_size(input, at);
		break;
	}
}

static int compare(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In the order of names, or a seed would not mean the same inputs elsewhere. */
static GPtrArray *read_corpus(const char *path)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	GPtrArray *corpus = g_ptr_array_new();
	GDir *dir = g_dir_open(path, 0, NULL);
	const char *name;

	if (dir == NULL)
		g_error("%s cannot be listed", path);
	while ((name = g_dir_read_name(dir)) != NULL)
		g_ptr_array_add(names, g_build_filename(path, name, NULL));
	g_dir_close(dir);
	g_ptr_array_sort(names, compare);
	for (guint i = 0; i < names->len; i++) {
		char *data;
		gsize len;

		if (!g_file_get_contents(names->pdata[i], &data, &len, NULL))
			g_error("%s cannot be read", (char *)names->pdata[i]);
		g_ptr_array_add(corpus, g_byte_array_new_take((guint8 *)data, len));
	}
	if (corpus->len == 0)
		g_error("%s has no files", path);
	return corpus;
}

int main(int argc, char **argv)
{
	GPtrArray *corpus;
	GRand *rand;
	long runs;

	if (argc < 3) {
		fprintf(stderr, "usage: replay DIR RUNS [SEED]\n");
		return 2;
	}
	runs = strtol(argv[2], NULL, 10);
	corpus = read_corpus(argv[1]);
	rand = g_rand_new_with_seed(argc > 3 ? (guint32)strtoul(argv[3], NULL, 10) : 1);
	LLVMFuzzerInitialize(&argc, &argv);
	for (guint i = 0; i < corpus->len; i++) {
		const GByteArray *input = corpus->pdata[i];

		LLVMFuzzerTestOneInput(input->data, input->len);
	}
	for (long i = 0; i < runs; i++) {
		const GByteArray *from =
			corpus->pdata[g_rand_int_range(rand, 0, (gint)corpus->len)];
		g_autoptr(GByteArray) input = g_byte_array_new();
		g_autofree uint8_t *exact = NULL;

		g_byte_array_append(input, from->data, from->len);
		for (int n = g_rand_int_range(rand, 1, 6); n > 0; n--)
			change(rand, input, corpus);
		/* A block of just this size, so that reading behind it is seen. */
		exact = input->len > 0 ? g_memdup2(input->data, input->len) : g_malloc(1);
		LLVMFuzzerTestOneInput(exact, input->len);
	}
	printf("%u inputs of the corpus, %ld made of them\n", corpus->len, runs);
	for (guint i = 0; i < corpus->len; i++)
		g_byte_array_unref(corpus->pdata[i]);
	g_ptr_array_unref(corpus);
	g_rand_free(rand);
	return 0;
}
