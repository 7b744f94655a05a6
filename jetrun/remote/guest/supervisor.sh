# shellcheck shell=sh disable=SC2154
# Runs the script in a session of its own, waits for it, and writes its exit code last and at once. $1 run folder, $2... the command.
# Needs process.sh.
base=$1
shift
# Noted, not ignored: an ignored signal would be ignored by the script too.
trap : HUP INT TERM
began=$(date +%s)
# Written now and overwritten in place: the disk may be full by the time the script ends.
printf 'code=%-4s\nbegan=%-12s\nended=%-12s\n' 0 "$began" 0 >"$base/exit.new"
# shellcheck disable=SC2016
JETRUN_MARK=":$base:" setsid /bin/sh -c '
	exec 3<"$0/env" && rm -f "$0/env" && JETRUN_KEPT=$JETRUN_MARK && . /proc/self/fd/3 && exec 3<&- || exit 125
	JETRUN_MARK=$JETRUN_KEPT && unset JETRUN_KEPT && export JETRUN_MARK
	exec "$@"
' "$base" "$@" </dev/null >>"$base/log" 2>&1 &
child=$!
read_boot
if read_stat "$child"; then printf '%s %s %s\n' "$child" "$start" "$boot" >"$base/script.pid"; fi
while :; do
	wait "$child"
	code=$?
	# A signal to this shell ends the wait; the child is then still there.
	kill -0 "$child" 2>/dev/null || break
done
printf 'code=%-4s\nbegan=%-12s\nended=%-12s\n' "$code" "$began" "$(date +%s)" 1<>"$base/exit.new"
sync "$base/exit.new" "$base/log" 2>/dev/null || sync
mv -f "$base/exit.new" "$base/exit"
sync "$base" 2>/dev/null || sync
