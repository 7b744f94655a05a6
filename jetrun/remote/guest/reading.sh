# shellcheck shell=sh disable=SC2154
# How the script stands, as key=value lines. Needs process.sh; $base is the run's folder.

judge() { # sets $state
	if [ -e "$base/exit" ]; then
		state=ended
	elif [ ! -d "$base/started" ]; then
		state=absent
	elif lives "$base/supervisor.pid" || lives "$base/script.pid" || [ -n "$(marked "$base")" ]; then
		state=running
	elif [ ! -e "$base/supervisor.pid" ] && [ -n "$(find "$base/started" -prune -mmin -1 2>/dev/null)" ]; then
		state=running # claimed; the supervisor is about to be
	else
		state=vanished
	fi
}

reading() {
	judge
	if [ "$state" = vanished ]; then
		# Its files change while we look from one to the next: the verdict is only believed at a second look.
		sleep 0.2
		judge
	fi
	echo "state=$state"
	[ "$state" = ended ] && cat "$base/exit"
	if [ -r "$base/supervisor.pid" ]; then
		read -r _ _ _ began _ <"$base/supervisor.pid"
		echo "started=$began"
	fi
	[ ! -e "$base/log" ] || echo "log=$(wc -c <"$base/log")"
}
