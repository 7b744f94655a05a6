# shellcheck shell=sh disable=SC2154
# Makes the run's folders, and puts the script there. $1 run id, $2 name of the script, empty for none, $3... folders below work/.
base=$HOME/.jetrun/$1
name=$2
shift 2
(umask 077 && mkdir -p "$base/script" "$base/work") || exit 3
for folder; do mkdir -p "$base/work/$folder" || exit 3; done
if [ -n "$name" ]; then
	# Beside its target, then renamed: a shell that reads the old one is not disturbed.
	(umask 077 && payload >"$base/script.new" && chmod 0700 "$base/script.new") || exit 3
	mv -f "$base/script.new" "$base/script/$name" || exit 3
fi
printf 'base=%s\n' "$base"
