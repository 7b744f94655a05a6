# shellcheck shell=sh disable=SC2154
# The log from byte $2 (counted from 0) on, as it grows, to the script's end. $1 run id. Needs process.sh.
base=$HOME/.jetrun/$1
from=$(($2 + 1))
: >>"$base/log" || exit 3

rest() { # until the exit file stands, or nobody is left to write it
	while [ ! -e "$base/exit" ] && lives "$base/supervisor.pid"; do sleep 0.05; done
}

# The supervisor writes down the script's pid a moment after it was started itself.
while [ ! -e "$base/exit" ] && [ ! -e "$base/script.pid" ] && lives "$base/supervisor.pid"; do sleep 0.01; done
if [ ! -e "$base/exit" ] && lives "$base/script.pid"; then
	# The script's own pid, which the supervisor reaps at once; the supervisor's would wait for a lazy pid 1.
	if tail --version >/dev/null 2>&1; then
		# Sleeps in the kernel until the log grows; looks for the end of that process 20 times a second.
		tail -c "+$from" -f --pid="$pid" -s 0.05 "$base/log"
		rest
	else
		tail -c "+$from" -f "$base/log" &
		while lives "$base/script.pid"; do sleep 1; done
		rest
		sleep 1
		kill "$!" 2>/dev/null
		wait "$!" 2>/dev/null
	fi
	exit 0
fi
rest
tail -c "+$from" "$base/log"
