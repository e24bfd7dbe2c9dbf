#!/bin/sh
# Print what Debian's tools would install: upgrades.sh known|fresh. `fresh` fetches the package lists into a folder that goes again.
set -eu
if [ "$1" = fresh ]; then
	lists=$(mktemp -d)
	trap 'rm -rf "$lists"' EXIT
	mkdir "$lists/partial"
	# The cache beside them would be that of the other lists.
	set -- -o "Dir::State::Lists=$lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
	apt-get -qq "$@" update
else
	shift
fi
apt-get --quiet --simulate "$@" dist-upgrade
