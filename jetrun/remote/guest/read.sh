# shellcheck shell=sh disable=SC2034
# One look at the script. $1 run id. Needs process.sh, reading.sh.
base=$HOME/.jetrun/$1
reading
