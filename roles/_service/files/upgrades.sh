#!/bin/sh
# Print what Debian's tools would install: upgrades.sh known|fresh COMMAND... `fresh` fetches the package lists into a folder that goes again.
set -eu
lists=$1
shift
if [ "$lists" = fresh ]; then
	lists=$(mktemp -d)
	trap 'rm -rf "$lists"' EXIT
	mkdir "$lists/partial"
	# The caches beside them would be those of the other lists.
	set -- -o "Dir::State::Lists=$lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
	apt-get -qq -o "Dir::State::Lists=$lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= update
fi
apt-get --quiet --simulate "$@"
