#!/bin/bash
# The same job by hand, as a careful person writes it: wake a shelved instance, send a script, run it, fetch what it left, shelve,
# and do not believe it before SHELVED_OFFLOADED was read twice. Measured beside jetrun by bench.py.
#   careful.sh INSTANCE SCRIPT OUTPUTS KEY USER PORT        with OS_CLOUD and OS_CLIENT_CONFIG_FILE set
set -euo pipefail
instance=$1 script=$2 outputs=$3 key=$4 user=$5 port=$6
private=$(mktemp -d)
woken=no

# shellcheck disable=SC2317 # called by the trap
finish() {
	code=$?
	if [ "$woken" = yes ]; then
		echo "careful.sh failed; shelving $instance" >&2
		openstack server shelve "$instance" || echo "SHELVE $instance BY HAND" >&2
	fi
	rm -rf "$private"
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

wait_for() { # $1 status: until it is read; a failed read is read again
	local until=$((SECONDS + 600))
	while [ "$(openstack server show "$instance" -f value -c status || true)" != "$1" ]; do
		if [ "$SECONDS" -ge "$until" ]; then
			echo "$instance is not $1 after 600 s" >&2
			return 1
		fi
		sleep 0.2
	done
}

woken=yes
openstack server unshelve "$instance"
wait_for ACTIVE
host=$(openstack server show "$instance" -f value -c addresses | grep -Eo '[0-9]+(\.[0-9]+){3}' | tail -n 1)

options=(-F /dev/null -i "$key" -p "$port" -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout=10 -o ServerAliveInterval=15
	-o StrictHostKeyChecking=accept-new -o "UserKnownHostsFile=$private/known_hosts")
until=$((SECONDS + 300))
until ssh "${options[@]}" "$user@$host" true 2>"$private/ssh"; do
	if [ "$SECONDS" -ge "$until" ]; then
		cat "$private/ssh" >&2
		exit 1
	fi
	sleep 0.2
done

work=careful/$(basename "$private")
rsync -a --mkpath -e "ssh ${options[*]}" "$script" "$user@$host:$work/"
code=0
# shellcheck disable=SC2029 # meant for this side
ssh "${options[@]}" "$user@$host" "cd '$work' && './$(basename "$script")' >log 2>&1" || code=$?
rsync -a -e "ssh ${options[*]}" "$user@$host:$work/" "$outputs/"

openstack server shelve "$instance"
wait_for SHELVED_OFFLOADED
sleep 0.2
wait_for SHELVED_OFFLOADED
woken=no
exit "$code"
