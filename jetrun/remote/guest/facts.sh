# shellcheck shell=sh disable=SC2016
# What the instance says about itself, as key=value lines. $1 run id.
echo "base=$HOME/.jetrun/$1"
# An embedded cloud's instance keeps root's files below DESTDIR, which its sudo sets; on a real one it is empty.
boot=$(sudo -n /bin/sh -c 'test "$(id -u)" = 0 || test -n "${DESTDIR:-}" || exit 1
cat "${DESTDIR:-}/proc/sys/kernel/random/boot_id" 2>/dev/null || cat /proc/sys/kernel/random/boot_id' 2>/dev/null)
if [ -n "$boot" ]; then
	echo root=yes
else
	boot=$(cat /proc/sys/kernel/random/boot_id)
	if command -v sudo >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then echo root=no; else echo root=yes; fi
fi
echo "boot=$boot"
if command -v rsync >/dev/null 2>&1; then echo rsync=yes; else echo rsync=no; fi
echo "free_kib=$(df -Pk "$HOME" | awk 'NR == 2 { print $4 }')"
who 2>/dev/null | while read -r name _; do echo "user=$name"; done
read -r load _ </proc/loadavg
echo "load=$load"
echo "cpus=$(nproc 2>/dev/null || grep -c ^processor /proc/cpuinfo)"
# Last: the nearest to the moment when the answer is read.
echo "now=$(date +%s.%N)"
