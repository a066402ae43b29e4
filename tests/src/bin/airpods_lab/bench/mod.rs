//! `airpods-lab bench`: the cost of a clamp, compared with other ways to the same rule.
//!
//! It answers seven questions, most of them in a sandbox with the system bus, polkitd and the
//! helper. Three are times: of a change ([`race`](race())), of the helper's start and reaction
//! ([`life`](life())) and of a launch ([`launch`]). Another is the cost of the rules for packets
//! ([`path`]). Two are the accuracy of measuring a path ([`measure`]) and its cost for a start
//! ([`start`]). The last is the size of the helper ([`size`]). The stopwatch runs inside, so that
//! entering the sandbox is not measured.

mod announcements;
mod contenders;
mod figures;
mod launch;
mod life;
mod load;
mod measure;
mod memory;
mod path;
mod race;
mod size;
mod start;

use clap::ValueEnum;

use airpods_lab::{Place, Program, Sandbox};

pub(crate) use launch::{measure as launch, minimum as rest_minimum};
pub(crate) use life::life;
pub(crate) use load::{End, load};
pub(crate) use race::race;

type Result<T, E = BenchError> = std::result::Result<T, E>;

/// The reason why a benchmark has no result.
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
    /// A timed command failed.
    #[error("`{line}` failed in a timed round")]
    Failed {
        /// The command.
        line: String,
    },
    /// A command succeeded without doing its work, so its time would mean nothing.
    #[error("`{line}` did nothing: `{proof}` says otherwise")]
    Unproven {
        /// The command.
        line: String,
        /// The check that failed.
        proof: &'static str,
    },
    /// The stopwatch was called outside a sandbox.
    #[error("the race would change this machine's firewall: `airpods-lab bench` runs it in a sandbox")]
    NoSandbox,
    /// A number was not where it should be.
    #[error("`{0}` has no number that could be read")]
    NoNumber(&'static str),
}

/// A VPN link by its kind, like wireguard-go's. No program serves it, which makes no difference to
/// the rules.
const LINK: &str = "ip tuntap add mode tun name wg0 && ip link set wg0 mtu 1380 up";

/// Allows alice everything without a password. polkitd still looks up the user and runs this rule
/// for each call.
const RULE: &str = r#"polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.airpods.") == 0 && subject.user == "alice") return polkit.Result.YES;
});"#;

/// The stopwatch's path inside. The folder of the checkout may not be visible there.
const STOPWATCH: &str = "/usr/local/libexec/airpods-lab";

/// A question of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Question {
    /// How long does a change take?
    Change,
    /// How soon is the helper there, how soon does it react, and what does it cost while nothing
    /// happens?
    Life,
    /// What do the rules cost the packets?
    Path,
    /// How long does a launch take?
    Launch,
    /// How long does it take to measure a path, and how often is the answer right?
    Measure,
    /// What does measuring cost a start?
    Start,
    /// How much is there to the helper?
    Size,
}

/// Measures, and prints tables: the answer to one question, or to all.
///
/// # Errors
/// [`BenchError`], when a contender does not run or does not do its work.
pub(crate) fn bench(only: Option<Question>) -> Result<()> {
    println!("Everything runs in throw-away hosts with their own bus and polkitd, and takes some minutes.");
    for &question in Question::value_variants().iter().filter(|question| only.is_none_or(|one| one == **question)) {
        match question {
            Question::Change => {
                println!("\nA change, {} rounds:\n", race::ROUNDS);
                let sandbox = host()?;
                sandbox.sh(LINK)?;
                let _firewalld = sandbox.start_firewalld("wg0")?;
                stopwatch(&sandbox, "race")?;
            }
            Question::Life => {
                println!("\nThe helper's life:\n");
                stopwatch(&host()?, "life")?;
            }
            Question::Path => {
                println!("\nWhat the rules cost the packets, through a router:\n");
                path::path()?;
            }
            Question::Launch => launch::launch()?,
            Question::Measure => {
                println!("\nMeasuring a path whose link has an MTU of 1420, beside other ways:\n");
                measure::measure()?;
            }
            Question::Start => {
                println!("\nWhat measuring costs a start behind a VPN whose path is good:\n");
                start::start()?;
            }
            Question::Size => {
                println!("\nThe helper's size:\n");
                size::size()?;
            }
        }
    }
    Ok(())
}

/// A host with the helper, where alice may change everything.
fn host() -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    sandbox.install(Program::Lab, STOPWATCH)?;
    sandbox.install_helper()?;
    sandbox.add_polkit_rule("50-alice", RULE)?;
    sandbox.start_bus()?;
    sandbox.start_polkit()?;
    Ok(sandbox)
}

/// Runs one of the hidden commands of this program inside.
fn stopwatch(sandbox: &Sandbox, what: &str) -> Result<()> {
    let status = sandbox
        .command(STOPWATCH)
        .arg(what)
        .status()
        .map_err(|source| BenchError::Io { doing: "start the stopwatch", source })?;
    // The stopwatch has printed its error on standard error.
    if status.success() { Ok(()) } else { Err(BenchError::Failed { line: format!("{STOPWATCH} {what}") }) }
}

/// Fails unless process 1 is this program, as in a sandbox, because a measurement changes the host.
fn in_a_sandbox() -> Result<()> {
    let first = std::fs::read_to_string("/proc/1/comm");
    if first.is_ok_and(|name| name.trim() == env!("CARGO_PKG_NAME")) { Ok(()) } else { Err(BenchError::NoSandbox) }
}
