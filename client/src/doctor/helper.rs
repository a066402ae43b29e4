//! Whether the helper is available, and whether this user may use it.

use std::time::Duration;

use airpods_dbus::{ClampState, Status, names};

use super::{Code, Finding};
use crate::helper_link::{ExpectedAnswer, HelperError, HelperLink};
use crate::system_bus::BusError;

/// The result of looking for the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Helper {
    /// There is no system bus, or it does not answer; carries a sentence.
    NoBus(String),
    /// Another user listens on the bus; carries a sentence.
    ForeignBus(String),
    /// It is not installed.
    Missing,
    /// It is installed but does not start or answer; carries a sentence.
    Failed(String),
    /// It answers.
    Answers {
        /// Its clamps and their state.
        status: Status,
        /// Whether this user may change them.
        permission: Permission,
    },
}

impl Helper {
    /// The helper's status, if it answers.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Answers { status, .. } => Some(status),
            _ => None,
        }
    }
}

/// polkit's answer for this user, asked without a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Allowed without a password.
    Granted,
    /// Allowed after an administrator's password.
    Password,
    /// Not allowed.
    Denied {
        /// Whether the session came over ssh.
        remote: bool,
    },
    /// polkit does not run.
    NoAuthority,
    /// polkit does not know the helper's actions.
    NoPolicy,
    /// It could not be determined, and why.
    NotKnown(String),
}

/// Whether the helper is needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperNeed {
    /// The configuration requires a clamp: `runtime.network.mss_clamp = "require"`.
    Required,
    /// A clamp may help.
    Helpful,
    /// The configuration excludes clamps: `runtime.network.mss_clamp = "off"`.
    None,
}

const INSTALL: &str =
    "sudo apt install airpods-helper  # from source: make deb && sudo apt install ./target/deb/airpods-helper_*.deb";
const REINSTALL: &str = "sudo apt install --reinstall airpods-helper  # from source: \
                         sudo apt install --reinstall ./target/deb/airpods-helper_*.deb";

/// Judges the helper.
pub(super) fn judge(helper: &Helper, helper_need: HelperNeed) -> Vec<Finding> {
    // Without the helper everything but the clamp works, so its absence is broken only if a clamp
    // is required.
    let found = |code, cause: String, cure: &str| match helper_need {
        HelperNeed::Required => vec![Finding::broken(code, cause, cure)],
        HelperNeed::Helpful => vec![Finding::note(code, cause, cure)],
        HelperNeed::None => Vec::new(),
    };
    match helper {
        Helper::NoBus(why) => {
            let cause = format!("{why}, so nothing can be clamped");
            found(Code::BusMissing, cause, "sudo systemctl start dbus.socket")
        }
        Helper::ForeignBus(why) => {
            let cause = format!("{why}, so nothing can be clamped");
            found(Code::BusMissing, cause, "unset DBUS_SYSTEM_BUS_ADDRESS")
        }
        Helper::Missing => {
            let cause = "the helper `airpods-helper` is not installed, so nothing can be clamped".to_owned();
            found(Code::HelperMissing, cause, INSTALL)
        }
        Helper::Failed(why) => found(
            Code::HelperFailed,
            why.clone(),
            "sudo systemctl restart airpods-helper; journalctl -u airpods-helper -n 20",
        ),
        Helper::Answers { status, permission } => {
            let mut findings = contested(status);
            findings.extend(refused(status));
            findings.extend(status.unclampable.iter().map(|link| {
                let cause = format!("the VPN link `{}` cannot be clamped: {}", link.link, link.reason);
                let name = shlex::try_quote(&link.link).map_or_else(|_| link.link.clone(), Into::into);
                Finding::note(Code::LinkUnclampable, cause, format!("sudo ip link set dev {name} name vpn0"))
            }));
            findings.extend(permission_of(permission).map_or_else(
                |(code, cause, cure)| found(code, cause, cure),
                |says| vec![Finding::fine(format!("the helper {} answers, {says}", status.version))],
            ));
            findings
        }
    }
}

fn contested(status: &Status) -> Vec<Finding> {
    let links: Vec<String> = status
        .clamps
        .iter()
        .filter(|clamp| clamp.state == ClampState::Contested)
        .map(|clamp| format!("`{}`", clamp.link))
        .collect();
    if links.is_empty() {
        return Vec::new();
    }
    let cause = format!(
        "another program keeps removing the rules that clamp {}; the helper's log says which",
        links.join(", ")
    );
    vec![Finding::broken(Code::HelperContested, cause, "journalctl -u airpods-helper -n 20")]
}

/// The finding if the kernel refuses the rules, so that no other program is at fault.
fn refused(status: &Status) -> Option<Finding> {
    let refused = status.clamps.iter().any(|clamp| clamp.state == ClampState::Refused);
    let cause = status.refusal.as_deref().unwrap_or("its log says why");
    refused.then(|| {
        let cause = format!("the kernel refuses the helper's rules, so nothing is clamped: {cause}");
        Finding::broken(Code::HelperRefused, cause, "journalctl -u airpods-helper -n 20")
    })
}

/// The words for how a change is allowed, or the finding if it is not.
fn permission_of(permission: &Permission) -> Result<&'static str, (Code, String, &'static str)> {
    match permission {
        Permission::Granted => Ok("and you may clamp without a password"),
        Permission::Password => Ok("and an administrator's password lets you clamp"),
        Permission::Denied { remote } => {
            let place = if *remote { "over ssh, which polkit does not treat as being at the machine" } else { "here" };
            Err((
                Code::HelperDenied,
                format!("polkit does not let you clamp {place}, not even with a password"),
                "sudo cp /usr/share/doc/airpods-helper/polkit/examples/50-airpods-group.rules /etc/polkit-1/rules.d/ && \
                 sudo usermod --append --groups netdev \"$USER\"",
            ))
        }
        Permission::NoAuthority => Err((
            Code::PolkitMissing,
            "polkit does not run, so only root can clamp".to_owned(),
            "sudo apt install polkitd && sudo systemctl restart polkit",
        )),
        Permission::NoPolicy => Err((
            Code::PolkitPolicy,
            "polkit does not know the helper's actions: its policy is not installed".to_owned(),
            REINSTALL,
        )),
        Permission::NotKnown(why) => Err((
            Code::NotKnown,
            format!("could not determine whether you may clamp: {why}"),
            "sudo systemctl restart polkit",
        )),
    }
}

/// Time limit for the helper's answer; the bus may have to start it.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn read(remote: bool) -> Helper {
    match tokio::time::timeout(LIMIT, ask(remote)).await {
        Ok(Ok((status, permission))) => Helper::Answers { status, permission },
        Ok(Err(error)) => classify(&error),
        Err(_) => Helper::Failed(format!("the helper does not answer within {} s", LIMIT.as_secs())),
    }
}

async fn ask(remote: bool) -> Result<(Status, Permission), HelperError> {
    let link = HelperLink::connect().await?;
    let status = link.status().await?;
    let permission = match link.expected_answer(names::ACTION_CLAMP_ON).await {
        ExpectedAnswer::Allowed => Permission::Granted,
        ExpectedAnswer::Challenge => Permission::Password,
        ExpectedAnswer::Denied => Permission::Denied { remote },
        ExpectedAnswer::NoAuthority => Permission::NoAuthority,
        ExpectedAnswer::UnknownAction => Permission::NoPolicy,
        ExpectedAnswer::NotKnown(why) => Permission::NotKnown(why),
    };
    Ok((status, permission))
}

fn classify(error: &HelperError) -> Helper {
    match error {
        HelperError::Bus(BusError::Unreachable(_) | BusError::Silent(_)) => Helper::NoBus(error.to_string()),
        HelperError::Bus(BusError::Foreign(_)) => Helper::ForeignBus(error.to_string()),
        HelperError::NotInstalled => Helper::Missing,
        other => Helper::Failed(other.to_string()),
    }
}
