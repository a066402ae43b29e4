//! `net clamp on --mtu auto`: measures the path, clamps to the measured value, and proves that it
//! helps. Otherwise it restores the former state.

use std::borrow::Cow;
use std::future::ready;
use std::pin::{Pin, pin};

use airpods_dbus::{ClampOptions, LinkName, PathMtu, Status, Target};
use serde_json::{Value, json};

use super::check::{Progress, Subject, lock};
use super::on::{Before, NotProven, out_of_reach, restore, sentence};
use super::{How, OnArgs, describe};
use crate::command::Context;
use crate::cure::{Proof, Remedy, is_fixed, is_named, remedy, restoring_change};
use crate::egress::{EgressLinks, SMALLEST_MTU};
use crate::error::{Exit, Failure};
use crate::execute;
use crate::helper_link::{Change, HelperLink};
use crate::measure::{self, Report, memory};
use crate::terminal::print_json;

/// The reason that there is no value to set.
#[derive(Debug, thiserror::Error)]
enum NoValue {
    /// There is a fault that no clamp cures.
    #[error("no clamp cures this: {sentence}")]
    OtherFault { sentence: String, cure: Option<String> },
    /// The path could not be measured.
    #[error("the path could not be measured: {why}")]
    NotMeasured { why: String },
    /// `--no-proof` was given.
    #[error("`--mtu auto` always proves its value, so `--no-proof` cannot be combined with it")]
    Unproven,
}

impl crate::error::Report for NoValue {
    fn exit(&self) -> Exit {
        match self {
            Self::OtherFault { .. } => Exit::Failed,
            Self::NotMeasured { .. } => Exit::Unsupported,
            Self::Unproven => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::OtherFault { cure, .. } => cure.as_ref().map(|cure| format!("`{cure}`").into()),
            Self::NotMeasured { .. } => Some("`airpods net check` shows what can be measured here".into()),
            Self::Unproven => None,
        }
    }
}

/// The clamp that gets the measured value.
struct ClampTarget {
    target: Target,
    any_link: bool,
    /// The change that restores the present state.
    previous: Change,
    /// Whether it is kept across reboots.
    persist: bool,
}

impl ClampTarget {
    /// The target: the named link, or else every VPN link. If the measured link has a clamp by
    /// name, that clamp gets the value.
    fn of(args: &OnArgs, status: &Status, link: Option<&str>) -> Self {
        let own = || link.filter(|link| is_named(status, link)).and_then(|link| LinkName::parse(link).ok());
        let target = match args.target() {
            Target::Auto => own().map_or(Target::Auto, Target::Link),
            named @ Target::Link(_) => named,
        };
        let previous = restoring_change(status, &target, args.any_link);
        let kept = matches!(&previous, Change::On(_, options) if options.persist);
        Self { target, any_link: args.any_link, previous, persist: args.persist || kept }
    }

    fn to(&self, mtu: Option<PathMtu>) -> Change {
        Change::On(self.target.clone(), ClampOptions { mtu, persist: self.persist, any_link: self.any_link })
    }
}

/// The outcome of a measured clamp.
struct Outcome {
    changed: bool,
    report: Report,
    remedy: Remedy,
    proof: Option<Proof>,
}

pub(super) async fn run(args: OnArgs, context: &Context) -> Result<Exit, Failure> {
    if args.no_proof {
        return Err(NoValue::Unproven.into());
    }
    let helper = HelperLink::connect().await?;
    let status = helper.status().await?;
    let subject = Subject::of(context, &[], args.url.clone())?;
    if let Some(why) = out_of_reach(&args.target(), &subject, args.url.is_some()) {
        return Err(NoValue::NotMeasured { why }.into());
    }
    let _lock = lock(context)?;
    let link = leaves_by(&args.target());
    let clamp = ClampTarget::of(&args, &status, link.as_deref());
    let fixed = link.as_deref().and_then(|link| is_fixed(&status, link));
    let mut interrupt = pin!(execute::interrupted());
    // The first poll installs the handlers: a signal that ended this process later would leave the
    // clamp lifted.
    execute::interruptible(interrupt.as_mut(), ready(())).await?;
    let mut touched = false;
    let attempted = attempt(&helper, &clamp, &subject, fixed, args.how, interrupt.as_mut(), &mut touched).await;
    let failed = match &attempted {
        Err(_) => true,
        Ok(outcome) => matches!(outcome.proof, Some(Proof::NotProven { .. })),
    };
    let left = if failed && touched { restore_previous(&helper, &clamp, args.how).await? } else { None };
    let outcome = attempted?;
    print(&helper, &outcome, args.how).await?;
    if let Some(Proof::NotProven { why }) = outcome.proof {
        let left = left.unwrap_or_else(|| "nothing was changed".to_owned());
        let next = "`airpods net check` names what else may be wrong".to_owned();
        return Err(NotProven { why, left, next }.into());
    }
    memory::remember(context.environment.state_folder().as_deref(), &outcome.report);
    let is_set = outcome.proof.is_some();
    finish(outcome)?;
    Ok(if is_set { super::exit(&clamp.to(None), &helper.status().await) } else { Exit::Done })
}

/// The link that is measured: the named one, or the VPN link by which this host's packets leave.
fn leaves_by(target: &Target) -> Option<String> {
    match target {
        Target::Link(link) => Some(link.to_string()),
        Target::Auto => {
            let leaving = EgressLinks::of_host()?;
            leaving.links().find(|egress| egress.kind.is_vpn()).map(|egress| egress.link.clone())
        }
    }
}

/// Lifts a `fixed` clamp, measures, sets the clamp that follows, and repeats the transfers.
///
/// `interrupt` ends everything except the change itself. An agent that asks for a password is ended
/// first. `touched` becomes true before the first call that may change the clamp.
async fn attempt(
    helper: &HelperLink,
    clamp: &ClampTarget,
    subject: &Subject,
    fixed: Option<u32>,
    how: How,
    mut interrupt: Pin<&mut impl Future<Output = ()>>,
    touched: &mut bool,
) -> Result<Outcome, Failure> {
    if let Some(mtu) = fixed {
        *touched = true;
        // The measurement could not see packets larger than the fixed value.
        helper.change(&clamp.to(None), how.asking()).await?;
        super::print_lines(&[format!("the fixed value of {mtu} is lifted while the path is measured")])?;
    }
    let lifted = fixed.is_some();
    let progress = Progress::new("finding the services' networks");
    let measuring = async {
        let plan = subject.plan(true).await;
        let report = measure::check(&plan, measure::LIMIT, progress.callback()).await;
        (plan, report)
    };
    let measured_now = execute::interruptible(interrupt.as_mut(), measuring).await;
    progress.end();
    let (plan, report) = measured_now?;
    let link = measured(&report, &clamp.target)?;
    let found = remedy(&report, &link);
    let mtu = match found {
        Remedy::Fixed { mtu, .. } => Some(mtu),
        Remedy::Route => None,
        // A fixed value that is no longer needed was lifted before the measurement.
        _ => return Ok(Outcome { changed: lifted && found == Remedy::Nothing, report, remedy: found, proof: None }),
    };
    super::print_lines(&[format!("measured: {}", report.sentence)])?;
    let progress = Progress::new("making transfers before the change");
    let before = Before::of_check(plan, &report, progress.callback());
    let before = execute::interruptible(interrupt.as_mut(), before).await;
    progress.end();
    let before = before?;
    let wanted = clamp.to(mtu);
    *touched = true;
    let changed = super::make_on_trial(helper, &wanted, &clamp.previous, how.asking()).await?;
    super::print_outcome(&wanted, changed, &helper.status().await)?;
    let progress = Progress::new("making the same transfers again");
    let proof = execute::interruptible(interrupt, before.again(helper, &progress.callback())).await;
    progress.end();
    Ok(Outcome { changed: changed || lifted, report, remedy: found, proof: Some(proof??) })
}

/// The measured link, if it is the one to clamp.
fn measured(report: &Report, target: &Target) -> Result<String, NoValue> {
    let not_measured = |why: String| NoValue::NotMeasured { why };
    let Some(link) = memory::link_of(report) else { return Err(not_measured(report.sentence.clone())) };
    match target {
        Target::Link(named) if named.as_str() != link.name => {
            Err(not_measured(format!("packets to the server leave by `{}`, not by `{named}`", link.name)))
        }
        Target::Auto if !link.vpn => Err(not_measured(format!(
            "packets to the server leave by `{0}`, which is no VPN; `airpods net clamp on {0} --any-link --mtu auto` clamps it anyway",
            link.name
        ))),
        _ => Ok(link.name.clone()),
    }
}

/// Restores the former state, unless the present one is known to be the same.
async fn restore_previous(helper: &HelperLink, clamp: &ClampTarget, how: How) -> Result<Option<String>, Failure> {
    let now = helper.status().await.map(|status| restoring_change(&status, &clamp.target, clamp.any_link));
    if now.is_ok_and(|now| now == clamp.previous) {
        return Ok(None);
    }
    let left = restore(helper, clamp.previous.clone(), how.asking()).await;
    super::print_lines(std::slice::from_ref(&left))?;
    Ok(Some(left))
}

async fn print(helper: &HelperLink, outcome: &Outcome, how: How) -> Result<(), Failure> {
    if let Some(proof) = outcome.proof.as_ref().filter(|proof| !matches!(proof, Proof::NotProven { .. })) {
        super::print_lines(&[sentence(proof)])?;
        super::print_lines(&udp(&outcome.report).into_iter().collect::<Vec<_>>())?;
    }
    if how.json {
        let status = helper.status().await.ok().as_ref().map(describe::json);
        print_json(&document(outcome, status.as_ref()))?;
    }
    Ok(())
}

/// A note that no clamp helps UDP, if the measured path is too narrow for UDP as well.
fn udp(report: &Report) -> Option<String> {
    let paths = report.places.iter().flat_map(|place| &place.paths);
    let passes = paths.filter_map(|path| path.udp.as_ref().filter(|udp| udp.failed.is_some())?.proven).min()?;
    let mtu = u32::from(passes).max(SMALLEST_MTU);
    Some(format!(
        "note: UDP packets of more than {passes} bytes vanish as well, which no clamp changes: \
         `airpods config set runtime.network.mtu {mtu}`, then `airpods start --reset-network`"
    ))
}

fn document(outcome: &Outcome, status: Option<&Value>) -> Value {
    let Outcome { changed, report, remedy, proof } = outcome;
    let kept = !matches!(proof, Some(Proof::NotProven { .. }));
    json!({ "changed": *changed && kept, "status": status, "measured": report, "remedy": remedy, "proof": proof })
}

/// The error of a command after which nothing has to be restored.
fn finish(outcome: Outcome) -> Result<(), Failure> {
    let Report { sentence, cure, .. } = outcome.report;
    match outcome.remedy {
        Remedy::Fixed { .. } | Remedy::Route => Ok(()),
        Remedy::Nothing => {
            let left = if outcome.changed { "the route's MTU is enough" } else { "nothing was changed" };
            super::print_lines(&[format!("nothing hangs: {sentence}; {left}")])?;
            Ok(())
        }
        Remedy::OtherFault => Err(NoValue::OtherFault { sentence, cure }.into()),
        Remedy::NotMeasured => Err(NoValue::NotMeasured { why: sentence }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cure::tests::{path, place, report};
    use crate::measure::Code;
    use crate::measure::report::{Confidence, PathReport, Udp};

    fn with_udp(proven: u16, failed: Option<u16>) -> Report {
        let udp = Some(Udp { answered: true, refused: None, proven: Some(proven), failed });
        let path = PathReport { udp, ..path(Code::PathNarrow, Some(1300), Confidence::Sure) };
        report(vec![place("host", "wg0", vec![path])])
    }

    #[test]
    fn where_udp_hangs_the_networks_mtu_is_offered_with_the_number_and_never_below_what_ipv6_needs() {
        for (proven, failed, offered) in
            [(1300, Some(1328), Some("mtu 1300`")), (1228, Some(1300), Some("mtu 1280`")), (1420, None, None)]
        {
            let note = udp(&with_udp(proven, failed));
            assert_eq!(note.is_some(), offered.is_some(), "{note:?}");
            assert!(note.zip(offered).is_none_or(|(note, offered)| note.contains(offered)), "{proven}");
        }
    }
}
