# shellcheck shell=sh
# What the instance says about itself, as key=value lines. $1 run id, $2 "people" to ask who is logged in.
# Few programs: each one's first start reads it from a slow disk, and somebody waits for the answer.
echo "base=$HOME/.jetrun/$1"
read -r boot </proc/sys/kernel/random/boot_id && echo "boot=$boot"
if command -v rsync >/dev/null 2>&1; then echo rsync=yes; else echo rsync=no; fi
if [ "$2" = people ]; then who 2>/dev/null | while read -r name _; do echo "user=$name"; done; fi
read -r load _ </proc/loadavg
echo "load=$load"
if read -r online </sys/devices/system/cpu/online; then
	echo "online=$online"
else
	echo "cpus=$(nproc 2>/dev/null || grep -c ^processor /proc/cpuinfo)"
fi 2>/dev/null
# Last: the nearest to the moment when the answer is read.
echo "now=$(date +%s.%N)"
