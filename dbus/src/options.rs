//! The options of `ClampOn`: `a{sv}` on the bus, checked values here.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zbus::{OwnedVariant, Variant};

use crate::{Error, ErrorKind};

/// A path MTU in bytes that a clamp is fixed to, 576 to 9000.
///
/// Every IPv4 host must accept 576 bytes (RFC 791, section 3.1); 9000 is the usual jumbo frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PathMtu(u16);

impl PathMtu {
    /// The smallest path MTU accepted, in bytes.
    pub const MIN: u32 = 576;
    /// The largest path MTU accepted, in bytes.
    pub const MAX: u32 = 9000;

    /// Checks the range.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] outside 576 to 9000.
    pub fn new(bytes: u32) -> Result<Self, Error> {
        u16::try_from(bytes).ok().filter(|_| (Self::MIN..=Self::MAX).contains(&bytes)).map(Self).ok_or_else(|| {
            ErrorKind::InvalidOption.because(format!(
                "option `mtu` must be {} to {} bytes, not {bytes}",
                Self::MIN,
                Self::MAX
            ))
        })
    }

    /// The path MTU in bytes.
    #[must_use]
    pub fn bytes(self) -> u16 {
        self.0
    }

    /// The largest TCP segment over IPv4 in bytes: the MTU less 20 for IPv4 and 20 for TCP (RFC
    /// 9293, section 3.7.1).
    #[must_use]
    pub fn mss_v4(self) -> u16 {
        self.0 - 40
    }

    /// The largest TCP segment over IPv6 in bytes: the MTU less 40 for IPv6 and 20 for TCP (RFC
    /// 8200, section 8.3).
    #[must_use]
    pub fn mss_v6(self) -> u16 {
        self.0 - 60
    }
}

impl TryFrom<u32> for PathMtu {
    type Error = Error;

    fn try_from(bytes: u32) -> Result<Self, Error> {
        Self::new(bytes)
    }
}

impl From<PathMtu> for u32 {
    fn from(mtu: PathMtu) -> Self {
        Self::from(mtu.0)
    }
}

impl fmt::Display for PathMtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The options of `ClampOn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClampOptions {
    /// `mtu` (u): clamp to this path MTU instead of the route's.
    pub mtu: Option<PathMtu>,
    /// `persist` (b): keep the clamp across reboots.
    pub persist: bool,
    /// `any-link` (b): accept a link that is no VPN.
    pub any_link: bool,
}

impl ClampOptions {
    /// Reads options from the bus.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for an unknown option, a wrong type or a value out of range.
    /// The message repeats at most 32 characters of an unknown name, and escapes its control
    /// characters.
    pub fn from_wire(options: &HashMap<String, OwnedVariant>) -> Result<Self, Error> {
        let mut read = Self::default();
        for (name, value) in options {
            match (name.as_str(), &**value) {
                ("mtu", Variant::U32(bytes)) => read.mtu = Some(PathMtu::new(*bytes)?),
                ("persist", Variant::Bool(persist)) => read.persist = *persist,
                ("any-link", Variant::Bool(any_link)) => read.any_link = *any_link,
                ("mtu", _) => return Err(wrong_type("mtu", "u")),
                ("persist", _) => return Err(wrong_type("persist", "b")),
                ("any-link", _) => return Err(wrong_type("any-link", "b")),
                (unknown, _) => {
                    let shown: String = unknown.chars().take(32).flat_map(char::escape_default).collect();
                    return Err(ErrorKind::InvalidOption
                        .because(format!("there is no option `{shown}`; there are `mtu`, `persist` and `any-link`")));
                }
            }
        }
        Ok(read)
    }

    /// The options as they are sent over the bus; those at their default are left out.
    #[must_use]
    pub fn to_wire(self) -> HashMap<&'static str, Variant<'static>> {
        let mtu = self.mtu.map(|mtu| ("mtu", Variant::U32(u32::from(mtu.bytes()))));
        let persist = self.persist.then_some(("persist", Variant::Bool(true)));
        let any_link = self.any_link.then_some(("any-link", Variant::Bool(true)));
        mtu.into_iter().chain(persist).chain(any_link).collect()
    }
}

fn wrong_type(option: &str, signature: &str) -> Error {
    ErrorKind::InvalidOption.because(format!("option `{option}` must have the D-Bus type `{signature}`"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wire(entries: &[(&str, Variant<'static>)]) -> HashMap<String, OwnedVariant> {
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.try_clone().unwrap().try_into().unwrap()))
            .collect()
    }

    #[test]
    fn options_survive_the_way_over_the_bus() {
        let options = ClampOptions { mtu: Some(PathMtu::new(1280).unwrap()), persist: true, any_link: true };
        let sent: HashMap<String, OwnedVariant> =
            options.to_wire().into_iter().map(|(name, value)| (name.to_owned(), value.try_into().unwrap())).collect();
        assert_eq!(ClampOptions::from_wire(&sent).unwrap(), options);
        assert_eq!(ClampOptions::from_wire(&wire(&[])).unwrap(), ClampOptions::default());
    }

    #[test]
    fn a_path_mtu_leaves_room_for_both_headers() {
        let mtu = PathMtu::new(1280).unwrap();
        assert_eq!((mtu.mss_v4(), mtu.mss_v6()), (1240, 1220));
        assert_eq!(mtu.to_string(), "1280", "and is told as it is");
    }

    #[test]
    fn values_out_of_range_of_wrong_type_or_unknown_are_refused() {
        let refused = [
            ("mtu", Variant::U32(575)),
            ("mtu", Variant::U32(9001)),
            ("mtu", Variant::U32(u32::MAX)),
            ("mtu", Variant::I32(1280)),
            ("persist", Variant::U32(1)),
            ("any-link", Variant::from("yes")),
            ("mtu\u{1b}", Variant::U32(1280)),
            ("force", Variant::Bool(true)),
        ];
        for entry in refused {
            let error = ClampOptions::from_wire(&wire(std::slice::from_ref(&entry))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{entry:?}");
            assert!(!error.message().contains('\u{1b}'), "{error:?}");
        }
        for edge in [576, 9000] {
            assert!(ClampOptions::from_wire(&wire(&[("mtu", Variant::U32(edge))])).is_ok());
        }
    }
}
