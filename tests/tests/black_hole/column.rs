//! The columns: where the transfers start.

use std::process::Command;

use airpods_lab::{FAMILIES, Family, Place, Seat, World};

/// Where a transfer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// On the host, as with `network_mode = "host"`.
    HostNet,
    /// Behind a bridge of MTU 1500, as podman makes them for root.
    Bridge,
    /// Behind a bridge that was made with the tunnel's MTU.
    NarrowBridge,
    /// Rootless behind pasta, podman 5's default.
    Pasta,
    /// Rootless behind slirp4netns, podman 4's default.
    Slirp,
}

impl Column {
    /// The address families that the column has.
    pub(crate) fn families(self) -> &'static [Family] {
        &FAMILIES
    }

    /// Makes the place in a world.
    pub(crate) fn furnish(self, world: &World) -> Spot {
        let alice = || world.sandbox().as_user("alice");
        match self {
            Self::HostNet => Spot { seat: world.sandbox().seat().clone(), wrapper: Wrapper::None },
            Self::Bridge => Spot { seat: world.add_machine("wide").unwrap(), wrapper: Wrapper::None },
            Self::NarrowBridge => {
                let machine = world.add_machine("narrow").unwrap();
                let mtu = world.plan().mtu;
                // The machine's end first: a bridge takes the smallest MTU of its ports.
                machine.sh(&format!("ip link set eth0 mtu {mtu}")).unwrap();
                world
                    .sandbox()
                    .sh(&format!("ip link set v-narrow mtu {mtu}; ip link set br-narrow mtu {mtu}"))
                    .unwrap();
                Spot { seat: machine, wrapper: Wrapper::None }
            }
            Self::Pasta => {
                // pasta copies addresses and default route of a link that has a gateway, as the one to the provider has.
                let provider = "ip route replace default via 203.0.113.1 dev wire metric 2000
                                ip -6 route replace default via 2001:db8:f::1 dev wire metric 2000";
                world.sandbox().sh(provider).unwrap();
                Spot { seat: alice(), wrapper: Wrapper::Pasta }
            }
            Self::Slirp => Spot { seat: alice(), wrapper: Wrapper::Slirp },
        }
    }
}

/// A place of a column.
#[derive(Debug)]
pub(crate) struct Spot {
    seat: Seat,
    wrapper: Wrapper,
}

/// What stands around each command.
#[derive(Clone, Copy, Debug)]
enum Wrapper {
    None,
    Pasta,
    Slirp,
}

/// slirp4netns attaches from outside to a namespace that is there already. It would announce IPv6 by router advertisements, a few
/// seconds later; the addresses here are those that it announces.
const IN_SLIRP: &str = r#"
ready=$(mktemp -u)
mkfifo "$ready"
unshare -Urn sh -c 'echo >"$0"; exec sleep 60' "$ready" & inside=$!
read -r _ <"$ready"
slirp4netns --configure --mtu=65520 --enable-ipv6 --ready-fd=3 "$inside" tap0 3>"$ready" >/dev/null 2>&1 & slirp=$!
read -r _ <"$ready"
enter="nsenter --preserve-credentials --user --net --target $inside --"
$enter ip addr add fd00::100/64 dev tap0 nodad
$enter ip route add default via fd00::2 dev tap0
$enter "$@" && code=0 || code=$?
kill "$slirp" "$inside"
exit "$code"
"#;

impl Place for Spot {
    fn command(&self, program: &str) -> Command {
        match self.wrapper {
            Wrapper::None => self.seat.command(program),
            Wrapper::Pasta => {
                let mut command = self.seat.command("pasta");
                command.args(["--quiet", "--config-net", "--interface", "wire", "--", program]);
                command
            }
            Wrapper::Slirp => {
                let mut command = self.seat.command("sh");
                command.args(["-c", IN_SLIRP, "in-slirp", program]);
                command
            }
        }
    }

    fn link_target(&self) -> String {
        self.seat.link_target()
    }
}
