#!/bin/sh
# Installs the Debian packages that a checkout needs, if any are missing. The laboratory's
# dbus-broker is unpacked, not installed.
#
#   tests/setup.sh build    the libraries that `cargo build` links
#   tests/setup.sh check    build, and the programs of the tests that need no root
#   tests/setup.sh lab      check, and the programs of the other tests on one machine and of the demo (the default)
#   tests/setup.sh full     lab, pack, and the programs for whole machines
#   tests/setup.sh deb      build, and the tools that make and check a Debian package
#   tests/setup.sh pack     deb, and the tools that make and check packages of other systems
#   tests/setup.sh bench    lab, and the programs that the benchmarks compare with
set -eu

build='
build-essential  the linker
pkg-config       finds the netfilter libraries
libnftnl-dev     netfilter tables, which the helper is linked with
libmnl-dev       netlink, which the helper is linked with'

deb='
debhelper        packs
lintian          judges the package'

check='
dbus             a bus for each test
mandoc           judges the manual pages
zsh              reads its completions
fish             reads its completions
libxml2-utils    holds the polkit policy to its definition
systemd          judges the units
util-linux       setpriv and nsenter'

lab='
podman           runs the containers
crun             runs them for podman
catatonit        holds the network of a pod
mmdebstrap       brings the podman of Debian 13, to test with as well
netavark         their bridge networks
aardvark-dns     their names
slirp4netns      rootless networks, the default of podman 4
passt            rootless networks, the default of podman 5
uidmap           rootless users
fuse-overlayfs   rootless storage
nftables         lists what the helper wrote, and blocks ICMP in the laboratory
iptables         what netavark before 1.10 calls, and clamps of others
firewalld        a neighbour of our rules, and to be compared with
docker-registry  images to pull
openssl          certificates of servers in the laboratory, and their judge
haproxy          servers behind a path with faults: OpenSSL, a balancer, a captive portal
nginx-light      one more of another make
iputils-ping     echoes of an exact size
iproute2         links and routes of the laboratory
procps           sysctl
strace           makes a disk slow for one program
libcap-ng0       dbus-broker is linked with it
libexpat1        dbus-broker is linked with it
polkitd          authorises
pkexec           its text agent pkttyagent
wireguard-tools  keys of the tunnel
wireguard-go     the tunnel where the kernel has no WireGuard
tcpdump          sees the SYNs'

machines='
e2fsprogs        makes the disks of whole machines, which mmdebstrap fills
qemu-utils       keeps what is written to them apart
qemu-system-x86  runs them'

pack='
rpm              makes RPMs
rpmlint          judges them
makepkg          reads the PKGBUILD
nix-bin          reads the Nix expression
shellcheck       judges shell scripts
gpg              signs a release'

bench='
podman-compose   to be compared with
iputils-tracepath to be compared with
curl             to be compared with'

# Unpacked, because an installed dbus-broker would become the system bus of this machine at its next
# boot.
unpacked='
dbus-broker      the system bus of Fedora and Arch, to test with as well'

case ${1-lab} in
build) wanted=$build unpacked= ;;
check) wanted=$build$check unpacked= ;;
lab) wanted=$build$check$lab ;;
full) wanted=$build$check$lab$deb$pack$machines ;;
deb) wanted=$build$deb unpacked= ;;
pack) wanted=$build$deb$pack unpacked= ;;
bench) wanted=$build$check$lab$bench ;;
*)
    echo "usage: $0 [build|check|lab|full|deb|pack|bench]" >&2
    exit 2
    ;;
esac

# Other systems name these packages differently, and their packagers declare the build dependencies.
command -v dpkg-query >/dev/null || { echo 'note: this is no Debian; nothing is installed' >&2; exit; }

# One line each: a package that is missing, and why it is needed.
missing() {
    installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^.i. //p')
    printf '%s\n' "$wanted" | while read -r package why; do
        [ -n "$package" ] || continue
        printf '%s\n' "$installed" | grep -qx "$package" || printf '%-16s %s\n' "$package" "$why"
    done
}

# Installs the missing packages: the first word of each line.
install_missing() {
    # shellcheck disable=SC2046
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install \
        $(missing | awk '{ print $1 }') >&2
}

# Unpacks into target/unpacked, where the laboratory looks for them. Needs no root.
unpack() {
    printf '%s\n' "$unpacked" | while read -r package why; do
        folder=$(dirname "$0")/../target/unpacked/$package
        [ -n "$package" ] && [ ! -d "$folder" ] || continue
        printf 'unpacking the Debian package %s: %s\n' "$package" "$why" >&2
        rm -rf "$folder.new"
        mkdir -p "$folder.new"
        (cd "$folder.new" && apt-get -q download "$package" >&2 && dpkg-deb --extract ./*.deb . && rm ./*.deb)
        mv "$folder.new" "$folder"
    done
}

missing=$(missing)
if [ -z "$missing" ]; then
    unpack
    exit
fi

{
    echo 'These Debian packages are missing and will be installed with apt-get:'
    echo "$missing" | sed 's/^/  /'
} >&2
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo 'error: installing needs root, and there is no sudo' >&2; exit 1; }
    as_root=sudo
fi
# Installing these services would start them, and firewalld changes this machine's firewall. The
# tests run them in sandboxes.
for service in firewalld docker-registry haproxy nginx; do
    if printf '%s\n' "$missing" | grep -q "^$service" && [ -d /run/systemd/system ]; then
        echo "  ($service stays masked: \`systemctl unmask $service\` if you want it to run on this machine)" >&2
        $as_root systemctl mask $service >&2
    fi
done
$as_root apt-get -q update >&2
install_missing
# If one was already installed from another archive (such as qemu-utils from backports), apt may
# have removed it to install the others. Install it again.
[ -z "$(missing)" ] || install_missing
unpack
