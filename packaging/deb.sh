#!/bin/sh
# Packs the programs of a release build as Debian packages in a folder, with another changelog where
# one is given.
#
#   packaging/deb.sh FOLDER [CHANGELOG]
set -eu
CHECKOUT=$(cd "$(dirname "$0")/.." && pwd)
export CHECKOUT
out=$1
changelog=$(realpath "${2-$CHECKOUT/helper/debian/changelog}")
mkdir -p "$out/airpods"
cp -r "$CHECKOUT/helper/debian" "$out/airpods/debian"
cp "$changelog" "$out/airpods/debian/changelog"
cd "$out/airpods"
dpkg-buildpackage --build=binary --no-sign --build-profiles=pkg.airpods.prebuilt
