# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
#
# The lab's images and what is done in them, for tools/lab and tools/package. Source it with $top set to the
# checkout; as root. $images is set by ensure_images. With lab_kernel=newest the images have the kernel of the suite's backports.

suite=trixie
cache=${MORSEL_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/morsel/lab}

note() {
	echo "${0##*/}: $*" >&2
}

images_key() {
	{
		echo "$suite${lab_kernel:+ $lab_kernel}"
		cd "$top/tests/lab/image" && sha256sum -- *
	} | sha256sum | cut -c 1-16
}

# prune DIRECTORY KEEP: removes what was not used lately, except the KEEP newest and what is locked.
prune() {
	local dir
	while read -r dir; do
		(
			exec 7<"$dir" && flock -n 7 || exit 0
			note "removing $dir, which nothing uses any more"
			mv "$dir" "$1/.old.$$" && rm -rf "$1/.old.$$"
		)
	done < <(find "$1" -mindepth 1 -maxdepth 1 -type d ! -name '.*' -printf '%T@ %p\n' | sort -rn |
		tail -n "+$(($2 + 1))" | cut -d ' ' -f 2-)
}

# ensure_images: sets $images; builds them if their key is new. Holds a shared lock on them.
ensure_images() {
	local key
	key=$(images_key)
	images=$cache/images/$key
	mkdir -p "$cache/images"
	if [ ! -e "$images/release" ]; then
		exec 8>"$cache/images/.lock"
		flock -n 8 || { note "waiting for another build of images"; flock 8; }
		if [ ! -e "$images/release" ]; then
			local new=$cache/images/.new.$$ began=$SECONDS
			# What an interrupted build left; the lock says that none runs.
			rm -rf "$cache"/images/.new.* "$cache"/images/.old.*
			mkdir "$new"
			note "building guest and build root (a few minutes, once)"
			if ! "$top/tests/lab/image/build" "$new" "$suite" ${lab_kernel:+"$lab_kernel"}; then
				rm -rf "$new"
				return 1
			fi
			rm -rf "$images"
			mv "$new" "$images"
			note "built $images in $((SECONDS - began)) s"
		fi
		exec 8>&-
	fi
	touch "$images"
	exec 9<"$images"
	flock -s 9
	prune "$cache/images" 3
}

# in_build_root DIRECTORY COMMAND…: in the build root, with the directory at /build. The mounts end with the command.
in_build_root() {
	# shellcheck disable=SC2016 # expanded inside
	unshare --mount --propagation private bash -euc '
		root=$1 work=$2
		shift 2
		mkdir -p "$root/build"
		mount --bind "$work" "$root/build"
		mount -t proc proc "$root/proc"
		mount -t tmpfs tmpfs "$root/tmp"
		mount --bind /dev "$root/dev"
		exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 "$@"
	' bash "$images/buildroot" "$@"
}

# over_tree TREE DIRECTORY TAR COMMAND…: in a tree of the images (guest or buildroot), with the directory at /mnt.
# The tree stays as it is: what the command changes goes to TAR ("" for none).
over_tree() {
	# shellcheck disable=SC2016 # expanded inside
	unshare --mount --propagation private bash -euc '
		lower=$1 work=$2 tar=$3
		shift 3
		layer=$(mktemp -d)
		# Lazily: a command may leave a process for seconds, as dkms does.
		trap "umount --recursive --lazy $layer; rmdir $layer" EXIT
		mount -t tmpfs -o mode=755 tmpfs "$layer"
		mkdir "$layer"/{upper,work,root}
		root=$layer/root
		mount -t overlay -o "lowerdir=$lower,upperdir=$layer/upper,workdir=$layer/work" overlay "$root"
		mount --bind "$work" "$root/mnt"
		mount -t proc proc "$root/proc"
		mount -t tmpfs tmpfs "$root/tmp"
		mount -t tmpfs tmpfs "$root/run"
		mount --bind /dev "$root/dev"
		chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 \
			DEBIAN_FRONTEND=noninteractive "$@"
		[ -n "$tar" ] || exit 0
		# What was removed is a device 0:0 in an overlay, which a tar cannot tell.
		gone=$(find "$layer/upper" -type c -printf "/%P ")
		[ -z "$gone" ] || { echo "removed from the tree: $gone" >&2; exit 1; }
		tar -C "$layer/upper" --numeric-owner -cf "$tar" .
	' bash "$images/$1" "${@:2}"
}

# tree_files: the checkout's files, NUL between them: those that git knows or would add.
tree_files() {
	local file
	(
		cd "$top" || exit
		if git -c safe.directory='*' rev-parse --is-inside-work-tree >/dev/null 2>&1; then
			git -c safe.directory='*' ls-files -z --cached --others --exclude-standard
		else
			find . -name 'build*' -maxdepth 1 -prune -o -type f -printf '%P\0'
		fi | while IFS= read -r -d '' file; do
			[ ! -e "$file" ] || printf '%s\0' "$file"
		done
	)
}

# export_tree DIRECTORY: makes it a source package's tree of the checkout. Objects of an earlier build stay.
export_tree() {
	mkdir -p "$1"
	find "$1" -mindepth 1 -maxdepth 1 ! -name 'obj-*' -exec rm -rf {} +
	tree_files | tar -C "$top" --null --verbatim-files-from -T - --owner=0 --group=0 -cf - | tar -C "$1" -xf -
	cp -a "$1/packaging/debian" "$1/debian"
}
