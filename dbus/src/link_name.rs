//! The name of a network link. Once parsed, it is safe in a prompt, a log line and a rule.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name the kernel takes, in bytes: `IFNAMSIZ` (16) less the NUL, see `linux/if.h`.
const MAX_LEN: usize = 15;

/// Names that do not stand for one link: the loopback, the pseudo-links of
/// `/proc/sys/net/ipv4/conf`, and folders.
const RESERVED: [&str; 5] = ["lo", "all", "default", ".", ".."];

/// The name of one network link, such as `wg0`, that nft can print and read back.
///
/// [`Self::of_kernel`] accepts every name of an existing link that a rule can contain.
/// [`Self::parse`] accepts fewer names: a caller's text reaches prompts and logs before the helper
/// knows whether such a link exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

/// Why a text is not a [`LinkName`]. The message never repeats the raw text.
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
        "a link name here has only letters, digits, `_`, `=`, `+`, `.` and `-` and does not begin with `-`; byte {0} breaks this"
    )]
    Character(usize),
    /// `lo`, `all` and the like.
    #[error("`{0}` is not the name of a link that can be clamped")]
    Reserved(&'static str),
    /// The link's name is not UTF-8, which D-Bus cannot carry.
    #[error("its name is no UTF-8 text")]
    Encoding,
    /// The link's name has a quotation mark, which ends a name in nft's language.
    #[error("its name has a quotation mark, which nft cannot read back")]
    Quote,
    /// The link's name ends in an asterisk, which nft reads as a wildcard.
    #[error("its name ends in an asterisk, which nft reads as every name that begins like it")]
    Wildcard,
    /// The link's name has a control character.
    #[error("its name has a control character")]
    Control,
}

impl LinkName {
    /// Parses a caller's text. Allowed is what wg-quick(8) allows, without a `-` at the beginning.
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
            byte.is_ascii_alphanumeric() || b"_=+.".contains(&byte) || (at > 0 && byte == b'-')
        };
        if let Some((at, _)) = text.bytes().enumerate().find(|&indexed| !accepted(indexed)) {
            return Err(InvalidLinkName::Character(at));
        }
        Self::of_kernel(text.as_bytes())
    }

    /// Takes the name that the kernel reports for a link, if nft can print it and read it back.
    ///
    /// nft prints the names in a set between quotation marks. It reads any byte there except the
    /// quotation mark itself (`scanner.l` of nftables), and takes an asterisk at the end for a
    /// wildcard.
    ///
    /// # Errors
    /// [`InvalidLinkName`] says why the link cannot be clamped.
    pub fn of_kernel(name: &[u8]) -> Result<Self, InvalidLinkName> {
        let text = std::str::from_utf8(name).map_err(|_| InvalidLinkName::Encoding)?;
        if let Some(reserved) = RESERVED.into_iter().find(|&reserved| reserved == text) {
            return Err(InvalidLinkName::Reserved(reserved));
        }
        match text {
            "" => Err(InvalidLinkName::Empty),
            _ if text.len() > MAX_LEN => Err(InvalidLinkName::TooLong(text.len())),
            _ if text.contains('"') => Err(InvalidLinkName::Quote),
            _ if text.ends_with('*') => Err(InvalidLinkName::Wildcard),
            _ if text.chars().any(char::is_control) => Err(InvalidLinkName::Control),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as the kernel compares it in a set of type `ifname`: 16 bytes, padded with NUL. The
    /// padding keeps `wg1` from matching `wg10`.
    #[must_use]
    pub fn padded(&self) -> [u8; MAX_LEN + 1] {
        let mut bytes = [0; MAX_LEN + 1];
        for (to, from) in bytes.iter_mut().zip(self.0.bytes()) {
            *to = from;
        }
        bytes
    }
}

impl TryFrom<String> for LinkName {
    type Error = InvalidLinkName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::of_kernel(text.as_bytes())
    }
}

impl From<LinkName> for String {
    fn from(name: LinkName) -> Self {
        name.0
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

/// The target of a clamp: one link, or every VPN link, present and future.
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
            "wg+home",
            "mullvad=se1",
            "a=b",
            ".wg",
            "+",
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
    fn every_name_that_nft_reads_back_may_be_a_links() {
        for name in ["wg+home", "büro", "-x", "a\\b", "wg*x", "$(id)", "@set", "a#b", "\u{202e}wg", "123456789012345"]
        {
            assert_eq!(LinkName::of_kernel(name.as_bytes()).unwrap().as_str(), name);
        }
        for (name, why) in [
            (&b"wg*"[..], InvalidLinkName::Wildcard),
            (b"*", InvalidLinkName::Wildcard),
            (b"wg0\"", InvalidLinkName::Quote),
            (b"wg\x07", InvalidLinkName::Control),
            (b"w\xff", InvalidLinkName::Encoding),
            (b"lo", InvalidLinkName::Reserved("lo")),
            (b"..", InvalidLinkName::Reserved("..")),
            (b"", InvalidLinkName::Empty),
            (b"1234567890123456", InvalidLinkName::TooLong(16)),
        ] {
            assert_eq!(LinkName::of_kernel(name), Err(why), "{name:?}");
        }
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
    fn a_name_is_displayed_and_sent_as_it_was_read() {
        let target = Target::parse("wg0").unwrap();
        assert_eq!((target.as_wire(), target.to_string()), ("wg0", "wg0".to_owned()));
        assert_eq!(LinkName::parse("wg0").unwrap().to_string(), "wg0");
    }
}
