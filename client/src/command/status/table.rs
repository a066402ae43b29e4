//! Draws rows as a table.

use super::row::Row;
use crate::terminal::EscapedLine;

/// The heading and a line for each row, each harmless to a terminal.
pub(super) fn lines(rows: &[Row]) -> Vec<String> {
    let mut cells = vec![["Service".to_owned(), "Status".to_owned(), "Uptime".to_owned(), "Info".to_owned()]];
    cells.extend(rows.iter().map(|row| {
        let uptime = row.uptime().map_or_else(|| "-".to_owned(), |uptime| uptime.to_string());
        [row.service.clone(), row.status().to_owned(), uptime, row.info()]
    }));
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let line = |[service, status, uptime, info]: &[String; 4]| {
        let line = format!("{service:0$}  {status:1$}  {uptime:2$}  {info}", widths[0], widths[1], widths[2]);
        EscapedLine(line.trim_end()).to_string()
    };
    cells.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StatusRange;
    use crate::plan::HealthCheck;
    use crate::podman::ContainerState;

    fn row(service: &str) -> Row {
        let (service, container) = (service.to_owned(), format!("{service}-0"));
        Row { service, container, state: None, started_at: None, health: None }
    }

    #[test]
    fn an_answer_from_elsewhere_cannot_steer_the_terminal() {
        let check = HealthCheck { port: 80, path: "/".to_owned(), expected: StatusRange::SUCCESS };
        let health = Some((check, Err("\u{1b}[2J\u{9b}".to_owned())));
        let row = Row { state: Some(ContainerState::Running), health, ..row("web") };
        assert_eq!(lines(&[row])[1], "web      running  -       no answer at http://127.0.0.1:80/: \\u{1b}[2J\\u{9b}");
    }

    #[test]
    fn each_state_is_told_apart() {
        let exited = Row { state: Some(ContainerState::Exited(137)), ..row("model") };
        let stopped = Row { state: Some(ContainerState::Exited(0)), ..row("web") };
        let expected = [
            "Service  Status         Uptime  Info",
            "model    exited         -       exit code 137",
            "web      stopped        -       exit code 0",
            "paint    never started  -",
        ];
        assert_eq!(lines(&[exited, stopped, row("paint")]), expected);
    }
}
