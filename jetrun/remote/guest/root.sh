# shellcheck shell=sh disable=SC3067 # dash, busybox and bash all know -O; where it is not known, id answers
# Whether this is root, and the boot id as root sees it.
# An embedded cloud's instance keeps root's files below DESTDIR, which its sudo sets; on a real one it is empty.
[ -O / ] 2>/dev/null || [ "$(id -u)" = 0 ] || [ -n "${DESTDIR:-}" ] || exit 1
echo root=yes
{ read -r boot <"${DESTDIR:-}/proc/sys/kernel/random/boot_id" || read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
echo "boot=$boot"
