//! The web UI's secret. It is made once, kept in a file that only the user can read, and reused, so
//! that a restart logs nobody out.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Report;
use crate::file::{self, Links, Owner};
use crate::home::HomeFault;
use crate::secret::Secret;

/// The environment variable that carries the secret into a container.
pub const VARIABLE: &str = "WEBUI_SECRET_KEY";

/// The file's name in the state folder.
const FILE: &str = "webui-secret";

/// Random bytes in a secret: 256 bits, as the web UI signs its tokens with HMAC-SHA-256.
const BYTES: usize = 32;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No variable names a folder for the user's files.
    #[error("there is no folder to keep the web UI's secret in")]
    NoFolder,
    /// The file or its folder cannot be read or made.
    #[error("the web UI's secret `{}` cannot be {done}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `made`.
        done: &'static str,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The file cannot be one that airpods made: it is another user's, open to others, no plain
    /// file, or holds no secret.
    #[error("the web UI's secret `{}` is not used: {why}", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Report for SecretError {
    fn home_fault(&self) -> Option<HomeFault> {
        match self {
            Self::Io { path, .. } => HomeFault::of(path),
            Self::NoFolder | Self::Untrusted { .. } => None,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NoFolder => "set `HOME`, `XDG_STATE_HOME` or `AIRPODS_HOME`".into(),
            Self::Io { .. } => "check who owns the folder and its permissions".into(),
            Self::Untrusted { .. } => "remove it to get a new one; all users have to log in again then".into(),
        })
    }
}

/// The file that keeps the secret in a folder.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// The secret kept in `folder` (see [`crate::config::Environment::state_folder`]). If there is
/// none, the secret of the Python airpods in the file `earlier` is copied, so that nobody is logged
/// out. Without that file, a new secret is made.
///
/// # Errors
/// [`SecretError`]; a file that others could have read or written is refused, not repaired.
pub fn load_or_create(folder: Option<&Path>, earlier: Option<&Path>) -> Result<Secret, SecretError> {
    let folder = folder.ok_or(SecretError::NoFolder)?;
    let path = path(folder);
    if let Some(secret) = load(&path)? {
        return Ok(secret);
    }
    let text = earlier.map_or(Ok(None), load_earlier)?.map(|secret| secret.expose().to_owned());
    create(folder, &path, text).map_err(|cause| SecretError::Io { path: path.clone(), done: "made", cause })?;
    // Another command may have created the file first: every command uses the secret that is there
    // now.
    load(&path)?.ok_or(SecretError::Untrusted { path, why: "it vanished".to_owned() })
}

/// The secret kept in `folder`, or that of the Python airpods, if there is one.
///
/// # Errors
/// As [`load_or_create`].
pub fn existing(folder: Option<&Path>, earlier: Option<&Path>) -> Result<Option<Secret>, SecretError> {
    match folder.map_or(Ok(None), |folder| load(&folder.join(FILE)))? {
        None => earlier.map_or(Ok(None), load_earlier),
        found => Ok(found),
    }
}

/// The secret of the Python airpods. That tool made its file readable for others, which is
/// accepted. A file that others may write, or that another user owns, is refused.
fn load_earlier(path: &Path) -> Result<Option<Secret>, SecretError> {
    let untrusted = |why: &str| SecretError::Untrusted { path: path.to_owned(), why: why.to_owned() };
    let unreadable = |cause| SecretError::Io { path: path.to_owned(), done: "read", cause };
    let found = match path.symlink_metadata() {
        Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        found => found.map_err(unreadable)?,
    };
    if found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(untrusted("another user owns it or may write it"));
    }
    let text = file::read(path, Links::Refused, Owner::Any).map_err(unreadable)?;
    secret(&text).map(Some).ok_or_else(|| untrusted("it holds no secret"))
}

fn secret(text: &str) -> Option<Secret> {
    let secret = text.trim();
    let fits = secret.len() >= BYTES && secret.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Secret::new(secret.to_owned()))
}

fn load(path: &Path) -> Result<Option<Secret>, SecretError> {
    let untrusted = |why: String| SecretError::Untrusted { path: path.to_owned(), why };
    let text = match file::read(path, Links::Refused, Owner::Alone) {
        Ok(text) => text,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        // An error of the system has an errno. One without comes from the checks of `file::open`,
        // and says what is wrong with the file.
        Err(cause) if cause.raw_os_error().is_none() => return Err(untrusted(cause.to_string())),
        Err(cause) => return Err(SecretError::Io { path: path.to_owned(), done: "read", cause }),
    };
    secret(&text).map(Some).ok_or_else(|| untrusted("it holds no secret".to_owned()))
}

/// Makes the file in one step, complete or not at all. A file that another command made meanwhile
/// stays.
fn create(folder: &Path, path: &Path, given: Option<String>) -> io::Result<()> {
    let secret = given.map_or_else(random, Ok)?;
    file::make_folder(folder)?;
    file::refuse_other_users(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".webui-secret-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    writeln!(file, "{secret}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(raced) if raced.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(failed) => Err(failed.error),
    }
}

fn random() -> io::Result<String> {
    let mut random = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_secret_is_made_once_kept_private_and_reused() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state/airpods");
        let first = load_or_create(Some(&folder), None).unwrap();
        assert_eq!(first.expose().len(), 2 * BYTES);
        assert_eq!(fs::metadata(folder.join(FILE)).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(load_or_create(Some(&folder), None).unwrap(), first);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(!format!("{first:?}").contains(first.expose()));
    }

    #[test]
    fn a_file_that_others_could_have_touched_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        fs::write(&path, "0123456789abcdef0123456789abcdef").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load_or_create(Some(home.path()), None), Err(SecretError::Untrusted { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"0123456789abcdef0123456789abcdef");
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", home.path().join(FILE)).unwrap();
        let refused = load_or_create(Some(home.path()), None).unwrap_err();
        assert!(refused.to_string().contains("symbolic link"), "{refused}");
    }

    #[test]
    fn a_path_that_is_no_plain_file_is_refused_and_never_blocks() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
        assert!(matches!(load_or_create(Some(home.path()), None), Err(SecretError::Untrusted { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(load_or_create(Some(home.path()), None), Err(SecretError::Untrusted { .. })));
    }

    #[test]
    fn many_at_once_agree_on_one_secret() {
        let home = tempfile::tempdir().unwrap();
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| load_or_create(Some(home.path()), None).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }

    #[test]
    fn the_secret_of_the_python_airpods_is_taken_over_and_its_file_stays() {
        let home = tempfile::tempdir().unwrap();
        let (folder, earlier) = (home.path().join("state"), home.path().join("webui_secret"));
        let text = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy_-1";
        fs::write(&earlier, text).unwrap();
        fs::set_permissions(&earlier, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(existing(Some(&folder), Some(&earlier)).unwrap().unwrap().expose(), text);
        assert!(!folder.exists(), "looking made something");
        assert_eq!(load_or_create(Some(&folder), Some(&earlier)).unwrap().expose(), text);
        assert_eq!(fs::metadata(folder.join(FILE)).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_to_string(&earlier).unwrap(), text);
        // From now on our own file counts.
        fs::write(&earlier, text.replace('Z', "Y")).unwrap();
        assert_eq!(existing(Some(&folder), Some(&earlier)).unwrap().unwrap().expose(), text);
    }

    #[test]
    fn a_secret_that_others_may_write_or_that_is_none_is_not_taken_over() {
        let home = tempfile::tempdir().unwrap();
        let (folder, earlier) = (home.path().join("state"), home.path().join("webui_secret"));
        for (text, mode) in [("Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy", 0o666), ("short", 0o600)] {
            fs::write(&earlier, text).unwrap();
            fs::set_permissions(&earlier, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(load_or_create(Some(&folder), Some(&earlier)), Err(SecretError::Untrusted { .. })),
                "{text}"
            );
            assert!(!folder.exists());
        }
    }
}
