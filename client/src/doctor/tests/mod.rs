//! Each cause with its line and its cure, and a healthy machine, which has no finding to cure.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cures;
mod host;
mod names;
mod network;
mod path;
mod podman;
mod services;

use std::collections::BTreeSet;

use airpods_dbus::Status;
use clap::Parser;

use super::*;
use crate::Cli;
use crate::egress::Route;
use crate::podman::{HostFacts, NetworkBackend, Version};

/// A fault, and the finding that must result: code, level, a part of the line, and the whole cure.
type Case = (fn(&mut Facts), Code, Level, &'static str, &'static str);

/// A machine with an ordinary user on which everything works, including the GPU.
fn healthy() -> Facts {
    Facts {
        root: false,
        settings: Settings { source: "/home/alice/.config/airpods/config.toml".to_owned(), ..Settings::default() },
        engine: Engine::Answers {
            version: Version { major: 5, minor: 4 },
            host: Ok(HostFacts {
                rootless: true,
                cgroups_v2: true,
                network: NetworkBackend { name: "netavark".to_owned(), rootless_program: Some("pasta".to_owned()) },
                ..HostFacts::default()
            }),
        },
        rootless: Some(host::alice()),
        needs: Needs {
            memory: true,
            cpus: true,
            restart: true,
            unless_stopped: vec!["runtime.restart_policy".to_owned()],
        },
        boot: Some(Boot {
            rootless: true,
            unit: Some("--filter should-start-on-boot=true".to_owned()),
            enabled: true,
            masked: None,
        }),
        programs: Some(Programs {
            netavark: Some(Some(Version { major: 1, minor: 14 })),
            aardvark: true,
            pasta: Program::Works,
            slirp4netns: Program::Missing,
            iptables: false,
            nft: true,
            modules_gone: false,
        }),
        paths: vec![path::rootless("ollama"), path::rootless("open-webui")],
        measured: Measured::default(),
        names: Some(Names {
            servers: Ok(vec!["10.64.0.1".parse().unwrap()]),
            origin: Origin::Listed,
            given: Some(vec!["10.64.0.1".parse().unwrap()]),
            own: Vec::new(),
            inside: Some(vec![names::asked("10.89.0.1", crate::dns::Reply::Answered)]),
            outside: vec![names::asked("10.64.0.1", crate::dns::Reply::Answered)],
            vpn: Some("wg0".to_owned()),
        }),
        helper: Helper::Answers {
            status: Status { version: "0.1.0".to_owned(), ..Status::default() },
            permission: Permission::Password,
        },
        helper_need: HelperNeed::Helpful,
        network: Ok(Network {
            subnets: vec!["10.89.0.0/24".parse().unwrap()],
            bridge: Some("podman1".to_owned()),
            routes: vec![
                Route { to: "10.89.0.0/24".parse().unwrap(), link: "podman1".to_owned() },
                Route { to: "192.168.1.0/24".parse().unwrap(), link: "eth0".to_owned() },
            ],
            ..Network::default()
        }),
        gpu: host::gpu(),
        storage: Some(Storage {
            root: "/home/alice/.local/share/containers/storage".into(),
            free: Some(100 << 30),
            over_network: false,
            driver: "overlay".to_owned(),
        }),
        services: vec![Service {
            name: "ollama".to_owned(),
            state: crate::podman::ContainerState::Running,
            end: None,
            restarts: 0,
            silent: None,
            pids_limit: 2048,
            pids: Some(Pids { limit: Some(2048), unit: None, current: 40, refused: 0 }),
        }],
    }
}

fn bad(facts: &Facts) -> Vec<Finding> {
    judge(facts).into_iter().filter(|finding| finding.level > Level::Ok).collect()
}

fn cases() -> Vec<Case> {
    [podman::CASES, host::CASES, network::CASES, path::CASES, names::CASES, services::CASES].concat()
}

#[test]
fn a_healthy_machine_has_no_finding_and_lists_the_passed_checks() {
    assert_eq!(bad(&healthy()), []);
    let fine: Vec<String> = judge(&healthy()).into_iter().map(|finding| finding.cause).collect();
    assert_eq!(
        fine,
        [
            "the configuration is valid: /home/alice/.config/airpods/config.toml",
            "podman 5.4 answers, rootless",
            "the helper 0.1.0 answers, and an administrator's password lets you clamp",
            "packets of `ollama`, `open-webui`: pasta -> wg0 (1380)",
            "names are asked of 10.64.0.1 (`runtime.network.dns_servers`)",
        ]
    );
}

#[test]
fn each_cause_has_its_line_and_its_cure_and_no_other() {
    for (spoil, code, level, part, cure) in cases() {
        let mut facts = healthy();
        spoil(&mut facts);
        let found = bad(&facts);
        let [finding] = found.as_slice() else { panic!("{code}: {found:#?}") };
        assert_eq!((finding.code, finding.level), (code, level), "{finding:#?}");
        assert!(finding.cause.contains(part), "{code}: {}", finding.cause);
        assert_eq!(finding.cure.as_deref().unwrap_or_default(), cure, "{code}");
    }
}

#[test]
fn a_cure_that_is_a_command_of_ours_can_be_typed() {
    let mut seen = BTreeSet::new();
    for (spoil, code, ..) in cases() {
        let mut facts = healthy();
        spoil(&mut facts);
        for cure in judge(&facts).into_iter().filter_map(|finding| finding.cure) {
            for typed in cure.split(" && ").filter(|typed| typed.starts_with("airpods ")) {
                // No argument of these commands has a space in it.
                let parsed = Cli::try_parse_from(typed.split(' '));
                assert!(parsed.is_ok(), "{code}: `{typed}`: {}", parsed.unwrap_err());
                seen.insert(typed.to_owned());
            }
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
}

#[test]
fn every_kind_of_finding_is_the_answer_to_a_cause() {
    let mut answered: BTreeSet<Code> = cases().iter().map(|(_, code, ..)| *code).collect();
    answered.insert(Code::Fine);
    // The verdicts of measurements have their own tests.
    answered.retain(|code| !matches!(code, Code::Measured(_)));
    assert_eq!(answered, Code::ALL.iter().copied().collect());
}

#[test]
fn every_kind_of_finding_has_a_section_in_the_troubleshooting_page() {
    let page = include_str!("../../../../docs/troubleshooting.md");
    for code in Code::ALL.iter().filter(|code| **code != Code::Fine) {
        assert!(page.contains(&format!("\n### `{code}`\n")), "docs/troubleshooting.md has no section `{code}`");
    }
}

#[test]
fn a_line_is_one_line_and_has_no_full_stop() {
    for (spoil, code, ..) in cases() {
        let mut facts = healthy();
        spoil(&mut facts);
        for finding in judge(&facts) {
            let cure = finding.cure.unwrap_or_default();
            assert!(!finding.cause.contains('\n') && !cure.contains('\n'), "{code}");
            assert!(!finding.cause.ends_with('.'), "{code}: {}", finding.cause);
        }
    }
}
