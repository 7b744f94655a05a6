#!/bin/sh
# The dead-man's switch of jetrun: powers this instance off when the run that armed it is out of time, or over and forgotten.
# Needs no network, no credential and no cloud. Installed as /var/lib/jetrun/deadman.sh, run by root once a minute:
#   deadman.sh tick | loop | status | arm KEY=VALUE... | shelve RUN | ending RUN | disarm RUN
# With a credential beside it (shelve) it first asks the cloud to shelve the instance, which is cheaper than off. That is a
# state of its own, bound to this boot and to a time: refused, silent or not done in time, the power goes off as without it.
# It must never take the machine from a person who started it later. So it keeps a tick on disk, and disarms itself when it finds
# a gap (the machine was off, suspended or cloned), at the boot after an ending, and on another machine; it fires once, and what
# it cannot read it leaves alone. A clock set forward by more than the gap looks like a gap, and disarms too.
# For tests and for the embedded cloud all paths are below DESTDIR, and then JETRUN_NOW and JETRUN_UPTIME (s) may replace the clocks.
root=${DESTDIR:-}
dir=$root/var/lib/jetrun
file=$dir/switch
spare=$root/run/jetrun-switch # while the disk takes no writes
units=$root/etc/systemd/system
notice=$root/etc/motd.d/jetrun
cron=$root/etc/cron.d/jetrun-deadman
loop_pid=$root/run/jetrun-deadman.pid
key=$dir/shelve.json
asker=$dir/shelve.py
answer=$root/run/jetrun-shelve
ask_s=60     # for all that is said to the cloud, one repetition included
shelve_s=180 # from accepted to off: Nova presses the power button and pulls the plug after 60 s; three times that
[ -z "$root" ] || ask_s=${JETRUN_ASK_S:-$ask_s}
systemd='' ticking='' how='' now=''
LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin
export LC_ALL PATH
umask 022

look() { # sets $now, $up (s), $boot_now, $uuid_now
	now=$(date +%s)
	read -r up_now _ </proc/uptime
	up_now=${up_now%%.*}
	if [ -n "$root" ]; then
		now=${JETRUN_NOW:-$now}
		up_now=${JETRUN_UPTIME:-$up_now}
	fi
	boot_now='' uuid_now=''
	read -r boot_now 2>/dev/null <"$root/proc/sys/kernel/random/boot_id" || read -r boot_now </proc/sys/kernel/random/boot_id
	[ ! -r "$root/sys/class/dmi/id/product_uuid" ] || read -r uuid_now <"$root/sys/class/dmi/id/product_uuid"
	case $uuid_now in *[A-F]*) uuid_now=$(printf %s "$uuid_now" | tr A-F a-f) ;; esac
}

is_number() { case $1 in '' | *[!0-9]* | 0?* | ????????????????*) return 1 ;; esac; }

load_from() { # $1 file; 1 absent, 2 unreadable
	state='' run='' generation='' uuid='' boot='' folder='' deadline='' remaining='' orphan_s='' tick_s='' gap_s=''
	tick='' up='' warned='' whole=no why=''
	[ -e "$1" ] || return 1
	while IFS= read -r line; do
		value=${line#*=}
		[ "$whole" = no ] || return 2
		case $line in
		state=*) state=$value ;; run=*) run=$value ;; uuid=*) uuid=$value ;; boot=*) boot=$value ;;
		folder=*) folder=$value ;; tick_s=*) tick_s=$value ;; why=*) why=$value ;;
		generation=*) generation=$value ;; deadline=*) deadline=$value ;; remaining=*) remaining=$value ;;
		orphan_s=*) orphan_s=$value ;; gap_s=*) gap_s=$value ;; tick=*) tick=$value ;; up=*) up=$value ;;
		warned=*) warned=$value ;; end=1) whole=yes ;;
		*) return 2 ;;
		esac
	done 2>/dev/null <"$1"
	[ "$whole" = yes ] || return 2
	case $state in armed | ending | shelving | spent | disarmed) ;; *) return 2 ;; esac
	for value in "$generation" "$deadline" "$remaining" "$orphan_s" "$gap_s" "$tick" "$up" "$warned"; do
		is_number "$value" || return 2
	done
}

load() { # as load_from; the spare copy where it is newer and of this boot
	if [ -e "$spare" ] && load_from "$spare" && [ "$boot" = "$boot_now" ]; then
		newer=$tick
		if load_from "$file" && [ "$tick" -gt "$newer" ]; then return 0; fi
		load_from "$spare"
		return
	fi
	load_from "$file"
}

text() {
	printf '%s\n' "state=$state" "run=$run" "generation=$generation" "uuid=$uuid" "boot=$boot" "folder=$folder" \
		"deadline=$deadline" "remaining=$remaining" "orphan_s=$orphan_s" "tick_s=$tick_s" "gap_s=$gap_s" \
		"tick=$tick" "up=$up" "warned=$warned" "why=$why" end=1
}

settle() { sync "$1" 2>/dev/null || sync; }

store() { # durable when this returns 0: beside the target, synced, renamed, synced
	if { text >"$file.new" && settle "$file.new" && mv -f "$file.new" "$file" && settle "$dir"; } 2>/dev/null; then
		[ ! -e "$spare" ] || rm -f "$spare"
		return 0
	fi
	# A full disk must not look like a gap: the tick goes on in memory, for this boot.
	mkdir -p "${spare%/*}" && text >"$spare.new" && mv -f "$spare.new" "$spare"
	return 1
}

has_systemd() { # asked once a process: it does not change, and each question takes a program's start; sd_booted(3)
	if [ -z "$root" ]; then
		[ -d /run/systemd/system ]
		return
	fi
	case ${systemd:=$(systemctl is-system-running 2>/dev/null)} in
	running | degraded | starting | initializing | maintenance) ;;
	*) return 1 ;;
	esac
}

stop_ticking() {
	rm -f "$cron"
	if has_systemd; then
		systemctl disable --now jetrun-deadman.timer >/dev/null 2>&1
	elif is_ticking && [ "$looping" != $$ ]; then
		kill -TERM "-$looping" 2>/dev/null # the loop, which leads its own session, and its sleep
		rm -f "$loop_pid"
	fi
}

retire() { # $1 why
	state=disarmed why=$1
	store
	rm -f "$key"
	mkdir -p "${notice%/*}" && printf "jetrun: the dead-man's switch of run %s is disarmed: %s\n" "$run" "$why" >"$notice"
	stop_ticking
}

tell() { printf '%s\n' "$1" | wall 2>/dev/null || :; }

ask() { # $1 probe or shelve: what shelve.py says of it, on a line. Never longer than $ask_s, whatever python does
	command -v python3 >/dev/null 2>&1 || { echo 'there is no python3 here' && return 1; }
	mkdir -p "${answer%/*}" && rm -f "$answer.code" && : >"$answer" || return 1
	# Not waited for: a process that hangs in the kernel cannot be killed either.
	(
		python3 -I "$asker" "$1" "$key" "$ask_s" >"$answer" 2>&1
		echo $? >"$answer.new" && mv -f "$answer.new" "$answer.code"
	) </dev/null >/dev/null 2>&1 9>&- &
	asking=$!
	read -r began _ </proc/uptime
	until [ -e "$answer.code" ]; do
		read -r by_now _ </proc/uptime
		if [ $((${by_now%%.*} - ${began%%.*})) -gt "$ask_s" ]; then
			kill -9 "$asking" 2>/dev/null
			echo "no answer within $ask_s s"
			return 1
		fi
		sleep 0.2 2>/dev/null || sleep 1
	done
	if [ -s "$answer" ]; then tail -n 1 "$answer"; else echo "no answer within $ask_s s"; fi
	read -r code <"$answer.code" && [ "$code" = 0 ]
}

fire() { # $1 why
	why=$1
	if [ -e "$key" ]; then
		state=shelving remaining=$shelve_s
		# Without room for the word the next boot could not know that this was done: then only the power goes.
		if store; then
			tell "jetrun: asking the cloud to shelve this instance: $1"
			sync
			if said=$(ask shelve); then
				rm -f "$key"
				return
			fi
			why="$why; not shelved: $said"
		fi
	fi
	power_off "$why"
}

power_off() { # $1 why
	state=spent why=$1
	rm -f "$key"
	# Spent before the power goes. Without room for the word, without the file: either way it cannot fire again.
	store || rm -f "$file" || :
	tell "jetrun: powering off now: $1"
	sync
	if has_systemd && systemctl poweroff 2>/dev/null; then return; fi
	poweroff 2>/dev/null || shutdown -h now 2>/dev/null || [ -n "$root" ] || echo o >/proc/sysrq-trigger
}

age() { # $1 file; sets $old, seconds since it was touched
	touched=$(stat -c %Y "$1" 2>/dev/null || date -r "$1" +%s 2>/dev/null) && is_number "$touched" || return 1
	old=$((now - touched))
}

is_orphan() {
	[ -n "$folder" ] && [ -e "$folder/exit" ] || return 1
	if [ -e "$folder/heartbeat" ]; then age "$folder/heartbeat"; else age "$folder/exit"; fi && [ "$old" -ge "$orphan_s" ]
}

was_over() { # the script had ended before this boot, and not by the reboot itself, which ends what runs by a signal
	[ -n "$folder" ] && [ -e "$folder/exit" ] || return 1
	code='' ended=''
	while IFS= read -r line; do
		case $line in code=*) code=${line#code=} ;; ended=*) ended=${line#ended=} ;; esac
	done <"$folder/exit"
	code=${code%% *} ended=${ended%% *}
	case $code in 129 | 137 | 143) is_number "$ended" && [ "$ended" -le "$tick" ] ;; esac
}

warn() { # 10 and 2 minutes before
	left=$((deadline - now))
	[ "$remaining" -ge "$left" ] || left=$remaining
	for minutes in 2 10; do
		if [ "$left" -le $((minutes * 60)) ]; then
			if [ "$warned" = 0 ] || [ "$warned" -gt "$minutes" ]; then
				warned=$minutes
				tell "jetrun: the lease of run $run ends; this instance is powered off in about $(((left + 59) / 60)) min"
			fi
			return
		fi
	done
}

do_tick() {
	look
	load
	case $? in 1) return ;; 2) echo "jetrun: $file cannot be read; nothing is done" >&2 && return ;; esac
	if [ -n "$uuid" ] && [ -n "$uuid_now" ] && [ "$uuid" != "$uuid_now" ]; then
		case $state in armed | ending | shelving) retire "this is another machine than $uuid" ;; *) stop_ticking ;; esac
		return
	fi
	case $state in spent | disarmed) stop_ticking && return ;; esac
	gap=$((now - tick))
	if [ "$gap" -gt "$gap_s" ]; then retire "no tick for $gap s: the machine was off or suspended" && return; fi
	if [ "$boot" != "$boot_now" ]; then
		if was_over; then retire "booted again after its script had ended" && return; fi
		if [ "$state" = ending ]; then retire "booted again after the run's end" && return; fi
		if [ "$state" = shelving ]; then retire "booted again after the cloud was asked to shelve it" && return; fi
		spent_s=$gap
		# A clock that went back over the boot: at least the time since it counts.
		if [ "$up_now" -lt "$up" ] && [ "$up_now" -gt "$spent_s" ]; then spent_s=$up_now; fi
	else
		spent_s=$((up_now - up))
	fi
	[ "$spent_s" -ge 0 ] || spent_s=0
	remaining=$((remaining - spent_s))
	[ "$remaining" -ge 0 ] || remaining=0
	tick=$now up=$up_now boot=$boot_now
	if [ "$state" = shelving ]; then
		if [ "$remaining" -gt 0 ]; then store; else power_off "$why; not shelved within $shelve_s s"; fi
	elif [ "$now" -ge "$deadline" ]; then
		fire "the lease of run $run is over"
	elif [ "$remaining" -le 0 ]; then
		fire "the time of run $run is used up"
	elif is_orphan; then
		fire "run $run has ended and nobody came back for it"
	else
		warn
		store
	fi
}

has_text() { # $1 file, $2 its text, without the last newline
	there=''
	[ -r "$1" ] && while IFS= read -r line; do there="$there$line
"; done <"$1" && [ "$there" = "$2
" ]
}

write_if_new() { # $1 file, $2 its text; true when it changed
	has_text "$1" "$2" && return 1
	mkdir -p "${1%/*}"
	printf '%s\n' "$2" >"$1.new"
	settle "$1.new"
	mv -f "$1.new" "$1"
}

start_ticking() {
	if has_systemd; then
		changed=no
		write_if_new "$units/jetrun-deadman.service" "[Unit]
Description=jetrun dead-man's switch
[Service]
Type=oneshot
ExecStart=/bin/sh \"$dir/deadman.sh\" tick" && changed=yes
		write_if_new "$units/jetrun-deadman.timer" "[Unit]
Description=jetrun dead-man's switch
[Timer]
OnBootSec=$tick_s
OnActiveSec=$tick_s
OnUnitActiveSec=$tick_s
AccuracySec=1
[Install]
WantedBy=timers.target" && changed=yes
		if [ "$changed" = yes ]; then
			systemctl daemon-reload
			systemctl stop jetrun-deadman.timer 2>/dev/null
		elif is_ticking; then
			ticking=yes
			return
		fi
		systemctl enable --now jetrun-deadman.timer >/dev/null 2>&1
	else
		if [ -d "${cron%/*}" ]; then printf '@reboot root /bin/sh "%s/deadman.sh" loop\n' "$dir" >"$cron"; fi
		is_ticking && return
		# The lock's descriptor is closed: the loop must not hold it for ever.
		setsid /bin/sh "$dir/deadman.sh" loop </dev/null >/dev/null 2>&1 9>&- &
		beginning=0
		until is_ticking || [ "$beginning" -ge 100 ]; do
			beginning=$((beginning + 1))
			sleep 0.02
		done
	fi
}

is_ticking() { # also sets $how
	if has_systemd; then
		how=systemd
		# One question for three answers: each program's start takes a tenth of a second on a slow guest.
		shown=$(systemctl show -p ActiveState -p SubState -p UnitFileState jetrun-deadman.timer 2>/dev/null)
		case $shown in *SubState=elapsed* | *SubState=dead* | *SubState=failed*) return 1 ;; esac
		case $shown in *ActiveState=active*) ;; *) return 1 ;; esac
		case $shown in *UnitFileState=enabled*) ;; *) return 1 ;; esac
	else
		how=loop
		[ -e "$cron" ] || how='loop, not after a reboot'
		[ -r "$loop_pid" ] && read -r looping begun <"$loop_pid" && [ -n "$begun" ] && [ "$(begun_at "$looping")" = "$begun" ]
	fi
}

begun_at() { # prints the start time of pid $1
	sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

do_loop() {
	mkdir -p "${loop_pid%/*}"
	printf '%s %s\n' "$$" "$(begun_at $$)" >"$loop_pid.new" && mv -f "$loop_pid.new" "$loop_pid"
	while :; do
		(lock && do_tick)
		look
		load
		case $?-$state in 0-armed | 0-ending | 0-shelving) sleep "$tick_s" ;; 2-*) sleep 60 ;; *) break ;; esac
	done
	rm -f "$loop_pid"
}

do_status() {
	[ -n "$now" ] || look
	load
	case $? in 1) state=absent ;; 2) state=unreadable ;; esac
	if [ -z "$ticking" ]; then
		if is_ticking; then ticking=yes; else ticking=no; fi
	fi
	text
	printf '%s\n' "ticking=$ticking" "how=$how" "now=$now"
}

do_arm() {
	look
	if load; then
		case $state in
		armed | ending)
			for pair; do
				case $pair in generation=*) [ "${pair#*=}" -ge "$generation" ] || [ "$uuid" != "$uuid_now" ] || return 4 ;; esac
			done
			;;
		esac
	fi
	state=armed uuid=$uuid_now boot=$boot_now tick=$now up=$up_now warned=0 why='' folder=''
	for pair; do
		value=${pair#*=}
		case $value in *"
"*) return 5 ;; esac
		case $pair in
		run=*) run=$value ;; generation=*) generation=$value ;; deadline=*) deadline=$value ;; countdown=*) remaining=$value ;;
		orphan_s=*) orphan_s=$value ;; tick_s=*) tick_s=$value ;; gap_s=*) gap_s=$value ;; folder=*) folder=$value ;;
		*) return 5 ;;
		esac
	done
	[ ! -e "$notice" ] || rm -f "$notice"
	[ ! -e "$key" ] || rm -f "$key"
	store || { rm -f "$spare" && return 6; }
	start_ticking
}

do_shelve() { # $1 run: the credential that lies in $key.new is this switch's; says whether the cloud takes it
	look
	if ! load || [ "$state-$run" != "armed-$1" ]; then
		rm -f "$key.new"
		return 4
	fi
	chmod 0600 "$key.new" && mv -f "$key.new" "$key" && settle "$dir" || return 6
	if said=$(ask probe); then echo shelve=ready; else echo "shelve=$said"; fi
}

change() { # $1 run, $2 new state: only of a switch that is this run's
	look
	load || return 0
	[ "$run" = "$1" ] || return 4
	case $2-$state in
	ending-armed) state=ending && store ;;
	disarmed-armed | disarmed-ending | disarmed-shelving)
		state=disarmed why='by its own run'
		rm -f "$key"
		store && stop_ticking
		;;
	esac
}

lock() { # one at a time, within 10 s; busybox's flock knows no limit, and where there is none it goes without
	exec 9>"$dir/lock" || return 1
	command -v flock >/dev/null 2>&1 || return 0
	flock -w 10 9 2>/dev/null && return 0
	case $(flock --help 2>&1) in *-w*) return 1 ;; esac
	flock 9
}

[ -d "$dir" ] || mkdir -p "$dir" || exit 3
command=$1
shift
case $command in
loop) do_loop ;;
status) do_status ;;
tick)
	lock || exit 7
	do_tick
	exit 0
	;;
arm | shelve | ending | disarm)
	lock || exit 7
	case $command in
	arm) do_arm "$@" ;;
	shelve) do_shelve "$1" ;;
	ending) ticking=unasked && change "$1" ending ;; # nobody may wait for it
	disarm) change "$1" disarmed ;;
	esac
	result=$?
	do_status
	exit "$result"
	;;
*) exit 2 ;;
esac
