//! The person behind a uid. A person is a uid together with the subordinate uids that `/etc/subuid`
//! gives it.
//!
//! A user can connect to the bus as any of their subordinate uids, by default 65,536 of them
//! (subuid(5)). If each of those counted as a person, a limit per person would limit nothing.
//!
//! This reads the files itself: the name service switch would load foreign code into this process.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::locked;
use crate::privilege::Ids;

/// Upper bound on the bytes that are read of a file.
const LONGEST_FILE: u64 = 1024 * 1024;
/// Upper bound on the ranges that are read.
const MOST_RANGES: usize = 4096;

/// A user whose calls are counted together, identified by one uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Person(pub(super) u32);

impl Person {
    /// Root. Its subordinate uids do not count as root: containers run as them.
    pub(super) const ROOT: Self = Self(0);
}

/// A caller's uid, and the person whose limits apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) person: Person,
}

/// Maps uids to persons.
#[derive(Debug)]
pub(super) struct People {
    subuid: PathBuf,
    passwd: PathBuf,
    known: Mutex<Known>,
}

/// The ranges of subordinate uids with their owners, and the versions of the files that they were
/// read from.
#[derive(Debug, Default)]
struct Known {
    stamps: Option<[Stamp; 2]>,
    ranges: Vec<(RangeInclusive<u32>, Person)>,
}

/// Identifies a version of a file: its inode, size, and modification time in seconds and
/// nanoseconds.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Default for People {
    fn default() -> Self {
        Self::in_files("/etc/subuid", "/etc/passwd")
    }
}

impl People {
    fn in_files(subuid: impl Into<PathBuf>, passwd: impl Into<PathBuf>) -> Self {
        Self { subuid: subuid.into(), passwd: passwd.into(), known: Mutex::default() }
    }

    /// The identity of a caller with this uid. The files are read only after they have changed.
    pub(super) fn identity(&self, uid: u32) -> Identity {
        if uid == Person::ROOT.0 {
            return Identity { uid, person: Person::ROOT };
        }
        let mut known = locked(&self.known);
        let stamps = Some([stamp(&self.subuid), stamp(&self.passwd)]);
        if known.stamps != stamps {
            *known = Known { stamps, ranges: ranges(&beginning(&self.subuid), &beginning(&self.passwd)) };
        }
        let range = known.ranges.iter().find(|(uids, _)| uids.contains(&uid));
        Identity { uid, person: range.map_or(Person(uid), |(_, owner)| *owner) }
    }
}

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
}

/// The ranges of `/etc/subuid`. Their owners are numbers, or names in `/etc/passwd`.
fn ranges(subuid: &str, passwd: &str) -> Vec<(RangeInclusive<u32>, Person)> {
    let range = |line: &str| {
        let (owner, rest) = line.split_once(':')?;
        let (first, count) = rest.split_once(':')?;
        let (first, count): (u32, u32) = (first.trim().parse().ok()?, count.trim().parse().ok()?);
        let uids = first..=first.saturating_add(count.checked_sub(1)?);
        let uid = owner.parse().ok().or_else(|| Ids::in_passwd(passwd, owner).map(|ids| ids.uid));
        // The first uid of the range stands for an unknown owner, and for root, so that its
        // containers are not unlimited.
        let person = uid.map(Person).filter(|person| *person != Person::ROOT).unwrap_or(Person(first));
        Some((uids, person))
    };
    subuid.lines().filter_map(range).take(MOST_RANGES).collect()
}

/// The lines that end within the first [`LONGEST_FILE`] bytes of a file; none if it is missing or
/// not a regular file.
fn beginning(path: &Path) -> String {
    let mut bytes = Vec::new();
    if std::fs::metadata(path).is_ok_and(|data| data.is_file())
        && let Ok(file) = File::open(path)
        && file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).is_err()
    {
        bytes.clear();
    }
    if bytes.len() as u64 > LONGEST_FILE {
        // The last line may go on behind the bound, and half a number is another number.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or_default());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001:::\n";

    fn person(subuid: &str, uid: u32) -> Person {
        let folder = tempfile::tempdir().unwrap();
        let (subuid_path, passwd_path) = (folder.path().join("subuid"), folder.path().join("passwd"));
        std::fs::write(&subuid_path, subuid).unwrap();
        std::fs::write(&passwd_path, PASSWD).unwrap();
        People::in_files(subuid_path, passwd_path).identity(uid).person
    }

    #[test]
    fn subordinate_uids_are_their_owners_by_name_and_by_number() {
        let subuid = "alice:100000:65536\n1001:200000:65536\n";
        for (uid, expected) in
            [(100_000, 1000), (165_535, 1000), (165_536, 165_536), (200_001, 1001), (1000, 1000), (99_999, 99_999)]
        {
            assert_eq!(person(subuid, uid), Person(expected), "{uid}");
        }
    }

    #[test]
    fn subordinate_uids_of_root_or_unknown_users_are_one_person_other_than_root() {
        let subuid = "root:300000:65536\ncontainers:2147483647:2147483648\n";
        assert_eq!(person(subuid, 300_009), Person(300_000));
        assert_eq!(person(subuid, 4_000_000_000), Person(2_147_483_647));
        assert_eq!(person("alice:0:65536\n", 0), Person::ROOT);
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        let subuid = "\n# a comment\nalice\nalice:x:1\nalice:7:0\nbob:4294967290:100\nalice:100000:10\n";
        assert_eq!(person(subuid, 100_003), Person(1000));
        assert_eq!(person(subuid, u32::MAX), Person(1001));
        assert_eq!(person(subuid, 7), Person(7));
    }

    #[test]
    fn the_first_4096_ranges_count_and_no_later_one() {
        assert_eq!(MOST_RANGES, 4096);
        let range = |number: usize| format!("1000:{}:1\n", 100_000 + number);
        let subuid: String = (0..=MOST_RANGES).map(range).collect();
        assert_eq!(person(&subuid, 104_095), Person(1000), "the 4096th range");
        assert_eq!(person(&subuid, 104_096), Person(104_096), "the 4097th range");
        let commented = subuid.replace('\n', "\n# no range\n");
        assert_eq!(person(&commented, 104_095), Person(1000), "lines without a range do not count");
    }

    #[test]
    fn the_first_mebibyte_counts_and_nothing_behind_it() {
        let range = "1000:100000:65536";
        let up_to = |length: u64| {
            let comment = usize::try_from(length).unwrap() - range.len() - 1;
            format!("{}\n{range}", "#".repeat(comment))
        };
        let (within, beyond) = (up_to(LONGEST_FILE), up_to(LONGEST_FILE + 1));
        assert_eq!((within.len(), beyond.len()), (1_048_576, 1_048_577));
        assert_eq!(person(&within, 165_535), Person(1000), "its last byte is the last one that is read");
        assert_eq!(person(&within, 165_536), Person(165_536));
        // A number whose end is not read would be another number.
        assert_eq!(person(&beyond, 100_000), Person(100_000), "a line that is cut does not count");
        assert_eq!(person(&format!("{range}\n{beyond}"), 165_535), Person(1000), "earlier lines do");
        let more = format!("{within}\n1001:300000:10\n");
        assert_eq!([165_535, 300_000].map(|uid| person(&more, uid)), [Person(1000), Person(300_000)]);
    }

    #[test]
    fn without_the_file_each_uid_is_a_person_and_a_change_of_it_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (subuid, passwd) = (folder.path().join("subuid"), folder.path().join("passwd"));
        std::fs::write(&passwd, PASSWD).unwrap();
        let people = People::in_files(&subuid, passwd);
        let behind = |uid| people.identity(uid).person;
        assert_eq!(behind(100_001), Person(100_001));
        std::fs::write(&subuid, "bob:100000:65536\n").unwrap();
        assert_eq!(behind(100_001), Person(1001));
        std::fs::write(&subuid, "alice:100000:65536\n ").unwrap();
        assert_eq!(behind(100_001), Person(1000));
    }
}
