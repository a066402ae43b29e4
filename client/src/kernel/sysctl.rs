//! Kernel parameters as a container has them. `/proc/sys` shows those of the reader's own namespaces, so that a process of ours
//! has to enter the container's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use crate::inside;

/// The name of the hidden command that does it.
pub(crate) const COMMAND: &str = "sysctl-inside";

/// How long that process may take: it reads a few files, and a machine may be slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest list of names that is read, in bytes.
const NAMES: u64 = 64 << 10;

/// Reads these parameters from within the namespaces of the process `pid`, by a process of our own; none where that may not be.
pub(super) async fn read_inside(pid: u32, names: &[&str]) -> Option<BTreeMap<String, String>> {
    let answer = inside::run(COMMAND, pid, &serde_json::to_vec(names).ok()?, PATIENCE).await.ok()?;
    serde_json::from_slice(&answer).ok()
}

/// Enters the namespaces of the process `pid` for good, and reads the parameters whose names standard input has.
///
/// # Errors
/// The kernel's, mostly that this user may not.
pub(crate) fn enter_and_read(pid: u32) -> io::Result<BTreeMap<String, String>> {
    let names: Vec<String> =
        serde_json::from_reader(io::Read::take(io::stdin().lock(), NAMES)).map_err(io::Error::other)?;
    inside::enter_with_ipc(pid)?;
    Ok(read(&names))
}

/// One that the kernel does not have is left out, one that cannot be read as well.
fn read(names: &[String]) -> BTreeMap<String, String> {
    let value = |name: &String| Some((name.clone(), fs::read_to_string(path(name)).ok()?.trim().to_owned()));
    names.iter().filter_map(value).collect()
}

/// `net.core.somaxconn` as a file (sysctl(8)).
fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

/// Whether two texts of a parameter mean the same: the kernel takes numbers of any base, and separates them by tabs.
pub(crate) fn is_same(wanted: &str, found: &str) -> bool {
    let same = |(wanted, found): (&str, &str)| {
        wanted == found || number(wanted).zip(number(found)).is_some_and(|(wanted, found)| wanted == found)
    };
    let (wanted, found): (Vec<_>, Vec<_>) = (wanted.split_whitespace().collect(), found.split_whitespace().collect());
    wanted.len() == found.len() && wanted.into_iter().zip(found).all(same)
}

/// A number as `proc_dointvec` of the kernel reads it (strtoul with base 0).
fn number(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (digits, base) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    let number = i128::from(u64::from_str_radix(digits, base).ok()?);
    Some(sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_compared_by_what_the_kernel_makes_of_it() {
        for (wanted, found) in
            [("1024 65000", "1024\t65000"), ("0x10", "16"), ("010", "8"), ("-1", "-1"), ("cubic", "cubic")]
        {
            assert!(is_same(wanted, found), "{wanted} {found}");
        }
        for (wanted, found) in [("1024", "1024\t65000"), ("10", "8"), ("cubic", "reno"), ("1", "-1")] {
            assert!(!is_same(wanted, found), "{wanted} {found}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_have_is_left_out() {
        let names = ["kernel.ostype", "net.no_such_parameter"].map(str::to_owned);
        assert_eq!(read(&names), [("kernel.ostype".to_owned(), "Linux".to_owned())].into());
    }
}
