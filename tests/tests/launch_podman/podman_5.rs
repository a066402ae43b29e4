//! The same claims against Debian 13's podman 5, which runs in a tree of its own on any machine.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use airpods_lab::{Background, Image, Place, run};

use crate::host::{DNS, Host, IMAGE};
use crate::{generated, interruptions, names, replacing, seed, stacks, users};

/// The packages of the tree beyond Debian's essential ones.
const PACKAGES: &str = "podman,crun,netavark,aardvark-dns,nftables,catatonit,conmon,mount,passt,uidmap";

/// Debian 13 in a tar, built once (50 s) and kept in the target folder.
fn tree() -> PathBuf {
    let mut made_from = DefaultHasher::new();
    PACKAGES.hash(&mut made_from);
    let name = format!("debian-13-{:016x}.tar", made_from.finish());
    let tar = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Each test is a separate process, and several may start at once, so lock the build.
    let building = File::create(tar.with_extension("lock")).unwrap();
    building.lock().unwrap();
    if !tar.exists() {
        let unfinished = tar.with_extension("unfinished");
        let mut build = Command::new("mmdebstrap");
        build.args(["--quiet", "--variant=apt", "--format=tar"]).arg(format!("--include={PACKAGES}"));
        // Leave these out, because podman does not need them.
        build.args(["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]);
        run(build.arg("trixie").arg(&unfinished)).unwrap();
        std::fs::rename(&unfinished, &tar).unwrap();
    }
    tar
}

/// Makes the tree the root of a mount namespace, which lives as long as its first process. A chroot
/// would not do: `podman exec` enters a container's namespace by its root.
const ENTER: &str = r"
mount -t tmpfs debian-13 /debian-13
tar -xC /debian-13 < /run/debian-13.tar
rm /run/debian-13.tar
for folder in proc sys dev run tmp home var/lib/containers etc/containers; do
    mkdir -p /debian-13/$folder
    mount --rbind /$folder /debian-13/$folder
done
for file in resolv.conf passwd group subuid subgid; do
    cp /etc/$file /debian-13/etc/$file
done
cd /debian-13
mkdir before
pivot_root . before
umount -l /before
echo $$ > /run/debian-13.pid
echo ready
exec sleep infinity
";

/// The script in podman's place. A user who is not root enters by a program that is set-uid root,
/// and setpriv restores the user.
const PODMAN: &str = "#!/bin/sh
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
id=$(id -u)
exec nsenter-debian-13 --mount --target \"$(cat /run/debian-13.pid)\" \
    setpriv --reuid \"$id\" --regid \"$(id -g)\" --init-groups -- podman \"$@\"
";

/// A host where this user's podman is Debian 13's, and the process that holds its mount namespace.
pub(crate) fn host(user: &str) -> (Host, Background) {
    let host = Host::bare(user);
    let unpack =
        host.sandbox.command("sh").args(["-euc", "mkdir /debian-13; cat > /run/debian-13.tar"]).stdin(file()).status();
    assert!(unpack.unwrap().success());
    let mut enter = host.sandbox.command("unshare");
    enter.args(["--mount", "--propagation", "private", "sh", "-euc", ENTER]);
    let (inside, _) = Background::start_ready(&mut enter, &host.sandbox.log_path("debian-13")).unwrap();
    host.sandbox.write_file("/usr/bin/podman.new", PODMAN).unwrap();
    let install = "install -m4755 $(command -v nsenter) /usr/bin/nsenter-debian-13
        chmod 755 /usr/bin/podman.new; mv /usr/bin/podman.new /usr/bin/podman";
    host.sandbox.sh(install).unwrap();
    assert!(host.podman("--version").contains(" 5."), "{}", host.podman("--version"));
    (host, inside)
}

/// The same with the image in podman's storage.
fn supplied(user: &str) -> (Host, Background) {
    let (host, inside) = host(user);
    Image::serving(IMAGE, 80).import(&host.user).unwrap();
    (host, inside)
}

fn file() -> Stdio {
    File::open(tree()).unwrap().into()
}

#[test]
fn podman_5_does_what_the_guide_describes() {
    let (host, _inside) = host("root");
    seed::does_what_it_says(&host);
}

#[test]
fn podman_5_resolves_aliases_and_asks_the_dns_servers() {
    let (host, _inside) = supplied("root");
    names::resolves(&host, &names::config(&format!("dns_servers = [\"{DNS}\"]"), "pod = \"left\"", ""));
    names::share_a_pod(&host);
}

#[test]
fn podman_5_honours_every_setting_and_finds_one_that_was_changed() {
    let (host, _inside) = supplied("root");
    // No folder is configured, because the client would make it outside the tree.
    replacing::reads_everything_back(&host, "");
}

#[test]
fn podman_5_has_what_stacks_need_and_a_second_start_has_nothing_to_do() {
    let (host, _inside) = supplied("root");
    stacks::have_what_they_need(&host);
}

#[test]
fn podman_5_has_nothing_to_do_at_a_second_start_of_generated_configurations() {
    let (host, _inside) = supplied("root");
    generated::have_nothing_to_do_again(&host);
}

#[test]
fn podman_5_starts_a_chain_in_order_on_networks_that_it_leaves_there() {
    let (host, _inside) = supplied("root");
    stacks::leave_a_network_of_others(&host);
    stacks::start_in_order(&host);
}

#[test]
fn podman_5_gives_an_ordinary_users_container_what_it_needs() {
    let (host, _inside) = supplied("alice");
    stacks::keep_the_user_and_the_groups(&host);
    stacks::find_a_changed_kernel_parameter(&host);
}

#[test]
fn podman_5_names_an_image_that_cannot_be_pulled() {
    let (host, _inside) = host("root");
    host.configure("services.ollama.image = \"127.0.0.1:1/nobody/nothing:1\"");
    host.refuse("start ollama", 1, &["services.ollama.image", "127.0.0.1:1/nobody/nothing:1", "connection refused"]);
}

#[test]
fn podman_5_resolves_aliases_and_asks_the_dns_servers_rootless() {
    let (host, _inside) = supplied("alice");
    names::resolves(&host, &names::config(&format!("dns_servers = [\"{DNS}\"]"), "pod = \"left\"", ""));
    users::starts_services_of_their_own(&host);
}

#[test]
fn podman_5_leaves_all_as_it_was_when_a_start_is_ended_at_any_moment_rootless() {
    let (host, _inside) = supplied("alice");
    interruptions::leave_all_as_it_was(&host, 3);
}

#[test]
fn podman_5_serves_an_ordinary_user_through_the_rootful_socket() {
    let (host, _inside) = host("alice");
    users::start_services_through_the_rootful_socket(&host);
}
