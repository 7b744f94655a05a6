#!/bin/sh
# sudo inside an instance: runs a program as the instance's root, whose absolute paths begin at DESTDIR.
as=root quiet=no from_stdin=no keep=no only_ask=no
no() {
	echo "sudo: $1" >&2
	exit 1
}
while [ $# -gt 0 ]; do
	case $1 in
	--) shift && break ;;
	-u | --user) as=${2-} && shift 2 || no "option requires an argument -- 'u'" ;;
	--user=*) as=${1#*=} && shift ;;
	-u?*) as=${1#-u} && shift ;;
	--non-interactive) quiet=yes && shift ;;
	--stdin) from_stdin=yes && shift ;;
	--preserve-env) keep=yes && shift ;;
	--set-home | --reset-timestamp) shift ;;
	--validate) only_ask=yes && shift ;;
	--*) no "unrecognized option '$1'" ;;
	-*[!-nSHEkv]*) no "option '$1' is not known here" ;;
	-?*)
		case $1 in *n*) quiet=yes ;; esac
		case $1 in *S*) from_stdin=yes ;; esac
		case $1 in *E*) keep=yes ;; esac
		case $1 in *v*) only_ask=yes ;; esac
		shift
		;;
	*) break ;;
	esac
done
case $as in root | "$USER" | "#0") ;; *) no "unknown user $as" ;; esac
if [ -e @FOLDER@/run/sudo-password ] && [ -z "${DESTDIR+set}" ]; then
	[ "$quiet" = no ] || no "a password is required"
	[ "$from_stdin" = yes ] || no "a terminal is required to read the password; either use the -S option to read from standard input or configure an askpass helper"
	read -r _ && no "1 incorrect password attempt" # there is no right one
	no "no password was provided"
fi
[ $# -gt 0 ] || {
	[ "$only_ask" = yes ] && exit 0
	echo "usage: sudo [-nSHEkv] [-u user] [VAR=value] command [arg ...]" >&2
	exit 1
}
for word; do
	case $word in
	-*) no "invalid command $word" ;;
	[A-Za-z_]*=*) ;;
	*)
		command -v "$word" >/dev/null 2>&1 || no "$word: command not found"
		break
		;;
	esac
done
caller=${SUDO_USER:-$USER}
if [ "$as" = root ] || [ "$as" = "#0" ]; then
	# A user's variables do not reach root: sudo's env_reset, on by default.
	set -- "DESTDIR="@FOLDER@/root "HOME="@FOLDER@/root/root USER=root LOGNAME=root "SUDO_USER=$caller" "$@"
else
	set -- "HOME=$HOME" "USER=$as" "LOGNAME=$as" "SUDO_USER=$caller" "$@"
	unset DESTDIR
fi
[ "$keep" = no ] || exec env "$@"
exec env -i "PATH=$PATH" SHELL=/bin/sh ${LANG:+"LANG=$LANG"} ${LC_ALL:+"LC_ALL=$LC_ALL"} ${TERM:+"TERM=$TERM"} \
	${INVOCATION_ID:+"INVOCATION_ID=$INVOCATION_ID"} "$@"
