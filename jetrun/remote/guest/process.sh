# shellcheck shell=sh disable=SC2034,SC2013
# What a process is known by: pid, start time and boot id. A bare pid is reused, and then it names a stranger.

read_boot() { # sets $boot
	boot=
	read -r boot </proc/sys/kernel/random/boot_id
}

read_stat() { # $1 pid; sets $start, $session; fails when it is gone or a zombie
	start='' session='' line=''
	# The name of a process may hold anything, newlines and parentheses too: everything up to the last ") " is cut.
	{ while IFS= read -r part || [ -n "$part" ]; do line="$line $part"; done <"/proc/$1/stat"; } 2>/dev/null || return 1
	line=${line##*) }
	set -f
	# shellcheck disable=SC2086
	set -- $line
	set +f
	[ $# -ge 20 ] && [ "$1" != Z ] && [ "$1" != X ] || return 1
	session=$4 start=${20}
}

lives() { # $1 file with "pid start boot ..."; sets $pid; true while that very process lives
	pid='' was='' when=''
	[ -r "$1" ] && read -r pid was when _ <"$1" || return 1
	case $pid in '' | *[!0-9]*) return 1 ;; esac
	read_boot
	[ "$when" = "$boot" ] && read_stat "$pid" && [ "$start" = "$was" ]
}

marked() { # prints the pids of every process of the run in folder $1 that can be found by the mark in its environment
	for found in $(grep -lsF "JETRUN_MARK=:$1:" /proc/[0-9]*/environ 2>/dev/null); do
		found=${found#/proc/}
		printf '%s\n' "${found%/environ}"
	done
}
