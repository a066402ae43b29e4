//! Limits for each person: a user together with the subordinate users of `/etc/subuid`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use airpods_lab::polkit::{AnswerMode, Recorded};
use airpods_lab::raw_bus::{RawConnection, flags, kind};
use airpods_lab::{BusDaemon, Place, Sandbox, connect_as, eventually_within, on_both_buses};
use zbus::Connection;
use zbus::connection::Builder;

use crate::host::{ALICE, BOB, Host, clamp_off, clamp_on};

/// The first of alice's subordinate uids in a sandbox, and the number used here.
const FIRST: u32 = 100_000;
const USERS: u32 = 130;

/// System users that every Debian has. Each counts as a person.
const OTHERS: [u32; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 33];
/// The most prompts that may be open at once, for all persons together.
const PROMPTS: usize = 8;

/// Refusals of each of those users, and the most log lines for one person in half a minute
/// (`helper/src/bus/log_limit.rs`).
const REFUSALS: usize = 20;
const LINES: usize = 100;
const PERIOD: Duration = Duration::from_secs(30);

const WAIT: Duration = Duration::from_secs(60);

/// Adds accounts, because dbus-daemon serves no user without one. A container's users may have one,
/// as those of systemd-nspawn do.
fn give_accounts(sandbox: &Sandbox) {
    let mut accounts = sandbox.read_file("/etc/passwd").unwrap();
    for uid in FIRST..FIRST + USERS {
        writeln!(accounts, "sub{uid}:x:{uid}:65534::/:/usr/sbin/nologin").unwrap();
    }
    sandbox.write_file("/etc/passwd", accounts).unwrap();
}

/// A stand-in for polkit that asks everybody but root for a password, and whose prompts never end.
struct Polkit {
    recorded: Recorded,
    _connection: Connection,
}

impl Polkit {
    fn start(sandbox: &Sandbox) -> Self {
        // The bus grants the name only to polkitd's own user.
        let user = sandbox.sh("id -u polkitd").unwrap().parse().unwrap();
        let stream = connect_as(user, &sandbox.path("/run/dbus/system_bus_socket")).unwrap();
        zruntime::block_on(async {
            let connection = Builder::unix_stream(stream).user_id(user).build().await.unwrap();
            let recorded = Recorded::serve(&connection, AnswerMode::HangsAtPrompt).await.unwrap();
            Self { recorded, _connection: connection }
        })
    }

    fn open(&self) -> usize {
        self.recorded.so_far().prompts.len()
    }

    fn most(&self) -> usize {
        self.recorded.so_far().most_prompts
    }
}

fn host(bus: BusDaemon) -> (Host, Polkit) {
    let mut host = Host::prepared(bus, |sandbox| {
        if bus == BusDaemon::DbusDaemon {
            give_accounts(sandbox);
        }
    });
    // Set a clamp, because the helper does not exit while there is one.
    host.change(&clamp_on("wg9"));
    let polkit = Polkit::start(&host.sandbox);
    (host, polkit)
}

/// Sends a call that needs a password and allows a prompt.
fn ask(host: &Host, user: u32) -> RawConnection {
    let mut connection = host.enter(user);
    connection.send(&clamp_on("wg0").with_flags(flags::ALLOW_INTERACTIVE_AUTHORIZATION)).unwrap();
    connection
}

/// The names of the errors of callers refused so far. Those at a prompt have no answer.
fn refusals(askers: &mut [RawConnection]) -> Vec<String> {
    let mut refused = Vec::new();
    for asker in askers {
        asker.stream().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while let Ok(received) = asker.receive() {
            refused.extend(received.error);
        }
    }
    refused
}

on_both_buses! {
    fn the_users_of_one_person_have_one_prompt_among_them(bus: BusDaemon) {
        let (mut host, polkit) = host(bus);
        let mut askers: Vec<_> = (FIRST..FIRST + USERS).map(|user| ask(&host, user)).collect();
        let mut refused = Vec::new();
        eventually_within(WAIT, "all but one are refused", || {
            refused.extend(refusals(&mut askers));
            refused.len() == USERS as usize - 1
        });
        let known = ["org.airpods.Helper1.Error.Busy", "org.freedesktop.DBus.Error.LimitsExceeded"];
        assert!(refused.iter().all(|name| known.contains(&name.as_str())), "{refused:?}");
        assert_eq!((polkit.most(), polkit.open()), (1, 1));
        let _alice = ask(&host, ALICE);
        let _bob = ask(&host, BOB);
        eventually_within(WAIT, "bob's prompt", || polkit.open() == 2);
        host.change(&clamp_on("wg0"));
        drop(askers);
        host.assert_same_helper_serves("the users of one person");
    }

    fn no_more_than_eight_prompts_are_open_at_once(bus: BusDaemon) {
        let (mut host, polkit) = host(bus);
        let mut askers: Vec<_> = OTHERS.iter().map(|user| ask(&host, *user)).collect();
        let mut refused = Vec::new();
        eventually_within(WAIT, "those beyond the eighth are refused", || {
            refused.extend(refusals(&mut askers));
            refused.len() == OTHERS.len() - PROMPTS
        });
        assert_eq!((polkit.most(), polkit.open()), (PROMPTS, PROMPTS), "{refused:?}");
        assert!(refused.iter().all(|name| name == "org.airpods.Helper1.Error.Busy"), "{refused:?}");
        host.change(&clamp_on("wg8"));
        drop(askers);
        eventually_within(WAIT, "the prompts of those who left are closed", || polkit.open() == 0);
        let _alice = ask(&host, ALICE);
        eventually_within(WAIT, "alice's prompt", || polkit.open() == 1);
        host.assert_same_helper_serves("many prompts");
    }

    fn the_users_of_one_person_share_one_share_of_the_log(bus: BusDaemon) {
        let (mut host, _polkit) = host(bus);
        let start = Instant::now();
        for user in FIRST..FIRST + USERS {
            let mut connection = host.enter(user);
            for _ in 0..REFUSALS {
                let answer = connection.call(&clamp_off("no such name!")).unwrap();
                assert_eq!(answer.kind, kind::ERROR, "{answer:?}");
            }
        }
        assert!(host.enter(BOB).call(&clamp_off("bobs name!")).unwrap().error.is_some());
        host.assert_same_helper_serves("the refusals");
        let periods = usize::try_from(start.elapsed().as_secs() / PERIOD.as_secs() + 1).unwrap();
        eventually_within(WAIT, "bob's line", || host.sandbox.logs().contains("bobs name!"));
        let lines = host.sandbox.logs().lines().filter(|line| line.contains("no such name!")).count();
        println!("{lines} lines of {}", USERS as usize * REFUSALS);
        assert!((1..=LINES * periods).contains(&lines), "{lines} lines in {:?}", start.elapsed());
    }
}
