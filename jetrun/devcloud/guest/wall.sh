#!/bin/sh
# wall inside an instance: keeps what logged-in users would have read.
{ date -u +%Y-%m-%dT%H:%M:%SZ; if [ $# -gt 0 ]; then printf '%s\n' "$*"; else cat; fi; } >> '@FOLDER@/root/wall.log'
