//! The reconciler over a simulated kernel.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use airpods_dbus::{ClampOptions, ClampState, LinkKind, PathMtu};
use tempfile::TempDir;

use super::*;
use crate::authority::{Caller, PromptMode, Question, authorise};
use crate::doubles::{LinesKept, Recording, Refusal, Simulated};
use crate::kernel::Event;
use crate::state::FILE;

mod files;
mod repair;

struct Fixture {
    reconciler: Reconciler,
    kernel: Simulated,
    lines: LinesKept,
    _folder: TempDir,
}

fn fixture() -> Fixture {
    let folder = TempDir::new().unwrap();
    let state_dirs = StateDirs { runtime: folder.path().to_owned(), persistent: folder.path().join("lib") };
    std::fs::create_dir(&state_dirs.persistent).unwrap();
    let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
    let link = Link { name: name("wg0"), kind, mtu: 1420, up: true, routes: Routes { any: true, mtu: None } };
    let kernel = Simulated::with_links(vec![link]);
    let (log, lines) = LinesKept::log();
    let mut reconciler = Reconciler::new(Box::new(kernel.clone()), state_dirs, log);
    reconciler.reconcile(&[], Instant::now());
    Fixture { reconciler, kernel, lines, _folder: folder }
}

fn name(text: &str) -> LinkName {
    LinkName::parse(text).unwrap()
}

fn on(link: &str) -> Request {
    Request::ClampOn(Target::parse(link).unwrap(), ClampOptions::default())
}

/// A change of the rules by an nft with this process number.
fn by_nft(pid: u32) -> Event {
    Event::Rules { pid, program: "nft".to_owned() }
}

/// A permit, made by the only function that makes one.
fn permit(request: &Request, kept_now: bool) -> Permit {
    let caller = Caller { name: ":1.7".try_into().unwrap(), uid: 1000 };
    let question = Question::about(caller, request.clone(), kept_now, false);
    zruntime::block_on(authorise(&Recording::allowing(), &question, PromptMode::Forbidden, |_| ())).unwrap()
}

impl Fixture {
    fn commit(&mut self, request: &Request) -> Result<bool, Error> {
        let permit = permit(request, self.reconciler.affects_kept(request));
        self.commit_permitted(permit)
    }

    fn kept_after(&self, permit: &Permit) -> Result<Option<StateText>, Error> {
        let disk = zruntime::lock::Mutex::new(false);
        self.reconciler.kept_after(permit, &zruntime::block_on(disk.lock()))
    }

    fn kept_names(&self) -> Option<StateText> {
        let disk = zruntime::lock::Mutex::new(false);
        self.reconciler.kept_names(&zruntime::block_on(disk.lock()))
    }

    /// Does the work of `Service::decide`: the persistent file is written before the commit.
    fn commit_permitted(&mut self, permit: Permit) -> Result<bool, Error> {
        let concerns_kept = self.reconciler.concerns_kept(permit.request());
        let text = if concerns_kept { self.kept_after(&permit)? } else { None };
        let former = text.map(StateText::write).transpose().map_err(not_kept)?.flatten();
        let is_written = former.is_some();
        let committed = self.reconciler.commit(permit);
        if let (Err(_), Some(former)) = (&committed, former) {
            former.write().unwrap();
        }
        Ok(committed? || is_written)
    }
}

#[test]
fn considering_changes_nothing() {
    let mut fixture = fixture();
    assert!(fixture.reconciler.consider(&on("wg0")).unwrap());
    assert_eq!((fixture.kernel.table(), fixture.kernel.times_applied()), (None, 0));
}

#[test]
fn any_link_is_left_out_where_the_link_is_a_vpn_link_and_kept_where_it_may_be_another() {
    let mut fixture = fixture();
    let any = |link: &str, any_link| {
        Request::ClampOn(Target::parse(link).unwrap(), ClampOptions { any_link, ..ClampOptions::default() })
    };
    assert_eq!(fixture.reconciler.narrowed(any("wg0", true)).unwrap(), any("wg0", false));
    assert_eq!(fixture.reconciler.narrowed(any("not-there", true)).unwrap(), any("not-there", true));
    assert_eq!(fixture.reconciler.narrowed(Request::Reset).unwrap(), Request::Reset);
}

#[test]
fn a_link_that_became_no_vpn_while_polkit_was_asked_is_refused_at_the_commit() {
    let mut fixture = fixture();
    assert!(fixture.reconciler.consider(&on("wg0")).unwrap());
    let kind = LinkKind { info_kind: "bridge".to_owned(), tun_type: None, hardware: 1 };
    fixture.kernel.set_links(vec![Link {
        name: name("wg0"),
        kind,
        mtu: 1500,
        up: true,
        routes: Routes { any: true, mtu: None },
    }]);
    assert_eq!(fixture.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::NotVpnLink);
    assert_eq!(fixture.kernel.table(), None);
}

#[test]
fn missing_rules_turn_a_repeated_request_into_a_change() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    assert!(!fixture.reconciler.consider(&on("wg0")).unwrap());
    fixture.kernel.remove_table();
    assert!(fixture.reconciler.consider(&on("wg0")).unwrap());
    assert!(fixture.commit(&on("wg0")).unwrap());
    assert!(!fixture.commit(&on("wg0")).unwrap(), "nothing is missing any more");
}

#[test]
fn no_route_is_read_before_a_caller_is_authorised_nor_for_a_status() {
    let mut fixture = fixture();
    fixture.commit(&on("")).unwrap();
    let before = fixture.kernel.times_routes_read();
    for request in [on("wg1"), on("wg0"), on(""), Request::Reset, Request::ClampOff(Target::Auto)] {
        fixture.reconciler.consider(&request).unwrap();
    }
    fixture.reconciler.status(Instant::now()).unwrap();
    assert_eq!(fixture.kernel.times_routes_read(), before);
    fixture.commit(&on("wg0")).unwrap();
    assert!(fixture.kernel.times_routes_read() > before, "the premise");
}

#[test]
fn a_change_reads_the_table_no_more_than_it_takes() {
    let mut fixture = fixture();
    let before = fixture.kernel.times_read();
    assert!(fixture.reconciler.consider(&on("wg0")).unwrap());
    fixture.commit(&on("wg0")).unwrap();
    assert_eq!(fixture.kernel.times_read() - before, 0, "beyond what the change itself reads, before and after");
}

#[test]
fn the_mtu_of_the_routes_is_reported_where_it_is_below_the_links() {
    let mut fixture = fixture();
    let link = fixture.kernel.links(&|_| true).unwrap().named.remove(0);
    for (set, expected) in [(Some(1400), Some(1400)), (Some(1420), None), (Some(9000), None), (None, None)] {
        fixture.kernel.set_links(vec![Link { routes: Routes { any: true, mtu: set }, ..link.clone() }]);
        fixture.commit(&on("")).unwrap();
        fixture.reconciler.reconcile(&[Event::Network], Instant::now());
        assert_eq!(fixture.reconciler.status(Instant::now()).unwrap().clamps[0].route_mtu, expected, "{set:?}");
    }
}

#[test]
fn auto_clamps_every_link_to_the_path_mtu_that_it_was_given() {
    let mut fixture = fixture();
    let fixed = ClampOptions { mtu: Some(PathMtu::new(1300).unwrap()), ..ClampOptions::default() };
    fixture.commit(&Request::ClampOn(Target::Auto, fixed)).unwrap();
    assert_eq!(fixture.kernel.table().unwrap().fixed, [(name("wg0"), PathMtu::new(1300).unwrap())].into());
    let status = fixture.reconciler.status(Instant::now()).unwrap();
    assert_eq!((status.auto_mtu, status.clamps[0].mtu), (Some(1300), Some(1300)));
}

#[test]
fn links_that_cannot_be_clamped_are_reported_and_logged_once() {
    let mut fixture = fixture();
    let link = Unclampable { link: "wg*".to_owned(), reason: "its name ends in an asterisk".to_owned() };
    fixture.commit(&on("")).unwrap();
    fixture.kernel.set_unclampable(vec![link.clone()]);
    for _ in 0..2 {
        fixture.reconciler.reconcile(&[Event::Network], Instant::now());
    }
    assert_eq!(fixture.reconciler.status(Instant::now()).unwrap().unclampable, [link]);
    let logged = fixture.lines.all().iter().filter(|line| line.event() == "link-not-clampable").count();
    assert_eq!(logged, 1);
}

#[test]
fn a_reconciler_is_idle_until_something_is_asked_for_and_again_when_all_is_dropped() {
    let mut fixture = fixture();
    assert!(fixture.reconciler.is_idle());
    fixture.commit(&on("wg0")).unwrap();
    assert!(!fixture.reconciler.is_idle());
    fixture.commit(&Request::Reset).unwrap();
    assert!(fixture.reconciler.is_idle());
}

#[test]
fn a_reconciler_that_has_withdrawn_changes_nothing_any_more() {
    let mut fixture = fixture();
    assert!(!fixture.reconciler.is_leaving());
    fixture.reconciler.leave();
    assert!(fixture.reconciler.is_leaving());
    assert_eq!(fixture.reconciler.consider(&on("wg0")).unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert_eq!(fixture.commit(&on("wg0")).unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert!(fixture.reconciler.status(Instant::now()).is_ok(), "reading is still possible");
}

#[test]
fn a_reconciler_that_withdraws_leaves_no_state_to_the_next_one() {
    let mut fixture = fixture();
    fixture.commit(&on("wg0")).unwrap();
    assert!(fixture.reconciler.state_dirs.runtime.join(FILE).exists());
    fixture.reconciler.leave();
    fixture.reconciler.withdraw();
    assert_eq!(fixture.kernel.table(), None);
    assert!(!fixture.reconciler.state_dirs.runtime.join(FILE).exists());
    let status = fixture.reconciler.status(Instant::now()).unwrap();
    assert_eq!(status.clamps.len(), 0, "and says so");
}
