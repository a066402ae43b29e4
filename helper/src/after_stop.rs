//! Removes or keeps the table after the service's process has ended: `ExecStopPost=` of the unit.
//!
//! The table outlives the process, so a crash, a restart and an upgrade leave no moment without
//! rules. After a stop of the service it has to go. systemd runs this command after every end of
//! the process, whatever the cause. `decide` alone makes the decision. It uses the job that systemd
//! has for the unit. If there is none, it uses the result that systemd passes in the environment
//! (`$SERVICE_RESULT`, `$EXIT_STATUS`; systemd.exec(5)).

use std::env;
use std::time::Duration;

use zbus::connection::Builder;
use zbus::proxy::CacheProperties;
use zbus::wire::OwnedObjectPath;
use zbus::{Address, Connection, Proxy};
use zruntime::SharedRuntime;

use crate::bus::bounded_socket;
use crate::kernel::{Kernel, KernelError, Ruleset};
use crate::log::{Line, Log};
use crate::state::StateDirs;

const SYSTEMD: &str = "org.freedesktop.systemd1";
/// The object of `airpods-helper.service`, encoded as by `sd_bus_path_encode(3)`.
const UNIT: &str = "/org/freedesktop/systemd1/unit/airpods_2dhelper_2eservice";

/// Time limit for systemd's answer. Without an answer the result decides.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The delay before systemd restarts a failed service. It is here and not in `RestartSec=`: during
/// that delay systemd runs no `ExecStopPost=` if the service is stopped, so the table would stay.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// Exit codes of the unit's `RestartPreventExitStatus=`, without 14 (bus name taken): then another
/// helper keeps the table.
const GIVEN_UP: [&str; 5] = ["2", "10", "11", "12", "17"];

/// Whether a helper keeps the table after this result. systemd restarts a failed service, unless
/// the failure ends its attempts. Exit code 14 means that another helper is running.
fn has_successor(result: Option<&str>, exit_status: Option<&str>) -> bool {
    let has_failed = result.is_some_and(|result| result != "success");
    has_failed && !exit_status.is_some_and(|status| GIVEN_UP.contains(&status))
}

/// Decides whether the table stays, with the reason for the log. `job` is the type of the unit's
/// job in systemd (`JobType`, org.freedesktop.systemd1(5)). It is `None` if there is no job, or
/// systemd does not answer.
fn decide(job: Option<&str>, has_successor: bool) -> (bool, &'static str) {
    match (job, has_successor) {
        (Some("stop"), _) => (false, "stopped"),
        (Some(_), _) => (true, "restarted"),
        (None, true) => (true, "failed, and restarted by systemd"),
        (None, false) => (false, "ended"),
    }
}

/// Removes or keeps the table after the service's process has ended.
///
/// # Errors
/// [`KernelError`] if the table could not be removed.
pub async fn run(
    runtime: &SharedRuntime,
    kernel: &mut dyn Kernel,
    state_dirs: &StateDirs,
    log: &Log,
) -> Result<(), KernelError> {
    let (result, exit_status) = (env::var("SERVICE_RESULT").ok(), env::var("EXIT_STATUS").ok());
    let has_successor = has_successor(result.as_deref(), exit_status.as_deref());
    if has_successor {
        // The delay precedes the question for the job, so a stop during the delay counts.
        runtime.sleep(RESTART_DELAY).await;
    }
    let job = runtime.timeout(ANSWER_WITHIN, job(runtime)).await.ok().and_then(Result::ok).flatten();
    let (stays, cause) = decide(job.as_deref(), has_successor);
    if stays {
        log.write(Line::info("table-kept").with("cause", cause));
        return Ok(());
    }
    remove(kernel, state_dirs, log, cause)
}

/// Removes the table. A foreign table stays, unless a remembered clamp was to replace it.
fn remove(kernel: &mut dyn Kernel, state_dirs: &StateDirs, log: &Log, cause: &str) -> Result<(), KernelError> {
    let Some(table) = kernel.read_table()? else { return Ok(()) };
    let (saved, _) = state_dirs.load();
    if !table.is_ours && saved.is_empty() {
        log.write(Line::warning("foreign-table-left").with("table", "inet airpods"));
        return Ok(());
    }
    kernel.apply(&Ruleset::default())?;
    log.write(Line::info("table-removed").with("cause", cause));
    Ok(())
}

/// Asks systemd over the system bus for the type of the unit's job. Reading needs no privileges.
async fn job(runtime: &SharedRuntime) -> zbus::Result<Option<String>> {
    let socket = bounded_socket::open(&Address::system()?, runtime).await;
    let socket = socket.map_err(|error| zbus::Error::Failure(error.to_string()))?;
    let bus = Builder::unix_stream(socket).build().await?;
    let unit = object(&bus, UNIT.try_into()?, "org.freedesktop.systemd1.Unit").await?;
    let (number, path): (u32, OwnedObjectPath) = unit.get_property("Job").await?;
    if number == 0 {
        return Ok(None);
    }
    let job = object(&bus, path, "org.freedesktop.systemd1.Job").await?;
    Ok(Some(job.get_property("JobType").await?))
}

async fn object(bus: &Connection, path: OwnedObjectPath, interface: &'static str) -> zbus::Result<Proxy<'static>> {
    let proxy = zbus::proxy::Builder::new(bus).destination(SYSTEMD).path(path).interface(interface);
    proxy.cache_properties(CacheProperties::No).build().await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use airpods_dbus::{ClampOptions, LinkName};
    use tempfile::TempDir;

    use super::*;
    use crate::clamp::Desired;
    use crate::doubles::{LinesKept, Simulated};

    #[test]
    fn the_unit_s_job_decides_and_where_there_is_none_the_result() {
        let is_kept = |job: Option<&str>, result, status| decide(job, has_successor(result, status)).0;
        for result in [Some("success"), Some("exit-code"), Some("signal"), None] {
            for kind in ["restart", "try-restart", "start", "reload-or-start"] {
                assert!(is_kept(Some(kind), result, None), "{kind} {result:?}");
            }
            assert!(!is_kept(Some("stop"), result, None), "{result:?}");
        }
        assert!(!is_kept(None, Some("success"), Some("0")), "stopped by a signal, or left by itself");
        assert!(!is_kept(None, None, None), "run by hand");
        for result in ["exit-code", "signal", "core-dump", "watchdog", "timeout", "oom-kill", "resources"] {
            assert!(is_kept(None, Some(result), Some("15")), "{result}: it is restarted");
        }
        assert!(is_kept(None, Some("exit-code"), Some("14")), "another helper runs");
        for status in GIVEN_UP {
            assert!(!is_kept(None, Some("exit-code"), Some(status)), "{status}: it is not restarted");
        }
    }

    #[test]
    fn exit_codes_that_end_the_attempts_are_those_of_the_unit() {
        let unit = include_str!("../../dbus/airpods-helper.service");
        let line = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).unwrap();
        let codes: Vec<&str> = line.split_whitespace().filter(|code| *code != "14").collect();
        assert_eq!(codes, GIVEN_UP);
        assert!(unit.lines().any(|line| line == "RestartSec=0"), "the delay is waited for here");
    }

    #[test]
    fn a_foreign_table_of_our_name_stays_unless_a_clamp_was_to_replace_it() {
        let folder = TempDir::new().unwrap();
        let state_dirs = StateDirs { runtime: folder.path().to_owned(), persistent: folder.path().join("not there") };
        let mut kernel = Simulated::with_links(Vec::new());
        kernel.set_foreign_table();
        remove(&mut kernel, &state_dirs, &LinesKept::log().0, "stopped").unwrap();
        assert!(kernel.has_foreign_table());
        let named = [(LinkName::parse("wg0").unwrap(), ClampOptions::default())].into();
        state_dirs.save_runtime(&Desired { named, ..Desired::default() }).unwrap();
        remove(&mut kernel, &state_dirs, &LinesKept::log().0, "stopped").unwrap();
        assert!(!kernel.has_foreign_table());
    }
}
