//! The services that were started.

use super::{Case, bad, healthy};
use crate::doctor::{Code, Facts, Level, Pids, Service};
use crate::podman::{ContainerState, End};

fn service(facts: &mut Facts) -> &mut Service {
    &mut facts.services[0]
}

fn pids(facts: &mut Facts, limit: u64, current: u64, refused: u64) {
    service(facts).pids = Some(Pids { limit: Some(limit), unit: None, current, refused });
}

fn ended(facts: &mut Facts, code: i32, end: End) {
    service(facts).state = ContainerState::Exited(code);
    service(facts).end = Some(end);
}

const RAISE: &str = "airpods config set services.ollama.pids_limit 4096 && airpods start ollama --yes";

pub(super) const CASES: &[Case] = &[
    (
        |facts| ended(facts, 1, End::Failed),
        Code::ServiceDead,
        Level::Broken,
        "`ollama` has ended: exit code 1",
        "airpods logs ollama",
    ),
    (
        |facts| ended(facts, 137, End::OutOfMemory),
        Code::ServiceDead,
        Level::Broken,
        "`ollama` was killed because memory ran out",
        "airpods logs ollama",
    ),
    (
        |facts| service(facts).state = ContainerState::Removing,
        Code::StateImproper,
        Level::Broken,
        "the container of `ollama` is in the state `removing`, in which podman does not start it",
        "airpods start ollama --yes",
    ),
    (
        |facts| service(facts).restarts = 5,
        Code::ServiceRestarting,
        Level::Broken,
        "`ollama` does not stay up: it was started again 5 times",
        "airpods logs ollama",
    ),
    (
        |facts| service(facts).silent = Some("HTTP 503 at http://127.0.0.1:11434/".to_owned()),
        Code::ServiceSilent,
        Level::Broken,
        "`ollama` runs and does not answer: HTTP 503",
        "airpods logs ollama",
    ),
    (
        |facts| pids(facts, 2048, 40, 3),
        Code::PidsReached,
        Level::Broken,
        "`ollama` could not fork 3 times: `pids_limit` is 2048",
        RAISE,
    ),
    (
        |facts| pids(facts, 2048, 2000, 0),
        Code::PidsReached,
        Level::Note,
        "`ollama` has 2000 of the 2048 processes that `pids_limit` allows",
        RAISE,
    ),
    (
        |facts| pids(facts, 1, 1, 0),
        Code::PidsLow,
        Level::Broken,
        "the kernel lets `ollama` have 1 processes, and 2048 are configured",
        "airpods start ollama --yes",
    ),
    (
        |facts| service(facts).pids = Some(Pids { limit: Some(2048), unit: Some(1741), current: 40, refused: 0 }),
        Code::PidsLow,
        Level::Note,
        "systemd lets `ollama` have 1741 processes (`DefaultTasksMax`), and 2048 are configured",
        "airpods config set services.ollama.pids_limit 1741",
    ),
    (
        |facts| {
            service(facts).pids_limit = 1;
            pids(facts, 1, 1, 0);
        },
        Code::PidsLow,
        Level::Broken,
        "`services.ollama.pids_limit` is 1",
        "airpods config set services.ollama.pids_limit 2048 && airpods start ollama --yes",
    ),
];

#[test]
fn a_stopped_service_is_no_failure_even_if_it_was_killed() {
    for code in [0, 130, 137, 143] {
        let mut facts = healthy();
        ended(&mut facts, code, End::Stopped);
        service(&mut facts).pids = None;
        assert_eq!(bad(&facts), []);
    }
}
