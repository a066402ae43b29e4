//! The one command that is worth running next.

use super::row::Row;
use crate::podman::ContainerState;

/// The next command if something is wrong or nothing runs. `named` are the services that were asked for.
pub(super) fn next(rows: &[Row], named: &[String]) -> Option<String> {
    let first = |is: fn(&Row) -> bool| rows.iter().find(|row| is(row));
    if rows.is_empty() {
        return Some("airpods config edit".to_owned());
    }
    if first(Row::has_failed).is_some() {
        return Some("airpods doctor".to_owned());
    }
    if let Some(row) = first(Row::is_unwell) {
        return Some(format!("airpods logs {}", row.service));
    }
    if let Some(elsewhere) = rows.iter().find_map(|row| row.elsewhere.as_ref()) {
        return Some(elsewhere.cure());
    }
    if first(Row::may_hang).is_some() {
        return Some("airpods net clamp on".to_owned());
    }
    if rows.iter().any(|row| row.state == Some(ContainerState::Running)) {
        return None;
    }
    // What is no longer configured cannot be started.
    let rests = |row: &Row| row.configured && row.status() != "done";
    let start = ["airpods start"].into_iter().chain(named.iter().map(String::as_str));
    rows.iter().any(rests).then(|| start.collect::<Vec<_>>().join(" "))
}
