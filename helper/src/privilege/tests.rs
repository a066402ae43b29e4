//! The judgement of given rights, tested on values.
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

fn exit(refused: Result<impl std::fmt::Debug, Failure>) -> Exit {
    refused.unwrap_err().exit
}

#[test]
fn rights_decide_the_exit_code() {
    assert_eq!(confined().must_give_up_root(HELPER), Ok(false));
    assert_eq!(root().must_give_up_root(HELPER), Ok(true));
    assert_eq!(exit(root().verify(HELPER)).code_and_hint().0, 10);
    assert_eq!(exit(Rights { effective: 0, ..confined() }.verify(HELPER)).code_and_hint().0, 11);
    assert_eq!(exit(Ids::of("nobody knows")).code_and_hint().0, 12);
}

#[test]
fn what_the_service_manager_hands_over_is_too_much_until_the_ambient_set_is_cleared() {
    let handed = Rights { inheritable: NET_ADMIN, ambient: NET_ADMIN, ..confined() };
    assert_eq!(handed.must_give_up_root(HELPER), Ok(false));
    assert_eq!(exit(handed.verify(HELPER)), Exit::TooManyRights);
    assert_eq!(Rights { ambient: 0, ..handed }.verify(HELPER), Ok(()));
}

#[test]
fn an_inheritable_set_that_a_filter_kept_from_being_cleared_is_no_right_too_many() {
    assert!(Rights { inheritable: NET_ADMIN, ..confined() }.verify(HELPER).is_ok());
    let could_pass_it_on = Rights { inheritable: NET_ADMIN, no_new_privs: false, ..confined() };
    assert!(could_pass_it_on.verify(HELPER).is_err());
}

#[test]
fn the_helpers_own_rights_pass() {
    assert!(confined().verify(HELPER).is_ok());
    assert!(Rights { groups: vec![980], ..confined() }.verify(HELPER).is_ok());
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
        assert_eq!(exit(rights.verify(HELPER)), Exit::TooManyRights, "{rights:?}");
    }
}

#[test]
fn every_right_too_few_is_refused() {
    for rights in [
        Rights { permitted: 0, effective: 0, ..confined() },
        Rights { effective: 0, ..confined() },
        Rights { bounding: 0, ..confined() },
    ] {
        assert_eq!(exit(rights.verify(HELPER)), Exit::TooFewRights, "{rights:?}");
    }
    let poor_root = Rights { permitted: ALL & !NET_ADMIN, ..root() };
    assert_eq!(exit(poor_root.must_give_up_root(HELPER)), Exit::TooFewRights);
}

#[test]
fn only_root_or_the_helpers_user_may_run_it_and_with_one_thread() {
    let other = Rights { uids: [1000; 4], ..confined() };
    assert_eq!(exit(other.must_give_up_root(HELPER)), Exit::WrongUser);
    assert_eq!(exit(Rights { threads: 2, ..root() }.must_give_up_root(HELPER)), Exit::TooManyRights);
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
    assert!(Ids::of("root").unwrap_err().cause.contains("number 0"));
    assert!(Ids::of("nobody knows").unwrap_err().cause.contains("there is no user"));
}
