# shellcheck shell=sh disable=SC2154
# The log from byte $2 (counted from 0) on, as it grows, to the script's end. $1 run id. Needs process.sh.
base=$HOME/.jetrun/$1
from=$(($2 + 1))
: >>"$base/log" || exit 3
if [ ! -e "$base/exit" ] && { lives "$base/supervisor.pid" || lives "$base/script.pid"; }; then
	if tail --version >/dev/null 2>&1; then
		# Sleeps in the kernel until the log grows; looks for the end of that process 20 times a second.
		tail -c "+$from" -f --pid="$pid" -s 0.05 "$base/log"
	else
		tail -c "+$from" -f "$base/log" &
		while kill -0 "$pid" 2>/dev/null; do sleep 1; done
		sleep 1
		kill "$!" 2>/dev/null
		wait "$!" 2>/dev/null
	fi
else
	tail -c "+$from" "$base/log"
fi
