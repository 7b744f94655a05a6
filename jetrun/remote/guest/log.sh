# shellcheck shell=sh
# The whole log on standard output. $1 run id, $2 the most bytes that it may have, empty for any number.
log=$HOME/.jetrun/$1/log
[ -e "$log" ] || exit 4
if [ -n "$2" ] && [ "$(wc -c <"$log")" -gt "$2" ]; then exit 5; fi
exec cat "$log"
