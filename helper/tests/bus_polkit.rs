//! The messages to polkit, and the handling of its answers, with a fake polkitd on a private bus.
//! The tests with whole systems use the real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::time::{Duration, Instant};

use airpods_dbus::{ErrorKind, names};
use airpods_lab::polkit::{AnswerMode, POLKIT, Recorded, RecordedQuestion};
use private_bus::*;
use zbus::Connection;

fn sorted(details: Vec<(&'static str, String)>) -> Vec<(String, String)> {
    let mut sorted: Vec<_> = details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    sorted.sort();
    sorted
}

struct Fixture {
    helper: Helper,
    recorded: Recorded,
    polkit: Option<Connection>,
}

fn with_polkit(mode: AnswerMode) -> Fixture {
    let bus = PrivateBus::start();
    let (polkit, recorded) = serve(&bus, mode);
    let helper = Helper::on(bus, Setup { asks_polkit: true, ..Setup::default() });
    Fixture { helper, recorded, polkit: Some(polkit) }
}

fn serve(bus: &PrivateBus, mode: AnswerMode) -> (Connection, Recorded) {
    let connection = bus.connect();
    let recorded = zruntime::block_on(Recorded::serve(&connection, mode)).unwrap();
    (connection, recorded)
}

/// A helper on a bus that starts this program for polkit's name.
fn where_polkit_is_started_by(program: &str) -> Helper {
    let bus = PrivateBus::with_services(&[(POLKIT, program)]);
    Helper::on(bus, Setup { asks_polkit: true, ..Setup::default() })
}

#[test]
fn polkit_that_is_started_slowly_is_waited_for() {
    // The test takes the name instead of the program that the bus started.
    let helper = where_polkit_is_started_by("/bin/sleep 9");
    let client = helper.client_of(NOBODY);
    let served = std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.on_link("wg0"));
        std::thread::sleep(Duration::from_secs(4));
        assert!(!asked.is_finished(), "{}", helper.log_text());
        let _polkit = serve(&helper.bus, AnswerMode::Fixed(true, false, false));
        asked.join().unwrap()
    });
    assert_eq!(served, Ok(true));
}

#[test]
fn polkit_that_is_not_there_or_cannot_be_started_is_an_answer_at_once() {
    let absent = Helper::with(Setup { asks_polkit: true, ..Setup::default() });
    for helper in [absent, where_polkit_is_started_by("/bin/false")] {
        let before = Instant::now();
        let client = helper.client_of(NOBODY);
        client.status();
        let read = before.elapsed();
        let before = Instant::now();
        let error = client.on_link("wg0").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthUnavailable);
        assert!(error.message().starts_with("polkit is not there: "), "{error}");
        let refused = before.elapsed();
        assert!(refused < Duration::from_secs(2) + read * 4, "{refused:?}, and {read:?} for a connection and a read");
        assert_eq!(helper.client().on_link("wg0"), Ok(true), "root is served");
    }
}

#[test]
fn polkit_that_ends_while_it_is_asked_is_asked_again_and_one_that_ends_at_a_prompt_frees_it() {
    let mut fixture = with_polkit(AnswerMode::Hangs);
    let client = fixture.helper.client_of(NOBODY);
    let served = std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.on_link("wg0"));
        fixture.helper.wait_until("polkit is asked", || fixture.recorded.so_far().questions.len() == 1);
        zruntime::block_on(fixture.polkit.take().unwrap().close()).unwrap();
        let (polkit, recorded) = serve(&fixture.helper.bus, AnswerMode::HangsAtPrompt);
        (fixture.polkit, fixture.recorded) = (Some(polkit), recorded);
        asked.join().unwrap()
    });
    // Either the helper asked the second polkitd, or that one came too late.
    let kinds = [ErrorKind::InteractiveAuthorizationRequired, ErrorKind::AuthUnavailable];
    assert!(kinds.contains(&kind(served)), "{}", fixture.helper.log_text());
    let ended = std::thread::scope(|scope| {
        let before = fixture.recorded.so_far().questions.len();
        let asked = scope.spawn(|| client.on_asking("wg0"));
        fixture.helper.wait_until("the prompt", || fixture.recorded.so_far().questions.len() == before + 2);
        zruntime::block_on(fixture.polkit.take().unwrap().close()).unwrap();
        asked.join().unwrap()
    });
    let error = ended.unwrap_err();
    assert_eq!(
        (error.kind(), error.message().starts_with("polkit ended")),
        (ErrorKind::AuthUnavailable, true),
        "{error}"
    );
    let _polkit = serve(&fixture.helper.bus, AnswerMode::NeedsPassword);
    assert_eq!(client.on_asking("wg0"), Ok(true), "the prompt is free");
}

#[test]
fn a_prompt_ends_when_polkit_loses_its_name() {
    let fixture = with_polkit(AnswerMode::HangsAtPrompt);
    let client = fixture.helper.client_of(NOBODY);
    let ended = std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.on_asking("wg0"));
        fixture.helper.wait_until("the prompt", || fixture.recorded.so_far().questions.len() == 2);
        // The helper sees that polkit owns the name before polkit loses it.
        std::thread::sleep(Duration::from_secs(3));
        zruntime::block_on(fixture.polkit.as_ref().unwrap().release_name(POLKIT)).unwrap();
        asked.join().unwrap()
    });
    assert_eq!(kind(ended), ErrorKind::AuthUnavailable);
}

#[test]
fn the_polkit_request_is_about_the_sender_only() {
    let fixture = with_polkit(AnswerMode::Fixed(true, false, false));
    let client = fixture.helper.client();
    assert_eq!(client.on_link("wg0"), Ok(true));
    let question = |action: &str, interface: &str, operation: &str, flags| RecordedQuestion {
        subject: format!("system-bus-name name=\"{}\"", client.name()),
        action: action.to_owned(),
        details: sorted(details(interface, operation, "no")),
        flags,
    };
    // A caller who needs no password costs one question, whether the call allows a prompt or not.
    assert!(zruntime::block_on(client.helper.reset_asking()).unwrap());
    assert_eq!(
        fixture.recorded.so_far().questions,
        [
            question(names::ACTION_CLAMP_ON, "wg0", "clamp-on", 0),
            question(names::ACTION_RESET, "every link", "reset", 0),
        ]
    );
    assert!(fixture.recorded.so_far().cancelled.is_empty(), "what is answered needs no taking back");
}

#[test]
fn a_password_is_asked_for_only_after_a_challenge_from_polkit() {
    let flags = |fixture: &Fixture| {
        fixture.recorded.so_far().questions.iter().map(|question| question.flags).collect::<Vec<_>>()
    };
    let fixture = with_polkit(AnswerMode::Fixed(true, false, false));
    assert_eq!(fixture.helper.client_of(NOBODY).on_asking("wg0"), Ok(true));
    assert_eq!(flags(&fixture), [0]);
    let fixture = with_polkit(AnswerMode::NeedsPassword);
    assert_eq!(fixture.helper.client_of(NOBODY).on_asking("wg0"), Ok(true));
    assert_eq!(flags(&fixture), [0, 1]);
    let questions = fixture.recorded.so_far().questions.clone();
    assert_eq!(questions[0], RecordedQuestion { flags: 0, ..questions[1].clone() }, "the same question");
    assert_eq!(fixture.helper.audit().len(), 1, "and one line for the call");
}

#[test]
fn each_answer_of_polkit_has_its_own_error() {
    for (mode, expected) in [
        (AnswerMode::Fixed(false, false, false), ErrorKind::AccessDenied),
        (AnswerMode::Fixed(false, true, false), ErrorKind::InteractiveAuthorizationRequired),
        (AnswerMode::Fixed(false, false, true), ErrorKind::AuthDismissed),
        (AnswerMode::Fails, ErrorKind::AccessDenied),
    ] {
        let fixture = with_polkit(mode);
        assert_eq!(kind(fixture.helper.client().on_link("wg0")), expected);
        assert_eq!(fixture.helper.kernel.times_applied(), 0);
    }
}

#[test]
fn an_action_that_is_not_installed_is_named_in_the_log() {
    let fixture = with_polkit(AnswerMode::Fails);
    assert_eq!(kind(fixture.helper.client().on_link("wg0")), ErrorKind::AccessDenied);
    let log = fixture.helper.log_text();
    assert!(log.contains("not registered") && log.contains("policy is not installed"), "{log}");
}

#[test]
fn a_caller_unknown_to_polkit_is_denied_and_not_logged_as_a_polkit_fault() {
    let fixture = with_polkit(AnswerMode::CallerUnknown);
    // This also refuses root. With polkit absent, the helper would have served root.
    assert_eq!(kind(fixture.helper.client().on_link("wg0")), ErrorKind::AccessDenied);
    assert_eq!(fixture.helper.kernel.times_applied(), 0);
    let log = fixture.helper.log_text();
    assert!(log.contains("the caller has left the bus") && !log.contains("polkitd"), "{log}");
}

/// The helper's two seconds for an answer, and the time that a busy machine takes to start a
/// program. Callers wait 25 s.
const IN_TIME: Duration = Duration::from_secs(10);

#[test]
fn a_silent_polkit_is_given_up_long_before_the_bus_timeout() {
    let fixture = with_polkit(AnswerMode::Hangs);
    let before = Instant::now();
    let options = ["--bus=ADDRESS", "--print-reply", "--dest=org.airpods.Helper1", names::OBJECT_PATH];
    assert_eq!(fixture.helper.client().on_link("wg0"), Ok(true), "root needs no polkit");
    assert!(before.elapsed() < IN_TIME);
    let before = Instant::now();
    let call = [&options[..], &["org.airpods.Helper1.ClampOff", "string:wg0"]].concat();
    let (is_served, text) = fixture.helper.bus.program_as(65534, "dbus-send", &call);
    assert!(!is_served && text.contains("org.airpods.Helper1.Error.AuthUnavailable"), "{text}");
    assert!(before.elapsed() < IN_TIME);
    fixture.helper.wait_until("both questions are taken back", || fixture.recorded.so_far().cancelled.len() == 2);
}

#[test]
fn a_bus_that_stands_still_is_not_taken_for_a_silent_polkit() {
    let fixture = with_polkit(AnswerMode::After(Duration::from_secs(1)));
    let client = fixture.helper.client_of(NOBODY);
    let served = std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.on_link("wg0"));
        fixture.helper.wait_until("polkit is asked", || fixture.recorded.so_far().questions.len() == 1);
        fixture.helper.bus.daemon().stand_still().unwrap();
        std::thread::sleep(Duration::from_secs(8));
        fixture.helper.bus.daemon().go_on().unwrap();
        asked.join().unwrap()
    });
    assert_eq!(served, Ok(true), "{}", fixture.helper.log_text());
}

#[test]
fn a_silent_polkit_delays_no_interactive_caller() {
    let fixture = with_polkit(AnswerMode::Hangs);
    let before = Instant::now();
    assert_eq!(fixture.helper.client().on_asking("wg0"), Ok(true), "root needs no polkit");
    for call in 0..2 {
        let told = kind(fixture.helper.client_of(NOBODY).on_asking("wg1"));
        assert_eq!(
            told,
            ErrorKind::AuthUnavailable,
            "call {call}: and no prompt is open that would keep them from another"
        );
    }
    assert!(before.elapsed() < IN_TIME * 2);
    assert!(fixture.recorded.so_far().questions.iter().all(|question| question.flags == 0));
    fixture.helper.wait_until("every question is taken back", || fixture.recorded.so_far().cancelled.len() == 3);
    assert_eq!(fixture.helper.audit().len(), 3);
}

#[test]
fn polkit_may_be_restarted_between_calls() {
    let mut fixture = with_polkit(AnswerMode::Fixed(true, false, false));
    let client = fixture.helper.client();
    assert_eq!(client.on_link("wg0"), Ok(true));
    zruntime::block_on(fixture.polkit.take().unwrap().close()).unwrap();
    assert_eq!(client.off("wg0"), Ok(true), "root is served meanwhile");
    let (_again, recorded) = serve(&fixture.helper.bus, AnswerMode::Fixed(false, false, false));
    assert_eq!(kind(client.on_link("wg0")), ErrorKind::AccessDenied, "and is asked about again");
    assert_eq!(recorded.so_far().questions.len(), 1);
}
