#!/bin/sh
# Writes target/source/airpods-VERSION.tar.xz: the files that git has, as they are, with the crates
# that it is built from, so that a build needs no network.
set -eu
cd "$(dirname "$0")/.."
version=$(packaging/version.sh)
out=target/source
tree=$out/airpods-$version
rm -rf "$out"
mkdir -p "$tree/.cargo"
# A commit of changed files that no branch has, or nothing where none are.
changed=$(git stash create)
git archive "${changed:-HEAD}" | tar -x -C "$tree"
(
    cd "$tree"
    cargo vendor --locked --quiet --versioned-dirs vendor
    printf '[source.crates-io]\nreplace-with = "vendored"\n\n[source.vendored]\ndirectory = "vendor"\n' >.cargo/config.toml
    # cargo wants to see the crates for Windows and WASI and never builds them here: empty ones do,
    # and hold neither 100 MB of import libraries nor programs without their source.
    for crate in vendor/windows* vendor/wit-bindgen*; do
        sum=$(sed -n 's/.*"package":\("[0-9a-f]*"\).*/\1/p' "$crate/.cargo-checksum.json")
        find "$crate" -mindepth 1 -maxdepth 1 ! -name Cargo.toml -exec rm -r {} +
        mkdir "$crate/src"
        : >"$crate/src/lib.rs"
        printf '{"files":{},"package":%s}' "$sum" >"$crate/.cargo-checksum.json"
    done
    # Everything that Cargo.lock names is there.
    CARGO_HOME=$(pwd)/../cargo-home cargo metadata --offline --locked --format-version 1 >/dev/null
)
XZ_OPT="-T0 -3" tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
    -cJf "$out/airpods-$version.tar.xz" "airpods-$version"
