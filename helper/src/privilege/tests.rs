//! The steps for given rights, tested on values.
#![allow(clippy::unwrap_used)]

use super::*;

const HELPER: Ids = Ids { uid: 990, gid: 980 };
const ALL: u64 = (1 << 41) - 1;

fn root() -> Rights {
    Rights {
        uids: [0; 4],
        gids: [0; 4],
        groups: vec![0, 1],
        inheritable: 0,
        permitted: ALL,
        effective: ALL,
        bounding: ALL,
        ambient: 0,
        no_new_privs: false,
        threads: 1,
    }
}

fn confined() -> Rights {
    Rights {
        uids: [990; 4],
        gids: [980; 4],
        groups: vec![],
        inheritable: 0,
        permitted: NET_ADMIN,
        effective: NET_ADMIN,
        bounding: NET_ADMIN,
        ambient: 0,
        no_new_privs: true,
        threads: 1,
    }
}

#[test]
fn root_goes_down_from_the_bounding_set_to_no_new_privs() {
    let steps = steps(&root(), HELPER).unwrap();
    let place = |doing: &str| steps.iter().position(|step| step.doing.contains(doing)).unwrap();
    assert_eq!(place("bounding"), 0, "needs CAP_SETPCAP, which goes later");
    assert!(place("keep") < place("helper's user"));
    assert!(place("supplementary") < place("helper's group"));
    assert!(place("helper's group") < place("helper's user"));
    assert!(place("effective") < place("permitted"), "nothing is effective that is not permitted");
    assert_eq!(place("no_new_privs"), steps.len() - 1);
}

#[test]
fn from_the_service_managers_capabilities_only_the_ambient_set_is_dropped() {
    let handed = Rights { inheritable: NET_ADMIN, ambient: NET_ADMIN, ..confined() };
    assert!(verify(&handed, HELPER).is_err());
    let steps = steps(&handed, HELPER).unwrap().iter().map(|step| step.doing);
    assert_eq!(steps.collect::<Vec<_>>(), ["clear the ambient set", "clear the inheritable set", "set no_new_privs"]);
}

#[test]
fn an_inheritable_set_that_a_filter_kept_from_being_cleared_is_no_right_too_many() {
    assert!(verify(&Rights { inheritable: NET_ADMIN, ..confined() }, HELPER).is_ok());
    let could_pass_it_on = Rights { inheritable: NET_ADMIN, no_new_privs: false, ..confined() };
    assert!(verify(&could_pass_it_on, HELPER).is_err());
}

#[test]
fn the_helpers_own_rights_pass() {
    assert!(verify(&confined(), HELPER).is_ok());
    assert!(verify(&Rights { groups: vec![980], ..confined() }, HELPER).is_ok());
}

#[test]
fn every_right_too_many_is_refused() {
    let too_many = [
        root(),
        Rights { uids: [990, 990, 0, 990], ..confined() },
        Rights { uids: [0, 990, 990, 990], ..confined() },
        Rights { gids: [980, 980, 980, 0], ..confined() },
        Rights { groups: vec![980, 27], ..confined() },
        Rights { bounding: NET_ADMIN | 1, ..confined() },
        Rights { bounding: NET_ADMIN | (1 << 63), ..confined() },
        Rights { permitted: NET_ADMIN | (1 << 21), ..confined() },
        Rights { effective: NET_ADMIN | 1, ..confined() },
        Rights { inheritable: NET_ADMIN | 1, ..confined() },
        Rights { ambient: NET_ADMIN, ..confined() },
        Rights { no_new_privs: false, ..confined() },
    ];
    for rights in too_many {
        assert!(matches!(verify(&rights, HELPER), Err(PrivilegeError::TooMany(_))), "{rights:?}");
    }
}

#[test]
fn every_right_too_few_is_refused() {
    for rights in [
        Rights { permitted: 0, effective: 0, ..confined() },
        Rights { effective: 0, ..confined() },
        Rights { bounding: 0, ..confined() },
    ] {
        assert!(matches!(verify(&rights, HELPER), Err(PrivilegeError::TooFew(_))), "{rights:?}");
    }
    let poor_root = Rights { permitted: ALL & !NET_ADMIN, ..root() };
    assert!(matches!(steps(&poor_root, HELPER), Err(PrivilegeError::TooFew(_))));
}

#[test]
fn only_root_or_the_helpers_user_may_run_it_and_with_one_thread() {
    assert!(matches!(steps(&Rights { uids: [1000; 4], ..confined() }, HELPER), Err(PrivilegeError::WrongUser(1000))));
    assert!(matches!(
        steps(&Rights { uids: [0, 990, 990, 990], ..confined() }, HELPER),
        Err(PrivilegeError::TooMany(_))
    ));
    assert!(matches!(steps(&Rights { threads: 2, ..root() }, HELPER), Err(PrivilegeError::Threads(2))));
}

#[test]
fn the_kernels_report_is_read() {
    let text = "Name:\tairpods-helper\nUid:\t990\t990\t990\t990\nGid:\t980\t980\t980\t980\nGroups:\t \nThreads:\t1\n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000001000\nCapEff:\t0000000000001000\n\
        CapBnd:\t0000000000001000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";
    assert_eq!(Rights::parse(text), Some(confined()));
    for missing in ["Uid", "Groups", "CapBnd", "NoNewPrivs", "Threads"] {
        let without: String = text.lines().filter(|line| !line.starts_with(missing)).collect::<Vec<_>>().join("\n");
        assert_eq!(Rights::parse(&without), None, "{missing}");
    }
    assert_eq!(Rights::parse(&text.replace("0000000000001000", "xyz")), None);
}

#[test]
fn this_thread_has_rights_that_can_be_read() {
    assert_eq!(Rights::observe().unwrap().uids[1], nix::unistd::geteuid().as_raw());
}

#[test]
fn the_users_numbers_are_those_of_its_own_line() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nairpods-helper2:x:1:2::/:\nairpods-helper:x:990:980::/:/bin/false\nbad:x:x:1::\n";
    assert_eq!(Ids::in_passwd(passwd, "airpods-helper"), Some(HELPER));
    for nobody in ["airpods", "bad", "", "x"] {
        assert_eq!(Ids::in_passwd(passwd, nobody), None, "{nobody}");
    }
    assert!(matches!(Ids::of("root"), Err(PrivilegeError::UserIsRoot(_))));
    assert!(matches!(Ids::of("nobody knows"), Err(PrivilegeError::NoUser(_))));
}
