//! The name of a network link, parsed once and trusted afterwards.

use std::fmt;
use std::str::FromStr;

/// Longest name the kernel takes, in bytes: `IFNAMSIZ` (16) less the NUL, see `linux/if.h`.
const MAX_LEN: usize = 15;

/// Names that mean something else than one link: the loopback, and the pseudo-links of
/// `/proc/sys/net/ipv4/conf`.
const RESERVED: [&str; 3] = ["lo", "all", "default"];

/// The name of one network link, such as `wg0`.
///
/// It is 1 to 15 bytes of ASCII letters, digits, `.`, `_` and `-`, begins with a letter, a digit or `_`, and is
/// none of `lo`, `all` and `default`. That is narrower than what the kernel takes (`dev_valid_name` in
/// `net/core/dev.c` forbids only `/`, `:`, white space, `.` and `..`): a name also travels into prompts, logs,
/// terminals and rule text, where quotes, wildcards and control characters would mean something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(String);

/// Why a text is not a [`LinkName`]. Never repeats the raw text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLinkName {
    /// The text has no bytes.
    #[error("a link name cannot be empty")]
    Empty,
    /// More bytes than the kernel's 15.
    #[error("a link name has at most 15 bytes, this one has {0}")]
    TooLong(usize),
    /// A byte outside the accepted set; the position counts from 0.
    #[error(
        "a link name has only letters, digits, `.`, `_` and `-` and does not begin with `.` or `-`; byte {0} is none of these"
    )]
    Character(usize),
    /// `lo`, `all` or `default`.
    #[error("`{0}` is not the name of a link that can be clamped")]
    Reserved(&'static str),
}

impl LinkName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidLinkName`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidLinkName> {
        if text.is_empty() {
            return Err(InvalidLinkName::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(InvalidLinkName::TooLong(text.len()));
        }
        let accepted = |(at, byte): (usize, u8)| {
            byte.is_ascii_alphanumeric() || byte == b'_' || (at > 0 && (byte == b'.' || byte == b'-'))
        };
        if let Some((at, _)) = text.bytes().enumerate().find(|&indexed| !accepted(indexed)) {
            return Err(InvalidLinkName::Character(at));
        }
        match RESERVED.into_iter().find(|&reserved| reserved == text) {
            Some(reserved) => Err(InvalidLinkName::Reserved(reserved)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as the kernel compares it in a set of type `ifname`: 16 bytes, padded with NUL. The padding is
    /// what keeps `wg1` from matching `wg10`.
    #[must_use]
    pub fn padded(&self) -> [u8; MAX_LEN + 1] {
        let mut bytes = [0; MAX_LEN + 1];
        for (to, from) in bytes.iter_mut().zip(self.0.bytes()) {
            *to = from;
        }
        bytes
    }
}

impl FromStr for LinkName {
    type Err = InvalidLinkName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a clamp is for: one link, or every VPN link there is and will be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// `""` on the bus: every VPN link, now and whenever one appears.
    Auto,
    /// One link by name, whether it exists yet or not.
    Link(LinkName),
}

impl Target {
    /// Reads the `link` argument of `ClampOn` and `ClampOff`.
    ///
    /// # Errors
    /// [`InvalidLinkName`] if the text is neither empty nor a link name.
    pub fn parse(text: &str) -> Result<Self, InvalidLinkName> {
        match text {
            "" => Ok(Self::Auto),
            name => LinkName::parse(name).map(Self::Link),
        }
    }

    /// The text that stands for this target on the bus.
    #[must_use]
    pub fn as_wire(&self) -> &str {
        match self {
            Self::Auto => "",
            Self::Link(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("every VPN link"),
            Self::Link(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_that_vpns_use_are_accepted() {
        for name in [
            "wg0",
            "wg0-mullvad",
            "tailscale0",
            "nordlynx",
            "CloudflareWARP",
            "wg1.5",
            "zt5u4xyzabc",
            "_x",
            "123456789012345",
        ] {
            assert_eq!(LinkName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn every_hostile_name_is_refused() {
        for name in [
            "1234567890123456",
            "a/b",
            "a b",
            "a\nb",
            "a\u{1b}[31m",
            ".",
            "..",
            ".wg",
            "a:b",
            "*",
            "wg*",
            "wg0\"",
            "wg0;",
            "-x",
            "wgé",
            "wg\0",
            "$(id)",
            "<b>",
            "wg0+",
            "wg%d",
            "a@b",
            "\u{202e}wg",
            "lo",
            "all",
            "default",
        ] {
            assert!(LinkName::parse(name).is_err(), "{name:?}");
            assert!(Target::parse(name).is_err(), "{name:?}");
        }
        assert_eq!(LinkName::parse(""), Err(InvalidLinkName::Empty));
    }

    #[test]
    fn a_refusal_does_not_repeat_the_hostile_bytes() {
        let refusal = LinkName::parse("a\u{1b}]0;x").unwrap_err().to_string();
        assert!(refusal.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{refusal:?}");
    }

    #[test]
    fn padding_keeps_a_name_from_being_a_prefix_of_another() {
        let one = LinkName::parse("wg1").unwrap().padded();
        let ten = LinkName::parse("wg10").unwrap().padded();
        assert_eq!(&one, b"wg1\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_ne!(one[..4], ten[..4]);
    }

    #[test]
    fn the_empty_name_means_every_vpn_link() {
        assert_eq!(Target::parse("").unwrap(), Target::Auto);
        assert_eq!(Target::Auto.as_wire(), "");
        assert_eq!(Target::Auto.to_string(), "every VPN link");
    }

    #[test]
    fn a_name_is_told_and_sent_as_it_was_read() {
        let target = Target::parse("wg0").unwrap();
        assert_eq!((target.as_wire(), target.to_string()), ("wg0", "wg0".to_owned()));
        assert_eq!(LinkName::parse("wg0").unwrap().to_string(), "wg0");
    }
}
