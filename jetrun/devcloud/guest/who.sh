#!/bin/sh
# who inside an instance: the users that a test has logged in, one a line of /run/utmp.users: a name, or all that who prints.
[ -r @FOLDER@/root/run/utmp.users ] || exit 0
while read -r name rest; do
	[ -z "$name" ] || printf '%-8s %s\n' "$name" "${rest:-pts/0        2026-01-01 12:00 (192.0.2.1)}"
done <@FOLDER@/root/run/utmp.users
