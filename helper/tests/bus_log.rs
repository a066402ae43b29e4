//! The log lines about calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::collections::HashMap;
use std::time::Duration;

use airpods_dbus::names;
use airpods_helper::authority::Denial;
use airpods_helper::doubles::Recording;
use airpods_lab::eventually_within;
use private_bus::*;
use zbus::Message;
use zbus::message::Flags;

#[test]
fn a_mutating_call_has_one_line_with_who_what_and_what_came_of_it() {
    let helper = Helper::start();
    let client = helper.client();
    client.on_link("wg0").unwrap();
    client.on_link("wg0").unwrap();
    client.off("wg0").unwrap();
    client.reset().unwrap();
    client.status();
    helper.authority.next(Err(Denial::No));
    client.on_link("wg1").unwrap_err();
    client.on_link("a\u{1b}[31m\nb").unwrap_err();
    let name = client.name();
    let lines: Vec<_> = helper.audit().iter().map(|line| line.to_string().replace(&name, ":1.N")).collect();
    let on = "event=clamp-on uid=0 sender=:1.N action=org.airpods.helper1.clamp-on";
    let options = "mtu=route persist=no";
    assert_eq!(
        lines,
        [
            format!("level=info {on} link=wg0 {options} result=changed"),
            format!("level=info {on} link=wg0 {options} result=unchanged"),
            "level=info event=clamp-off uid=0 sender=:1.N action=org.airpods.helper1.clamp-off link=wg0 result=changed"
                .to_owned(),
            "level=info event=reset uid=0 sender=:1.N action=org.airpods.helper1.reset link=\"\" result=unchanged"
                .to_owned(),
            format!("level=warning {on} link=wg1 {options} result=AccessDenied detail=\"polkit does not allow this\""),
            format!(
                "level=warning {on} link=\"a\\u{{1b}}[31m\\nb\" result=InvalidLinkName detail=\"a link name here has \
                 only letters, digits, `_`, `=`, `+`, `.` and `-` and does not begin with `-`; byte 1 breaks this\""
            ),
        ]
    );
}

#[test]
fn a_call_that_wants_no_reply_is_checked_and_logged_like_any_other() {
    let helper = Helper::start();
    let client = helper.client();
    let send = |link: &str| {
        let message = Message::method_call(names::OBJECT_PATH, "ClampOn")
            .destination(names::BUS_NAME)
            .interface(names::INTERFACE)
            .with_flags(Flags::NO_REPLY_EXPECTED)
            .build(&(link, HashMap::<String, zbus::Variant<'_>>::new()))
            .unwrap();
        zruntime::block_on(client.connection.send(&message)).unwrap();
    };
    helper.authority.next(Err(Denial::No));
    send("wg0");
    helper.wait_until("the denial is logged", || helper.audit().len() == 1);
    assert_eq!(helper.kernel.table(), None);
    send("wg1");
    helper.wait_until("the change is logged", || helper.audit().len() == 2);
    assert_eq!(helper.clamped(), ["wg1"]);
    let results: Vec<_> = helper.audit().iter().map(|line| line.field("result").unwrap().to_owned()).collect();
    assert_eq!(results, ["AccessDenied", "changed"]);
}

#[test]
fn no_line_has_a_byte_that_is_not_printable() {
    let helper = Helper::start();
    let client = helper.client();
    for hostile in ["\u{1b}]0;x\u{7}", "a\r\nlevel=error event=forged", "\u{202e}gpj", "x\u{0}", &"y".repeat(5000)] {
        // D-Bus strings cannot contain a NUL.
        drop(client.on_link(&hostile.replace('\u{0}', "")));
    }
    let text = helper.log_text();
    assert!(text.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)), "{text}");
    assert!(text.lines().all(|line| line.len() < 600), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("level=error")).count(), 0, "{text}");
}

/// Calls `ClampOff` this many times as an ordinary user.
fn flood(helper: &Helper, calls: usize) {
    const NOBODY: u32 = 65534;
    let call = "dbus-send --bus=ADDRESS --print-reply --dest=org.airpods.Helper1 /org/airpods/Helper1 \
                org.airpods.Helper1.ClampOff string:wg0";
    helper.bus.program_as(NOBODY, "sh", &["-c", &format!("for call in $(seq {calls}); do {call}; done")]);
}

#[test]
fn a_flood_of_calls_without_effect_leaves_room_in_the_log_for_those_with_one() {
    let helper = Helper::start();
    flood(&helper, 120);
    let audit = helper.audit();
    assert_eq!(audit.len(), 100, "{}", helper.log_text());
    assert!(audit.last().unwrap().field("note").unwrap().contains("withheld"), "{}", helper.log_text());
    helper.client().on_link("wg0").unwrap();
    helper.client().on_link("wg0").unwrap();
    assert_eq!(helper.audit().len(), 102, "others are told as ever");
    flood(&helper, 1);
    let last = helper.audit().pop().unwrap();
    assert_eq!((last.field("uid"), last.field("result")), (Some("65534"), Some("changed")), "and a change always is");
}

/// The reports of withheld lines: the uid and the count of each.
fn withheld(helper: &Helper) -> Vec<(String, String)> {
    let lines = helper.lines.all().into_iter().filter(|line| line.event() == "log-lines-withheld");
    lines.map(|line| (line.field("uid").unwrap().to_owned(), line.field("count").unwrap().to_owned())).collect()
}

#[test]
fn the_number_of_withheld_lines_is_logged_when_the_period_ends_without_another_call() {
    let helper = Helper::start();
    flood(&helper, 107);
    assert_eq!(withheld(&helper), []);
    eventually_within(Duration::from_secs(60), "the count", || !withheld(&helper).is_empty());
    assert_eq!(withheld(&helper), [("65534".to_owned(), "7".to_owned())]);
}

#[test]
fn the_number_of_withheld_lines_is_logged_at_the_end_of_the_process() {
    let mut helper = Helper::start();
    flood(&helper, 103);
    helper.stop().unwrap();
    assert_eq!(withheld(&helper), [("65534".to_owned(), "3".to_owned())]);
}

#[test]
fn a_flood_of_calls_without_a_polkit_answer_leaves_room_in_the_log() {
    let helper = Helper::asking(Recording::answering(Err(Denial::Failed("the action is not registered".to_owned()))));
    helper.authority.next(Ok(()));
    helper.client().on_link("wg0").unwrap();
    let before = helper.lines.all().len();
    flood(&helper, 60);
    let told: Vec<_> = helper.lines.all().split_off(before);
    assert_eq!(told.len(), 100, "{}", helper.log_text());
    assert_eq!(told.iter().filter(|line| line.event() == "no-answer-from-polkit").count(), 50);
}
