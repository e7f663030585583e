# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# For the checks of morsel.ko: . "${0%/*}/module.sh"
set -euo pipefail
tests=/usr/libexec/morsel/tests

fail() {
	echo "$*"
	exit 1
}

# load VARIANT: a test build of the module (tests/kmod/variants) in place of whatever is loaded; marks the kernel's log.
load() {
	[ ! -e /sys/module/morsel ] || fail "a module is loaded already"
	mark=$(/usr/lib/morsel-lab/kernel-log mark)
	insmod "$tests/kmod/$1/morsel.ko" || fail "$1: insmod"
	trap 'rmmod morsel 2>/dev/null || true' EXIT
}

# unload: nothing may be left that holds it. What was pinned is let go a little after its process has ended.
unload() {
	local tries=0
	until rmmod morsel 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -lt 50 ] || fail "rmmod: still in use"
		sleep 0.1
	done
	trap - EXIT
}

# clean: the kernel has not complained since load.
clean() {
	/usr/lib/morsel-lab/kernel-log clean "$mark" || fail "the kernel complained"
}

# passes COMMAND…: shows what it says, then fails if it does. Its remarks are only for those who look at a failure.
passes() {
	"$@" 2>&1 | sed 's/^# / # /' || fail "${1##*/}: exit status $?"
}

# fails_with VARIANT COMMAND…: that a test fails with a build of the module that lacks something.
fails_with() {
	local variant=$1 status=0 out
	shift
	load "$variant"
	out=$("$@" 2>&1) || status=$?
	[ $status = 1 ] && grep -q '^not ok' <<<"$out" || fail "$variant: ${1##*/} ended with $status, not 1: $out"
	echo "# $variant: $(grep -c '^not ok' <<<"$out") of ${1##*/}'s tests fail, as they must"
	unload
}
