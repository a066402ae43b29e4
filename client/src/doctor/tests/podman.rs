//! The configuration and podman itself.

use super::Case;
use crate::doctor::{Code, Engine, Facts, Level, Program, Tun};
use crate::podman::Version;

fn programs(facts: &mut Facts) -> &mut crate::doctor::Programs {
    facts.programs.as_mut().unwrap()
}

fn backend(facts: &mut Facts) -> &mut crate::podman::NetworkBackend {
    let Engine::Answers { host: Ok(host), .. } = &mut facts.engine else {
        panic!("podman answers in a healthy machine")
    };
    &mut host.network
}

fn version(facts: &mut Facts, major: u32, minor: u32) {
    let Engine::Answers { version, .. } = &mut facts.engine else { panic!("podman answers in a healthy machine") };
    *version = Version { major, minor };
}

pub(super) const CASES: &[Case] = &[
    (
        |facts| facts.settings.wrong = Some("/c.toml:3:1: unknown key `x`".to_owned()),
        Code::ConfigurationWrong,
        Level::Broken,
        "/c.toml:3:1: unknown key",
        "airpods config edit",
    ),
    (
        |facts| facts.settings.warnings.push("`cli.debug` has no effect".to_owned()),
        Code::ConfigurationIneffective,
        Level::Note,
        "`cli.debug` has no effect",
        "airpods config edit",
    ),
    (
        |facts| facts.settings.missing.push("uv".to_owned()),
        Code::DependencyMissing,
        Level::Broken,
        "`uv` is not installed",
        "sudo apt install uv",
    ),
    (
        |facts| facts.settings.wanted.push("jq".to_owned()),
        Code::DependencyWanted,
        Level::Note,
        "`jq` is not installed",
        "sudo apt install jq",
    ),
    (
        |facts| facts.engine = Engine::Missing,
        Code::PodmanMissing,
        Level::Broken,
        "podman is not installed",
        "sudo apt install podman",
    ),
    (
        |facts| {
            version(facts, 4, 2);
            *backend(facts) =
                crate::podman::NetworkBackend { rootless_program: Some("pasta".to_owned()), ..Default::default() };
        },
        Code::PodmanOld,
        Level::Broken,
        "podman is 4.2, and airpods needs 4.3 or later",
        "sudo apt update && sudo apt install podman",
    ),
    (
        |facts| {
            facts.engine = Engine::Socket {
                why: "podman does not answer on `/run/podman/podman.sock`".to_owned(),
                socket: Some("/run/podman/podman.sock".into()),
                origin: "runtime.podman_url",
                denied: false,
            }
        },
        Code::PodmanSocket,
        Level::Broken,
        "does not answer on `/run/podman/podman.sock`",
        "sudo systemctl enable --now podman.socket",
    ),
    (
        |facts| {
            facts.engine = Engine::Socket {
                why: "no".to_owned(),
                socket: Some("/run/user/1000/podman/podman.sock".into()),
                origin: "CONTAINER_HOST",
                denied: false,
            }
        },
        Code::PodmanSocket,
        Level::Broken,
        "no",
        "systemctl --user enable --now podman.socket",
    ),
    (
        |facts| {
            facts.engine = Engine::Socket {
                why: "permission denied".to_owned(),
                socket: Some("/run/podman/podman.sock".into()),
                origin: "runtime.podman_url",
                denied: true,
            }
        },
        Code::PodmanSocket,
        Level::Broken,
        "permission denied",
        "airpods config edit",
    ),
    (
        |facts| {
            facts.engine =
                Engine::Socket { why: "`ssh://x`".to_owned(), socket: None, origin: "CONTAINER_HOST", denied: false }
        },
        Code::PodmanSocket,
        Level::Broken,
        "`ssh://x`",
        "unset CONTAINER_HOST",
    ),
    (
        |facts| facts.engine = Engine::NotStarted("database is locked".to_owned()),
        Code::PodmanService,
        Level::Broken,
        "podman does not start: database is locked",
        "podman system migrate && podman info",
    ),
    (
        |facts| facts.engine = Engine::Failed("the connection to podman broke".to_owned()),
        Code::PodmanService,
        Level::Broken,
        "the connection to podman broke",
        "podman info",
    ),
    (
        |facts| {
            let Engine::Answers { host, .. } = &mut facts.engine else { panic!("podman answers in a healthy machine") };
            *host = Err("podman does not answer within 5 s".to_owned());
        },
        Code::NotKnown,
        Level::Note,
        "podman does not answer within 5 s",
        "",
    ),
    (
        |facts| programs(facts).netavark = None,
        Code::Netavark,
        Level::Broken,
        "netavark is not installed",
        "sudo apt install netavark",
    ),
    (
        |facts| backend(facts).name = "cni".to_owned(),
        Code::Netavark,
        Level::Broken,
        "podman makes its networks with CNI",
        "sudo apt install netavark aardvark-dns && sudo install -d /etc/containers/containers.conf.d && \
         printf '[network]\\nnetwork_backend = \"netavark\"\\n' | \
         sudo tee /etc/containers/containers.conf.d/netavark.conf",
    ),
    (
        |facts| programs(facts).aardvark = false,
        Code::Aardvark,
        Level::Broken,
        "aardvark-dns is not installed",
        "sudo apt install aardvark-dns",
    ),
    (
        |facts| programs(facts).nft = false,
        Code::FirewallProgram,
        Level::Broken,
        "netavark 1.14 needs `nftables`",
        "sudo apt install nftables",
    ),
    (
        |facts| programs(facts).netavark = Some(Some(Version { major: 1, minor: 4 })),
        Code::FirewallProgram,
        Level::Broken,
        "netavark 1.4 needs `iptables`",
        "sudo apt install iptables",
    ),
    (
        |facts| programs(facts).modules_gone = true,
        Code::KernelModules,
        Level::Broken,
        "the modules of the running kernel are gone",
        "sudo reboot",
    ),
    (
        |facts| programs(facts).pasta = Program::Missing,
        Code::RootlessNetwork,
        Level::Broken,
        "`pasta` is not installed",
        "sudo apt install passt",
    ),
    (
        |facts| programs(facts).pasta = Program::Broken("cannot execute binary file".to_owned()),
        Code::RootlessNetwork,
        Level::Broken,
        "`pasta` does not start, through which rootless containers reach the network: cannot execute binary file",
        "sudo apt install --reinstall passt",
    ),
    (
        |facts| programs(facts).pasta = Program::Broken("Permission denied (os error 13)".to_owned()),
        Code::RootlessNetwork,
        Level::Broken,
        "`pasta` does not start",
        "sudo journalctl --dmesg --grep 'denied.*pasta'",
    ),
    (
        |facts| programs(facts).pasta = Program::CannotSetUpNetwork("Couldn't configure user mappings".to_owned()),
        Code::RootlessNetwork,
        Level::Note,
        "`pasta` makes no network when it is tried, through which rootless containers reach the network: Couldn't configure",
        "sudo apt install --reinstall passt",
    ),
    (
        |facts| programs(facts).pasta = Program::Late(2),
        Code::NotKnown,
        Level::Note,
        "could not determine whether `pasta` starts: it had not ended after 2 s",
        "",
    ),
    (
        |facts| {
            version(facts, 4, 3);
            backend(facts).rootless_program = None;
            programs(facts).slirp4netns =
                Program::Broken("error while loading shared libraries: libslirp.so.0".to_owned());
        },
        Code::RootlessNetwork,
        Level::Broken,
        "`slirp4netns` does not start, through which rootless containers reach the network: error while loading shared libraries",
        "sudo apt install --reinstall slirp4netns",
    ),
    (
        |facts| {
            version(facts, 4, 3);
            backend(facts).rootless_program = None;
        },
        Code::RootlessNetwork,
        Level::Broken,
        "`slirp4netns` is not installed",
        "sudo apt install slirp4netns",
    ),
];

#[test]
fn the_cause_that_podman_cannot_start_is_reported_in_place_of_its_message() {
    let mut facts = super::healthy();
    facts.engine = Engine::NotStarted("exec: newuidmap: executable file not found in $PATH".to_owned());
    facts.rootless.as_mut().unwrap().mappers.0 = crate::doctor::Mapper::Missing;
    let codes: Vec<Code> = super::bad(&facts).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::IdMappers]);
}

#[test]
fn a_closed_tun_device_is_reported_in_place_of_pastas_failure() {
    let mut facts = super::healthy();
    programs(&mut facts).pasta = Program::CannotSetUpNetwork("Failed to open tun socket in namespace".to_owned());
    facts.rootless.as_mut().unwrap().tun = Tun::Denied;
    let codes: Vec<Code> = super::bad(&facts).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::TunDevice]);
}

#[test]
fn a_program_that_this_podman_does_not_use_may_be_broken() {
    let mut facts = super::healthy();
    programs(&mut facts).slirp4netns = Program::Broken("no".to_owned());
    assert_eq!(super::bad(&facts), []);
}
