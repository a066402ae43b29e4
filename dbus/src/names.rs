//! The names that scripts, policies and units rely on.

/// The well-known bus name the helper owns.
pub const BUS_NAME: &str = "org.airpods.Helper1";
/// The one object the helper serves.
pub const OBJECT_PATH: &str = "/org/airpods/Helper1";
/// The one interface of that object, beside the bus's standard ones.
pub const INTERFACE: &str = "org.airpods.Helper1";
/// The object's introspection data, as the helper serves it.
pub const INTROSPECTION: &str = include_str!("../org.airpods.Helper1.xml");
/// The prefix of the helper's own error names, see [`crate::ErrorKind`].
pub const ERROR_PREFIX: &str = "org.airpods.Helper1.Error";
/// The system user (and group) the helper runs as; `airpods.sysusers` creates it.
pub const HELPER_USER: &str = "airpods-helper";

/// polkit's action for `ClampOn`.
pub const ACTION_CLAMP_ON: &str = "org.airpods.helper1.clamp-on";
/// polkit's action for `ClampOn` with `any-link`, where the link is no VPN link.
pub const ACTION_CLAMP_ANY_LINK: &str = "org.airpods.helper1.clamp-any-link";
/// polkit's action for `ClampOff`.
pub const ACTION_CLAMP_OFF: &str = "org.airpods.helper1.clamp-off";
/// polkit's action for `Reset`.
pub const ACTION_RESET: &str = "org.airpods.helper1.reset";

/// The nftables table that the helper maintains, in family `inet`.
pub const TABLE: &str = "airpods";
/// The largest number of named clamps; one more is `TooManyClamps`. Auto takes no link beyond this
/// total, but one that is kept has its places before names that are not kept.
pub const MAX_CLAMPS: usize = 256;
