# Customises a Debian tree for the laboratory's machine, before its first boot. mmdebstrap runs it.
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
# With a machine id, the boot is no first boot, on which systemd would enable units by its presets.
echo 6169727061696c616261697270616c61 >"$root/etc/machine-id"

# Marks /etc and /var as up to date, so that no update service runs at boot.
touch "$root/etc/.updated" "$root/var/.updated"

# The scenarios start these services themselves.
chroot "$root" systemctl --quiet disable firewalld.service systemd-resolved.service
# No timer fires when the clock leaps at a restore, and no service starts by itself. So a scenario
# sees only its own effects.
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
# The program comes on a separate disk, so that a new program does not need a new image.
ExecStartPre=install -m755 /dev/disk/by-id/virtio-probe /usr/local/bin/lab-probe
ExecStart=/usr/local/bin/lab-probe serve-commands
# Commands may leave processes behind, as a user's may.
KillMode=process
Delegate=yes
TasksMax=infinity
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl --quiet enable lab-agent.service
