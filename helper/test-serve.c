// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/helper-client.h"
#include "daemon/kernfile.h"
#include "packet.h"
#include "serve.h"

#define TABLES "sys/firmware/acpi/tables"

static char *root;
static struct serve_options options = { .user = (uid_t)-1, .config_path = "/nonexistent" };

struct served {
	int client;
	GThread *thread;
};

static gpointer serve_thread(gpointer data)
{
	serve_connection(GPOINTER_TO_INT(data), &options);
	return NULL;
}

/* The peer's credentials are those of the socket's making. */
static struct served begin_as(uid_t uid)
{
	struct served s;
	int pair[2];

	g_assert_cmpint(seteuid(uid), ==, 0);
	g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
	g_assert_cmpint(seteuid(getuid()), ==, 0);
	s.client = pair[0];
	s.thread = g_thread_new("serve", serve_thread, GINT_TO_POINTER(pair[1]));
	return s;
}

static struct served begin(void)
{
	return begin_as(geteuid());
}

static void end(struct served *s)
{
	close(s->client);
	g_thread_join(s->thread);
}

static int ask(struct served *s, const char *path, struct helper_reply *ret_reply, int *ret_fd)
{
	struct helper_request request = { .verb = HELPER_OPEN };
	uint8_t packet[HELPER_PACKET_MAX];
	int n;

	g_strlcpy(request.path, path, sizeof(request.path));
	n = packet_send(s->client, packet, helper_request_build(&request, packet), -1);
	/* A stranger is answered unasked, and may find the connection closed already. */
	g_assert_true(n == 0 || n == -EPIPE);
	n = packet_receive(s->client, packet, ret_fd);
	if (n < 0)
		return n;
	g_assert_cmpint(helper_reply_parse(packet, (size_t)n, ret_reply), ==, 0);
	g_assert_cmpint(ret_reply->kind, ==, HELPER_END);
	return ret_reply->result;
}

static void test_open(void)
{
	struct served s = begin();
	struct helper_reply reply;
	char text[16] = "";
	int fd;

	g_assert_cmpint(ask(&s, TABLES "/SRAT", &reply, &fd), ==, 0);
	g_assert_cmpint(read(fd, text, sizeof(text)), ==, 4);
	g_assert_cmpstr(text, ==, "srat");
	close(fd);
	/* The same connection goes on after a refusal. */
	g_assert_cmpint(ask(&s, "etc/shadow", &reply, &fd), ==, -EACCES);
	g_assert_cmpint(fd, ==, -1);
	g_assert_cmpstr(reply.text, ==, "morsel-helper does not open this file");
	g_assert_cmpint(ask(&s, TABLES "/CEDT", &reply, &fd), ==, -ENOENT);
	/* Which dax devices are morsel's is another's decision; what only looks like one is not. */
	g_assert_cmpint(ask(&s, "dev/dax0.0", &reply, &fd), ==, -ENODEV);
	g_assert_cmpstr(reply.text, ==, "there is no dax device dax0.0");
	g_assert_cmpint(ask(&s, "dev/dax0.0/../sda", &reply, &fd), ==, -EACCES);
	g_assert_cmpint(ask(&s, "dev/dax0", &reply, &fd), ==, -EACCES);
	end(&s);
}

/* Each of the two helpers does its own work only, and policies are for programs that are there. */
static void test_kinds(void)
{
	struct helper_request request = { .verb = HELPER_POLICY, .account = 1 };
	struct helper_reply reply;
	struct served s;

	s = begin();
	g_assert_cmpint(helper_client_ask(s.client, &request, &reply), ==, 0);
	g_assert_cmpint(reply.result, ==, -EACCES);
	end(&s);
	options.bpf = true;
	s = begin();
	g_assert_cmpint(helper_client_ask(s.client, &request, &reply), ==, 0);
	g_assert_cmpint(reply.result, ==, -EBADF);
	request = (struct helper_request){ .verb = HELPER_OPEN, .path = TABLES "/SRAT" };
	g_assert_cmpint(helper_client_ask(s.client, &request, &reply), ==, 0);
	g_assert_cmpint(reply.result, ==, -EACCES);
	request = (struct helper_request){ .verb = HELPER_DETACH };
	g_assert_cmpint(helper_client_ask(s.client, &request, &reply), ==, 0);
	g_assert_cmpint(reply.result, ==, 0);
	end(&s);
	options.bpf = false;
}

/* What is no request is answered once, and the connection closed. */
static void test_rubbish(void)
{
	struct served s = begin();
	uint8_t packet[HELPER_PACKET_MAX] = "rubbish";
	struct helper_reply reply;
	int n, fd;

	g_assert_cmpint(packet_send(s.client, packet, 7, -1), ==, 0);
	n = packet_receive(s.client, packet, &fd);
	g_assert_cmpint(n, >, 0);
	g_assert_cmpint(helper_reply_parse(packet, (size_t)n, &reply), ==, 0);
	g_assert_cmpint(reply.result, ==, -EPROTO);
	g_assert_cmpint(packet_receive(s.client, packet, NULL), ==, -ECONNRESET);
	end(&s);
}

/* Descriptors are not taken, packets that are too long neither. */
static void test_unwanted(void)
{
	uint8_t packet[HELPER_PACKET_MAX + 1] = {};
	struct served s = begin();

	g_assert_cmpint(packet_send(s.client, packet, 8, s.client), ==, 0);
	g_assert_cmpint(packet_receive(s.client, packet, NULL), ==, -ECONNRESET);
	end(&s);
	s = begin();
	g_assert_cmpint(packet_send(s.client, packet, sizeof(packet), -1), ==, 0);
	g_assert_cmpint(packet_receive(s.client, packet, NULL), ==, -ECONNRESET);
	end(&s);
}

static void test_stranger(void)
{
	struct helper_reply reply;
	struct served s;
	int r, fd;

	if (geteuid() != 0) {
		g_test_skip("only root can be somebody else");
		return;
	}
	s = begin_as(65534);
	r = ask(&s, TABLES "/SRAT", &reply, &fd);
	g_assert_cmpint(r, ==, -EPERM);
	g_assert_cmpint(fd, ==, -1);
	end(&s);

	options.user = 65534;
	s = begin_as(65534);
	g_assert_cmpint(ask(&s, TABLES "/SRAT", &reply, &fd), ==, 0);
	close(fd);
	end(&s);
	options.user = (uid_t)-1;
}

/* The daemon's end against the whole server, also when the server comes back. */
static void test_client(void)
{
	g_autofree char *path = g_build_filename(root, "socket", NULL);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int status, listen_fd;
	pid_t pid;

	helper_client_init(path);
	g_assert_cmpint(helper_client_check(), ==, -ENOENT);
	g_assert_cmpint(helper_client_open(TABLES "/SRAT"), ==, -ENOENT);

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	g_assert_cmpint(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	g_assert_cmpint(listen(listen_fd, 8), ==, 0);
	for (int round = 0; round < 2; round++) {
		int fd;

		pid = fork();
		g_assert_cmpint(pid, >=, 0);
		if (pid == 0)
			_exit(serve(listen_fd, &options) < 0);
		/* In the second round the connection of the first one is over. */
		fd = helper_client_open(TABLES "/SRAT");
		g_assert_cmpint(fd, >=, 0);
		close(fd);
		g_assert_cmpint(helper_client_check(), ==, 0);
		g_assert_cmpint(helper_client_open("etc/shadow"), ==, -EACCES);
		g_assert_cmpint(kill(pid, SIGTERM), ==, 0);
		g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
		g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}

	/* Idle it ends by itself. */
	options.idle_sec = 1;
	pid = fork();
	if (pid == 0)
		_exit(serve(listen_fd, &options) < 0);
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	options.idle_sec = 0;
	close(listen_fd);
	g_unlink(path);
	helper_client_init(NULL);
}

int main(int argc, char **argv)
{
	g_autofree char *tables = NULL, *srat = NULL;
	int r;

	g_test_init(&argc, &argv, NULL);
	root = g_dir_make_tmp("morsel-serve-XXXXXX", NULL);
	tables = g_build_filename(root, TABLES, NULL);
	srat = g_build_filename(tables, "SRAT", NULL);
	g_assert_cmpint(g_mkdir_with_parents(tables, 0700), ==, 0);
	g_assert_true(g_file_set_contents(srat, "srat", -1, NULL));
	options.root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	g_test_add_func("/serve/open", test_open);
	g_test_add_func("/serve/kinds", test_kinds);
	g_test_add_func("/serve/rubbish", test_rubbish);
	g_test_add_func("/serve/unwanted", test_unwanted);
	g_test_add_func("/serve/stranger", test_stranger);
	g_test_add_func("/serve/client", test_client);
	r = g_test_run();
	close(options.root_fd);
	g_unlink(srat);
	for (char *p = tables; strlen(p) >= strlen(root); *strrchr(p, '/') = 0)
		g_rmdir(p);
	g_free(root);
	return r;
}
