//! What is being tried, for people who wait.

use std::fmt;

/// The present trial, for people who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first connections.
    First(u16),
    /// Closing in on where the path ends.
    Between(Option<(u16, u16)>, Option<(u16, u16)>),
    /// Trying the size above again and again.
    Boundary(Option<u16>, Option<u16>),
    /// Trying the same on another server.
    Confirming,
    /// Making plain transfers.
    Transfers,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = |gap: &Option<(u16, u16)>| gap.map(|(low, high)| format!("{low} to {high}"));
        let size = |size: &Option<u16>| size.map(|size| size.to_string());
        let (up, down) = match self {
            Self::First(top) => return write!(f, "packets of up to {top} bytes"),
            Self::Confirming => return f.write_str("the same with another server"),
            Self::Transfers => return f.write_str("plain transfers"),
            Self::Between(up, down) => (gap(up), gap(down)),
            Self::Boundary(up, down) => (size(up), size(down)),
        };
        match (up, down) {
            (Some(up), Some(down)) => write!(f, "{up} bytes up, {down} down"),
            (Some(up), None) => write!(f, "{up} bytes up"),
            (None, Some(down)) => write!(f, "{down} bytes down"),
            (None, None) => f.write_str("a large hello"),
        }
    }
}
