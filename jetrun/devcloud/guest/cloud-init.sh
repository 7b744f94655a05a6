#!/bin/sh
# cloud-init inside an instance: says how the first boot went; its work is the instance's own.
[ "${1-}" = status ] || exit 0
result=@FOLDER@/root/var/lib/cloud/result
while [ "${2-}" = --wait ] && [ ! -e "$result" ]; do sleep 0.05; done
if [ ! -e "$result" ]; then
	echo "status: running"
	exit 0
fi
read -r status <"$result"
echo "status: $status"
[ "$status" = done ]
