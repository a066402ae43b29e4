//! Clamps kept through events, faults, restarts and exits of the helper.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use airpods_dbus::{ClampOptions, ClampState, ErrorKind, names};
use airpods_helper::daemon::ExitReason;
use airpods_helper::doubles::{Recording, Refusal};
use airpods_helper::failure::Exit;
use airpods_helper::kernel::{Event, Link, Routes};
use airpods_helper::state::FILE;
use private_bus::*;
use sd_notify::NotifyState;

fn kept() -> ClampOptions {
    ClampOptions { persist: true, ..ClampOptions::default() }
}

fn state_of(client: &Client, link: &str) -> ClampState {
    client.status().clamps.iter().find(|clamp| clamp.link == link).unwrap().state
}

#[test]
fn a_kernel_that_refuses_is_named_and_nothing_has_changed() {
    let helper = Helper::start();
    let client = helper.client();
    client.on_link("wg0").unwrap();
    let before = client.status();
    for (refusal, expected) in [
        (Refusal::Refused, ErrorKind::ApplyFailed),
        (Refusal::Conflict, ErrorKind::TableConflict),
        (Refusal::Unsupported, ErrorKind::KernelUnsupported),
        (Refusal::NotPermitted, ErrorKind::NotPermitted),
    ] {
        helper.kernel.refuse(Some(refusal));
        for refused in [client.on_link("wg1"), client.on_link(""), client.off("wg0"), client.reset()] {
            assert_eq!(kind(refused), expected);
        }
        assert_eq!(client.status(), before);
    }
    helper.kernel.refuse(None);
    assert_eq!(client.off("wg0"), Ok(true));
}

#[test]
fn the_refused_step_and_its_errno_are_reported() {
    let helper = Helper::start();
    helper.kernel.refuse(Some(Refusal::Refused));
    let error = helper.client().on_link("wg0").unwrap_err();
    assert!(error.message().contains("rule in chain clamp") && error.message().contains("os error 22"), "{error}");
}

#[test]
fn a_clamp_that_cannot_be_kept_is_not_made() {
    let helper = Helper::start();
    let client = helper.client();
    fs::remove_dir(&helper.state_dirs.persistent).unwrap();
    let error = client.on_with("wg0", kept()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApplyFailed);
    assert_eq!(helper.kernel.table(), None);
    assert_eq!(client.off("wg0"), Ok(false), "and it is not remembered either");
}

#[test]
fn a_change_that_is_refused_after_it_was_written_down_is_not_kept() {
    let helper = Helper::asking(Recording::blocking());
    let client = helper.client();
    thread::scope(|scope| {
        let call = scope.spawn(|| client.on_with("wg0", kept()));
        helper.wait_until("polkit is asked", || helper.authority.asked().len() == 1);
        helper.kernel.set_links(vec![link("wg0", "bridge")]);
        helper.authority.release();
        assert_eq!(kind(call.join().unwrap()), ErrorKind::NotVpnLink);
    });
    assert!(!helper.state_dirs.persistent.join(FILE).exists());
}

#[test]
fn a_runtime_folder_that_cannot_be_written_is_no_obstacle() {
    let helper = Helper::start();
    fs::remove_dir(&helper.state_dirs.runtime).unwrap();
    assert_eq!(helper.client().on_link("wg0"), Ok(true));
    assert!(helper.log_text().contains("event=state-not-saved"), "{}", helper.log_text());
}

#[test]
fn a_link_that_comes_is_active_and_one_that_goes_is_waited_for() {
    let helper = Helper::with(Setup { links: vec![], ..Setup::default() });
    let client = helper.client();
    assert_eq!(client.on_link("wg0"), Ok(true));
    assert_eq!(state_of(&client, "wg0"), ClampState::Waiting);
    assert_eq!(helper.clamped(), ["wg0"], "the rules are there before the link");
    helper.kernel.set_links(vec![wireguard("wg0")]);
    helper.wait_until("it is active", || state_of(&client, "wg0") == ClampState::Active);
    helper.kernel.set_links(vec![wireguard("wg9")]);
    helper.wait_until("it is waited for", || state_of(&client, "wg0") == ClampState::Waiting);
    assert_eq!(helper.clamped(), ["wg0"], "nothing follows a link that is renamed");
}

#[test]
fn a_named_link_that_comes_as_no_vpn_leaves_the_rules() {
    let helper = Helper::with(Setup { links: vec![], ..Setup::default() });
    let client = helper.client();
    client.on_link("wg0").unwrap();
    helper.kernel.set_links(vec![link("wg0", "bridge")]);
    helper.wait_until("the rules let go of it", || helper.kernel.table().is_none());
    assert_eq!(state_of(&client, "wg0"), ClampState::Waiting);
}

#[test]
fn a_persistent_auto_saves_new_names_for_after_a_reboot() {
    let helper = Helper::with(Setup { links: vec![], ..Setup::default() });
    helper.client().on_with("", kept()).unwrap();
    helper.kernel.set_links(vec![wireguard("wg0")]);
    let text = || fs::read_to_string(helper.state_dirs.persistent.join(FILE)).unwrap_or_default();
    helper.wait_until("its name is written", || text().contains("wg0"));
    assert_eq!(helper.client().reset(), Ok(true));
    assert_eq!(text(), "", "and nothing that was on its way comes after a change");
}

#[test]
fn names_that_a_persistent_auto_cannot_save_are_retried_and_logged_once() {
    let helper = Helper::with(Setup { links: vec![], ..Setup::default() });
    helper.client().on_with("", kept()).unwrap();
    let losses = || helper.lines.all().iter().filter(|line| line.event() == "state-not-saved").count();
    let beside = helper.state_dirs.persistent.join(format!(".{FILE}.new"));
    fs::create_dir(&beside).unwrap();
    for link in ["wg0", "wg1", "wg2"] {
        helper.kernel.set_links(vec![wireguard(link)]);
        helper.wait_until("it is clamped", || helper.clamped().contains(&link.to_owned()));
        helper.wait_until("the loss is logged", || losses() > 0);
    }
    fs::remove_dir(beside).unwrap();
    let text = || fs::read_to_string(helper.state_dirs.persistent.join(FILE)).unwrap_or_default();
    helper.wait_until("all names are written after a look", || {
        helper.kernel.report(&Event::Network);
        ["wg0", "wg1", "wg2"].iter().all(|link| text().contains(link))
    });
    assert_eq!(losses(), 1);
}

#[test]
fn auto_follows_links_as_they_come_and_keeps_their_names() {
    let helper = Helper::with(Setup { links: vec![], ..Setup::default() });
    let client = helper.client();
    client.on_link("").unwrap();
    helper.kernel.set_links(vec![wireguard("wg0")]);
    helper.wait_until("wg0 is clamped", || helper.clamped() == ["wg0"]);
    helper.kernel.set_links(vec![Link { routes: Routes::default(), ..wireguard("wg1") }]);
    assert_eq!(helper.clamped(), ["wg0"], "wg0 is expected back, and wg1 is not in use");
}

#[test]
fn without_a_service_manager_links_are_followed_too() {
    let manager = Manager { is_there: false, ..Manager::default() };
    let helper = Helper::with(Setup { links: vec![], manager, ..Setup::default() });
    helper.client().on_link("").unwrap();
    helper.kernel.set_links(vec![wireguard("wg0")]);
    helper.wait_until("wg0 is clamped", || helper.clamped() == ["wg0"]);
}

#[test]
fn removed_rules_are_restored_within_a_second() {
    let helper = Helper::start();
    let client = helper.client();
    client.on_link("wg0").unwrap();
    let removed = Instant::now();
    helper.kernel.remove_table();
    helper.wait_until("they are back", || helper.clamped() == ["wg0"]);
    assert!(removed.elapsed() < Duration::from_secs(1));
    let log = helper.log_text();
    assert!(log.contains("event=rules-removed program=nft pid=4711"), "{log}");
}

#[test]
fn a_fight_over_the_rules_is_reported_and_slows_down() {
    let helper = Helper::start();
    let client = helper.client();
    client.on_link("wg0").unwrap();
    for _ in 0..5 {
        helper.kernel.remove_table();
        helper.wait_until("they are back", || helper.clamped() == ["wg0"]);
    }
    assert_eq!(state_of(&client, "wg0"), ClampState::Contested);
    let times = helper.kernel.times_applied();
    helper.kernel.remove_table();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(helper.kernel.times_applied(), times, "the next time is later");
}

#[test]
fn lost_events_are_made_up_for_by_looking_again() {
    let helper = Helper::start();
    let client = helper.client();
    client.on_link("wg0").unwrap();
    helper.kernel.remove_table();
    helper.kernel.report(&Event::Overrun);
    helper.wait_until("they are back", || helper.clamped() == ["wg0"]);
}

#[test]
fn a_burst_of_events_costs_a_few_reads() {
    let helper = Helper::start();
    helper.client().on_link("").unwrap();
    let times = helper.kernel.times_applied();
    for number in 0..500 {
        helper.kernel.set_links(vec![wireguard(&format!("wg{}", number % 100))]);
    }
    helper.wait_until("the last one is clamped", || helper.clamped().contains(&"wg99".to_owned()));
    assert!(helper.kernel.times_applied() - times < 100, "{}", helper.kernel.times_applied() - times);
}

#[test]
fn a_restart_brings_back_what_was_on() {
    let mut helper = Helper::start();
    let client = helper.client();
    client.on_link("wg0").unwrap();
    client.on_link("").unwrap();
    helper.stop().unwrap();
    helper.start_again();
    let status = helper.client().status();
    assert!(status.auto);
    assert_eq!(status.clamps.iter().map(|clamp| clamp.link.as_str()).collect::<Vec<_>>(), ["wg0", "wg1"]);
    assert_eq!(helper.clamped(), ["wg0", "wg1"]);
}

#[test]
fn a_helper_that_a_service_manager_stops_leaves_its_table_and_the_next_one_is_ready_with_it() {
    let mut helper = Helper::start();
    helper.client().on_link("wg0").unwrap();
    // The decision between stop and restart comes after the end of the process.
    helper.stop().unwrap();
    assert_eq!(helper.clamped(), ["wg0"]);
    let applied = helper.kernel.times_applied();
    let before = helper.manager.notifications.lock().unwrap().len();
    helper.start_again();
    assert_eq!(helper.manager.notifications.lock().unwrap()[before], NotifyState::Ready.to_string());
    helper.bus.stop();
    helper.wait_for_end().unwrap_err();
    assert_eq!((helper.clamped(), helper.kernel.times_applied()), (vec!["wg0".to_owned()], applied));
}

#[test]
fn a_reboot_brings_back_what_was_kept() {
    let mut helper = Helper::start();
    let client = helper.client();
    client.on_with("wg0", kept()).unwrap();
    client.on_link("wg1").unwrap();
    helper.stop().unwrap();
    fs::remove_file(helper.state_dirs.runtime.join(FILE)).unwrap();
    helper.kernel.remove_table();
    helper.start_again();
    assert_eq!(helper.clamped(), ["wg0"]);
}

#[test]
fn a_broken_state_file_is_logged_and_ignored() {
    let helper = Helper::with(Setup { state: Some("{\"version\":1,\"auto\""), ..Setup::default() });
    assert!(helper.log_text().contains("event=state-ignored"), "{}", helper.log_text());
    assert_eq!(helper.client().on_link("wg0"), Ok(true));
    let file = helper.state_dirs.runtime.join(FILE);
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn there_are_never_more_clamps_than_the_contract_allows() {
    let helper = Helper::start();
    let client = helper.client();
    for number in 0..names::MAX_CLAMPS {
        client.on_link(&format!("wg{number}")).unwrap();
    }
    assert_eq!(kind(client.on_link("wg-more")), ErrorKind::TooManyClamps);
    assert_eq!(client.status().clamps.len(), names::MAX_CLAMPS);
}

#[test]
fn an_idle_helper_exits_and_one_with_clamps_stays() {
    let idle_timeout = Duration::from_millis(200);
    let mut helper = Helper::with(Setup { idle_timeout, ..Setup::default() });
    let client = helper.client();
    client.on_link("wg0").unwrap();
    thread::sleep(idle_timeout * 3);
    assert!(helper.is_running());
    client.off("wg0").unwrap();
    assert_eq!(helper.wait_for_end().unwrap(), ExitReason::Unused);
}

/// Calls a method without arguments half the idle timeout after the caller's first call. Returns
/// how long the helper stayed after that; `None` if it had left before.
fn stays_after(interface: &str, method: &str, idle_timeout: Duration) -> Option<Duration> {
    let mut helper = Helper::with(Setup { idle_timeout, ..Setup::default() });
    let connection = helper.bus.connect();
    let call = |interface: &str, method: &str| {
        let called = connection.call_method(Some(names::BUS_NAME), names::OBJECT_PATH, Some(interface), method, &());
        zruntime::block_on(called)
    };
    // The bus is asked about a new caller, so only later calls show what a call of this kind does.
    call("org.freedesktop.DBus.Peer", "Ping").ok()?;
    thread::sleep(idle_timeout / 2);
    let called = Instant::now();
    match call(interface, method) {
        Err(zbus::Error::MethodError(name, ..)) if name.as_str() == "org.freedesktop.DBus.Error.ServiceUnknown" => {
            return None;
        }
        // An error is an answer as well.
        _ => assert_eq!(helper.wait_for_end().unwrap(), ExitReason::Unused),
    }
    Some(called.elapsed())
}

#[test]
fn a_call_of_any_kind_keeps_an_unused_helper_for_the_idle_timeout() {
    let idle_timeout = Duration::from_secs(1);
    let calls = [
        ("org.freedesktop.DBus.Peer", "Ping"),
        ("org.freedesktop.DBus.Peer", "GetMachineId"),
        ("org.freedesktop.DBus.Introspectable", "Introspect"),
        ("org.freedesktop.DBus.Properties", "GetAll"),
        (names::INTERFACE, "GetStatus"),
        (names::INTERFACE, "NoSuchMethod"),
        (names::INTERFACE, "Reset"),
    ];
    thread::scope(|scope| {
        for (interface, method) in calls {
            scope.spawn(move || {
                // On a slow machine the helper may leave before the second call.
                let stayed = (0..10).find_map(|_| stays_after(interface, method, idle_timeout)).expect(method);
                assert!(stayed >= idle_timeout, "{method}: it left after {stayed:?}");
            });
        }
    });
}

#[test]
fn a_call_that_arrives_while_it_leaves_is_answered() {
    let idle_timeout = Duration::from_millis(60);
    for after in [50, 55, 58, 60, 62, 65, 70, 80, 100] {
        let mut helper = Helper::with(Setup { idle_timeout, ..Setup::default() });
        let client = helper.client();
        // On a slow machine it may have left already.
        drop(zruntime::block_on(client.helper.get_status()));
        thread::sleep(Duration::from_millis(after));
        match zruntime::block_on(client.helper.clamp_on("wg0", std::collections::HashMap::new())) {
            Ok(changed) => assert!(changed && helper.is_running() && helper.clamped() == ["wg0"]),
            // This bus has no activation. Elsewhere the missing name would start a new helper.
            Err(zbus::Error::FDO(error)) if matches!(*error, zbus::fdo::Error::ServiceUnknown(_)) => {}
            Err(error) => assert_eq!(ours(&error).kind(), ErrorKind::ShuttingDown),
        }
        if helper.kernel.table().is_none() {
            assert_eq!(helper.wait_for_end().unwrap(), ExitReason::Unused);
        }
    }
}

#[test]
fn a_lost_bus_ends_the_helper_with_an_error_and_leaves_the_rules() {
    let mut helper = Helper::start();
    helper.client().on_link("wg0").unwrap();
    helper.bus.stop();
    assert_eq!(helper.wait_for_end().unwrap_err().exit, Exit::BusLost);
    assert_eq!(helper.clamped(), ["wg0"]);
}

#[test]
fn a_second_helper_gets_no_name_and_leaves_the_rules_alone() {
    let helper = Helper::start();
    helper.client().on_link("wg0").unwrap();
    let times = helper.kernel.times_applied();
    assert_eq!(helper.run_another().unwrap_err().exit, Exit::NameTaken);
    assert_eq!((helper.clamped(), helper.kernel.times_applied()), (vec!["wg0".to_owned()], times));
}
