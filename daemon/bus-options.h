/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

/*
 * Dictionaries a{sv} that clients send: every key must be known, come once, and have its type; else
 * InvalidArgument says which key, and which ones there are.
 */
struct bus_option {
	const char *name;
	const char *type; /* "t", "as", "a{su}" */
	/* Reads the value at the message's place (inside its variant) into target. Sets error or not. */
	int (*read)(sd_bus_message *m, const struct bus_option *option, void *target,
		    sd_bus_error *error);
	size_t offset; /* of the field in target, for the readers below */
};

int bus_options_read(sd_bus_message *m, const struct bus_option *options, size_t n, void *target,
		     sd_bus_error *error);

/* Readers for one field of the type that the name says; strings are borrowed from the message. */
int bus_option_u64(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e);
int bus_option_u32(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e);
int bus_option_bool(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e);
int bus_option_string(sd_bus_message *m, const struct bus_option *o, void *target, sd_bus_error *e);

/* For dictionaries that go out: one entry {key: variant of a basic type}. */
int bus_append_string(sd_bus_message *m, const char *key, const char *value);
int bus_append_u32(sd_bus_message *m, const char *key, uint32_t value);
int bus_append_i32(sd_bus_message *m, const char *key, int32_t value);
int bus_append_u64(sd_bus_message *m, const char *key, uint64_t value);
int bus_append_bool(sd_bus_message *m, const char *key, bool value);
/* Open and close {key: variant of an array}, type "as" and so on: the caller appends its elements. */
int bus_open_array(sd_bus_message *m, const char *key, const char *type);
int bus_close_array(sd_bus_message *m);
