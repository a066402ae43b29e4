//! The signals of our properties.

use std::collections::HashMap;

use airpods_dbus::names;
use zbus::fdo::Properties;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant};

use crate::reconcile::Announcement;

/// Sends `PropertiesChanged` with what differs.
pub(super) async fn changed(connection: &Connection, before: &Announcement, now: &Announcement) -> zbus::Result<()> {
    let clamps = (before.clamps != now.clamps).then(|| ("Clamps", Variant::from(now.clamps.clone())));
    let auto = (before.auto != now.auto).then(|| ("Auto", Variant::from(now.auto)));
    let values: HashMap<&str, Variant<'_>> = clamps.into_iter().chain(auto).collect();
    let emitter = SignalEmitter::new(connection, names::OBJECT_PATH)?;
    Properties::properties_changed(&emitter, InterfaceName::try_from(names::INTERFACE)?, values, (&[]).into()).await
}
