// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli.h"

#define BUS_NAME "org.parperos.Morsel1"
#define ERROR_PREFIX "org.parperos.Morsel1.Error."

/* sd-bus does not tell why connect(2) failed, and its addresses need escaping: a socket of our own. */
static int connect_socket(const char *path, int *ret_fd)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, r;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int open_private(const char *path, sd_bus **ret_bus)
{
	sd_bus *bus = NULL;
	int fd = -1, r;

	r = connect_socket(path, &fd);
	if (r < 0)
		return r;
	r = sd_bus_new(&bus);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = sd_bus_set_fd(bus, fd, fd);
	if (r < 0)
		close(fd);
	if (r >= 0)
		r = sd_bus_negotiate_fds(bus, 1);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0) {
		sd_bus_close_unref(bus);
		return r;
	}
	*ret_bus = bus;
	return 0;
}

int cli_connect(struct cli *cli)
{
	const char *path;
	int r;

	if (cli->bus)
		return STATUS_OK;
	if (cli->system) {
		cli->where = g_strdup("the system bus");
		r = sd_bus_open_system_with_description(&cli->bus, "morselctl");
		if (r < 0)
			return cli_fail(STATUS_NO_DAEMON, "cannot connect to the system bus: %s",
					g_strerror(-r));
		cli->name = BUS_NAME;
		return STATUS_OK;
	}
	path = cli->socket ? cli->socket : g_getenv("MORSEL_SOCKET");
	if (!path || !path[0])
		path = "/run/morsel/bus";
	cli->where = g_strdup(path);
	r = open_private(path, &cli->bus);
	if (r == -EACCES || r == -EPERM)
		return cli_fail(STATUS_NO_DAEMON, "no permission to use morseld's socket %s", path);
	if (r < 0)
		return cli_fail(
			STATUS_NO_DAEMON,
			"morseld is not reachable at %s: %s\n"
			"Start it with: systemctl start morseld (or name another socket with "
			"--socket or $MORSEL_SOCKET)",
			path, g_strerror(-r));
	return STATUS_OK;
}

void cli_disconnect(struct cli *cli)
{
	cli->bus = sd_bus_flush_close_unref(cli->bus);
	g_clear_pointer(&cli->where, g_free);
	g_clear_pointer(&cli->socket, g_free);
}

int cli_error_status(struct cli *cli, int r, const sd_bus_error *e, char **ret_text)
{
	const char *message = e && e->message && e->message[0] ? e->message : NULL;
	const char *name = e && e->name ? e->name : "";
	int status = STATUS_FAILED;
	char *text = NULL;

	if (g_str_has_prefix(name, ERROR_PREFIX)) {
		if (g_str_has_prefix(name + strlen(ERROR_PREFIX), "NoSuch"))
			status = STATUS_NO_OBJECT;
		text = g_strdup(message ? message : name);
	} else if (strcmp(name, SD_BUS_ERROR_SERVICE_UNKNOWN) == 0 ||
		   strcmp(name, SD_BUS_ERROR_NAME_HAS_NO_OWNER) == 0 ||
		   g_str_has_prefix(name, "org.freedesktop.DBus.Error.Spawn")) {
		status = STATUS_NO_DAEMON;
		text = g_strdup_printf("morseld is not on %s: %s\n"
				       "Start it with: systemctl start morseld",
				       cli->where, message ? message : name);
	} else if (strcmp(name, SD_BUS_ERROR_UNKNOWN_METHOD) == 0 ||
		   strcmp(name, SD_BUS_ERROR_UNKNOWN_INTERFACE) == 0) {
		text = g_strdup_printf("the running morseld does not know this call: %s",
				       message ? message : name);
	} else if (sd_bus_is_open(cli->bus) <= 0 || r == -ECONNRESET || r == -ENOTCONN ||
		   r == -EPIPE) {
		status = STATUS_NO_DAEMON;
		text = g_strdup_printf("morseld at %s closed the connection", cli->where);
	} else if (r == -ETIMEDOUT) {
		status = STATUS_NO_DAEMON;
		text = g_strdup_printf("morseld at %s did not answer in time", cli->where);
	} else {
		text = g_strdup(message ? message : g_strerror(r < 0 ? -r : r));
	}
	if (ret_text)
		*ret_text = text;
	else
		g_free(text);
	return status;
}

int cli_fail_message(const char *what, int r)
{
	if (r == -EINVAL)
		return cli_fail(STATUS_USAGE, "%s: an argument is not valid UTF-8", what);
	if (r == -ENXIO || r == -EBADMSG)
		return cli_fail(STATUS_FAILED,
				"%s: morseld answered in a form that this morselctl "
				"does not understand",
				what);
	return cli_fail(STATUS_FAILED, "%s: %s", what, g_strerror(-r));
}

int cli_allow_dialog(struct cli *cli, sd_bus_message *m)
{
	if (!cli->system || !isatty(STDIN_FILENO))
		return 0;
	return sd_bus_message_set_allow_interactive_authorization(m, true);
}

int cli_message_to(struct cli *cli, const char *path, const char *interface, const char *method,
		   sd_bus_message **ret_message)
{
	int r;

	r = sd_bus_message_new_method_call(cli->bus, ret_message, cli->name, path, interface,
					   method);
	if (r >= 0)
		r = cli_allow_dialog(cli, *ret_message);
	return r < 0 ? cli_fail_message(method, r) : STATUS_OK;
}

int cli_message(struct cli *cli, const char *method, sd_bus_message **ret_message)
{
	return cli_message_to(cli, MANAGER_PATH, MANAGER_IFACE, method, ret_message);
}

static int call(struct cli *cli, sd_bus_message *m, uint64_t timeout, sd_bus_message **ret_reply)
{
	sd_bus_error e = SD_BUS_ERROR_NULL;
	g_autofree char *text = NULL;
	int r, status;

	/* Signals that nobody waits for would fill the queue of a long `stats --watch`. */
	do {
		r = sd_bus_process(cli->bus, NULL);
	} while (r > 0);
	r = sd_bus_call(cli->bus, m, timeout, &e, ret_reply);
	if (r >= 0)
		return STATUS_OK;
	status = cli_error_status(cli, r, &e, &text);
	sd_bus_error_free(&e);
	return cli_fail(status, "%s", text);
}

int cli_call(struct cli *cli, sd_bus_message *m, sd_bus_message **ret_reply)
{
	return call(cli, m,
		    sd_bus_message_get_allow_interactive_authorization(m) > 0 ? UINT64_MAX : 0,
		    ret_reply);
}

int cli_call_slow(struct cli *cli, sd_bus_message *m, sd_bus_message **ret_reply)
{
	return call(cli, m, UINT64_MAX, ret_reply);
}

int cli_get(struct cli *cli, const char *method, json_t **ret_json)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	int r, status;

	status = cli_message(cli, method, &m);
	if (status == STATUS_OK)
		status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, ret_json);
	return r < 0 ? cli_fail_message(method, r) : STATUS_OK;
}

int cli_get_placement(struct cli *cli, const char *cgroup, uint32_t limit, json_t **ret_json)
{
	g_autoptr(sd_bus_message) m = NULL, reply = NULL;
	int r, status = cli_message(cli, "Placement", &m);

	if (status != STATUS_OK)
		return status;
	r = options_open(m);
	if (r >= 0 && cgroup)
		r = options_string(m, "cgroup", cgroup);
	if (r >= 0)
		r = options_u32(m, "limit", limit);
	if (r >= 0)
		r = options_close(m);
	if (r < 0)
		return cli_fail_message("Placement", r);
	status = cli_call(cli, m, &reply);
	if (status != STATUS_OK)
		return status;
	r = message_to_json(reply, ret_json);
	return r < 0 ? cli_fail_message("Placement", r) : STATUS_OK;
}

int options_open(sd_bus_message *m)
{
	return sd_bus_message_open_container(m, 'a', "{sv}");
}

int options_close(sd_bus_message *m)
{
	return sd_bus_message_close_container(m);
}

int options_u64(sd_bus_message *m, const char *key, uint64_t value)
{
	return sd_bus_message_append(m, "{sv}", key, "t", value);
}

int options_u32(sd_bus_message *m, const char *key, uint32_t value)
{
	return sd_bus_message_append(m, "{sv}", key, "u", value);
}

int options_bool(sd_bus_message *m, const char *key, bool value)
{
	return sd_bus_message_append(m, "{sv}", key, "b", (int)value);
}

int options_string(sd_bus_message *m, const char *key, const char *value)
{
	return sd_bus_message_append(m, "{sv}", key, "s", value);
}

int options_words(sd_bus_message *m, const char *key, const char *words)
{
	g_auto(GStrv) split = g_strsplit_set(words, " \t,", -1);
	int r;
	guint i;

	r = sd_bus_message_open_container(m, 'e', "sv");
	if (r >= 0)
		r = sd_bus_message_append(m, "s", key);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "as");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "s");
	for (i = 0; r >= 0 && split[i]; i++)
		if (split[i][0])
			r = sd_bus_message_append(m, "s", split[i]);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r;
}
