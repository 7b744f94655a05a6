# shellcheck shell=sh disable=SC2154,SC2015
# Sends signal number $2 to the script and everything of it that can be found. $1 run id. Needs process.sh.
# Found by the mark in the environment (also what went into a session of its own), and by the script's session (also what cleared its environment).
base=$HOME/.jetrun/$1
leader=
[ ! -r "$base/script.pid" ] || read -r leader _ when _ <"$base/script.pid"
read_boot
[ -z "$leader" ] || [ "$when" = "$boot" ] || leader=
passes=1
# A process may fork while we look: KILL looks again until nothing is left.
[ "$2" != 9 ] || passes=5
while [ "$passes" -gt 0 ]; do
	passes=$((passes - 1))
	ours=" $(marked "$base" | tr '\n' ' ') "
	sent=
	for stat in /proc/[0-9]*/stat; do
		one=${stat#/proc/}
		one=${one%/stat}
		case $ours in
		*" $one "*) read_stat "$one" || continue ;;
		*) [ -n "$leader" ] && read_stat "$one" && [ "$session" = "$leader" ] || continue ;;
		esac
		kill -s "$2" "$one" 2>/dev/null || kill "-$2" "$one" 2>/dev/null || continue
		sent="$sent $one"
	done
	[ -n "$sent" ] || break
done
exit 0
