//! The helper, the network, names and ports.

use airpods_dbus::doubles::clamp_status;
use airpods_dbus::{ClampState, Status, Unclampable};

use super::{Case, bad, healthy};
use crate::doctor::{
    Code, Facts, Helper, HelperNeed, HostOnly, Level, Network, Permission, PortOwner, TakenPort, UnusableSecret,
};
use crate::egress::Route;
use crate::plan::{Conflict, Kind};
use crate::port::HostPort;

fn network(facts: &mut Facts) -> &mut Network {
    facts.network.as_mut().unwrap()
}

fn permit(facts: &mut Facts, permission: Permission) {
    facts.helper = Helper::Answers { status: Status::default(), permission };
}

fn route(to: &str, link: &str) -> Route {
    Route { to: to.parse().unwrap(), link: link.to_owned() }
}

fn taken(owner: PortOwner) -> TakenPort {
    let key = "services.web.ports.0.host".to_owned();
    TakenPort { service: "web".to_owned(), key, port: 3000, owner, free: 3001 }
}

fn not_ours(kind: Kind) -> Conflict {
    Conflict::NotOurs { place: "services.web.container".to_owned(), kind, name: "web-0".to_owned() }
}

const INSTALL: &str =
    "sudo apt install airpods-helper  # from source: make deb && sudo apt install ./target/deb/airpods-helper_*.deb";
const REINSTALL: &str = "sudo apt install --reinstall airpods-helper  # from source: \
                         sudo apt install --reinstall ./target/deb/airpods-helper_*.deb";

pub(super) const CASES: &[Case] = &[
    (
        |facts| facts.helper = Helper::NoBus("the system bus cannot be reached".to_owned()),
        Code::BusMissing,
        Level::Note,
        "the system bus cannot be reached, so nothing can be clamped",
        "sudo systemctl start dbus.socket",
    ),
    (
        |facts| facts.helper = Helper::ForeignBus("user 1000 listens on the system bus".to_owned()),
        Code::BusMissing,
        Level::Note,
        "user 1000 listens on the system bus, so nothing can be clamped",
        "unset DBUS_SYSTEM_BUS_ADDRESS",
    ),
    (
        |facts| facts.helper = Helper::Missing,
        Code::HelperMissing,
        Level::Note,
        "`airpods-helper` is not installed",
        INSTALL,
    ),
    (
        |facts| {
            facts.helper_need = HelperNeed::Required;
            facts.helper = Helper::Missing;
        },
        Code::HelperMissing,
        Level::Broken,
        "`airpods-helper` is not installed",
        INSTALL,
    ),
    (
        |facts| facts.helper = Helper::Failed("the helper could not be started: why".to_owned()),
        Code::HelperFailed,
        Level::Note,
        "could not be started: why",
        "sudo systemctl restart airpods-helper; journalctl -u airpods-helper -n 20",
    ),
    (
        |facts| permit(facts, Permission::NoAuthority),
        Code::PolkitMissing,
        Level::Note,
        "only root can clamp",
        "sudo apt install polkitd && sudo systemctl restart polkit",
    ),
    (
        |facts| permit(facts, Permission::NoPolicy),
        Code::PolkitPolicy,
        Level::Note,
        "its policy is not installed",
        REINSTALL,
    ),
    (
        |facts| permit(facts, Permission::Denied { remote: true }),
        Code::HelperDenied,
        Level::Note,
        "polkit does not let you clamp over ssh",
        "sudo cp /usr/share/doc/airpods-helper/polkit/examples/50-airpods-group.rules /etc/polkit-1/rules.d/ && \
         sudo usermod --append --groups netdev \"$USER\"",
    ),
    (
        |facts| {
            let clamp = clamp_status("wg0", ClampState::Contested);
            let status = Status { clamps: vec![clamp], ..Status::default() };
            facts.helper = Helper::Answers { status, permission: Permission::Granted };
        },
        Code::HelperContested,
        Level::Broken,
        "another program keeps removing the rules that clamp `wg0`",
        "journalctl -u airpods-helper -n 20",
    ),
    (
        |facts| {
            let clamp = clamp_status("wg0", ClampState::Refused);
            let refusal = Some("this kernel has no nf_tables".to_owned());
            let status = Status { clamps: vec![clamp], refusal, ..Status::default() };
            facts.helper = Helper::Answers { status, permission: Permission::Granted };
        },
        Code::HelperRefused,
        Level::Broken,
        "the kernel refuses the helper's rules, so nothing is clamped: this kernel has no nf_tables",
        "journalctl -u airpods-helper -n 20",
    ),
    (
        |facts| {
            let link = Unclampable { link: "wg*".to_owned(), reason: "its name ends in an asterisk".to_owned() };
            let status = Status { unclampable: vec![link], ..Status::default() };
            facts.helper = Helper::Answers { status, permission: Permission::Granted };
        },
        Code::LinkUnclampable,
        Level::Note,
        "the VPN link `wg*` cannot be clamped: its name ends in an asterisk",
        "sudo ip link set dev 'wg*' name vpn0",
    ),
    (
        |facts| network(facts).routes.push(route("10.64.0.0/10", "tun0")),
        Code::SubnetClash,
        Level::Broken,
        "the services' network 10.89.0.0/24 and the route to 10.64.0.0/10 through `tun0` overlap",
        "airpods config set runtime.network.subnet 172.29.0.0/24 && airpods start --reset-network",
    ),
    (
        |facts| network(facts).routes.push(route("10.89.0.128/25", "eth1")),
        Code::SubnetClash,
        Level::Broken,
        "through `eth1` overlap",
        "airpods config set runtime.network.subnet 10.90.0.0/24 && airpods start --reset-network",
    ),
    (
        |facts| network(facts).taken.push(taken(PortOwner::Process { pid: 7, name: "python3".to_owned() })),
        Code::PortInUse,
        Level::Broken,
        "`services.web.ports`: port 3000 is in use by your program `python3` (process 7)",
        "airpods config set services.web.ports.0.host 3001",
    ),
    (
        |facts| network(facts).taken.push(taken(PortOwner::OtherUser)),
        Code::PortInUse,
        Level::Broken,
        "port 3000 is in use by a program of another user",
        "airpods config set services.web.ports.0.host 3001",
    ),
    (
        |facts| {
            let (service, holder) = ("web".to_owned(), "squatter".to_owned());
            network(facts).conflict = Some(Conflict::PortHeld { service, port: HostPort::tcp(3000), holder });
        },
        Code::PortInUse,
        Level::Broken,
        "port 3000 is in use by the container `squatter`",
        "airpods config edit",
    ),
    (
        |facts| {
            let (service, path) = ("web".to_owned(), "/srv/models".into());
            network(facts).conflict = Some(Conflict::PathMissing { service, path });
        },
        Code::PathMissing,
        Level::Broken,
        "there is no `/srv/models` on this host",
        "airpods config edit",
    ),
    (
        |facts| {
            let key = "services.open-webui.env.OLLAMA_BASE_URL".to_owned();
            network(facts).host_only.push(HostOnly { key, port: 11434 });
        },
        Code::HostLoopback,
        Level::Broken,
        "`services.open-webui.env.OLLAMA_BASE_URL` leads to port 11434 of this host, where a program listens on 127.0.0.1 only",
        "sudo systemctl edit ollama",
    ),
    (
        |facts| network(facts).pods.push(("ai".to_owned(), "its infra container is gone".to_owned())),
        Code::StateImproper,
        Level::Broken,
        "podman starts nothing in the pod `ai`: its infra container is gone",
        "airpods start --yes",
    ),
    (
        |facts| {
            let (service, variable, name) = ("web".to_owned(), "KEY".to_owned(), "openai".to_owned());
            network(facts).conflict = Some(Conflict::SecretMissing { service, variable, name });
        },
        Code::SecretMissing,
        Level::Broken,
        "`services.web.secret_env.KEY`: podman has no secret named `openai`",
        "podman secret create openai FILE",
    ),
    (
        |facts| {
            network(facts).secrets.push(UnusableSecret {
                key: "services.web.secret_env.KEY".to_owned(),
                path: "/home/alice/keys/openai".into(),
                why: "others may read or change it".to_owned(),
                open: true,
            });
        },
        Code::SecretMissing,
        Level::Broken,
        "`services.web.secret_env.KEY`: `/home/alice/keys/openai` cannot be used: others may read or change it",
        "chmod 600 /home/alice/keys/openai",
    ),
    (
        |facts| network(facts).privileged.push(("web".to_owned(), 80)),
        Code::PortPrivileged,
        Level::Broken,
        "`services.web.ports`: only root may listen on port 80",
        "sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80",
    ),
    (
        |facts| network(facts).conflict = Some(not_ours(Kind::Container)),
        Code::NameTaken,
        Level::Broken,
        "a container named `web-0` exists already",
        "airpods config set services.web.container web-0-airpods",
    ),
    (
        |facts| network(facts).conflict = Some(not_ours(Kind::Pod)),
        Code::NameTaken,
        Level::Broken,
        "a pod named `web-0`",
        "airpods config set services.web.container web-0-airpods",
    ),
    (
        |facts| network(facts).conflict = Some(not_ours(Kind::Network)),
        Code::NameTaken,
        Level::Broken,
        "a network named `web-0`",
        "airpods config set services.web.container web-0-airpods",
    ),
    (
        |facts| {
            network(facts).conflict = Some(Conflict::NetworkDiffers { name: "n".to_owned(), differences: Vec::new() });
        },
        Code::NetworkDiffers,
        Level::Note,
        "the network `n` exists with other settings",
        "airpods start --reset-network",
    ),
    (
        |facts| facts.network = Err("podman does not answer within 5 s".to_owned()),
        Code::NotKnown,
        Level::Note,
        "podman does not answer within 5 s",
        "",
    ),
];

#[test]
fn the_networks_own_bridge_is_no_clash_and_neither_is_a_neighbour() {
    let mut facts = healthy();
    network(&mut facts).routes.push(route("10.89.1.0/24", "podman2"));
    network(&mut facts).routes.push(route("fd00::/8", "wg0"));
    assert_eq!(bad(&facts), []);
}

#[test]
fn a_helper_that_is_not_needed_is_not_reported_missing() {
    let mut facts = healthy();
    facts.helper_need = HelperNeed::None;
    facts.helper = Helper::Missing;
    assert_eq!(bad(&facts), []);
}
