#!/bin/sh
# Makes the Debian source package below target/deb-src from the tarball of packaging/source.sh and
# from helper/debian.
set -eu
cd "$(dirname "$0")/.."
version=$(packaging/version.sh)
rm -rf target/deb-src
mkdir -p target/deb-src
cp "target/source/airpods-$version.tar.xz" "target/deb-src/airpods_$version.orig.tar.xz"
cd target/deb-src
tar -xf "airpods_$version.orig.tar.xz"
cp -r "airpods-$version/helper/debian" "airpods-$version/debian"
cd "airpods-$version"
# Packing the source does not need the build dependencies.
dpkg-buildpackage --build=source --no-sign --no-check-builddeps --no-pre-clean
