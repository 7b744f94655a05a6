#!/bin/sh
# systemctl, systemd-run, poweroff, shutdown, reboot and halt inside an instance: each is an order to the instance's process,
# sent through a pipe with a name, because starting anything but a shell would take longer than the order itself.
reply=@FOLDER@/run/orders/$$
who=user
[ -z "${DESTDIR+set}" ] || who=root
mkfifo "$reply" || exit 1
printf '%s\0' "$who" "$PWD" "${0##*/}" "$@" >"$reply.argv"
exec 3<>"$reply" # both ways, so that neither side waits for the other to open it
echo $$ >@FOLDER@/run/door
while IFS= read -r line <&3; do
	case $line in
	o*) printf '%s\n' "${line#o}" ;;
	e*) printf '%s\n' "${line#e}" >&2 ;;
	c*) exit "${line#c}" ;;
	esac
done
exit 1
