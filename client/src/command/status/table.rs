//! Draws rows as a table.

use super::row::Row;
use crate::terminal::EscapedLine;

/// The heading and a line for each row, each harmless to a terminal.
pub(super) fn lines(rows: &[Row]) -> Vec<String> {
    let mut cells = vec![["Service", "Status", "Uptime", "Path", "Info"].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        let uptime = row.uptime().map_or_else(|| "-".to_owned(), |uptime| uptime.to_string());
        [row.service.clone(), row.status().to_owned(), uptime, row.path(), row.info()]
    }));
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |[service, status, uptime, path, info]: &[String; 5]| {
        let [of_service, of_status, of_uptime, of_way] = widths;
        let line = format!("{service:of_service$}  {status:of_status$}  {uptime:of_uptime$}  {path:of_way$}  {info}");
        EscapedLine(line.trim_end()).to_string()
    };
    cells.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StatusRange;
    use crate::egress::{Egress, EgressPath, NetworkPath, Verdict};
    use crate::plan::{HealthCheck, HttpCheck};
    use crate::podman::ContainerState;

    fn row(service: &str) -> Row {
        let (service, container) = (service.to_owned(), format!("{service}-0"));
        let (state, started_at, health, path, clamped, elsewhere) = (None, None, None, None, None, None);
        Row {
            service,
            configured: true,
            oneshot: false,
            stopped: false,
            container,
            state,
            started_at,
            health,
            path,
            clamped,
            elsewhere,
        }
    }

    #[test]
    fn an_answer_from_elsewhere_cannot_steer_the_terminal() {
        let (at, path, expected) = (([127, 0, 0, 1], 80).into(), "/".to_owned(), StatusRange::SUCCESS);
        let check = HealthCheck::Http(HttpCheck { at, path, expected });
        let health = Some((check, Err("\u{1b}[2J\u{9b}".to_owned())));
        let row = Row { state: Some(ContainerState::Running), health, ..row("web") };
        assert_eq!(
            lines(&[row])[1],
            "web      running  -       -     no answer at http://127.0.0.1:80/: \\u{1b}[2J\\u{9b}"
        );
    }

    #[test]
    fn each_state_is_told_apart() {
        let exited = Row { state: Some(ContainerState::Exited(137)), ..row("model") };
        let stopped = Row { state: Some(ContainerState::Exited(0)), ..row("web") };
        let killed = Row { state: Some(ContainerState::Exited(137)), stopped: true, ..row("slow") };
        let expected = [
            "Service  Status         Uptime  Path  Info",
            "model    exited         -       -     killed (SIGKILL)",
            "web      stopped        -       -     exit code 0",
            "slow     stopped        -       -",
            "paint    never started  -       -",
        ];
        assert_eq!(lines(&[exited, stopped, killed, row("paint")]), expected);
    }

    #[test]
    fn what_is_not_in_the_configuration_is_marked() {
        let ended = Row { state: Some(ContainerState::Exited(3)), configured: false, ..row("old") };
        let runs = Row { state: Some(ContainerState::Running), configured: false, ..row("older") };
        assert_eq!(runs.to_json()["configured"], false);
        let expected = [
            "Service  Status   Uptime  Path  Info",
            "old      exited   -       -     exit code 3, not in the configuration",
            "older    running  -       -     not in the configuration",
        ];
        assert_eq!(lines(&[ended, runs]), expected);
    }

    #[test]
    fn the_network_path_is_shown_and_whether_it_is_clamped_where_that_matters() {
        let mut bridged = running("model", NetworkPath::Bridge, Verdict::ClampHelps);
        let hosted = running("paint", NetworkPath::Host, Verdict::HostSockets);
        bridged.judge_clamp(&airpods_dbus::Status::default());
        let expected = [
            "Service  Status   Uptime  Path",
            "model    running  -       bridge -> wg0 (1380), not clamped",
            "paint    running  -       host -> wg0 (1380)",
        ];
        assert_eq!(bridged.to_json()["path"]["clamped"], false);
        assert_eq!(hosted.to_json()["path"]["clamped"], serde_json::Value::Null);
        assert_eq!(bridged.to_json()["path"]["verdict"], "clamp-helps");
        let shown: Vec<String> = lines(&[bridged, hosted]).iter().map(|line| line.replace("  Info", "")).collect();
        assert_eq!(shown.iter().map(|line| line.trim_end()).collect::<Vec<_>>(), expected);
    }

    /// A service whose packets leave through a VPN.
    fn running(service: &str, passage: NetworkPath, verdict: Verdict) -> Row {
        let kind = airpods_dbus::LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
        let egress = Some(Egress { link: "wg0".to_owned(), index: 9, kind, mtu: 1380 });
        let path = Some(EgressPath { passage, egress, network_mtu: None, verdict });
        Row { state: Some(ContainerState::Running), path, ..row(service) }
    }
}
