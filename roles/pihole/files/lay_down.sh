#!/usr/bin/env bash
# Lay Pi-hole down as its own installer does: lay_down.sh check|apply FOLDER VERSION CORE_COMMIT WEB_COMMIT. FOLDER/current is the version that
# runs. Prints what is (or would be) laid down. The installer as a whole takes the newest of all; what it does with what it has fetched are
# functions, which `pihole -up` uses too.
set -eu
mode=$1 folder=$2/current version=$3
declare -A commits=([core]=$4 [web]=$5)
core=/etc/.pihole
installer="$folder/core/automated install/basic-install.sh"

foreign() {
	echo "$1 is not what this role installed ($2). Pin what runs, or bring it back" >&2
	exit 1
}

# What pins a version are three links: they change at once, and `pihole -up` goes through them.
link() {
	if [ -L "$1" ]; then
		[ "$(readlink "$1")" = "$2" ] && return
	elif [ -d "$1" ]; then
		foreign "$1" "$(git -C "$1" describe --tags --always 2>/dev/null || echo no repository)"
	elif [ -e "$1" ] && ! cmp -s "$1" "$2"; then
		foreign "$1" "$("$1" tag 2>/dev/null || echo unknown)"
	fi
	echo "$1"
	[ "$mode" = check ] || { mkdir -p "$(dirname "$1")" && ln -sfn "$2" "$1.new" && mv -T "$1.new" "$1"; }
}

# Another version may be wanted than the one that runs: in a check, or after it has failed.
if [ "$(readlink "$folder")" = "$version" ]; then
	for part in core web; do
		[ "$(git -C "$folder/$part" rev-parse HEAD)" = "${commits[$part]}" ] ||
			foreign "$folder/$part" "$(git -C "$folder/$part" describe --tags --always)"
	done
fi
link "$core" "$folder/core"
link /var/www/html/admin "$folder/web"
link /usr/bin/pihole-FTL "$folder/pihole-FTL"

cd "$folder/core"
differing=()
compare() {
	cmp -s "$1" "$2" || differing+=("$2")
}
for file in gravity.sh advanced/Scripts/*.sh advanced/Scripts/COL_TABLE "automated install/uninstall.sh"; do
	compare "$file" "/opt/pihole/$(basename "$file")"
done
compare pihole /usr/local/bin/pihole
compare advanced/Templates/pihole-FTL.systemd /etc/systemd/system/pihole-FTL.service
for file in pihole-FTL-prestart.sh pihole-FTL-poststop.sh; do
	compare "advanced/Templates/$file" "/opt/pihole/$file"
done
for file in /etc/cron.d/pihole /etc/pihole/logrotate; do
	[ -e "$file" ] || differing+=("$file")
done
id -u pihole >/dev/null 2>&1 || differing+=("user pihole")
dpkg-query --show --showformat='${db:Status-Abbrev}' pihole-meta 2>/dev/null | grep -q ^ii || differing+=("package pihole-meta")
if [ ${#differing[@]} -gt 0 ]; then
	printf '%s\n' "${differing[@]}"
	if [ "$mode" = apply ]; then
		export DEBIAN_FRONTEND=noninteractive SKIP_INSTALL=true
		mkdir -p /etc/pihole
		# It has a flag of its own for each argument, and reads variables that are not set.
		set --
		set +u
		{
			# shellcheck disable=SC1090
			source "$installer"
			package_manager_detect
			build_dependency_package
			install_dependent_packages
			create_pihole_user
			installPihole
		} >&2
		set -u
	fi
fi

# The API has its groups and lists in a database, which the installer makes in its first download of lists alone.
database=$(pihole-FTL --config -q files.gravity 2>/dev/null || echo /etc/pihole/gravity.db)
if [ "$mode" = apply ] && [ -e "$database" ] && [ ${#differing[@]} -gt 0 ]; then
	/opt/pihole/gravity.sh --upgrade >&2
elif [ ! -e "$database" ]; then
	echo "$database"
	if [ "$mode" = apply ]; then
		# Whole or not at all.
		rm -f "$database.new"
		pihole-FTL sqlite3 -ni "$database.new" <"$core/advanced/Templates/gravity.db.sql" >&2
		# FTL takes up a new database where this is higher than before, and the first one that it sees counts as before (6.3, gravity_updated).
		pihole-FTL sqlite3 -ni "$database.new" "INSERT OR REPLACE INTO info (property, value) VALUES ('updated', 0);" >&2
		chown pihole:pihole "$database.new"
		chmod 0664 "$database.new"
		mv "$database.new" "$database"
	fi
fi
