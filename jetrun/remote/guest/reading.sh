# shellcheck shell=sh disable=SC2154
# How the script stands, as key=value lines. Needs process.sh; $base is the run's folder.

reading() {
	if [ -e "$base/exit" ]; then
		state=ended
	elif [ ! -d "$base/started" ]; then
		state=absent
	elif lives "$base/supervisor.pid" || lives "$base/script.pid" || [ -n "$(marked "$base")" ]; then
		state=running
	elif [ ! -e "$base/supervisor.pid" ] && [ -n "$(find "$base/started" -prune -mmin -0.2 2>/dev/null)" ]; then
		state=running # between the claim and the first line of the supervisor
	elif [ -e "$base/exit" ]; then
		state=ended # it came to its end while we looked
	else
		state=vanished
	fi
	echo "state=$state"
	[ "$state" = ended ] && cat "$base/exit"
	if [ -r "$base/supervisor.pid" ]; then
		read -r _ _ _ began _ <"$base/supervisor.pid"
		echo "started=$began"
	fi
	[ ! -e "$base/log" ] || echo "log=$(wc -c <"$base/log")"
}
