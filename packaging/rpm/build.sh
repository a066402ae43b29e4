#!/bin/sh
# Builds the RPMs below target/rpm from the programs and pages of `make build PROFILE=release`, and
# holds them against rpmlint.
set -eu
checkout=$(cd "$(dirname "$0")/../.." && pwd)
rpm=$checkout/target/rpm
rm -rf "$rpm"
mkdir -p "$rpm"
# rpmbuild finds no files below a path with a space, which the checkout's may have.
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT

# Debian's rpm compresses and strips nothing by itself, as Fedora's and openSUSE's do. rpmbuild
# takes the day of a build from the changelog; what it would look for in rpm's database is not there
# on Debian.
rpmbuild -bb --nodeps --with prebuilt \
    --define "_topdir $top" --define "checkout $checkout" \
    --define "_dbpath $top/database" \
    --define '__os_install_post bash %{_rpmconfigdir}/brp-compress && strip "%{buildroot}"%{_bindir}/* "%{buildroot}"%{_libexecdir}/*' \
    --define 'source_date_epoch_from_changelog 1' --define 'use_source_date_epoch_as_buildtime 1' \
    "$checkout/packaging/rpm/airpods.spec"
mv "$top"/RPMS/*/*.rpm "$rpm/"
rpmlint --strict --config "$checkout/packaging/rpm/rpmlint.toml" "$rpm"/*.rpm "$checkout/packaging/rpm/airpods.spec"
