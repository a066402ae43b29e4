//! The cost of the rules for passing packets. It compares a router with no rules, with ours, and
//! with the script's, for one link and for 256.

use std::fmt::Write;

use airpods_lab::{Background, Place, Sandbox};

use super::figures::{Series, table};
use super::{BenchError, Result, STOPWATCH};

/// Rounds, each with a turn for every kind of rules.
const ROUNDS: usize = 5;
/// The duration of one measurement, in milliseconds.
const TIME: &str = "1000";
/// The number of links: the most that the helper accepts.
const MANY: usize = 256;
/// The address on which the far end listens.
const FAR: &str = "10.9.0.2:7000";
/// The kind of rules that all others are divided by.
const REFERENCE: &str = "no rules";

/// Near end, router, far end. The link to the far end is named like a VPN's but is none, so it is
/// clamped with `any-link`.
const ROUTER: &str = "
ip link add in0 type veth peer name eth0 netns near
ip link add wg0 type veth peer name eth0 netns far
ip address add 10.8.0.1/24 dev in0
ip address add 10.9.0.1/24 dev wg0
ip link set in0 up
ip link set wg0 up
sysctl -qw net.ipv4.ip_forward=1
";
const NEAR: &str = "ip address add 10.8.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.8.0.1";
const BEYOND: &str = "ip address add 10.9.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.9.0.1";

/// The origin of the rules.
#[derive(Clone, Copy)]
enum Rules {
    None,
    Ours(usize),
    Script(usize),
}

impl Rules {
    const ALL: [Self; 5] = [Self::None, Self::Ours(1), Self::Ours(MANY), Self::Script(1), Self::Script(MANY)];

    fn name(self) -> String {
        match self {
            Self::None => REFERENCE.to_owned(),
            Self::Ours(1) => "airpods, 1 link".to_owned(),
            Self::Ours(links) => format!("airpods, {links} links"),
            Self::Script(1) => "script with iptables, 1 link".to_owned(),
            Self::Script(links) => format!("script with iptables, {links} links"),
        }
    }

    /// A shell line that adds them to an empty ruleset.
    fn make(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Ours(links) => names(links).fold(String::new(), |mut lines, link| {
                let name = "org.airpods.Helper1";
                let _ = writeln!(
                    lines,
                    "busctl call {name} /org/airpods/Helper1 {name} ClampOn 'sa{{sv}}' {link} 1 any-link b true >/dev/null"
                );
                lines
            }),
            Self::Script(links) => format!("iptables-restore -n <<'EOF'\n{}EOF\n", script(links)),
        }
    }

    /// A shell line that fails unless the rules exist.
    fn proof(self) -> String {
        match self {
            Self::None => "! nft list ruleset | grep -q maxseg && ! iptables -t mangle -S | grep -q TCPMSS".to_owned(),
            Self::Ours(links) => {
                format!("test $(nft list set inet airpods links | grep -o '\"[a-z0-9]*\"' | wc -l) = {links}")
            }
            Self::Script(links) => format!("test $(iptables -t mangle -S FORWARD | grep -c TCPMSS) = {links}"),
        }
    }

    /// A shell line that removes them.
    fn unmake(self) -> &'static str {
        match self {
            Self::None => ":",
            Self::Ours(_) => {
                "busctl call org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1 Reset >/dev/null"
            }
            Self::Script(_) => "iptables -t mangle -F",
        }
    }
}

/// The link names. The existing link comes last, where a list of rules is slowest.
fn names(links: usize) -> impl Iterator<Item = String> {
    (1..links).map(|number| format!("vpn{number}")).chain(["wg0".to_owned()])
}

/// The script's rules for IPv4, as input for `iptables-restore`.
fn script(links: usize) -> String {
    let mut rules = "*mangle\n".to_owned();
    for link in names(links) {
        for chain in ["FORWARD", "OUTPUT"] {
            let _ =
                writeln!(rules, "-A {chain} -o {link} -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu");
        }
    }
    rules + "COMMIT\n"
}

/// Measures in a sandbox that has the helper, and prints the tables.
///
/// # Errors
/// [`BenchError`], when an end does not run or rules are missing.
pub(super) fn path() -> Result<()> {
    let sandbox = super::host()?;
    let near = sandbox.add_netns("near")?;
    let far = sandbox.add_netns("far")?;
    sandbox.sh(ROUTER)?;
    near.sh(NEAR)?;
    far.sh(BEYOND)?;
    let mut serve = far.command(STOPWATCH);
    serve.args(["load", "serve", FAR]);
    let (_server, _ready) = Background::start_ready(&mut serve, &sandbox.log_path("load"))?;
    let mut connections: [Vec<f64>; Rules::ALL.len()] = Default::default();
    let mut megabytes: [Vec<f64>; Rules::ALL.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (at, rules) in Rules::ALL.into_iter().enumerate() {
            with(&sandbox, rules, || {
                connections[at].push(figure(&near, "connect")?);
                megabytes[at].push(figure(&near, "send")?);
                Ok(())
            })?;
        }
    }
    for (unit, figures) in [("conn/s", &connections), ("MB/s", &megabytes)] {
        let series: Vec<Series> = Rules::ALL
            .into_iter()
            .zip(figures)
            .filter_map(|(rules, figures)| Series::of(rules.name(), figures.iter().copied()))
            .collect();
        println!("{}", table(unit, &series, REFERENCE));
    }
    Ok(())
}

fn with(sandbox: &Sandbox, rules: Rules, measure: impl FnOnce() -> Result<()>) -> Result<()> {
    sandbox.sh(&rules.make())?;
    sandbox.sh(&rules.proof())?;
    measure()?;
    sandbox.sh(rules.unmake())?;
    Ok(())
}

fn figure(near: &impl Place, what: &str) -> Result<f64> {
    let printed = near.sh(&format!("{STOPWATCH} load {what} {FAR} {TIME}"))?;
    printed.parse().map_err(|_| BenchError::NoNumber("the load's answer"))
}
