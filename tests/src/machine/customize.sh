# Makes a laboratory's machine of a Debian tree, before it has ever booted. mmdebstrap runs it.
#
#   customize.sh ROOT PASSWORD-HASH NAME:UID:GROUPS…
set -eu
root=$1
hash=$2
shift 2

for person; do
    name=${person%%:*}
    rest=${person#*:}
    chroot "$root" useradd --create-home --shell /bin/sh --uid "${rest%%:*}" --groups "${rest#*:}" --password "$hash" "$name"
done
chroot "$root" usermod --password "$hash" root

echo machine >"$root/etc/hostname"
echo '127.0.0.1 localhost machine' >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf"
: >"$root/etc/resolv.conf"
echo 'unqualified-search-registries = []' >"$root/etc/containers/registries.conf"
# With an id it is no first boot, on which systemd would enable what its presets say.
echo 6169727061696c616261697270616c61 >"$root/etc/machine-id"

# Nothing needs updating after a first boot.
touch "$root/etc/.updated" "$root/var/.updated"

# Scenarios start them.
chroot "$root" systemctl --quiet disable firewalld.service systemd-resolved.service
# Nothing happens by the clock, which leaps when a machine is restored, or by itself: what a scenario sees is its own doing.
for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim logrotate man-db podman-auto-update \
    systemd-tmpfiles-clean; do
    chroot "$root" systemctl --quiet mask "$timer.timer"
done
for service in podman-auto-update podman-restart podman-clean-transient podman netavark-dhcp-proxy; do
    chroot "$root" systemctl --quiet mask "$service.service"
done
chroot "$root" systemctl --quiet mask podman.socket netavark-dhcp-proxy.socket

cat >"$root/etc/systemd/system/lab-agent.service" <<'UNIT'
[Unit]
Description=Runs the laboratory's commands
[Service]
# The program is a disk of its own, so that another one does not need another machine.
ExecStartPre=install -m755 /dev/disk/by-id/virtio-probe /usr/local/bin/lab-probe
ExecStart=/usr/local/bin/lab-probe serve-commands
# Commands may leave processes behind, as those of a person do.
KillMode=process
Delegate=yes
TasksMax=infinity
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl --quiet enable lab-agent.service
