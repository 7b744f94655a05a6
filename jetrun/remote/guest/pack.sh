# shellcheck shell=sh
# A tar of $2... (paths below work/) on standard output. $1 run id.
cd "$HOME/.jetrun/$1/work" || exit 3
shift
# Each path begins with "./", so none is read as an option; GNU tar keeps it out of the way of "host:path" too.
exec tar -cf - "$@"
