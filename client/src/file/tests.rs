//! Writing and locking files, and the files that are never read.
#![allow(clippy::unwrap_used)]

use super::*;
use time::{Date, Month, Time};

#[test]
fn a_file_keeps_its_mode_and_the_symbolic_link_to_it() {
    let home = tempfile::tempdir().unwrap();
    let (file, link) = (home.path().join("dotfiles.toml"), home.path().join("config.toml"));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    replace(&link, "new").unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing temporary is left");
}

#[test]
fn a_private_file_replaces_a_public_one() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("secret.env");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    put(&file, "new", true).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn a_new_file_never_takes_the_place_of_another() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a/config.toml");
    create(&file, "first").unwrap();
    assert_eq!(create(&file, "second").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&file).unwrap(), "first");
}

#[test]
fn backups_are_named_after_the_time_and_never_replace_each_other() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    fs::write(&file, "mine").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let backups = [back_up(&file).unwrap(), back_up(&file).unwrap()];
    assert_ne!(backups[0], backups[1]);
    for backup in backups {
        assert_eq!(fs::read_to_string(&backup).unwrap(), "mine");
        assert_eq!(fs::metadata(&backup).unwrap().mode() & 0o777, 0o600);
    }
    let date = Date::from_calendar_date(2026, Month::March, 1).unwrap();
    let moment = OffsetDateTime::new_utc(date, Time::from_hms(4, 5, 6).unwrap());
    assert_eq!(backup_name(Path::new("/a/c.toml"), moment, 0), Path::new("/a/c.toml.20260301T040506Z.bak"));
    assert_eq!(backup_name(Path::new("c.toml"), moment, 1), Path::new("c.toml.20260301T040506Z-1.bak"));
}

#[test]
fn one_waits_for_the_other_who_changes_a_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    fs::write(&file, "0").unwrap();
    let count = || {
        let _lock = Lock::of(&file).unwrap();
        let number: u32 = fs::read_to_string(&file).unwrap().parse().unwrap();
        replace(&file, &(number + 1).to_string()).unwrap();
    };
    std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(count))));
    assert_eq!(fs::read_to_string(&file).unwrap(), "8");
}

/// The kind of error with which a file is refused; `None` if it is read.
fn refusal(path: &Path, links: Links, owner: Owner) -> Option<ErrorKind> {
    read(path, links, owner).err().map(|error| error.kind())
}

#[test]
fn only_a_plain_file_of_a_sane_size_is_read() {
    let home = tempfile::tempdir().unwrap();
    let (pipe, link, large) = (home.path().join("pipe"), home.path().join("link"), home.path().join("large"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    File::create(&large).unwrap().set_len(1 << 40).unwrap();
    for path in [&pipe, &link, &large, &home.path().to_owned()] {
        assert_eq!(refusal(path, Links::Followed, Owner::Any), Some(ErrorKind::InvalidData), "{}", path.display());
    }
    assert_eq!(refusal(&home.path().join("none"), Links::Followed, Owner::Any), Some(ErrorKind::NotFound));
}

#[test]
fn a_link_is_followed_only_where_it_may_be() {
    let home = tempfile::tempdir().unwrap();
    let (file, link) = (home.path().join("file"), home.path().join("link"));
    create(&file, "text").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(read(&link, Links::Followed, Owner::Any).unwrap(), "text");
    assert_eq!(refusal(&link, Links::Refused, Owner::Any), Some(ErrorKind::InvalidData));
    assert_eq!(read(&file, Links::Refused, Owner::Alone).unwrap(), "text");
}

#[test]
fn a_file_that_others_could_have_read_or_changed_is_not_its_owners_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    create(&file, "text").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    assert_eq!(refusal(&file, Links::Refused, Owner::Alone), Some(ErrorKind::PermissionDenied));
}

#[test]
fn a_link_within_a_root_never_leads_out_of_it() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "outside").unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    fs::create_dir_all(root.path().join("run")).unwrap();
    fs::write(root.path().join("run/resolv.conf"), "inside").unwrap();
    let link = root.path().join("etc/resolv.conf");
    std::os::unix::fs::symlink("/run/resolv.conf", &link).unwrap();
    let read = || open_in_root(root.path(), Path::new("etc/resolv.conf")).and_then(text);
    assert_eq!(read().unwrap(), "inside");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), &link).unwrap();
    assert_eq!(read().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn folders_and_files_of_ours_are_their_owners_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a/b/config.toml");
    create(&file, "text").unwrap();
    for (path, mode) in [("a", 0o700), ("a/b", 0o700), ("a/b/config.toml", 0o600)] {
        assert_eq!(fs::metadata(home.path().join(path)).unwrap().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn a_folder_is_safe_if_no_other_user_can_replace_its_content() {
    let home = tempfile::tempdir().unwrap();
    for (mode, safe) in [(0o700, true), (0o755, true), (0o775, false), (0o777, false), (0o1777, true)] {
        fs::set_permissions(home.path(), Permissions::from_mode(mode)).unwrap();
        assert_eq!(is_safe_folder(home.path()), safe, "{mode:o}");
    }
}

#[test]
fn a_lock_on_the_folder_itself_does_not_block_changes_in_it() {
    use nix::fcntl::{Flock, FlockArg};
    let home = tempfile::tempdir().unwrap();
    let _others = Flock::lock(File::open(home.path()).unwrap(), FlockArg::LockExclusive).unwrap();
    let file = home.path().join("config.toml");
    drop(Lock::of(&file).unwrap());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "the lock is left");
}

#[test]
fn root_makes_nothing_in_a_folder_of_another_user() {
    let home = tempfile::tempdir().unwrap();
    nix::unistd::chown(home.path(), Some(Uid::from_raw(1000)), None).unwrap();
    let file = home.path().join(".config/airpods/config.toml");
    for refused in [create(&file, ""), replace(&file, ""), put(&file, "", true), Lock::of(&file).map(drop)] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("belongs to another user (1000)"), "{error}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_lock_that_is_held_is_not_waited_for_and_a_link_in_its_place_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("net-check");
    let held = Lock::at_once(&file).unwrap();
    assert!(held.is_some());
    assert!(Lock::at_once(&file).unwrap().is_none());
    drop(held);
    std::os::unix::fs::symlink(home.path().join("elsewhere"), home.path().join(".net-check.lock")).unwrap();
    assert!(Lock::at_once(&file).is_err());
    assert!(!home.path().join("elsewhere").exists());
}
