#!/bin/sh
# Makes a release below target/release-VERSION: packages, SBOMs, source, checksums, and a signature
# where there is a key.
#
#   VERSION=0.2.0 [KEY=gpg-key] [TAG=yes] packaging/release.sh
#
# `make release` calls it. Without TAG=yes nothing is committed, and the commands for that are
# printed.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    exit 1
}

version=${VERSION-}
[ -n "$version" ] || fail "no version is given: \`make release VERSION=0.2.0\`"
[ -z "$(git status --porcelain)" ] || fail "the tree has changes: commit them, or put them aside with \`git stash -u\`"
! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null || fail "the tag v$version exists"
[ -z "${KEY-}" ] || gpg --batch --list-secret-keys "$KEY" >/dev/null 2>&1 || fail "gpg has no secret key \`$KEY\`"

# The tree was clean: a release that fails leaves it so.
trap 'git checkout --quiet -- .; echo "error: no release was made, and the tree is as before" >&2' EXIT
packaging/version.sh "$version"
out=target/release-$version
rm -rf "$out"
mkdir -p "$out"

${MAKE:-make} deb
${MAKE:-make} deb-src
${MAKE:-make} rpm
cp target/source/*.tar.xz target/deb/*.deb target/deb/*.cdx.json target/rpm/*.rpm "$out"
cp target/deb-src/*.dsc target/deb-src/*.debian.tar.xz "$out"
ln "$out/airpods-$version.tar.xz" "$out/airpods_$version.orig.tar.xz"
(cd "$out" && sha256sum -- * >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS)
if [ -n "${KEY-}" ]; then
    gpg --batch --local-user "$KEY" --armor --detach-sign "$out/SHA256SUMS"
    gpg --batch --verify "$out/SHA256SUMS.asc" "$out/SHA256SUMS"
fi

if [ "${TAG-}" = yes ]; then
    git commit --quiet --all --message "Release $version"
    git tag --annotate --message "airpods $version" "v$version"
fi
trap - EXIT
echo "the release is in $out"
[ "${TAG-}" = yes ] || cat <<EOF
to commit and tag it:
  git commit --all --message 'Release $version'
  git tag --annotate --message 'airpods $version' v$version
EOF
