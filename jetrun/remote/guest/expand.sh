# shellcheck shell=sh
# Which files the outputs mean. $1 run id, $2... paths or globs below work/. Prints records that end in NUL: "F" and a path that is
# there, "M" and a pattern that matches nothing inside work/. No text of the user's is ever evaluated: only pathname expansion.
# "**" as a whole part of a path means any number of folders, none included; links are not followed for it.
cd -P "$HOME/.jetrun/$1/work" || exit 3
root=$PWD
shift
IFS=

inside() { # $1 relative path: true when its folder, links resolved, is work/ or below
	case $1 in */*) ;; *) return 0 ;; esac
	cd -P "./${1%/*}" 2>/dev/null || return 1
	here=$PWD
	cd "$root" || exit 3
	case $here/ in "$root"/*) return 0 ;; *) return 1 ;; esac
}

take() { # $1 relative path that is there; false when it leads outside
	inside "$1" || return 1
	if [ -L "./$1" ]; then
		# The link and what it means; the x keeps newlines at the end of a name.
		target=$(readlink -f "./$1" && echo x) || return 1
		target=${target%?x}
		case $target in
		"$root"/?*) printf 'F%s\0' "${target#"$root"/}" ;;
		*) return 1 ;;
		esac
	fi
	printf 'F%s\0' "$1"
}

expand() { # $1 glob without "**"
	# shellcheck disable=SC2086
	for path in ./$1; do
		if [ -e "$path" ] || [ -L "$path" ]; then take "${path#./}" && some=yes; fi
	done
}

deepest() { # sets $levels: how many folders below work/ the deepest one has; links are not followed
	levels=$(find . -type d -print0 | tr -cd '/\0' | tr '\0' '\n' | awk '{ if (length > most) most = length } END { print most + 0 }')
}

for pattern; do
	some=no
	if [ -e "./$pattern" ] || [ -L "./$pattern" ]; then
		take "$pattern" && some=yes
	else
		case /$pattern in
		*/\*\*/*)
			deepest
			before=${pattern%%\*\*/*} after=${pattern#*\*\*/} between=''
			while [ "$levels" -ge 0 ]; do
				expand "$before$between$after"
				between="$between*/"
				levels=$((levels - 1))
			done
			;;
		*) expand "$pattern" ;;
		esac
	fi
	[ "$some" = yes ] || printf 'M%s\0' "$pattern"
done
