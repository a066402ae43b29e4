//! Callers that flood the helper: its memory stays bounded, and it answers others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use airpods_lab::{Place, Sandbox, connect_as, eventually_within};
use zbus::connection::Builder;
use zbus::message::Flags;
use zbus::{Connection, Message, Variant};

const NAME: &str = "org.airpods.Helper1";
const OBJECT: &str = "/org/airpods/Helper1";

const CLIENTS: usize = 20;
const CALLS: usize = 10_000;

/// Upper bound on the helper's growth by all those calls, in KiB. It includes 256 clamps, from none
/// before.
const GROWTH: u64 = 32 * 1024;

fn host() -> Sandbox {
    let sandbox = Sandbox::new().unwrap();
    sandbox.install_helper().unwrap();
    sandbox.start_bus().unwrap();
    sandbox.sh("ip tuntap add mode tun name wg0; ip link set wg0 mtu 1380 up").unwrap();
    sandbox
}

fn connect(sandbox: &Sandbox) -> Connection {
    let address = format!("unix:path={}", sandbox.path("/run/dbus/system_bus_socket").display());
    zruntime::block_on(Builder::address(address.as_str()).build()).unwrap()
}

/// Sends a call that expects no answer.
fn send(connection: &Connection, link: &str) {
    let call = Message::method_call(OBJECT, "ClampOn").destination(NAME).interface(NAME);
    let call = call.with_flags(Flags::NO_REPLY_EXPECTED).build(&(link, HashMap::<String, Variant<'_>>::new())).unwrap();
    zruntime::block_on(connection.send(&call)).unwrap();
}

/// A number of kibibytes from the helper's status in /proc.
fn kibibytes(sandbox: &Sandbox, field: &str) -> u64 {
    let status = sandbox.sh("cat /proc/$(pgrep -x airpods-helper)/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{field}: {status}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn status_for_alice(sandbox: &Sandbox) -> bool {
    sandbox.as_user("alice").sh("airpods net clamp status --json").unwrap().contains("\"version\"")
}

#[test]
fn ten_thousand_calls_by_many_clients_leave_the_helper_small_and_others_served() {
    let host = host();
    assert!(status_for_alice(&host));
    let before = kibibytes(&host, "VmRSS");
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let host = &host;
            scope.spawn(move || {
                let connection = connect(host);
                for call in 0..CALLS / CLIENTS {
                    send(&connection, &format!("wg{client}-{call}"));
                }
                // The helper reads in order, so any answer to this call shows that it has read all
                // of them.
                let last = connection.call_method(Some(NAME), OBJECT, Some(NAME), "GetStatus", &());
                let answer = zruntime::block_on(last);
                let answered = matches!(answer, Ok(_) | Err(zbus::Error::MethodError(..) | zbus::Error::FDO(_)));
                assert!(answered, "{answer:?}");
            });
        }
        assert!(status_for_alice(&host), "in the middle of it");
    });
    assert!(status_for_alice(&host));
    let peak = kibibytes(&host, "VmHWM");
    assert!(peak < before + GROWTH, "{before} KiB before, {peak} KiB at the peak");
}

const ALICE: u32 = 1000;
const BOB: u32 = 1001;

/// The number of routes. The helper reads all of them for each status while auto is on.
const ROUTES: usize = 20_000;
/// Far more calls than the quotas admit, from enough connections to use up a user's quota.
const READS: usize = 20_000;
const READERS: usize = 6;

/// Time limit for another user's call meanwhile, even on a busy machine. It takes 0.3 s. It took
/// half a minute while the helper made a snapshot for each of those calls.
const MEANWHILE: Duration = Duration::from_secs(10);

fn connect_user(sandbox: &Sandbox, user: u32) -> Connection {
    let stream = connect_as(user, &sandbox.path("/run/dbus/system_bus_socket")).unwrap();
    zruntime::block_on(Builder::unix_stream(stream).user_id(user).build()).unwrap()
}

/// Requests the status without waiting, alternately with and without expecting an answer. The bus
/// allows 128 pending answers for each connection. When this returns, the bus has passed all calls
/// on, so later calls are queued behind them.
fn flood_with_reads(connections: &[Connection]) {
    for number in 0..READS {
        let call = Message::method_call(OBJECT, "GetStatus").destination(NAME).interface(NAME);
        let call = if number % 2 == 0 { call } else { call.with_flags(Flags::NO_REPLY_EXPECTED) };
        zruntime::block_on(connections[number % READERS].send(&call.build(&()).unwrap())).unwrap();
    }
    for connection in connections {
        let (bus, path) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
        zruntime::block_on(connection.call_method(Some(bus), path, Some(bus), "GetId", &())).unwrap();
    }
}

/// Runs a call and returns its duration.
fn timed(call: impl Future<Output = zbus::Result<Message>>) -> Duration {
    let start = Instant::now();
    zruntime::block_on(call).unwrap();
    start.elapsed()
}

fn read(connection: &Connection) -> Duration {
    timed(connection.call_method(Some(NAME), OBJECT, Some(NAME), "GetStatus", &()))
}

fn clamp(connection: &Connection, link: &str) -> Duration {
    let body = (link, HashMap::<&str, Variant<'_>>::new());
    timed(connection.call_method(Some(NAME), OBJECT, Some(NAME), "ClampOn", &body))
}

#[test]
fn a_flood_of_reads_keeps_neither_others_calls_nor_reactions_to_links_waiting() {
    let host = host();
    let last = ROUTES - 1;
    let route = "print \"route add 172.16.\" int($1 / 256) \".\" $1 % 256 \"/32 dev wg0\"";
    host.sh(&format!("ip addr add 10.8.0.1/24 dev wg0; seq 0 {last} | awk '{{ {route} }}' | ip -batch -")).unwrap();
    let (alice, root) = (connect_user(&host, ALICE), connect(&host));
    let readers: Vec<_> = (0..READERS).map(|_| connect_user(&host, BOB)).collect();
    clamp(&root, "");
    let alone = read(&alice);
    let before = kibibytes(&host, "VmRSS");

    flood_with_reads(&readers);
    let told = read(&alice);
    flood_with_reads(&readers);
    let change = clamp(&root, "wg7");
    flood_with_reads(&readers);
    let start = Instant::now();
    host.sh("ip tuntap add mode tun name tun7; ip link set tun7 up; ip addr add 10.9.0.1/24 dev tun7").unwrap();
    eventually_within(MEANWHILE, "the clamp on the link that came", || {
        host.sh("nft list set inet airpods links").unwrap().contains("\"tun7\"")
    });
    let reaction = start.elapsed();

    println!("a status: {alone:?} alone, {told:?} in a flood of them; a change: {change:?}; a link: {reaction:?}");
    assert!(told < MEANWHILE && change < MEANWHILE, "{told:?}, {change:?}");
    let peak = kibibytes(&host, "VmHWM");
    assert!(peak < before + GROWTH, "{before} KiB before, {peak} KiB at the peak");
}

/// The size of a body in bytes: nearly the longest message that the bus allows.
const LARGEST: usize = 31 * 1024 * 1024;
const LARGEST_CALLS: usize = 12;

/// Upper bound on the helper's growth by any number of calls of that length, in KiB.
const GROWTH_BY_LENGTH: u64 = 2 * 1024;

/// The error of a call with this body.
fn refusal(connection: &Connection, body: &str) -> String {
    let call = connection.call_method(Some(NAME), OBJECT, Some(NAME), "ClampOff", &body);
    zruntime::block_on(call).unwrap_err().to_string()
}

#[test]
fn the_largest_calls_that_the_bus_lets_through_are_refused_and_not_held() {
    let host = host();
    assert!(status_for_alice(&host));
    let before = kibibytes(&host, "VmHWM");
    let body = "x".repeat(LARGEST);
    thread::scope(|scope| {
        for _ in 0..LARGEST_CALLS {
            let (host, body) = (&host, &body);
            scope.spawn(move || {
                let told = refusal(&connect(host), body);
                assert!(told.starts_with("org.freedesktop.DBus.Error.LimitsExceeded:"), "{told}");
            });
        }
    });
    // Unsolicited signals reach the helper as well, and it must not keep them either.
    let connection = connect(&host);
    let signal = Message::signal(OBJECT, NAME, "Large").destination(NAME).build(&body).unwrap();
    zruntime::block_on(connection.send(&signal)).unwrap();
    assert!(status_for_alice(&host));
    let peak = kibibytes(&host, "VmHWM");
    assert!(peak < before + GROWTH_BY_LENGTH, "{before} KiB before, {peak} KiB at the peak");
}
