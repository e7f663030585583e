// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * place-load PIN FILE [FILE]: registers the placement program of an object file and pins its link; with a
 * second file, then has that one's take its place. bpftool's "struct_ops register" looks for the
 * type in vmlinux only, and so dies of one of a module.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

static struct bpf_map *load(const char *file)
{
	struct bpf_object *object = bpf_object__open_file(file, NULL);
	struct bpf_map *map;
	int r;

	if (!object) {
		fprintf(stderr, "%s: no object\n", file);
		return NULL;
	}
	r = bpf_object__load(object);
	if (r < 0) {
		fprintf(stderr, "%s: load: %s\n", file, strerror(-r));
		return NULL;
	}
	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			return map;
	}
	fprintf(stderr, "%s: no program\n", file);
	return NULL;
}

int main(int argc, char *argv[])
{
	struct bpf_map *map;
	struct bpf_link *link;
	int r;

	if (argc < 3 || argc > 4)
		return 2;
	map = load(argv[2]);
	if (!map)
		return 1;
	link = bpf_map__attach_struct_ops(map);
	if (!link) {
		perror("attach");
		return 1;
	}
	if (argc == 4) {
		map = load(argv[3]);
		r = map ? bpf_link__update_map(link, map) : -1;
		if (r < 0) {
			fprintf(stderr, "%s: update: %s\n", argv[3], strerror(-r));
			return 1;
		}
	}
	r = bpf_link__pin(link, argv[1]);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-r));
		return 1;
	}
	return 0;
}
