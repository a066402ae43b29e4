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
                world.sandbox().sh(&format!("ip link set v-narrow mtu {mtu}; ip link set br-narrow mtu {mtu}")).unwrap();
                Spot { seat: machine, wrapper: Wrapper::None }
            }
            Self::Pasta => Spot { seat: alice(), wrapper: Wrapper::Pasta },
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

/// slirp4netns attaches to a namespace that is there already, and says on a descriptor when it is ready.
const IN_SLIRP: &str = r#"
fifo=$(mktemp -u); mkfifo "$fifo"
slirp4netns --configure --mtu=65520 --enable-ipv6 --disable-host-loopback --ready-fd=3 --userns-path=/proc/$$/ns/user "$$" tap0 3>"$fifo" >/dev/null 2>&1 &
slirp=$!
read -r _ < "$fifo" || true
"$@"; code=$?
kill "$slirp"
exit "$code"
"#;

impl Place for Spot {
    fn command(&self, program: &str) -> Command {
        match self.wrapper {
            Wrapper::None => self.seat.command(program),
            Wrapper::Pasta => {
                let mut command = self.seat.command("pasta");
                command.args(["--quiet", "--config-net", "--", program]);
                command
            }
            Wrapper::Slirp => {
                let mut command = self.seat.command("unshare");
                command.args(["-Urn", "sh", "-c", IN_SLIRP, "in-slirp", program]);
                command
            }
        }
    }

    fn link_target(&self) -> String {
        self.seat.link_target()
    }
}
