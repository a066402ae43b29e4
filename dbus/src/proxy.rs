//! The client's side of the contract.

use std::collections::HashMap;

use zbus::Variant;

use crate::Status;

/// Calls the helper. Every mutating method returns whether anything changed. It fails with one of
/// [`crate::ErrorKind`], see [`crate::Error::from_bus`].
#[zbus::proxy(
    interface = "org.airpods.Helper1",
    default_service = "org.airpods.Helper1",
    default_path = "/org/airpods/Helper1"
)]
pub trait Helper {
    /// Clamps one link by name, or with `""` every VPN link; see [`crate::ClampOptions`].
    fn clamp_on(&self, link: &str, options: HashMap<&str, Variant<'_>>) -> zbus::Result<bool>;

    /// The same, allowing polkit to ask the user for a password.
    #[zbus(name = "ClampOn", allow_interactive_auth)]
    fn clamp_on_asking(&self, link: &str, options: HashMap<&str, Variant<'_>>) -> zbus::Result<bool>;

    /// Ends the clamp of one link, or with `""` auto.
    fn clamp_off(&self, link: &str) -> zbus::Result<bool>;

    /// The same, allowing polkit to ask the user for a password.
    #[zbus(name = "ClampOff", allow_interactive_auth)]
    fn clamp_off_asking(&self, link: &str) -> zbus::Result<bool>;

    /// Drops every clamp and the table, persisted ones too.
    fn reset(&self) -> zbus::Result<bool>;

    /// The same, allowing polkit to ask the user for a password.
    #[zbus(name = "Reset", allow_interactive_auth)]
    fn reset_asking(&self) -> zbus::Result<bool>;

    /// The helper's full status. Never asks for a password.
    fn get_status(&self) -> zbus::Result<Status>;

    /// The links under an active clamp.
    #[zbus(property)]
    fn clamps(&self) -> zbus::Result<Vec<String>>;

    /// Whether every VPN link is clamped.
    #[zbus(property)]
    fn auto(&self) -> zbus::Result<bool>;

    /// The helper's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;
}
