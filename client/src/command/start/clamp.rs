//! Behind a VPN whose MTU is below the network's: offers the clamp where it helps, says so where it does not, and names the cure
//! that needs no helper. All of it comes before the first step of the plan, so that nothing is half started when it fails.

mod advice;

use std::borrow::Cow;
use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;

use airpods_dbus::{ClampOptions, Status, Target};

use advice::{Advice, Narrow};

use crate::command::net::describe;
use crate::config::MssClamp;
use crate::error::{Failure, Report};
use crate::execute;
use crate::exit::Exit;
use crate::helper_link::{Asking, Change, HelperError, HelperLink};
use crate::plan::Launch;
use crate::question::{Answer, Consent, ask};
use crate::terminal::{Escaped, is_interactive};
use crate::way::{Facts, Standing, standing};

/// `mss_clamp = "require"` cannot be kept, and nothing was started.
#[derive(Debug, thiserror::Error)]
enum Unmet {
    /// The clamp could not be set.
    #[error("`runtime.network.mss_clamp` is \"require\" and `{link}` cannot be clamped, so nothing was started")]
    Refused {
        link: String,
        #[source]
        cause: HelperError,
    },
    /// It is set, and has no effect.
    #[error(
        "`runtime.network.mss_clamp` is \"require\" and the clamp is on, but not in force for `{link}`, so nothing was started"
    )]
    NotInForce { link: String },
    /// Nobody knows whether one is needed.
    #[error(
        "`runtime.network.mss_clamp` is \"require\" and the kernel does not tell which way the packets go, so nothing was started"
    )]
    Unknown,
}

impl Report for Unmet {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused { cause, .. } => cause.exit(),
            Self::NotInForce { .. } => Exit::Failed,
            Self::Unknown => Exit::Unsupported,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Refused { cause, .. } => cause.hint(),
            Self::NotInForce { .. } => Some("`airpods net clamp status` shows what is in force".into()),
            Self::Unknown => Some("`mss_clamp = \"auto\"` starts all the same".into()),
        }
    }
}

/// What a start does about the clamp.
pub(super) struct Clamp<'a> {
    pub(super) policy: MssClamp,
    pub(super) facts: &'a Facts,
    pub(super) launches: &'a [Launch],
    pub(super) consent: Consent,
}

impl Clamp<'_> {
    fn advice(&self) -> Advice {
        match self.policy {
            MssClamp::Off => Advice::Nothing,
            MssClamp::Auto | MssClamp::Require => Advice::of(self.facts, self.launches),
        }
    }

    /// For `--dry-run`: what would be asked, told or demanded, without asking the helper.
    pub(super) fn preview(&self) -> io::Result<()> {
        match self.advice() {
            Advice::Clamp(narrow) => {
                let would = match self.policy {
                    MssClamp::Require => "would be clamped unless it is",
                    MssClamp::Auto | MssClamp::Off => "would be offered to be clamped unless it is",
                };
                say(&[narrow.problem(), format!("`{}` {would}", narrow.link)])
            }
            other => say(&other.note().into_iter().collect::<Vec<_>>()),
        }
    }

    /// Offers, sets or tells. `work` is whether the start has anything to do: what needs no answer is not repeated on every
    /// start that has nothing to do.
    ///
    /// `interrupt` ends the question; while a password is asked for, the agent that asks is ended first.
    pub(super) async fn settle(
        &self,
        work: bool,
        interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Failure> {
        match (self.advice(), self.policy) {
            (Advice::Clamp(narrow), MssClamp::Require) => Ok(require(&narrow).await?),
            (Advice::Clamp(narrow), _) => self.offer(&narrow, work, interrupt).await,
            (Advice::Unknown, MssClamp::Require) => Err(Unmet::Unknown.into()),
            (other, _) if work => Ok(say(&other.note().into_iter().collect::<Vec<_>>())?),
            _ => Ok(()),
        }
    }

    async fn offer(
        &self,
        narrow: &Narrow,
        work: bool,
        interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Failure> {
        let (helper, status) = match look().await {
            Ok(found) => found,
            Err(error) => {
                let absent = format!("it cannot be clamped: {error}");
                return Ok(say(&[narrow.problem(), absent, narrow.cure_without_root()])?);
            }
        };
        match standing(&status, &narrow.link) {
            Standing::ByOthers { rule, both_ways } if work => {
                return Ok(say(&[advice::by_others(&narrow.link, rule, both_ways)])?);
            }
            Standing::Clamped | Standing::ByOthers { .. } => return Ok(()),
            Standing::Open => {}
        }
        match execute::unless(interrupt, ask(&narrow.question(), self.consent)).await?? {
            Answer::Yes => {}
            Answer::No => return Ok(say(&[narrow.cure_by_clamp(), narrow.cure_without_root()])?),
            Answer::Nobody => {
                return Ok(say(&[narrow.problem(), narrow.cure_by_clamp(), narrow.cure_without_root()])?);
            }
        }
        match turn_on(&helper).await {
            Ok(changed) => {
                let status = helper.status().await;
                Ok(
                    say(
                        &status.map_or_else(|_| Vec::new(), |status| describe::outcome(&every_vpn(), changed, &status))
                    )?,
                )
            }
            Err(HelperError::Interrupted) => Err(HelperError::Interrupted.into()),
            Err(error) => {
                let hint = error.hint().map(|hint| format!("hint: {hint}"));
                let mut lines = vec![format!("warning: `{}` was not clamped: {error}", narrow.link)];
                lines.extend(hint);
                lines.push(narrow.cure_without_root());
                Ok(say(&lines)?)
            }
        }
    }
}

/// Sets the clamp, or answers why it cannot be had.
async fn require(narrow: &Narrow) -> Result<(), Unmet> {
    let refused = |cause| Unmet::Refused { link: narrow.link.clone(), cause };
    let (helper, status) = look().await.map_err(refused)?;
    if matches!(standing(&status, &narrow.link), Standing::Clamped) {
        return Ok(());
    }
    turn_on(&helper).await.map_err(refused)?;
    let status = helper.status().await.map_err(refused)?;
    match standing(&status, &narrow.link) {
        Standing::Clamped => Ok(()),
        Standing::ByOthers { .. } | Standing::Open => Err(Unmet::NotInForce { link: narrow.link.clone() }),
    }
}

async fn look() -> Result<(HelperLink, Status), HelperError> {
    let helper = HelperLink::connect().await?;
    let status = helper.status().await?;
    Ok((helper, status))
}

/// The same as `airpods net clamp on`. Nobody is asked for a password where nobody is there to type one.
async fn turn_on(helper: &HelperLink) -> Result<bool, HelperError> {
    let asking = if is_interactive() { Asking::Allowed } else { Asking::Never };
    helper.change(&every_vpn(), asking).await
}

fn every_vpn() -> Change {
    Change::On(Target::Auto, ClampOptions::default())
}

fn say(lines: &[String]) -> io::Result<()> {
    let mut err = anstream::stderr();
    lines.iter().try_for_each(|line| writeln!(err, "{}", Escaped(line)))
}
