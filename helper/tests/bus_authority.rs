//! Authorisation: the rights of each caller, and the questions to polkit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use airpods_dbus::{ClampOptions, ErrorKind, PathMtu, names};
use airpods_helper::authority::Denial;
use airpods_helper::doubles::{RecordedQuestion, Recording};
use private_bus::*;
use zbus::Message;
use zbus::message::Flags;

fn answer(is_authorized: bool, is_challenge: bool, is_dismissed: bool) -> Recording {
    Recording::answering(Denial::unless(is_authorized, is_challenge, is_dismissed))
}

#[test]
fn polkit_is_asked_about_the_sender_with_action_and_details() {
    let helper = Helper::start();
    let client = helper.client();
    client.on_link("wg0").unwrap();
    client.off("wg0").unwrap();
    client.on_link("").unwrap();
    client.reset().unwrap();
    let asked = |action_id, interface: &str, operation: &str| RecordedQuestion {
        subject_kind: "system-bus-name".to_owned(),
        subject_details: vec![("name".to_owned(), format!("\"{}\"", client.name()))],
        action_id,
        details: details(interface, operation, "no"),
        flags: 0,
    };
    assert_eq!(
        helper.authority.asked(),
        [
            asked(names::ACTION_CLAMP_ON, "wg0", "clamp-on"),
            asked(names::ACTION_CLAMP_OFF, "wg0", "clamp-off"),
            asked(names::ACTION_CLAMP_ON, "every VPN link", "clamp-on"),
            asked(names::ACTION_RESET, "every link", "reset"),
        ]
    );
}

#[test]
fn a_link_that_is_no_vpn_has_its_own_action_and_polkit_gets_the_details() {
    let helper = Helper::start();
    let client = helper.client_of(NOBODY);
    let mtu = Some(PathMtu::new(576).unwrap());
    let all = ClampOptions { mtu, persist: true, any_link: true };
    let last = || {
        let asked = helper.authority.asked().pop().unwrap();
        (asked.action_id, asked.details.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(client.on_with("eth0", all), Ok(true));
    assert_eq!(last(), (names::ACTION_CLAMP_ANY_LINK, "eth0 clamp-any-link 576 yes no".to_owned()));
    assert_eq!(client.on_with("not-there", ClampOptions { any_link: true, ..ClampOptions::default() }), Ok(true));
    assert_eq!(last(), (names::ACTION_CLAMP_ANY_LINK, "not-there clamp-any-link route no no".to_owned()));
    assert_eq!(client.on_with("wg0", all), Ok(true));
    assert_eq!(last(), (names::ACTION_CLAMP_ON, "wg0 clamp-on 576 yes no".to_owned()));
    let actions: Vec<_> = helper.audit().iter().map(|line| line.field("action").unwrap().to_owned()).collect();
    assert_eq!(actions, [names::ACTION_CLAMP_ANY_LINK, names::ACTION_CLAMP_ANY_LINK, names::ACTION_CLAMP_ON]);
}

fn kept() -> ClampOptions {
    ClampOptions { persist: true, ..ClampOptions::default() }
}

#[test]
fn polkit_gets_whether_the_changed_clamp_is_kept() {
    let helper = Helper::start();
    let client = helper.client_of(NOBODY);
    let last = || helper.authority.asked().pop().unwrap().details.pop().unwrap();
    let assert_told = |told: &str, call: Result<bool, airpods_dbus::Error>| {
        assert_eq!((call, last()), (Ok(true), ("kept-now", told.to_owned())));
    };
    assert_told("no", client.on_with("wg0", kept()));
    assert_told("no", client.on_with("wg1", kept()));
    assert_told("yes", client.on_link("wg0"));
    assert_told("no", client.off("wg0"));
    assert_told("yes", client.off("wg1"));
    assert_told("no", client.on_with("", kept()));
    assert_told("no", client.on_link("wg0"));
    assert_told("yes", client.off(""));
    assert_told("no", client.reset());
    assert_told("no", client.on_with("", kept()));
    assert_told("yes", client.reset());
}

#[test]
fn polkit_gets_yes_if_a_name_would_override_a_kept_auto() {
    let helper = Helper::start();
    let client = helper.client_of(NOBODY);
    let mtu = |bytes| ClampOptions { mtu: Some(PathMtu::new(bytes).unwrap()), ..ClampOptions::default() };
    let last = || helper.authority.asked().pop().unwrap().details.pop().unwrap().1;
    client.on_with("", ClampOptions { persist: true, ..mtu(1300) }).unwrap();
    for (link, options, told) in [
        ("wg0", ClampOptions::default(), "yes"),
        ("wg0", mtu(1400), "yes"),
        ("wg1", mtu(1300), "no"),
        ("wg1", ClampOptions::default(), "yes"),
    ] {
        assert_eq!((client.on_with(link, options), last()), (Ok(true), told.to_owned()), "{link} {options:?}");
    }
    assert_eq!((client.off("wg0"), last()), (Ok(true), "no".to_owned()), "auto has the link again");
    client.on_with("", mtu(1300)).unwrap();
    assert_eq!((client.on_link("wg0"), last()), (Ok(true), "no".to_owned()), "auto is not kept");
}

#[test]
fn a_clamp_kept_during_the_polkit_check_stays_and_the_caller_gets_busy() {
    let helper = Helper::asking(Recording::blocking());
    let yes = || helper.authority.next(Ok(()));
    let (client, other) = (helper.client_of(NOBODY), helper.client());
    yes();
    client.on_link("wg0").unwrap();
    thread::scope(|scope| {
        let off = scope.spawn(|| client.off("wg0"));
        helper.wait_until("polkit is asked", || helper.authority.asked().len() == 2);
        yes();
        assert_eq!(other.on_with("wg0", kept()), Ok(true));
        helper.authority.release();
        assert_eq!(kind(off.join().unwrap()), ErrorKind::Busy);
    });
    let (saved, _) = helper.state_dirs.load();
    assert!(saved.named.values().all(|options| options.persist) && helper.clamped() == ["wg0"]);
}

#[test]
fn interaction_is_asked_for_only_if_the_message_allows_it() {
    let helper = Helper::asking(answer(false, true, false));
    let client = helper.client_of(NOBODY);
    assert_eq!(kind(client.on_link("wg0")), ErrorKind::InteractiveAuthorizationRequired);
    assert_eq!(kind(client.on_asking("wg0")), ErrorKind::InteractiveAuthorizationRequired);
    let flags: Vec<_> = helper.authority.asked().iter().map(|asked| asked.flags).collect();
    assert_eq!(flags, [0, 0, 1], "and only once it is known that a password is needed");
}

#[test]
fn root_is_asked_for_no_password() {
    let helper = Helper::asking(answer(false, true, false));
    assert_eq!(kind(helper.client().on_asking("wg0")), ErrorKind::InteractiveAuthorizationRequired);
    assert_eq!((helper.authority.asked().len(), helper.authority.prompts()), (1, 0));
}

#[test]
fn every_denial_has_its_name_and_changes_nothing() {
    let unreachable = || Recording::answering(Err(Denial::Failed("Action is not registered".to_owned())));
    let denials = [
        (answer(false, false, false), ErrorKind::AccessDenied),
        (answer(false, true, false), ErrorKind::InteractiveAuthorizationRequired),
        (answer(false, false, true), ErrorKind::AuthDismissed),
        (unreachable(), ErrorKind::AccessDenied),
    ];
    for (authority, expected) in denials {
        let helper = Helper::asking(authority);
        let client = helper.client_of(NOBODY);
        assert_eq!(kind(client.on_link("wg0")), expected);
        assert_eq!(kind(client.on_asking("")), expected);
        assert_eq!(helper.kernel.times_applied(), 0);
        assert!(client.status().clamps.is_empty());
    }
}

#[test]
fn a_denied_request_changes_nothing() {
    let authority = Recording::allowing();
    let helper = Helper::asking(authority.clone());
    let client = helper.client();
    client.on_link("wg0").unwrap();
    for attempt in [Client::off as fn(&Client, &str) -> _, |client: &Client, _: &str| client.reset()] {
        authority.next(Err(Denial::No));
        assert_eq!(kind(attempt(&client, "wg0")), ErrorKind::AccessDenied);
        assert_eq!(helper.clamped(), ["wg0"]);
    }
    assert_eq!(client.off("wg0"), Ok(true), "the helper is still there, and the next question is a new one");
}

#[test]
fn a_missing_policy_is_named_in_the_log() {
    let helper = Helper::asking(Recording::answering(Err(Denial::Failed("Action is not registered".to_owned()))));
    assert_eq!(kind(helper.client().on_link("wg0")), ErrorKind::AccessDenied);
    assert!(helper.log_text().contains("policy is not installed"), "{}", helper.log_text());
}

#[test]
fn without_polkit_root_is_served_and_an_ordinary_user_is_not() {
    let helper = Helper::asking(Recording::answering(Err(Denial::Absent("no such name".to_owned()))));
    assert_eq!(helper.client().on_link("wg0"), Ok(true), "this test runs as root");
    let (is_served, text) = dbus_send(&helper, NOBODY, &["ClampOff", "string:wg0"]);
    assert!(!is_served && text.contains("org.airpods.Helper1.Error.AuthUnavailable"), "{text}");
    assert_eq!(helper.clamped(), ["wg0"]);
    let (is_served, text) = dbus_send(&helper, NOBODY, &["GetStatus"]);
    assert!(is_served && text.contains("wg0"), "{text}");
}

#[test]
fn reads_never_prompt() {
    let helper = Helper::asking(answer(false, false, false));
    let client = helper.client();
    client.status();
    zruntime::block_on(async {
        client.helper.clamps().await.unwrap();
        client.helper.auto().await.unwrap();
    });
    assert_eq!(helper.authority.asked(), []);
}

#[test]
fn a_request_that_changes_nothing_never_prompts() {
    let helper = Helper::start();
    let client = helper.client();
    assert_eq!((client.off("wg0"), client.reset()), (Ok(false), Ok(false)));
    assert_eq!(helper.authority.asked().len(), 0);
    assert_eq!((client.on_link("wg0"), client.on_link("wg0")), (Ok(true), Ok(false)));
    assert_eq!(helper.authority.asked().len(), 1);
}

#[test]
fn a_caller_who_leaves_before_the_decision_changes_nothing() {
    let late = Duration::from_millis(60);
    let yes = Ok(());
    let helper = Helper::asking(Recording::answering_after(late, yes));
    // On a busy machine a caller may leave so late that the helper rightly serves the call.
    let stayed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in 0..25 {
            let (helper, stayed) = (&helper, &stayed);
            scope.spawn(move || {
                for attempt in 0..20 {
                    let client = helper.client();
                    let flags = if attempt % 2 == 0 { Flags::ALLOW_INTERACTIVE_AUTH } else { Flags::NO_REPLY_EXPECTED };
                    let sent = Instant::now();
                    zruntime::block_on(client.connection.send(&clamp_on("wg0", flags))).unwrap();
                    thread::sleep(Duration::from_millis((worker + attempt) % 30));
                    zruntime::block_on(client.connection.close()).unwrap();
                    stayed.fetch_add(usize::from(sent.elapsed() > late * 2 / 3), Ordering::Relaxed);
                }
            });
        }
    });
    thread::sleep(late * 2);
    assert!(helper.kernel.times_applied() <= stayed.into_inner(), "{}", helper.log_text());
    // Some callers leave before the bus has read their call; how many depends on the machine's
    // load.
    assert!(helper.audit().len() >= 100, "few of the calls arrived: {}", helper.audit().len());
    assert!(helper.is_running());
}

#[test]
fn a_prompt_is_taken_back_when_its_caller_leaves() {
    let helper = Helper::asking(Recording::prompting(Duration::from_secs(300), Err(Denial::No)));
    let client = helper.client_of(NOBODY);
    zruntime::block_on(client.connection.send(&clamp_on("wg0", Flags::ALLOW_INTERACTIVE_AUTH))).unwrap();
    helper.wait_for_prompt();
    thread::sleep(Duration::from_millis(100));
    zruntime::block_on(client.connection.close()).unwrap();
    helper.wait_until("the prompt is taken back", || helper.authority.cancelled() == 1);
    helper.wait_until("the call is accounted for", || helper.audit().len() == 1);
}

#[test]
fn a_forged_signal_about_a_leaving_caller_is_ignored() {
    let helper = Helper::asking(Recording::prompting(Duration::from_secs(300), Err(Denial::No)));
    let client = helper.client_of(NOBODY);
    zruntime::block_on(client.connection.send(&clamp_on("wg0", Flags::ALLOW_INTERACTIVE_AUTH))).unwrap();
    helper.wait_for_prompt();
    // The helper watches for the caller's leaving only some time after it opens the prompt.
    thread::sleep(Duration::from_millis(200));
    let liar = helper.client();
    let helpers_name = zruntime::block_on(async {
        zbus::fdo::DBusProxy::new(&liar.connection).await?.get_name_owner(names::BUS_NAME.try_into()?).await
    });
    let lie = Message::signal("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged")
        .destination(helpers_name.unwrap())
        .build(&(client.name(), client.name(), ""))
        .unwrap();
    zruntime::block_on(liar.connection.send(&lie)).unwrap();
    // Messages of one sender keep their order: after this reply the helper has read the lie.
    liar.status();
    thread::sleep(Duration::from_millis(100));
    assert_eq!((helper.authority.cancelled(), helper.audit().len()), (0, 0), "{}", helper.log_text());
}

#[test]
fn one_user_has_one_prompt_and_others_are_served_meanwhile() {
    let helper = Helper::asking(Recording::prompting(Duration::from_secs(300), Err(Denial::No)));
    let waiting = helper.client_of(NOBODY);
    zruntime::block_on(waiting.connection.send(&clamp_on("wg0", Flags::ALLOW_INTERACTIVE_AUTH))).unwrap();
    helper.wait_for_prompt();
    assert_eq!(kind(helper.client_of(NOBODY).on_asking("wg1")), ErrorKind::Busy);
    helper.authority.next(Ok(()));
    let asking_nobody = helper.client_of(NOBODY).on_asking("wg1");
    assert_eq!(asking_nobody, Ok(true), "a call that needs no password does not wait for the prompt");
    helper.authority.next(Ok(()));
    assert_eq!(helper.client_of(DAEMON).off("wg1"), Ok(true));
}

#[test]
fn a_call_waits_a_moment_for_its_users_other_check_which_may_be_over_without_a_prompt() {
    let yes = Ok(());
    let helper = Helper::asking(Recording::prompting(Duration::from_millis(300), yes));
    let first = helper.client_of(NOBODY);
    zruntime::block_on(first.connection.send(&clamp_on("wg0", Flags::ALLOW_INTERACTIVE_AUTH))).unwrap();
    helper.wait_for_prompt();
    assert_eq!(helper.client_of(NOBODY).on_asking("wg1"), Ok(true));
    assert_eq!(helper.clamped(), ["wg0", "wg1"]);
}

#[test]
fn one_user_cannot_starve_the_others() {
    let helper = Helper::asking(Recording::answering_after(Duration::from_secs(300), Err(Denial::No)));
    let greedy: Vec<_> = (0..4).map(|_| helper.client()).collect();
    for call in 0..airpods_helper::bus::quota::PER_PERSON {
        let client = &greedy[call % greedy.len()];
        zruntime::block_on(client.connection.send(&clamp_on(&format!("wg{call}"), Flags::NO_REPLY_EXPECTED))).unwrap();
    }
    helper.wait_until("they all wait", || helper.authority.asked().len() == airpods_helper::bus::quota::PER_PERSON);
    assert_eq!(kind(helper.client().on_link("wg0")), ErrorKind::LimitsExceeded);
    helper.authority.next(Ok(()));
    let (is_served, text) = busctl_on(&helper, NOBODY, "wg1");
    assert!(is_served, "{text}");
}

/// The same option this many times: a map cannot hold that, but a message can.
#[derive(zbus::Type)]
#[zbus(signature = "a{sv}")]
struct Repeated(usize);

impl serde::Serialize for Repeated {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((0..self.0).map(|_| ("persist", zbus::Variant::Bool(false))))
    }
}

#[test]
fn a_call_of_absurd_length_is_refused_before_it_is_queued() {
    let helper = Helper::start();
    let client = helper.client();
    let call = |times| {
        let body = ("wg0", Repeated(times));
        let (name, interface) = (Some(names::BUS_NAME), Some(names::INTERFACE));
        let called = client.connection.call_method(name, names::OBJECT_PATH, interface, "ClampOn", &body);
        zruntime::block_on(called).map(drop).map_err(|error| ours(&error))
    };
    for length in [1_000, 100_000] {
        assert_eq!(kind(call(length)), ErrorKind::LimitsExceeded);
    }
    assert_eq!(helper.log_text().matches("message-too-long").count(), 2);
    assert_eq!(helper.audit(), []);
    assert_eq!(helper.authority.asked(), []);
    assert_eq!(call(100), Ok(()));
    // The header takes part of the 4096 bytes.
    assert_eq!(kind(client.off(&"x".repeat(3500))), ErrorKind::InvalidLinkName);
    assert_eq!(kind(client.off(&"x".repeat(4096))), ErrorKind::LimitsExceeded);
}

#[test]
fn twenty_calls_at_once_for_one_link_leave_one_clamp() {
    let helper = Helper::start();
    let changed = thread::scope(|scope| {
        let calls: Vec<_> = (0..20).map(|_| scope.spawn(|| helper.client().on_asking("wg0").unwrap())).collect();
        calls.into_iter().map(|call| call.join().unwrap()).filter(|changed| *changed).count()
    });
    assert_eq!((changed, helper.clamped()), (1, vec!["wg0".to_owned()]));
}

#[test]
fn an_answer_without_interaction_is_quick() {
    let helper = Helper::asking(answer(false, true, false));
    let client = helper.client();
    let before = Instant::now();
    assert_eq!(kind(client.on_link("wg0")), ErrorKind::InteractiveAuthorizationRequired);
    assert!(before.elapsed() < Duration::from_secs(2));
}

fn clamp_on(link: &str, flags: Flags) -> Message {
    Message::method_call(names::OBJECT_PATH, "ClampOn")
        .destination(names::BUS_NAME)
        .interface(names::INTERFACE)
        .with_flags(flags)
        .build(&(link, HashMap::<String, zbus::Variant<'_>>::new()))
        .unwrap()
}

fn dbus_send(helper: &Helper, uid: u32, call: &[&str]) -> (bool, String) {
    let method = format!("{}.{}", names::INTERFACE, call[0]);
    let mut arguments =
        vec!["--bus=ADDRESS", "--print-reply", "--dest=org.airpods.Helper1", names::OBJECT_PATH, &method];
    arguments.extend(&call[1..]);
    helper.bus.program_as(uid, "dbus-send", &arguments)
}

fn busctl_on(helper: &Helper, uid: u32, link: &str) -> (bool, String) {
    let call = ["call", names::BUS_NAME, names::OBJECT_PATH, names::INTERFACE, "ClampOn", "sa{sv}", link, "0"];
    let options = ["--address=ADDRESS", "--allow-interactive-authorization=no", "--timeout=10"];
    helper.bus.program_as(uid, "busctl", &[&options[..], &call[..]].concat())
}
