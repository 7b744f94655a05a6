#!/bin/sh
# users inside an instance: the names of those whom who shows, on one line.
[ -r @FOLDER@/root/run/utmp.users ] || exit 0
names=''
while read -r name _; do
	[ -z "$name" ] || names="$names $name"
done <@FOLDER@/root/run/utmp.users
[ -z "$names" ] || echo "${names# }"
