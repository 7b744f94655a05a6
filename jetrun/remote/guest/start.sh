# shellcheck shell=sh disable=SC2154
# Starts the script, once. $1 run id, $2... the command. Needs process.sh, reading.sh; payload is the environment, supervisor the program.
base=$HOME/.jetrun/$1
shift
[ -d "$base/work" ] || { echo "no folder $base/work" >&2; exit 3; }
if [ ! -d "$base/started" ]; then
	# What can fail for want of room comes before the claim.
	(umask 077 && payload >"$base/env.$$" && supervisor >"$base/supervisor.$$" && : >>"$base/log") || exit 3
	if mkdir "$base/started"; then
		mv -f "$base/env.$$" "$base/env" && mv -f "$base/supervisor.$$" "$base/supervisor" && cd "$base/work" || exit 3
		setsid /bin/sh "$base/supervisor" "$base" "$@" </dev/null >/dev/null 2>>"$base/supervisor.log" &
		pid=$!
		read_boot
		read_stat "$pid" # empty when it is over already; then the exit file tells
		printf '%s %s %s %s\n' "$pid" "${start:-0}" "$boot" "$(date +%s)" >"$base/supervisor.pid.new"
		mv -f "$base/supervisor.pid.new" "$base/supervisor.pid"
	else
		rm -f "$base/env.$$" "$base/supervisor.$$"
		[ -d "$base/started" ] || exit 3
	fi
fi
reading
