//! The columns: where the transfers start.

use std::process::Command;
use std::time::{Duration, Instant};

use airpods_lab::tunnel::PROBE;
use airpods_lab::{FAMILIES, Family, Place, TIMEOUT, User, World};

/// Where a transfer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// On the host, as with `network_mode = "host"`.
    HostNet,
    /// Behind a bridge of MTU 1500, as podman makes them for root.
    Bridge,
    /// Behind a bridge with the tunnel's MTU.
    NarrowBridge,
    /// Rootless behind pasta, podman 5's default.
    Pasta,
    /// Rootless behind slirp4netns, podman 4's default.
    Slirp,
    /// A container of root's podman, on a network of its own.
    Podman,
    /// The same, the network made with `--opt mtu=` and the tunnel's MTU.
    NarrowPodman,
    /// A container of an ordinary user's podman, on podman's default network.
    RootlessPodman,
    /// The same, on a network of its own.
    RootlessPodmanBridge,
}

/// A network's subnets, one for each family, so that podman does not choose them.
const SUBNETS: &str = "--ipv6 --subnet 10.90.NUMBER.0/24 --subnet fd90:NUMBER::/64";

impl Column {
    /// The address families of the column. Rootless podman has IPv6 only on request.
    pub(crate) fn families(self) -> &'static [Family] {
        match self {
            Self::RootlessPodman | Self::RootlessPodmanBridge => &[Family::V4],
            _ => &FAMILIES,
        }
    }

    /// Makes the place in a world.
    pub(crate) fn create(self, world: &World) -> Location {
        let sandbox = world.sandbox();
        let alice = sandbox.as_user("alice");
        let mtu = world.plan().mtu;
        match self {
            Self::HostNet => Location::bare(sandbox.root_user().clone()),
            Self::Bridge => Location::bare(world.add_machine("wide").unwrap()),
            Self::NarrowBridge => {
                let machine = world.add_machine("narrow").unwrap();
                machine.sh(&format!("ip link set eth0 mtu {mtu}")).unwrap();
                sandbox.sh(&format!("ip link set v-narrow mtu {mtu}; ip link set br-narrow mtu {mtu}")).unwrap();
                Location::bare(machine)
            }
            Self::Pasta => {
                // pasta copies the addresses and the default route of a link with a gateway. The
                // link to the provider has one.
                let provider = "ip route replace default via 203.0.113.1 dev wire metric 2000
                                ip -6 route replace default via 2001:db8:f::1 dev wire metric 2000";
                sandbox.sh(provider).unwrap();
                Location { user: alice, wrapper: Wrapper::Pasta }
            }
            Self::Slirp => Location { user: alice, wrapper: Wrapper::Slirp },
            Self::Podman => {
                Location::container(world, sandbox.root_user(), "wide", Some(&SUBNETS.replace("NUMBER", "1")))
            }
            Self::NarrowPodman => {
                let options = format!("{} --opt mtu={mtu}", SUBNETS.replace("NUMBER", "2"));
                Location::container(world, sandbox.root_user(), "narrow", Some(&options))
            }
            Self::RootlessPodman => Location::container(world, &alice, "box", None),
            Self::RootlessPodmanBridge => Location::container(world, &alice, "bridged", Some("")),
        }
    }
}

/// A place of a column.
#[derive(Debug)]
pub(crate) struct Location {
    user: User,
    wrapper: Wrapper,
}

/// The container or user-mode network around each command.
#[derive(Clone, Copy, Debug)]
enum Wrapper {
    Nothing,
    Pasta,
    Slirp,
    Container(&'static str),
}

impl Location {
    fn bare(user: User) -> Self {
        Self { user, wrapper: Wrapper::Nothing }
    }

    /// A running container; `network` are the options of a network of its own.
    fn container(world: &World, user: &User, name: &'static str, network: Option<&str>) -> Self {
        const TAG: &str = "localhost/box:latest";
        world.image(TAG, 80).unwrap().import(user).unwrap();
        let attach = network.map(|options| {
            user.sh(&format!("podman network create {options} {name}")).unwrap();
            format!("--network {name}")
        });
        user.sh(&format!("podman run --detach --name {name} {} {TAG}", attach.unwrap_or_default())).unwrap();
        settle(world, user, name);
        Self { user: user.clone(), wrapper: Wrapper::Container(name) }
    }
}

/// Waits until duplicate address detection has passed the container's IPv6 addresses.
fn settle(world: &World, user: &User, container: &str) {
    let process = user.sh(&format!("podman inspect --format '{{{{.State.Pid}}}}' {container}")).unwrap();
    let start = Instant::now();
    while !world
        .sandbox()
        .sh(&format!("nsenter --target {process} --net ip -6 addr show tentative"))
        .unwrap()
        .is_empty()
    {
        assert!(start.elapsed() < TIMEOUT, "IPv6 addresses stay tentative");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits for duplicate address detection: pasta (2023) loses an IPv6 connection that is open when
/// it ends and the link's own address appears.
const IN_PASTA: &str = r#"until [ -z "$(ip -6 addr show tentative)" ]; do sleep 0.1; done; exec "$@""#;

/// slirp4netns attaches from outside to an existing namespace. It announces IPv6 by router
/// advertisements only a few seconds later. So the script sets the announced address and route
/// itself.
const IN_SLIRP: &str = r#"set -e
cd "$(mktemp -d)"
mkfifo made ready
unshare -Urn sh -c 'echo >made; exec sleep 60' & inside=$!
trap 'kill $inside $slirp' EXIT
read -r _ <made
slirp4netns --configure --mtu=65520 --enable-ipv6 --ready-fd=3 "$inside" tap0 3>ready >log 2>&1 & slirp=$!
test -n "$(cat ready)" || { cat log >&2; exit 1; }
enter="nsenter --preserve-credentials --user --net --target $inside --"
$enter ip addr add fd00::100/64 dev tap0 nodad
$enter ip route replace default via fd00::2 dev tap0
$enter "$@"
"#;

impl Place for Location {
    fn command(&self, program: &str) -> Command {
        let wrapper = |outer: &str, words: &[&str]| {
            let mut command = self.user.command(outer);
            command.args(words);
            command
        };
        match self.wrapper {
            Wrapper::Nothing => self.user.command(program),
            Wrapper::Pasta => wrapper(
                "pasta",
                &["--quiet", "--config-net", "--interface", "wire", "--", "sh", "-c", IN_PASTA, "in-pasta", program],
            ),
            Wrapper::Slirp => wrapper("sh", &["-c", IN_SLIRP, "in-slirp", program]),
            Wrapper::Container(name) => {
                assert_eq!(program, PROBE, "the image has one program");
                wrapper("podman", &["exec", name, "/lab-probe"])
            }
        }
    }

    fn link_target(&self) -> String {
        self.user.link_target()
    }
}
