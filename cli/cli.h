/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

/*
 * What all verbs of morselctl share. Functions that return `int` here return an exit status, and one
 * that is not STATUS_OK means that the message is on stderr already.
 */

enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_NO_DAEMON = 3,
	STATUS_NO_OBJECT = 4,
};

struct cli {
	/* Options that every verb has, accepted before and behind it. */
	gboolean json;
	gboolean system;
	char *socket;

	sd_bus *bus;	  /* cli_connect() */
	const char *name; /* destination of calls: NULL without a broker */
	char *where;	  /* the bus, for messages */
};

struct verb {
	const char *name;	 /* "tier show" */
	const char *arguments;	 /* "TIER" */
	const char *summary;	 /* one line */
	const char *description; /* below the options in --help, or NULL */
	int min, max;		 /* number of arguments; max -1: any */
	int (*run)(struct cli *cli, const struct verb *verb, int argc, char **argv);
};

/* Every verb, in the order of the help; ended by one without a name. */
extern const struct verb *const verbs[];
extern const struct verb verb_tiers, verb_tier_show, verb_tier_provision, verb_tier_unprovision,
	verb_list, verb_create, verb_show, verb_move, verb_destroy, verb_explain, verb_jobs,
	verb_policy_list, verb_policy_show, verb_policy_set, verb_policy_unset, verb_quota,
	verb_chmod, verb_chown, verb_stats, verb_top, verb_record, verb_report, verb_simulate,
	verb_doctor;

/* Print "morselctl: …" to stderr, control characters escaped, and return status. */
int cli_fail(int status, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* A usage error: the same with a pointer to the verb's help. */
int cli_usage(const struct verb *verb, const char *format, ...) G_GNUC_PRINTF(2, 3);

/*
 * Parse the verb's own options (entries, may be NULL) and the common ones; argv[0] is the verb.
 * *ret_arguments: the rest, a NULL-terminated array that the caller frees with g_strfreev.
 */
int cli_parse(struct cli *cli, const struct verb *verb, const GOptionEntry *entries, int argc,
	      char **argv, char ***ret_arguments);
GOptionEntry *cli_common_entries(struct cli *cli); /* static storage */

/* --- Values of options ----------------------------------------------------------------------- */

/* "512M" → bytes. what: how the message names it ("--size"). */
int cli_parse_size(const struct verb *verb, const char *what, const char *s, uint64_t *ret_bytes);
/* "A:B" (from A up to and without B), "A:", ":B", "A+LENGTH". *ret_length 0: to the end. */
int cli_parse_range(const struct verb *verb, const char *s, uint64_t *ret_offset,
		    uint64_t *ret_length);
/* "0640", in octal. what stands before it in the message. */
int cli_parse_mode(const struct verb *verb, const char *what, const char *s, uint32_t *ret_mode);
/* A user's or group's name or number. */
int cli_parse_user(const struct verb *verb, const char *s, uint32_t *ret_uid);
int cli_parse_group(const struct verb *verb, const char *s, uint32_t *ret_gid);
/* "90", "90s", "10m", "2h", up to 1000 days. */
int cli_parse_duration(const struct verb *verb, const char *what, const char *s,
		       uint32_t *ret_seconds);
/* A decimal number up to 2^32-1; negative errno. */
int parse_u32(const char *s, uint32_t *ret_value);

/* --- Bus ------------------------------------------------------------------------------------- */

#define MANAGER_PATH "/org/parperos/Morsel1"
#define MANAGER_IFACE "org.parperos.Morsel1.Manager"
#define JOB_IFACE "org.parperos.Morsel1.Job"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_bus_message, sd_bus_message_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_bus_slot, sd_bus_slot_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_t, json_decref)

int cli_connect(struct cli *cli);
void cli_disconnect(struct cli *cli);
/* A call to the Manager; the caller appends arguments. */
int cli_message(struct cli *cli, const char *method, sd_bus_message **ret_message);
int cli_message_to(struct cli *cli, const char *path, const char *interface, const char *method,
		   sd_bus_message **ret_message);
/* On the system bus, with somebody at a terminal: polkit may ask for a password. Negative errno. */
int cli_allow_dialog(struct cli *cli, sd_bus_message *m);
/* Call and report errors. cli_call() gives up after 25 s; cli_call_slow(), for what grows with the
 * size of a morsel, does not. */
int cli_call(struct cli *cli, sd_bus_message *m, sd_bus_message **ret_reply);
int cli_call_slow(struct cli *cli, sd_bus_message *m, sd_bus_message **ret_reply);
/* What a failed call says: exit status, and text if ret_text is not NULL. r < 0: errno; e may be unset. */
int cli_error_status(struct cli *cli, int r, const sd_bus_error *e, char **ret_text);
/* Failure of building or reading a message. */
int cli_fail_message(const char *what, int r);
/* Manager method without arguments, first value of the reply as JSON. */
int cli_get(struct cli *cli, const char *method, json_t **ret_json);
/* Placement(options): of one cgroup, or NULL; of at most so many morsels. */
int cli_get_placement(struct cli *cli, const char *cgroup, uint32_t limit, json_t **ret_json);
/* "/system.slice", also where the directory in cgroupfs was given, or no '/' before it or one too many behind it. */
char *cli_cgroup_path(const char *s);
/* ShowPolicy(cgroup), and how it is printed. */
int cli_get_policy(struct cli *cli, const char *cgroup, json_t **ret_json);
void print_policy(json_t *policy);

/* --- Jobs ------------------------------------------------------------------------------------ */

struct job_watch {
	bool steps; /* done and total count steps, not bytes */
	char *path; /* the job: set by the caller once it is started */
	uint64_t done, total;
	double began;
	sd_bus_message *reply; /* of Wait */
	sd_bus_slot *filter;
};

/* Before the call that starts the job: its first report may come with the answer. */
int job_watch_begin(struct cli *cli, struct job_watch *p);
void job_watch_end(struct job_watch *p);
double job_watch_seconds(const struct job_watch *p); /* since the beginning */
/* Wait for the job, drawing meanwhile where somebody watches; then p->reply is there to be read. ^C cancels it,
 * a second one leaves. */
int job_wait(struct cli *cli, struct job_watch *p);
/* Of a job that has ended: its state, its error ("" for none) and its result; with --json, print it.
 * Strings are borrowed from p. */
int job_end(struct cli *cli, struct job_watch *p, const char **ret_state, const char **ret_error,
	    json_t **ret_result);
/* The job as `jobs` has it. */
int job_get(struct cli *cli, const char *path, json_t **ret_job);
/* Say that it runs, for --no-wait. */
int job_started(struct cli *cli, const char *path);

/* Options a{sv}: between open and close, each value. Return negative errno. */
int options_open(sd_bus_message *m);
int options_close(sd_bus_message *m);
int options_u64(sd_bus_message *m, const char *key, uint64_t value);
int options_u32(sd_bus_message *m, const char *key, uint32_t value);
int options_bool(sd_bus_message *m, const char *key, bool value);
int options_string(sd_bus_message *m, const char *key, const char *value);
int options_words(sd_bus_message *m, const char *key, const char *words);

/*
 * The next value of a message: dictionaries become objects (integer keys in decimal), arrays arrays,
 * variants what is in them. 64-bit integers stay exact up to 2^63-1, which no memory exceeds.
 * Negative errno.
 */
int message_to_json(sd_bus_message *m, json_t **ret_json);

/* --- Output ---------------------------------------------------------------------------------- */

void print_json(const json_t *j);      /* indented */
void print_json_line(const json_t *j); /* one line, flushed: for streams */

/* Fields of an object of the daemon's; a missing or foreign one reads as 0, "" or an empty array. */
uint64_t get_u64(const json_t *object, const char *key);
int64_t get_i64(const json_t *object, const char *key);
bool get_bool(const json_t *object, const char *key);
const char *get_string(const json_t *object, const char *key);
json_t *get_array(const json_t *object, const char *key);  /* borrowed, never NULL */
json_t *get_object(const json_t *object, const char *key); /* borrowed, never NULL */

char *format_bytes(uint64_t bytes);    /* "48.4 MiB" */
char *format_bandwidth(uint64_t mbs);  /* MB/s → "105 GB/s", "-" for 0 */
char *format_time(uint64_t usec);      /* local time, "-" for 0 */
char *format_duration(double seconds); /* "2:05", "1:02:05" */
char *format_strings(json_t *array);   /* "a b c", "-" when empty */
char *format_integers(json_t *array);  /* "0,1" */
/* "dram0 12 MiB, hbm0 4 KiB": an object of bytes by name, largest first. */
char *format_bytes_by(json_t *object);
/* Safe on a terminal: control and bidirectional characters, and what the locale cannot show, as
 * \x1b or \u{202e}; names belong to other users. */
char *escape(const char *s);

/* Columns. The header is always printed, nothing is cut; on a terminal the last column wraps. */
struct table;
struct table *table_new(void);
void table_column(struct table *t, const char *name);
void table_column_right(struct table *t, const char *name);
void table_row(struct table *t);		    /* begin the next */
void table_cell(struct table *t, const char *text); /* escaped here */
void table_cell_take(struct table *t, char *text);  /* the same, frees text */
void table_print_free(struct table *t);
char *table_string_free(struct table *t); /* lines, not wrapped; to be freed */
/* Of what Placement() answered: its morsels. */
struct table *morsels_table(const json_t *placement);
