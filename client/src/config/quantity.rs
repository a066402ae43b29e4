//! Numbers with a range or a unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A number that is not in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is not within {min} to {max}")]
pub struct OutOfRange {
    value: i64,
    min: i64,
    max: i64,
}

macro_rules! ranged {
    ($(#[$doc:meta])* $name:ident($inner:ty), $min:literal ..= $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// The smallest value accepted.
            pub const MIN: $inner = $min;
            /// The largest value accepted.
            pub const MAX: $inner = $max;

            /// The value, if it is in the range.
            #[must_use]
            pub fn new(value: $inner) -> Option<Self> {
                (Self::MIN..=Self::MAX).contains(&value).then_some(Self(value))
            }

            /// The value.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = OutOfRange;

            fn try_from(value: i64) -> Result<Self, OutOfRange> {
                let refused = OutOfRange { value, min: i64::from(Self::MIN), max: i64::from(Self::MAX) };
                <$inner>::try_from(value).ok().and_then(Self::new).ok_or(refused)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

ranged! {
    /// A TCP or UDP port. Never 0, which would mean any free port.
    PortNumber(u16), 1..=65535
}

ranged! {
    /// Most processes and threads in a container (cgroup `pids.max`).
    PidsLimit(u32), 1..=1_000_000
}

ranged! {
    /// The MTU of the container network's links in bytes. Every IPv4 host accepts 576 (RFC 791),
    /// and 65535 is the largest IP packet. IPv6 needs 1280 (RFC 8200, section 5).
    NetworkMtu(u16), 576..=65535
}

ranged! {
    /// An HTTP status code (RFC 9110, section 15).
    StatusCode(u16), 100..=599
}

ranged! {
    /// Seconds that a container has to stop before it is killed.
    StopTimeout(u32), 1..=300
}

ranged! {
    /// The default number of log lines to show.
    LogLines(u32), 1..=10_000
}

ranged! {
    /// Seconds that a service has to become healthy.
    StartupTimeout(u32), 10..=600
}

ranged! {
    /// Images pulled at the same time.
    ConcurrentPulls(u8), 1..=10
}

impl PidsLimit {
    /// The default limit of a service: enough for any known service, too small for a fork bomb.
    pub const DEFAULT: Self = Self(2048);
}

/// A range of HTTP status codes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    first: StatusCode,
    last: StatusCode,
}

impl StatusRange {
    /// The healthy status codes unless a service sets others.
    pub const SUCCESS: Self = Self { first: StatusCode(200), last: StatusCode(299) };

    /// The range, if the codes are in order.
    #[must_use]
    pub fn new(first: StatusCode, last: StatusCode) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Whether the code lies within.
    #[must_use]
    pub fn contains(self, code: u16) -> bool {
        (self.first.0..=self.last.0).contains(&code)
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Serialize for StatusRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.first, self.last).serialize(serializer)
    }
}

/// An amount of memory in bytes, written like `512m` or `4g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(u64);

impl Memory {
    /// The amount of this many bytes.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The amount in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// Why a text is not an amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of memory such as `512m` or `4g`")]
pub struct InvalidMemory(String);

impl FromStr for Memory {
    type Err = InvalidMemory;

    /// Units are powers of 1024, as podman's are (`docker/go-units`, `RAMInBytes`).
    fn from_str(text: &str) -> Result<Self, InvalidMemory> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match &lower[digits.len()..] {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(InvalidMemory(text.to_owned())),
        };
        let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(1 << shift));
        bytes.filter(|&bytes| bytes > 0).map(Self).ok_or_else(|| InvalidMemory(text.to_owned()))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "t"), (30, "g"), (20, "m"), (10, "k")];
        let fitting = units.into_iter().find(|(shift, _)| self.0.trailing_zeros() >= *shift);
        let (shift, unit) = fitting.unwrap_or((0, ""));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A length of time, 1 ms to 24 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// The longest time, 24 h.
    const MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// The time, if it is in the range.
    #[must_use]
    pub fn new(time: Duration) -> Option<Self> {
        (Duration::from_millis(1)..=Self::MAX).contains(&time).then_some(Self(time))
    }

    /// The time.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

/// Why a text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time such as `30s` or `1m30s`")]
pub struct InvalidPeriod(String);

impl FromStr for Period {
    type Err = InvalidPeriod;

    /// The form of compose and podman (Go, `time.ParseDuration`), without the units below a
    /// millisecond.
    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        let invalid = || InvalidPeriod(text.to_owned());
        let (mut rest, mut seconds) = (text, 0.0);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let factor = match &tail[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return Err(invalid()),
            };
            seconds += number.parse::<f64>().map_err(|_| invalid())? * factor;
            rest = &tail[unit..];
        }
        let time = Duration::try_from_secs_f64(seconds).ok().and_then(Self::new);
        time.ok_or_else(invalid)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number of CPUs, 1.5 being one and a half.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Cpus(f64);

impl Cpus {
    /// The number, if a container can be limited to it: 0.01 (the kernel's smallest quota, 1 ms in
    /// 100 ms) to 4096.
    #[must_use]
    pub fn new(count: f64) -> Option<Self> {
        (0.01..=4096.0).contains(&count).then_some(Self(count))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_is_read_in_powers_of_1024_and_written_back_in_the_largest_whole_unit() {
        for (text, bytes, shown) in
            [("512m", 512 << 20, "512m"), ("4G", 4 << 30, "4g"), ("1024k", 1 << 20, "1m"), ("1000", 1000, "1000")]
        {
            let memory: Memory = text.parse().unwrap();
            assert_eq!((memory.bytes(), memory.to_string().as_str()), (bytes, shown));
        }
    }

    #[test]
    fn an_invalid_amount_of_memory_is_refused() {
        for text in ["", "g", "0", "-1g", "1.5g", "4 g", "4x", "99999999999999999999", "18446744073709551615t", "é"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_length_of_time_is_read_as_compose_has_it_and_written_so_that_it_is_read_again() {
        for (text, millis, shown) in [
            ("30s", 30_000, "30s"),
            ("1m30s", 90_000, "90s"),
            ("1h", 3_600_000, "3600s"),
            ("1.5s", 1500, "1500ms"),
            ("500ms", 500, "500ms"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.get(), period.to_string().as_str()), (Duration::from_millis(millis), shown));
            assert_eq!(shown.parse::<Period>(), Ok(period));
        }
        for text in ["", "30", "s", "0s", "-1s", "1d", "25h", "1 s", "1.2.3s", "1s1", "é", "1é"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_hold_at_both_ends() {
        assert_eq!(PortNumber::new(0), None);
        assert_eq!(PortNumber::new(65535).unwrap().get(), 65535);
        assert_eq!(PidsLimit::new(1_000_001), None);
        assert_eq!(NetworkMtu::new(575), None);
        assert_eq!(StatusCode::new(99), None);
        let (low, high) = (StatusCode::new(200).unwrap(), StatusCode::new(300).unwrap());
        assert_eq!(StatusRange::new(high, low), None);
        assert!(StatusRange::new(low, low).unwrap().contains(200));
        assert_eq!(Cpus::new(f64::NAN), None);
        assert_eq!(Cpus::new(0.0), None);
    }
}
