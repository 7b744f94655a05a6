#!/bin/sh
# sudo inside an instance: runs a program as the instance's root, whose absolute paths begin at DESTDIR.
while [ $# -gt 0 ]; do
  case $1 in
    -n | -S | -H | -E | -k | --non-interactive) shift ;;
    -u) [ "$2" = root ] || { echo "sudo: only root is known here" >&2; exit 1; }; shift 2 ;;
    --) shift; break ;;
    -*) echo "sudo: option $1 is not known here" >&2; exit 1 ;;
    *=*) export "$1"; shift ;;
    *) break ;;
  esac
done
if [ -e '@FOLDER@/run/sudo-password' ]; then
  echo "sudo: a password is required" >&2
  exit 1
fi
export DESTDIR='@FOLDER@/root' USER=root HOME='@FOLDER@/root'
[ $# -gt 0 ] || exit 0
exec "$@"
