//! `airpods-lab bench`: how long a clamp takes, side by side with the other ways to the same rule.
//!
//! One sandbox has everything: the system bus, polkitd, firewalld, and the helper started by the bus. The stopwatch runs in it
//! ([`race`]), so that the way into the sandbox is not measured.

mod contenders;
mod figures;
mod memory;
mod race;

use std::time::Duration;

use airpods_lab::{Background, Place, Program, Sandbox, run};

pub(crate) use race::race;

type Result<T, E = BenchError> = std::result::Result<T, E>;

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The sandbox could not be built, or a command failed.
    #[error(transparent)]
    Lab(#[from] airpods_lab::Error),
    /// A system call failed.
    #[error("cannot {doing}")]
    Io {
        /// Completes "cannot …".
        doing: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// A command that is being timed failed.
    #[error("`{line}` failed in a timed round")]
    Failed {
        /// The command.
        line: String,
    },
    /// A command succeeded and did not do its work, so that its time would mean nothing.
    #[error("`{line}` did nothing: `{proof}` says otherwise")]
    Unproven {
        /// The command.
        line: String,
        /// What was looked at.
        proof: &'static str,
    },
    /// Somebody called the stopwatch by hand.
    #[error("the race would change this machine's firewall: `airpods-lab bench` runs it in a sandbox")]
    NoSandbox,
    /// A number was not where it should be.
    #[error("`{0}` has no number that could be read")]
    NoNumber(&'static str),
}

/// A VPN link by its kind, like the one that wireguard-go makes. Rules do not care that nobody is behind it.
const LINK: &str = "ip tuntap add mode tun name wg0 && ip link set wg0 mtu 1380 up";

/// alice may, without being asked. polkitd still looks up who she is and runs this for each call.
const RULE: &str = r#"polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.airpods.") == 0 && subject.user == "alice") return polkit.Result.YES;
});"#;

/// Where the stopwatch is inside; the folder of the checkout may not be seen there.
const STOPWATCH: &str = "/usr/local/libexec/airpods-lab";

/// Measures, and prints the table.
///
/// # Errors
/// [`BenchError`], when a contender does not run or does not do its work.
pub(crate) fn bench() -> Result<()> {
    println!(
        "Everything runs in one throw-away host with its own bus, polkitd and firewalld. {} rounds take a minute or two.\n",
        race::ROUNDS
    );
    let sandbox = Sandbox::new()?;
    sandbox.sh(LINK)?;
    sandbox.install(Program::Lab, STOPWATCH)?;
    sandbox.install_helper()?;
    sandbox.add_polkit_rule("50-alice", RULE)?;
    sandbox.start_bus()?;
    sandbox.start_polkit()?;
    let _firewalld = start_firewalld(&sandbox)?;
    let status = sandbox
        .command(STOPWATCH)
        .arg("race")
        .status()
        .map_err(|source| BenchError::Io { doing: "start the stopwatch", source })?;
    // It has said on standard error what happened.
    if status.success() { Ok(()) } else { Err(BenchError::Failed { line: format!("{STOPWATCH} race") }) }
}

/// Starts firewalld, with the VPN link in a zone so that a rich rule has a chain to be in.
fn start_firewalld(sandbox: &Sandbox) -> Result<Background> {
    const START_LIMIT: Duration = Duration::from_secs(30);
    let mut command = sandbox.command("firewalld");
    command.args(["--nofork", "--nopid"]);
    let mut firewalld = Background::start(&mut command, &sandbox.log_path("firewalld"))?;
    firewalld.until("firewalld", START_LIMIT, || sandbox.sh("firewall-cmd --state").is_ok())?;
    run(sandbox.command("firewall-cmd").args(["--zone=public", "--change-interface=wg0"]))?;
    Ok(firewalld)
}
