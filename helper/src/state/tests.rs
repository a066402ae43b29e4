//! State files, honest and hostile.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{chown, symlink};
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo, setfsuid};
use tempfile::TempDir;

use airpods_dbus::PathMtu;

use super::*;

struct Folders(TempDir, StateDirs);

fn folders() -> Folders {
    let root = TempDir::new().unwrap();
    let state_dirs = StateDirs { runtime: root.path().join("run"), persistent: root.path().join("lib") };
    fs::create_dir(&state_dirs.runtime).unwrap();
    fs::create_dir(&state_dirs.persistent).unwrap();
    Folders(root, state_dirs)
}

fn desired() -> Desired {
    let kept = ClampOptions { mtu: Some(PathMtu::new(1300).unwrap()), persist: true, any_link: true };
    let named =
        [(LinkName::parse("wg0").unwrap(), kept), (LinkName::parse("wg1").unwrap(), ClampOptions::default())].into();
    Desired { auto: Some(ClampOptions::default()), named, known: [LinkName::parse("tun0").unwrap()].into() }
}

impl StateDirs {
    fn keep(&self, desired: &Desired) -> io::Result<Option<StateText>> {
        self.kept(desired).write()
    }
}

fn is_unusable(errors: &[io::Error]) -> bool {
    matches!(errors, [error] if error.to_string().starts_with("cannot use"))
}

/// Why a file cannot be used.
fn cause(file: &Path) -> String {
    read(file).unwrap_err().to_string()
}

#[test]
fn the_desired_clamps_survive_a_restart() {
    let Folders(_root, state_dirs) = folders();
    state_dirs.save_runtime(&desired()).unwrap();
    let (saved, errors) = state_dirs.load();
    assert_eq!(saved, desired());
    assert!(errors.is_empty());
}

#[test]
fn only_what_is_kept_survives_a_reboot() {
    let Folders(_root, state_dirs) = folders();
    state_dirs.save_runtime(&desired()).unwrap();
    state_dirs.keep(&desired()).unwrap();
    state_dirs.save_runtime(&Desired::default()).unwrap();
    let (saved, errors) = state_dirs.load();
    assert_eq!(saved, desired().persisted());
    assert!(saved.known.is_empty(), "auto is not kept");
    assert!(errors.is_empty());
}

#[test]
fn the_names_of_a_persistent_auto_survive_a_reboot() {
    let Folders(_root, state_dirs) = folders();
    let kept = Desired { auto: Some(ClampOptions { persist: true, ..ClampOptions::default() }), ..desired() };
    state_dirs.keep(&kept).unwrap();
    let (saved, errors) = state_dirs.load();
    assert_eq!(saved, kept.persisted());
    assert_eq!(saved.known, desired().known);
    assert!(errors.is_empty());
}

#[test]
fn wanting_nothing_leaves_no_file() {
    let Folders(_root, state_dirs) = folders();
    state_dirs.keep(&desired()).unwrap();
    state_dirs.keep(&Desired::default()).unwrap();
    state_dirs.save_runtime(&Desired::default()).unwrap();
    assert!(fs::read_dir(&state_dirs.persistent).unwrap().next().is_none());
    assert_eq!(state_dirs.load().0, Desired::default());
}

/// Runs `does` as a user who can write to the persistent folder but not open it, so its fsync
/// fails.
fn without_synchronising(state_dirs: &StateDirs, does: impl FnOnce() -> io::Result<Option<StateText>> + Send) {
    let nobody = 65534;
    let root = state_dirs.persistent.parent().unwrap();
    fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
    chown(&state_dirs.persistent, Some(nobody), None).unwrap();
    fs::set_permissions(&state_dirs.persistent, Permissions::from_mode(0o300)).unwrap();
    // Only this thread changes its file system user.
    let done = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setfsuid(Uid::from_raw(nobody));
            does()
        });
        thread.join().unwrap()
    });
    assert!(done.unwrap_err().to_string().starts_with("cannot write"), "the folder cannot be synchronised");
}

#[test]
fn a_state_file_that_cannot_be_synced_is_removed_again() {
    for before in [Desired::default(), desired()] {
        let Folders(_root, state_dirs) = folders();
        state_dirs.keep(&before).unwrap();
        let file = state_dirs.persistent.join(FILE);
        if file.exists() {
            chown(&file, Some(65534), None).unwrap();
        }
        let text = fs::read(&file).ok();
        let other =
            Desired { auto: Some(ClampOptions { persist: true, ..ClampOptions::default() }), ..Desired::default() };
        without_synchronising(&state_dirs, || state_dirs.keep(&other));
        assert_eq!(fs::read(&file).ok(), text);
    }
}

#[test]
fn a_state_file_is_restored_if_its_removal_cannot_be_synced() {
    let Folders(_root, state_dirs) = folders();
    state_dirs.keep(&desired()).unwrap();
    chown(state_dirs.persistent.join(FILE), Some(65534), None).unwrap();
    without_synchronising(&state_dirs, || state_dirs.keep(&Desired::default()));
    assert!(state_dirs.keeps(&desired()));
    let files = fs::read_dir(&state_dirs.persistent).unwrap().map(|file| file.unwrap().file_name());
    assert_eq!(files.collect::<Vec<_>>(), [FILE], "and nothing beside it");
}

#[test]
fn the_file_alone_decides_which_clamps_are_persistent() {
    let Folders(_root, state_dirs) = folders();
    assert!(state_dirs.keeps(&Desired::default()) && !state_dirs.keeps(&desired()));
    state_dirs.keep(&desired()).unwrap();
    assert!(state_dirs.keeps(&desired()) && !state_dirs.keeps(&Desired::default()));
    fs::write(state_dirs.persistent.join(FILE), "{").unwrap();
    assert!(!state_dirs.keeps(&desired()) && !state_dirs.keeps(&Desired::default()), "it may say anything");
}

#[test]
fn a_broken_runtime_file_is_reported_and_the_persistent_one_read() {
    let Folders(_root, state_dirs) = folders();
    state_dirs.keep(&desired()).unwrap();
    fs::write(state_dirs.runtime.join(FILE), "{").unwrap();
    let (saved, errors) = state_dirs.load();
    assert_eq!(saved, desired().persisted());
    assert!(is_unusable(&errors), "{errors:?}");
}

#[test]
fn hostile_contents_are_refused() {
    let Folders(_root, state_dirs) = folders();
    let many: Vec<_> = (0..=MAX_CLAMPS).map(|number| format!("\"wg{number}\"")).collect();
    let many = many.join(",");
    let texts = [
        String::new(),
        "null".to_owned(),
        r#"{"version":3,"auto":null,"clamps":{},"known":[]}"#.to_owned(),
        r#"{"version":2,"auto":null,"clamps":{"wg0":{"mtu":null,"persist":true,"any-link":false,"x":1}},"known":[]}"#
            .to_owned(),
        r#"{"version":2,"auto":null,"clamps":{},"known":["a\nb"]}"#.to_owned(),
        r#"{"version":2,"auto":null,"clamps":{},"known":[],"more":1}"#.to_owned(),
        r#"{"version":2,"auto":null,"clamps":{"wg0":{"mtu":1,"persist":true,"any-link":false}},"known":[]}"#.to_owned(),
        r#"{"version":2,"auto":null,"clamps":{"*":{"mtu":null,"persist":true,"any-link":false}},"known":[]}"#
            .to_owned(),
        format!(r#"{{"version":2,"auto":null,"clamps":{{}},"known":[{many}]}}"#),
        "[".repeat(50_000),
        "\u{0}".repeat(200_000),
    ];
    for text in texts {
        fs::write(state_dirs.runtime.join(FILE), &text).unwrap();
        let (saved, errors) = state_dirs.load();
        assert_eq!(saved, Desired::default());
        assert!(is_unusable(&errors), "{errors:?}");
    }
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    let Folders(_root, state_dirs) = folders();
    let file = state_dirs.runtime.join(FILE);
    state_dirs.save_runtime(&desired()).unwrap();
    let whole = fs::read(&file).unwrap();
    for length in 0..whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        let (saved, errors) = state_dirs.load();
        assert_eq!(saved, Desired::default(), "{length}");
        assert!(is_unusable(&errors), "{length}: {errors:?}");
    }
}

#[test]
fn a_symbolic_link_a_fifo_and_a_file_that_others_write_are_not_read() {
    let Folders(root, state_dirs) = folders();
    let file = state_dirs.runtime.join(FILE);
    state_dirs.keep(&desired()).unwrap();
    symlink(state_dirs.persistent.join(FILE), &file).unwrap();
    assert!(cause(&file).contains("symbolic links"), "{}", cause(&file));
    fs::remove_file(&file).unwrap();
    mkfifo(&file, Mode::S_IRWXU).unwrap();
    assert!(cause(&file).contains("no regular file"), "{}", cause(&file));
    fs::remove_file(&file).unwrap();
    state_dirs.save_runtime(&desired()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(cause(&file), "others may write to it");
    drop(root);
}

#[test]
fn a_symbolic_link_is_replaced_and_not_written_through() {
    let Folders(root, state_dirs) = folders();
    let victim = root.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for name in [FILE.to_owned(), format!(".{FILE}.new")] {
        symlink(&victim, state_dirs.runtime.join(name)).unwrap();
    }
    state_dirs.save_runtime(&desired()).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(state_dirs.load().0, desired());
}

#[test]
fn a_missing_folder_is_only_an_error() {
    let state_dirs = StateDirs { runtime: "/nonexistent/run".into(), persistent: "/nonexistent/lib".into() };
    assert!(state_dirs.save_runtime(&desired()).is_err());
    assert_eq!(state_dirs.load().0, Desired::default());
    assert!(state_dirs.save_runtime(&Desired::default()).is_ok());
}

#[test]
fn folders_are_made_for_the_helper_alone_and_again_without_harm() {
    let root = TempDir::new().unwrap();
    let state_dirs = StateDirs { runtime: root.path().join("run"), persistent: root.path().join("lib") };
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    for _ in 0..2 {
        state_dirs.create_for(uid, gid).unwrap();
        assert_eq!(fs::metadata(&state_dirs.runtime).unwrap().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_symbolic_link_in_the_place_of_a_folder_is_refused() {
    let root = TempDir::new().unwrap();
    let state_dirs = StateDirs { runtime: root.path().join("run"), persistent: root.path().join("lib") };
    symlink(root.path(), &state_dirs.runtime).unwrap();
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    assert!(state_dirs.create_for(uid, gid).is_err());
}
