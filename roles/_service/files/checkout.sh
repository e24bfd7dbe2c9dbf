#!/bin/sh
# Check out the tag of a repository if it is the commit that is wanted: checkout.sh URL TAG COMMIT FOLDER. Git compares all that it fetches with
# what the commit says of it. The folder is a branch `master` that follows the repository, as a clone of it would be.
set -eu
url=$1 tag=$2 commit=$3 folder=$4
git init --quiet --initial-branch=master "$folder"
cd "$folder"
git remote add origin "$url"
refs="refs/tags/$tag:refs/tags/$tag"
# A server that only serves files (a mirror) has no part of a history.
git fetch --quiet --depth 1 origin "$refs" 2>/dev/null || git fetch --quiet origin "$refs"
found=$(git rev-parse --verify --quiet "refs/tags/$tag^{commit}")
if [ "$found" != "$commit" ]; then
	echo "$tag of $url is the commit $found, and not ${commit:-pinned}" >&2
	exit 1
fi
git reset --quiet --hard "$tag"
git config branch.master.remote origin
git config branch.master.merge refs/heads/master
chmod -R a+rX .
