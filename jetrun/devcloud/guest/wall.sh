#!/bin/sh
# wall inside an instance: keeps in /var/log/wall what logged-in users would have read.
{
	printf '\nBroadcast message from %s (%s):\n\n' "${USER:-root}" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
	if [ $# -gt 0 ]; then printf '%s\n' "$*"; else cat; fi
} >>@FOLDER@/root/var/log/wall
