// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

void print_json(const json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(2));
	putchar('\n');
}

void print_json_line(const json_t *j)
{
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
}

uint64_t get_u64(const json_t *object, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(object, key));

	return v > 0 ? (uint64_t)v : 0;
}

int64_t get_i64(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

bool get_bool(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

const char *get_string(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

/* jansson's empty containers for what is missing, made once and kept to the end of the process. */
json_t *get_array(const json_t *object, const char *key)
{
	static json_t *empty;
	json_t *j = json_object_get(object, key);

	if (json_is_array(j))
		return j;
	if (!empty)
		empty = json_array();
	return empty;
}

json_t *get_object(const json_t *object, const char *key)
{
	static json_t *empty;
	json_t *j = json_object_get(object, key);

	if (json_is_object(j))
		return j;
	if (!empty)
		empty = json_object();
	return empty;
}

struct table {
	struct libscols_table *scols;
	struct libscols_line *line;
	size_t column;
};

struct table *table_new(void)
{
	struct table *t = g_new0(struct table, 1);

	t->scols = scols_new_table();
	if (!t->scols)
		g_error("out of memory");
	/* escape() has done it, better: smartcols lets bidirectional overrides through. */
	scols_table_enable_noencoding(t->scols, 1);
	scols_table_set_column_separator(t->scols, "  ");
	/* A file or pipe has no width; COLUMNS of the shell that started us is not its width. */
	if (!isatty(STDOUT_FILENO))
		scols_table_set_termforce(t->scols, SCOLS_TERMFORCE_NEVER);
	return t;
}

static void add_column(struct table *t, const char *name, int flags)
{
	if (!scols_table_new_column(t->scols, name, 0, flags))
		g_error("out of memory");
}

void table_column(struct table *t, const char *name)
{
	add_column(t, name, 0);
}

void table_column_right(struct table *t, const char *name)
{
	add_column(t, name, SCOLS_FL_RIGHT);
}

void table_row(struct table *t)
{
	t->line = scols_table_new_line(t->scols, NULL);
	if (!t->line)
		g_error("out of memory");
	t->column = 0;
}

void table_cell(struct table *t, const char *text)
{
	g_autofree char *safe = escape(text);

	if (scols_line_set_data(t->line, t->column++, safe) < 0)
		g_error("out of memory");
}

void table_cell_take(struct table *t, char *text)
{
	table_cell(t, text);
	g_free(text);
}

void table_print_free(struct table *t)
{
	size_t n = scols_table_get_ncols(t->scols);
	struct libscols_column *last = scols_table_get_column(t->scols, n - 1);

	if (isatty(STDOUT_FILENO) && !(scols_column_get_flags(last) & SCOLS_FL_RIGHT))
		scols_column_set_flags(last, scols_column_get_flags(last) | SCOLS_FL_WRAP);
	/* An empty table prints nothing in smartcols; a header says what there is none of. */
	if (scols_table_get_nlines(t->scols) == 0) {
		size_t i;

		for (i = 0; i < n; i++) {
			struct libscols_column *c = scols_table_get_column(t->scols, i);

			printf("%s%s", i ? "  " : "",
			       scols_cell_get_data(scols_column_get_header(c)));
		}
		putchar('\n');
	} else {
		scols_print_table(t->scols);
	}
	scols_unref_table(t->scols);
	g_free(t);
}

char *table_string_free(struct table *t)
{
	char *text = NULL, *copy;

	/* The caller cuts; smartcols would make columns smaller. */
	scols_table_set_termforce(t->scols, SCOLS_TERMFORCE_NEVER);
	if (scols_print_table_to_string(t->scols, &text) < 0)
		g_error("out of memory");
	copy = g_strdup(text ? text : "");
	free(text);
	scols_unref_table(t->scols);
	g_free(t);
	return copy;
}
