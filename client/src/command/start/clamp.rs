//! The clamp of a start behind a VPN whose MTU is below the network's. It offers the clamp if that
//! helps, otherwise says so, and names the cure that needs no helper. It does so before the first
//! step if a step needs the clamp, or before the first service if the path is narrow. Otherwise it
//! does so after the last step.

mod advice;

use std::borrow::Cow;
use std::cell::{Ref, RefCell};
use std::future::Future;
use std::io::{self, Write};
use std::pin::{Pin, pin};

use airpods_dbus::{Status, Target};

use advice::{Advice, Narrow};

use super::measuring::Measuring;
use crate::command::net::describe;
use crate::config::MssClamp;
use crate::egress::Facts;
use crate::error::{Exit, Failure, Report};
use crate::execute::{self, Gate, Interrupted};
use crate::helper_link::{Asking, HelperError, HelperLink};
use crate::measure::memory::{Known, StaleClamp};
use crate::plan::Launch;
use crate::terminal::{Answer, Consent, Escaped, ask, is_interactive};

/// `mss_clamp = "require"` cannot be met, and nothing was started.
#[derive(Debug, thiserror::Error)]
enum Unmet {
    /// The helper could not set the clamp.
    #[error("`runtime.network.mss_clamp` is \"require\" and `{link}` cannot be clamped, so nothing was started")]
    Refused {
        link: String,
        #[source]
        cause: HelperError,
    },
    /// The clamp is set, but has no effect.
    #[error(
        "`runtime.network.mss_clamp` is \"require\" and the clamp is on, but not in force for `{link}`, so nothing was started"
    )]
    NotInForce { link: String },
    /// It is unknown whether a clamp is needed.
    #[error(
        "`runtime.network.mss_clamp` is \"require\" and the kernel does not report the network path, so nothing was started"
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
            Self::Unknown => Some("`mss_clamp = \"auto\"` starts the services anyway".into()),
        }
    }
}

/// The facts from which a start decides about the clamp.
#[derive(Clone)]
pub(super) struct Clamp<'a> {
    pub(super) policy: MssClamp,
    pub(super) facts: &'a Facts,
    pub(super) launches: &'a [Launch],
    pub(super) consent: Consent,
    /// The result of a measurement in this network.
    pub(super) known: Option<Known>,
    /// Also print the note that all is well.
    pub(super) verbose: bool,
}

impl Clamp<'_> {
    fn advice(&self) -> Advice {
        match self.policy {
            MssClamp::Off => Advice::Nothing,
            MssClamp::Auto | MssClamp::Require => Advice::of(self.facts, self.launches, self.known.as_ref()),
        }
    }

    /// The note to print if no question is asked. A measurement without a fault is reported only
    /// with `--verbose`.
    fn notes(&self, advice: &Advice) -> Vec<String> {
        advice.note().filter(|_| self.verbose || !advice.is_well()).into_iter().collect()
    }

    /// The same with the present result of the measurement.
    pub(super) fn with_measurement(&self, known: Option<Known>) -> Self {
        Self { known, ..self.clone() }
    }

    /// Whether the start would offer a clamp because of a measurement.
    fn is_measured(&self) -> bool {
        matches!(self.advice(), Advice::Clamp(narrow) if !narrow.is_inferred())
    }

    /// Whether the start would offer a clamp because of an inference only. Then nothing was
    /// measured from the services' network, and the helper has no clamp for it.
    async fn is_unconfirmed(&self) -> bool {
        let Advice::Clamp(narrow) = self.advice() else { return false };
        narrow.is_inferred() && !read_status().await.is_ok_and(|(_, status)| narrow.is_cured(&status))
    }

    /// Prints what a start would ask, note or require, for `--dry-run`. It does not call the
    /// helper.
    pub(super) fn preview(&self) -> io::Result<()> {
        match self.advice() {
            Advice::Clamp(narrow) => {
                let verb = match self.policy {
                    MssClamp::Require => "clamp",
                    MssClamp::Auto | MssClamp::Off => "offer to clamp",
                };
                print_lines(&[narrow.problem(), narrow.preview(verb)])
            }
            other => print_lines(&self.notes(&other)),
        }
    }

    /// Offers or sets the clamp, or prints a note. `work` says whether the start has anything to
    /// do: without work, notes are not repeated.
    ///
    /// `interrupt` ends the question and every call of the helper. During a password prompt, the
    /// agent that asks is ended first.
    async fn settle(&self, work: bool, interrupt: Pin<&mut impl Future<Output = ()>>) -> Result<Settled, Failure> {
        match (self.advice(), self.policy) {
            (Advice::Clamp(narrow), MssClamp::Require) => require(&narrow, interrupt).await,
            (Advice::Clamp(narrow), _) => self.offer(&narrow, interrupt).await,
            (Advice::Unknown, MssClamp::Require) => Err(Unmet::Unknown.into()),
            (other, _) if work => print_unchanged(&self.notes(&other)),
            _ => Ok(Settled::Unchanged),
        }
    }

    async fn offer(
        &self,
        narrow: &Narrow,
        mut interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Settled, Failure> {
        let (helper, status) = match execute::interruptible(interrupt.as_mut(), read_status()).await? {
            Ok(found) => found,
            Err(error) => {
                let absent = format!("it cannot be clamped: {error}");
                return print_unchanged(&with_cure(vec![narrow.problem(), absent], narrow));
            }
        };
        if narrow.is_cured(&status) {
            return Ok(Settled::Unchanged);
        }
        let narrow = &narrow.clone().seeing(&status);
        match execute::interruptible(interrupt.as_mut(), ask(&narrow.question(), self.consent)).await?? {
            Answer::Yes => {}
            Answer::No => return print_unchanged(&with_cure(vec![narrow.cure_by_clamp()], narrow)),
            Answer::NoTerminal => {
                return print_unchanged(&with_cure(vec![narrow.problem(), narrow.cure_by_clamp()], narrow));
            }
        }
        match turn_on(&helper, narrow).await {
            Ok(settled) => {
                // The clamp is on. Its status is needed only for the message.
                if let Ok(status) = settled.interruptible(interrupt, helper.status()).await? {
                    settled.print(narrow, &status)?;
                }
                Ok(settled)
            }
            Err(HelperError::Interrupted) => Err(HelperError::Interrupted.into()),
            Err(error) => {
                let hint = error.hint().map(|hint| format!("hint: {hint}"));
                let mut lines = vec![format!("warning: `{}` was not clamped: {error}", narrow.egress.link)];
                lines.extend(hint);
                print_unchanged(&with_cure(lines, narrow))
            }
        }
    }
}

/// The outcome of a start for the clamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    /// It changed nothing.
    Unchanged,
    /// It turned the clamp on for this target.
    TurnedOn(Target),
}

impl Settled {
    /// Returns an error that comes after the clamp, with a note that the clamp stays. The user
    /// agreed to it, and it is of use for the next start, too.
    pub(super) fn before<T>(&self, error: Failure) -> Result<T, Failure> {
        print_lines(self.note().as_slice())?;
        Err(error)
    }

    fn note(&self) -> Option<String> {
        let (clamped, off) = match self {
            Self::Unchanged => return None,
            Self::TurnedOn(Target::Auto) => ("every VPN link".to_owned(), "airpods net clamp off".to_owned()),
            Self::TurnedOn(Target::Link(link)) => (format!("`{link}`"), format!("airpods net clamp off {link}")),
        };
        Some(format!("note: {clamped} is clamped now, and stays so; `{off}` ends that"))
    }

    /// The result of `work`, or the error of an interrupt with that note.
    async fn interruptible<T>(
        &self,
        interrupt: Pin<&mut impl Future<Output = ()>>,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        execute::interruptible(interrupt, work).await.or_else(|interrupted| self.before(interrupted.into()))
    }

    fn print(&self, narrow: &Narrow, status: &Status) -> io::Result<()> {
        print_lines(&describe::outcome(&narrow.change(), *self != Self::Unchanged, status))
    }
}

/// The clamp, and the measurement that it depends on.
pub(super) struct Offer<'a> {
    clamp: Clamp<'a>,
    /// None once the clamp is settled.
    measuring: RefCell<Option<Measuring>>,
    settled: RefCell<Settled>,
    /// Whether the start has anything to do.
    work: bool,
}

impl<'a> Offer<'a> {
    pub(super) fn new(clamp: Clamp<'a>, measuring: Measuring, work: bool) -> Self {
        let settled = RefCell::new(Settled::Unchanged);
        Self { clamp, measuring: RefCell::new(Some(measuring)), settled, work }
    }

    /// Whether the clamp has been turned on so far.
    pub(super) fn settled(&self) -> Ref<'_, Settled> {
        self.settled.borrow()
    }

    /// Settles the clamp before the first step.
    pub(super) async fn settle_first(&self, mut interrupt: Pin<&mut impl Future<Output = ()>>) -> Result<(), Failure> {
        let Some(measuring) = self.measuring.take() else { return Ok(()) };
        let clamp = self.clamp.with_measurement(measuring.end(interrupt.as_mut()).await?);
        self.settled.replace(clamp.settle(self.work, interrupt).await?);
        Ok(())
    }

    /// Settles the clamp after the last step, unless that was done. If it remains in doubt, `again`
    /// begins another measurement, which can use the network of the services, because they run now.
    pub(super) async fn settle_last(
        &self,
        again: impl FnOnce() -> Measuring,
        mut interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Failure> {
        let Some(measuring) = self.measuring.take() else { return Ok(()) };
        let mut clamp = self.clamp.with_measurement(measuring.end(interrupt.as_mut()).await?);
        if execute::interruptible(interrupt.as_mut(), clamp.is_unconfirmed()).await? {
            clamp = clamp.with_measurement(again().end(interrupt.as_mut()).await?);
        }
        self.settled.replace(clamp.settle(self.work, interrupt).await?);
        Ok(())
    }
}

impl Gate for Offer<'_> {
    /// Only a measurement is settled before the services start: from the host it has the same
    /// result later. An inference about their network can be measured once they run.
    async fn is_needed(&self) -> bool {
        let Some(mut measuring) = self.measuring.take() else { return false };
        measuring.before_services().await;
        let clamp = self.clamp.with_measurement(measuring.known());
        self.measuring.replace(Some(measuring));
        clamp.is_measured()
    }

    async fn settle(&self, interrupt: impl Future<Output = ()>) -> Result<(), Interrupted> {
        let known = self.measuring.borrow().as_ref().and_then(Measuring::known);
        match self.clamp.with_measurement(known).settle(self.work, pin!(interrupt)).await {
            Ok(settled) => {
                self.settled.replace(settled);
                self.measuring.take();
                Ok(())
            }
            Err(failure) if failure.exit() == Exit::Interrupted => Err(Interrupted),
            // `settle_last` tries again and reports the error once the services run.
            Err(_) => Ok(()),
        }
    }
}

/// Sets the clamp, or fails with the reason that this is impossible.
async fn require(narrow: &Narrow, mut interrupt: Pin<&mut impl Future<Output = ()>>) -> Result<Settled, Failure> {
    let refused = |cause| Unmet::Refused { link: narrow.egress.link.clone(), cause };
    let (helper, status) = execute::interruptible(interrupt.as_mut(), read_status()).await?.map_err(refused)?;
    if narrow.is_cured(&status) {
        return Ok(Settled::Unchanged);
    }
    let narrow = &narrow.clone().seeing(&status);
    let settled = turn_on(&helper, narrow).await.map_err(refused)?;
    let status = settled.interruptible(interrupt, helper.status()).await?.map_err(refused)?;
    settled.print(narrow, &status)?;
    if narrow.is_cured(&status) {
        Ok(settled)
    } else {
        Err(Unmet::NotInForce { link: narrow.egress.link.clone() }.into())
    }
}

async fn read_status() -> Result<(HelperLink, Status), HelperError> {
    let helper = HelperLink::connect().await?;
    let status = helper.status().await?;
    Ok((helper, status))
}

/// Turns the clamp on, like `airpods net clamp on`. Without a terminal it never prompts for a
/// password.
async fn turn_on(helper: &HelperLink, narrow: &Narrow) -> Result<Settled, HelperError> {
    let asking = if is_interactive() { Asking::Allowed } else { Asking::Never };
    let changed = helper.change(&narrow.change(), asking).await?;
    Ok(if changed { Settled::TurnedOn(narrow.target()) } else { Settled::Unchanged })
}

/// These lines and, if there is one, the cure that needs no privilege.
fn with_cure(mut lines: Vec<String>, narrow: &Narrow) -> Vec<String> {
    lines.extend(narrow.cure_without_root());
    lines
}

/// Notes that a value was measured on another network.
pub(super) fn print_stale_clamp(stale_clamp: Option<&StaleClamp>) -> io::Result<()> {
    let line = |stale_clamp: &StaleClamp| format!("note: {stale_clamp}: `{}` measures it here", stale_clamp.cure);
    print_lines(&stale_clamp.map(line).into_iter().collect::<Vec<_>>())
}

/// Prints lines, and reports that the clamp was not changed.
fn print_unchanged(lines: &[String]) -> Result<Settled, Failure> {
    print_lines(lines)?;
    Ok(Settled::Unchanged)
}

fn print_lines(lines: &[String]) -> io::Result<()> {
    let mut err = anstream::stderr();
    lines.iter().try_for_each(|line| writeln!(err, "{}", Escaped(line)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use airpods_dbus::LinkName;

    use super::*;

    #[test]
    fn a_start_that_fails_names_the_command_that_ends_its_clamp() {
        let note = |settled: Settled| settled.note();
        assert_eq!(note(Settled::Unchanged), None);
        let every = "note: every VPN link is clamped now, and stays so; `airpods net clamp off` ends that";
        assert_eq!(note(Settled::TurnedOn(Target::Auto)).as_deref(), Some(every));
        let tap = "note: `tap0` is clamped now, and stays so; `airpods net clamp off tap0` ends that";
        let link = Target::Link(LinkName::parse("tap0").unwrap());
        assert_eq!(note(Settled::TurnedOn(link)).as_deref(), Some(tap));
    }
}
