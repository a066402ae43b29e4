//! The prerequisites of launching: a user with a service manager, an image in their podman, and a
//! network around the machine.

use super::Machine;
use crate::error::Result;
use crate::image::Image;
use crate::place::Place;

/// The image that alice's podman has: it stands for any service.
pub const IMAGE: &str = "localhost/lab:1";

/// The rest of the preparation, as a shell script. A change of the text makes a new machine.
///
/// The neighbour stands for another machine, which is router and name server. It needs its own
/// address, because behind pasta containers have the machine's address. Without a route, pasta
/// would not start.
pub(super) const RECIPE: &str = "
    ip netns add neighbour
    ip link add lan0 type veth peer name lan0 netns neighbour
    ip address add 192.0.2.10/24 dev lan0
    ip link set lan0 up
    ip route add default via 192.0.2.53
    ip -n neighbour address add 192.0.2.53/24 dev lan0
    ip -n neighbour link set lan0 up
    echo nameserver 192.0.2.53 > /etc/resolv.conf
    systemd-run --quiet --unit lab-dns ip netns exec neighbour \
        lab-probe serve-dns 192.0.2.53:53 --record far.example=203.0.113.7
    loginctl enable-linger alice
    systemctl start user@1000.service
";

/// Prepares the machine. Importing an image takes 15 s.
pub(super) fn stock(machine: &Machine) -> Result<()> {
    machine.sh(RECIPE)?;
    let alice = machine.as_lingering("alice");
    alice.sh("systemctl --user is-system-running --wait || true")?;
    Image::serving(IMAGE, 80).import(&alice)?;
    // Loads podman and the image into memory, as on a machine in use.
    alice.sh(&format!("podman run --rm {IMAGE} env")).map(drop)
}
