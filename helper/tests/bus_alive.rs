//! Watchdog notifications to the service manager, and the stop of a helper.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use airpods_dbus::{ErrorKind, LinkName, names};
use airpods_helper::daemon::ExitReason;
use airpods_helper::doubles::Recording;
use airpods_helper::doubles::Unsupported;
use airpods_helper::doubles::{Refusal, Simulated};
use airpods_helper::kernel::{Applied, Events, Kernel, KernelError, Link, Links, Ruleset, TableState};
use private_bus::*;
use sd_notify::NotifyState;
use zbus::Message;
use zbus::message::{Flags, Type};

const WATCHDOG: Duration = Duration::from_millis(200);

fn watched() -> Manager {
    Manager { watchdog: Some(WATCHDOG), ..Manager::default() }
}

fn signs(helper: &Helper) -> usize {
    helper.manager.times_notified(&NotifyState::Watchdog)
}

/// A kernel that does not answer while it is stuck.
struct StuckKernel {
    kernel: Simulated,
    is_stuck: Arc<AtomicBool>,
}

impl Kernel for StuckKernel {
    fn links(&mut self, routes_of: &dyn Fn(&Link) -> bool) -> Result<Links, KernelError> {
        while self.is_stuck.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        self.kernel.links(routes_of)
    }

    fn link(&mut self, name: &LinkName) -> Result<Option<Link>, KernelError> {
        self.kernel.link(name)
    }

    fn apply(&mut self, wanted: &Ruleset) -> Result<Applied, KernelError> {
        self.kernel.apply(wanted)
    }

    fn read_table(&mut self) -> Result<Option<TableState>, KernelError> {
        self.kernel.read_table()
    }

    fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        self.kernel.events()
    }
}

/// Unblocks the kernel when dropped, so that the helper can end with its test.
struct Free(Arc<AtomicBool>);

impl Drop for Free {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_helper_whose_kernel_does_not_answer_gives_no_sign_of_life_until_it_does() {
    let is_stuck = Arc::new(AtomicBool::new(false));
    let stuck = Arc::clone(&is_stuck);
    let view = Box::new(|kernel| -> Box<dyn Kernel> { Box::new(StuckKernel { kernel, is_stuck: stuck }) });
    let helper = Helper::with(Setup { manager: watched(), view, ..Setup::default() });
    let free = Free(Arc::clone(&is_stuck));
    helper.wait_until("signs of life", || signs(&helper) >= 3);
    is_stuck.store(true, Ordering::Relaxed);
    // One look at the kernel may have ended just before.
    thread::sleep(WATCHDOG);
    let before = signs(&helper);
    thread::sleep(WATCHDOG * 3);
    assert_eq!(signs(&helper), before);
    drop(free);
    helper.wait_until("signs of life again", || signs(&helper) > before);
}

#[test]
fn a_helper_with_nothing_to_do_gives_two_signs_of_life_per_watchdog_timeout() {
    let timeout = Duration::from_secs(2);
    let manager = Manager { watchdog: Some(timeout), ..Manager::default() };
    let helper = Helper::with(Setup { manager, ..Setup::default() });
    let begun = Instant::now();
    helper.wait_until("signs of life", || signs(&helper) >= 3);
    // With one sign per timeout the third would come after two timeouts.
    assert!(begun.elapsed() < timeout * 2, "{:?}", begun.elapsed());
}

#[test]
fn a_helper_that_cannot_watch_its_kernel_gives_signs_of_life() {
    let view = Box::new(|_| -> Box<dyn Kernel> { Box::new(Unsupported { piece: "nf_tables".to_owned() }) });
    let helper = Helper::with(Setup { manager: watched(), view, ..Setup::default() });
    helper.wait_until("signs of life", || signs(&helper) >= 3);
}

#[test]
fn a_journal_that_takes_no_line_keeps_neither_links_nor_calls_nor_signs_of_life_waiting() {
    let helper = Helper::with(Setup { manager: watched(), links: vec![], ..Setup::default() });
    let client = helper.client();
    client.on_link("").unwrap();
    let journal = helper.stop_journal();
    // Each call has a log line, and these are more than the log queue takes (512).
    for _ in 0..600 {
        assert_eq!(kind(client.off("no such name")), ErrorKind::InvalidLinkName);
    }
    let before = signs(&helper);
    helper.kernel.set_links(vec![wireguard("wg0")]);
    helper.wait_until("wg0 is clamped", || helper.clamped() == ["wg0"]);
    helper.wait_until("signs of life", || signs(&helper) >= before + 2);
    assert_eq!(client.status().clamps.len(), 1);
    drop(journal);
    helper.wait_until("the lines that were dropped are counted", || {
        helper.lines.all().iter().any(|line| line.event() == "log-lines-dropped")
    });
}

const KEPT: &str =
    r#"{"version":2,"auto":null,"clamps":{"wg0":{"mtu":null,"persist":true,"any-link":false}},"known":[]}"#;

/// A helper whose first changes the kernel refuses.
fn refused_at_first() -> Helper {
    let view = Box::new(|kernel: Simulated| -> Box<dyn Kernel> {
        kernel.refuse(Some(Refusal::Refused));
        Box::new(kernel)
    });
    Helper::with(Setup { state: Some(KEPT), view, ..Setup::default() })
}

#[test]
fn a_helper_is_ready_as_soon_as_its_rules_are_in_force_though_the_kernel_refused_them_at_first() {
    let helper = refused_at_first();
    assert_eq!(helper.manager.times_notified(&NotifyState::Ready), 0);
    helper.kernel.refuse(None);
    helper.wait_until("it is ready", || helper.manager.times_notified(&NotifyState::Ready) == 1);
    assert_eq!(helper.clamped(), ["wg0"]);
}

#[test]
fn a_helper_with_refused_rules_reports_ready_logs_it_and_retries() {
    let helper = refused_at_first();
    helper.wait_until("it is ready", || helper.manager.times_notified(&NotifyState::Ready) == 1);
    assert!(helper.log_text().contains("event=ready-without-rules"), "{}", helper.log_text());
    helper.kernel.refuse(None);
    helper.wait_until("the rules are in force", || helper.clamped() == ["wg0"]);
    assert_eq!(helper.manager.times_notified(&NotifyState::Ready), 1, "once");
}

#[test]
fn a_helper_without_clamps_is_ready_even_without_nf_tables() {
    let view = Box::new(|_| -> Box<dyn Kernel> { Box::new(Unsupported { piece: "nf_tables".to_owned() }) });
    let helper = Helper::with(Setup { view, ..Setup::default() });
    helper.wait_until("it is ready", || helper.manager.times_notified(&NotifyState::Ready) == 1);
    assert!(!helper.log_text().contains("event=ready-without-rules"), "{}", helper.log_text());
}

#[test]
fn without_a_watchdog_there_is_no_sign_of_life() {
    let helper = Helper::start();
    helper.client().on_link("wg0").unwrap();
    thread::sleep(WATCHDOG * 3);
    assert_eq!(signs(&helper), 0);
}

/// Sends a call that opens a prompt which stays unanswered. Returns the thread that waits for the
/// reply.
fn open_prompt(helper: &Helper) -> thread::JoinHandle<Message> {
    let connection = helper.bus.connect_as(NOBODY);
    let call = Message::method_call(names::OBJECT_PATH, "ClampOn")
        .destination(names::BUS_NAME)
        .interface(names::INTERFACE)
        .with_flags(Flags::ALLOW_INTERACTIVE_AUTH)
        .build(&("wg1", std::collections::HashMap::<String, zbus::Variant<'_>>::new()))
        .unwrap();
    let serial = call.header().primary().serial_num();
    let waiting = thread::spawn(move || {
        zruntime::block_on(async {
            use futures_lite::StreamExt;
            let mut messages = zbus::MessageStream::from(&connection);
            connection.send(&call).await.unwrap();
            loop {
                let message = messages.next().await.unwrap().unwrap();
                if message.header().reply_serial() == Some(serial) {
                    return message;
                }
            }
        })
    });
    helper.wait_for_prompt();
    waiting
}

fn never_answered() -> Recording {
    Recording::prompting(Duration::from_secs(600), Ok(()))
}

#[test]
fn an_open_prompt_does_not_stop_watchdog_notifications() {
    let helper = Helper::with(Setup { manager: watched(), authority: never_answered(), ..Setup::default() });
    let waiting = open_prompt(&helper);
    let before = signs(&helper);
    helper.wait_until("signs of life", || signs(&helper) >= before + 4);
    assert!(!waiting.is_finished(), "the premise: nobody has answered");
    drop(helper);
    waiting.join().unwrap();
}

#[test]
fn a_stop_during_a_prompt_ends_the_helper_at_once_and_informs_the_caller() {
    for is_there in [true, false] {
        let manager = Manager { is_there, ..Manager::default() };
        let mut helper = Helper::with(Setup { manager, authority: never_answered(), ..Setup::default() });
        let waiting = open_prompt(&helper);
        let asked = Instant::now();
        assert_eq!(helper.stop().unwrap(), ExitReason::Stopped);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        let reply = waiting.join().unwrap();
        assert_eq!(reply.message_type(), Type::Error);
        assert_eq!(reply.header().error_name().unwrap().as_str(), ErrorKind::ShuttingDown.name());
        assert_eq!(helper.kernel.table(), None);
        assert_eq!(helper.authority.cancelled(), 1, "the question is taken back");
    }
}
