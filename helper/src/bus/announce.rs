//! The signals of our properties.

use std::collections::HashMap;

use airpods_dbus::names;
use zbus::names::BusName;
use zbus::{Connection, Variant};

use crate::reconcile::Announcement;

/// Sends `PropertiesChanged` with what differs.
pub(super) async fn changed(connection: &Connection, before: &Announcement, now: &Announcement) -> zbus::Result<()> {
    let clamps = (before.clamps != now.clamps).then(|| ("Clamps", Variant::from(now.clamps.clone())));
    let auto = (before.auto != now.auto).then(|| ("Auto", Variant::from(now.auto)));
    let values: HashMap<&str, Variant<'_>> = clamps.into_iter().chain(auto).collect();
    let (everybody, none) = (None::<BusName<'_>>, &[] as &[&str]);
    let body = (names::INTERFACE, values, none);
    let interface = "org.freedesktop.DBus.Properties";
    connection.emit_signal(everybody, names::OBJECT_PATH, interface, "PropertiesChanged", &body).await
}
