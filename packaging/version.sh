#!/bin/sh
# Prints the version, or sets it in every file that has it.
#
#   packaging/version.sh                prints it
#   packaging/version.sh 0.2.0          sets it, as released today
#   packaging/version.sh 0.2.0 DAY      sets it, as released on that day (YYYY-MM-DD, UTC)
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    exit 1
}

old=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
[ $# -gt 0 ] || { echo "$old"; exit; }

new=$1
day=${2-$(date --utc +%F)}
case $new in *[!0-9.]*) fail "\`$new\` is no version such as 0.2.0" ;; esac
echo "$new" | grep -qxE '(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}' || fail "\`$new\` is no version such as 0.2.0"
[ "$(printf '%s\n' "$old" "$new" | sort --version-sort | tail -n 1)" = "$new" ] || fail "$new is older than $old"
at=$(date --utc --date "$day" +%s 2>/dev/null) || fail "\`$day\` is no day such as 2026-11-23"
day=$(date --utc --date "@$at" +%F)
# The text of the release stands between this heading and the next one.
sed -n '/^## Unreleased$/,/^## [^U]/p' CHANGELOG.md | grep -q '^- ' || fail "CHANGELOG.md has nothing below \`## Unreleased\`"
who='The airpods developers <maintainers@users.noreply.r-seed-888e474c.example>'

sed -i "/^\[workspace.package\]/,/^$/s/^version = .*/version = \"$new\"/" Cargo.toml
for lock in Cargo.lock tests/fuzz/Cargo.lock; do
    sed -i "/^name = \"airpods/{n;s/^version = \"$old\"/version = \"$new\"/}" "$lock"
done
sed -i "s/^## Unreleased$/&\n\n## $new - $day/" CHANGELOG.md
sed -i "1s/ [0-9-]* \"airpods [^\"]*\"/ $day \"airpods $new\"/" helper/airpods-helper.8
sed -i "s/^Version: .*/Version:        $new/" packaging/rpm/airpods.spec
sed -i "s/^pkgver=.*/pkgver=$new/; s/^pkgrel=.*/pkgrel=1/" packaging/arch/PKGBUILD
sed -i "s/^  version = \".*\";/  version = \"$new\";/" packaging/nix/package.nix

# An entry for each version; the first release has its entry already, which gets the day.
if ! grep -q "^airpods ($new-1)" helper/debian/changelog; then
    {
        printf 'airpods (%s-1) unstable; urgency=medium\n\n  * New version: see changelog.gz.\n\n -- %s  \n\n' "$new" "$who"
        cat helper/debian/changelog
    } >helper/debian/changelog.new
    mv helper/debian/changelog.new helper/debian/changelog
fi
sed -i "0,/^ -- /s/^ -- .*/ -- $who  $(LC_ALL=C date --utc --date "@$at" '+%a, %d %b %Y %T +0000')/" helper/debian/changelog
rpm_day=$(LC_ALL=C date --utc --date "@$at" '+%a %b %d %Y')
if grep -q "^\* .* - $new-1$" packaging/rpm/airpods.spec; then
    sed -i "s/^\* .* - $new-1$/* $rpm_day $who - $new-1/" packaging/rpm/airpods.spec
else
    sed -i "s/^%changelog$/&\n* $rpm_day $who - $new-1\n- See CHANGELOG.md for what is in it.\n/" packaging/rpm/airpods.spec
fi
