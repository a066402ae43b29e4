//! The cures in the table.

use airpods_lab::{Place, World};

/// The cure that is applied against the black hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// Nothing.
    Nothing,
    /// The recommendation of guides: the route's MTU, on packets that leave through the tunnel.
    EgressOnly,
    /// The route's MTU in both directions, in every hook where the kernel takes it.
    RouteMtuEverywhere,
    /// A fixed value, on packets that leave through the tunnel.
    FixedEgressOnly {
        /// The path's MTU in bytes.
        mtu: u16,
    },
    /// `airpods net clamp on wg0`.
    Airpods {
        /// With `--mtu`, in bytes.
        mtu: Option<u16>,
    },
}

impl Cure {
    /// Applies it to a world's host.
    pub(crate) fn apply(self, world: &World) {
        const SYN: &str = "tcp flags & (syn | rst) == syn tcp option maxseg size set";
        let link = &world.plan().link;
        let load =
            |chains: String| world.sandbox().sh(&format!("nft 'table inet other {{\n{chains}\n}}'")).map(drop).unwrap();
        match self {
            Self::Nothing => {}
            Self::EgressOnly => load(format!(
                "chain forwarded {{ type filter hook forward priority mangle; oifname {link} {SYN} rt mtu; }}
                 chain own {{ type filter hook output priority mangle; oifname {link} {SYN} rt mtu; }}"
            )),
            Self::RouteMtuEverywhere => load(
                ["forward", "output", "postrouting"]
                    .map(|hook| {
                        format!(
                            "chain at_{hook} {{ type filter hook {hook} priority mangle; oifname {link} {SYN} rt mtu; {} }}",
                            // Packets in `output` have no incoming link.
                            if hook == "output" { String::new() } else { format!("iifname {link} {SYN} rt mtu;") }
                        )
                    })
                    .join("\n"),
            ),
            Self::FixedEgressOnly { mtu } => load(format!(
                "chain leaving {{ type filter hook postrouting priority mangle;
                    meta nfproto ipv4 oifname {link} {SYN} {};
                    meta nfproto ipv6 oifname {link} {SYN} {}; }}",
                mtu - 40,
                mtu - 60
            )),
            Self::Airpods { mtu } => clamp(world, mtu),
        }
    }
}

/// `airpods net clamp on` by root, because authorisation is not tested here.
fn clamp(world: &World, mtu: Option<u16>) {
    let sandbox = world.sandbox();
    sandbox.install_helper().unwrap();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    let mtu = mtu.map(|mtu| format!("--mtu {mtu}")).unwrap_or_default();
    sandbox.sh(&format!("airpods net clamp on {} {mtu}", world.plan().link)).unwrap();
}
