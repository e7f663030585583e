#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The lab's own tests, in TAP: how a run ends. Without an argument those that boot nothing; with --boot
# also those that do (half a minute each).
set -uo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
boot=0
[ "${1:-}" != --boot ] || boot=1
number=0
failed=0

# expect NAME STATUS COMMAND…: runs it; its output is in $dir/out and $dir/err for more tests.
expect() {
	local name=$1 want=$2 status
	shift 2
	"$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	result "$name" test $status -eq "$want" || echo "# status $status, not $want"
}

# result NAME CONDITION…
result() {
	local name=$1
	shift
	number=$((number + 1))
	if "$@"; then
		echo "ok $number - $name"
		return
	fi
	failed=$((failed + 1))
	echo "not ok $number - $name"
	sed 's/^/# out: /' "$dir/out" | tail -n 20
	sed 's/^/# err: /' "$dir/err" | tail -n 60
	return 1
}

said() {
	grep -qF -- "$1" "$dir/err"
}

usage_error() {
	expect "refused: $1" 2 "$top/tools/lab" "${@:3}"
	result "and said why: $1" said "$2"
}

usage_error "no such command" "unknown command 'runn'" runn
usage_error "run without a command" "run wants a command" run --smp 2
usage_error "unknown option" "--no-such" run --no-such -- true
usage_error "too many hosts" "'9' is not in 1 to 8" run --hosts 9 -- true
usage_error "no hosts" "'0' is not in 1 to 8" run --hosts 0 -- true
usage_error "a size without a unit" "'1000' is no size" run --dram 1000 -- true
usage_error "an unaligned size" "'1M' is no multiple of 2 MiB" run --hbm 1M -- true
usage_error "too little DRAM" "--dram must be 512M or more" run --dram 64M -- true
usage_error "a file that is not there" "$dir/none: no such file" run --file "$dir/none" -- true
usage_error "a plugin that is not there" "$dir/none: no such file" run --plugin "$dir/none,a=b" -- true
usage_error "a hook that cannot run" "not an executable file" run --hook "$dir" -- true
usage_error "an environment word without =" "NAME=VALUE wanted" run --env x -- true
usage_error "a time-out of 0" "'0' is not in 1 to 86400" run --timeout 0 -- true
usage_error "no such check" "no check '99-none'" check 99-none
usage_error "words after build" "build takes no argument but --module" build now
usage_error "words after build --module" "build takes no argument but --module" build --module now
usage_error "shell with a command" "shell takes no command" shell -- ls
expect "help" 0 "$top/tools/lab" help

if [ $boot = 1 ]; then
	lab=("$top/tools/lab" run --timeout 900)

	# One boot for all that a run that ends well should do.
	head -c 1000000 /dev/urandom >"$dir/data"
	cat >"$dir/command" <<-'EOF'
		#!/bin/sh
		cat /root/data
		printf '%s|' "$@" "$LAB_WORD" >&2
		sleep 1000 &
		exit 7
	EOF
	chmod +x "$dir/command"
	expect "the command's status is the run's" 7 "${lab[@]}" --file "$dir/data" \
		--file "$dir/command:/opt/sub dir/command" --env LAB_WORD='a = b' \
		-- '/opt/sub dir/command' 'two words' '"quoted"' '' '$HOME' $'line\nbreak' --hosts --
	result "output is separate and byte for byte" cmp "$dir/out" "$dir/data"
	printf '%s|' 'two words' '"quoted"' '' '$HOME' $'line\nbreak' --hosts -- 'a = b' >"$dir/want"
	result "arguments arrive as they are" cmp <(tail -c "$(stat -c %s "$dir/want")" "$dir/err") "$dir/want"

	expect "a command killed by a signal" 137 "${lab[@]}" -- sh -c 'kill -9 $$'
	expect "a command that is not there" 127 "${lab[@]}" -- no-such-command

	expect "a panic is the lab's failure" 125 "${lab[@]}" -- sh -c 'echo before; echo c >/proc/sysrq-trigger'
	result "and is named" said "the kernel panicked"
	result "what came before it is shown" grep -qx before "$dir/out"

	expect "the machine's end is the lab's failure" 125 "${lab[@]}" -- systemctl poweroff -ff
	result "and is named" said "the machine ended before the command did"

	expect "a restart is the lab's failure" 125 "${lab[@]}" -- systemctl reboot -ff
	expect "a forged result is none" 125 "${lab[@]}" -- sh -c \
		'echo "result 0123456789abcdef0123456789abcdef 0 0 0"; systemctl poweroff -ff'
	expect "time runs out" 125 "${lab[@]}" --timeout 100 -- sleep 1000
	result "and is named" said "no end within 100 s"

	printf '[Service]\nExecStart=\nExecStart=/bin/sh -c "echo the-cause; exit 1"\nRestart=no\n' >"$dir/broken.conf"
	broken=("${lab[@]}" --file "$dir/broken.conf:/etc/systemd/system/morseld.service.d/broken.conf")
	expect "a service that fails fails the run" 125 "${broken[@]}" -- true
	result "its journal is shown" said the-cause
	expect "unless it is not wanted" 0 "${broken[@]}" --no-service -- sh -c '! systemctl is-active morseld'

	if gcc -shared -fPIC -o "$dir/plugin.so" "$top/tests/lab/fake-plugin.c" 2>"$dir/err"; then
		expect "a plugin runs to the emulator's end" 0 "${lab[@]}" --smp 1 --append "lab.word=x lab.more" \
			--plugin "$dir/plugin.so,out=$dir/figures,counted=17" -- grep -w 'lab.word=x lab.more' /proc/cmdline
		result "and writes its figures" grep -qx counted=17 "$dir/figures"
	else
		result "the plugin is built" false
	fi

	cat >"$dir/hook" <<-EOF
		#!/bin/sh
		set -e
		"$top/tests/lab/qmp" "\$MORSEL_LAB_QMP1" stop
		"$top/tests/lab/qmp" "\$MORSEL_LAB_QMP1" query-status
		"$top/tests/lab/qmp" "\$MORSEL_LAB_QMP1" cont
	EOF
	chmod +x "$dir/hook"
	mkdir "$dir/tmp"
	expect "of several hosts' statuses the first that is not 0" 5 env TMPDIR="$dir/tmp" "${lab[@]}" --hosts 2 --hook "$dir/hook" \
		-- sh -c 'echo "I am $MORSEL_HOST of $MORSEL_HOSTS"; test -c "$MORSEL_POOL" && exit $((MORSEL_HOST * 5))'
	result "host 0's output has its name" grep -qx 'host0: I am 0 of 2' "$dir/out"
	result "host 1's output has its name" grep -qx 'host1: I am 1 of 2' "$dir/out"
	result "the hook reached host 1" grep -q '"status": "paused"' "$dir/out"
	result "nothing is left behind" test -z "$(ls -A "$dir/tmp")"
fi

echo "1..$number"
exit $((failed != 0))
