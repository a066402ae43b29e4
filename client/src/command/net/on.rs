//! `net clamp on` with the route's MTU or with a number: makes transfers, sets the clamp, and
//! repeats the transfers to prove that it helps.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use airpods_dbus::{ClampOptions, ErrorKind, LinkName, Status, Target};
use serde_json::json;

use super::check::{Progress, Subject, lock};
use super::{How, Mtu, OnArgs, auto, describe};
use crate::command::Context;
use crate::cure::{Proof, Trial, prove, restoring_change, total};
use crate::egress::{self, Egress, EgressLinks};
use crate::error::{Exit, Failure, Report};
use crate::execute::{self, Interrupted};
use crate::helper_link::{Asking, Change, HelperError, HelperLink};
use crate::measure::{self, Plan, ProgressCallback, transfers};
use crate::terminal::print_json;

/// Transfers still hang, or something else cured them. The former state was restored.
#[derive(Debug, thiserror::Error)]
#[error("the clamp is not proven to help: {why}; {left}")]
pub(super) struct NotProven {
    pub(super) why: String,
    pub(super) left: String,
    pub(super) next: String,
}

impl Report for NotProven {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(self.next.clone().into())
    }
}

pub(super) async fn on(args: OnArgs, context: &Context) -> Result<Exit, Failure> {
    // Warn about an absent link before a password prompt: a mistyped name would stay clamped for a
    // link that never appears.
    if let Target::Link(link) = args.target()
        && let Ok(links) = egress::links()
    {
        refuse_other_kinds(&link, args.any_link, &links)?;
        super::print_lines(&Vec::from_iter(describe::absent(link.as_str(), &links)))?;
    }
    let mtu = match args.mtu {
        Some(Mtu::Auto) => return auto::run(args, context).await,
        Some(Mtu::Bytes(mtu)) => Some(mtu),
        None => None,
    };
    let options = ClampOptions { mtu, persist: args.persist, any_link: args.any_link };
    let (target, how) = (args.target(), args.how);
    let wanted = Change::On(target.clone(), options);
    let helper = HelperLink::connect().await?;
    if args.no_proof {
        return super::make(&helper, wanted, how).await;
    }
    let status = helper.status().await?;
    if is_in_force(&status, &target, options) {
        return super::make(&helper, wanted, how).await;
    }
    let mut interrupt = pin!(execute::interrupted());
    let progress = Progress::new("making transfers before the change");
    let preparing = async {
        let subject =
            Subject::of(context, &[], args.url.clone()).map_err(|_| "the services are not known".to_owned())?;
        if let Some(why) = out_of_reach(&target, &subject, args.url.is_some()) {
            return Err(why);
        }
        let lock = lock(context).map_err(|busy| busy.to_string())?;
        Before::make(&subject, progress.callback()).await.map(|before| (before, lock))
    };
    let before = execute::interruptible(interrupt.as_mut(), preparing).await;
    progress.end();
    let before = before?;
    let back = restoring_change(&status, &target, args.any_link);
    let changed = super::make_on_trial(&helper, &wanted, &back, how.asking()).await?;
    let after = helper.status().await;
    super::print_outcome(&wanted, changed, &after)?;
    let proof = match &before {
        Ok((before, _lock)) => {
            let progress = Progress::new("making the same transfers again");
            let proof = execute::interruptible(interrupt, before.again(&helper, &progress.callback())).await;
            progress.end();
            match proof {
                Ok(proof) => proof?,
                Err(interrupted) => return stays(interrupted),
            }
        }
        Err(why) => Proof::NotMeasured { why: why.clone() },
    };
    end(&helper, &status, &target, args.any_link, how, changed, &proof).await?;
    Ok(super::exit(&wanted, &after))
}

/// Refuses a link that is no VPN link, as the helper does, before any transfer is made. `links` are
/// the links of the host, each with whether it is a VPN.
fn refuse_other_kinds(link: &LinkName, any_link: bool, links: &[(String, bool)]) -> Result<(), HelperError> {
    let is_other = links.iter().any(|(name, is_vpn)| name == link.as_str() && !is_vpn);
    if any_link || !is_other {
        return Ok(());
    }
    Err(HelperError::Refused(ErrorKind::NotVpnLink.because(format!("`{link}` is no VPN link"))))
}

/// Reports what the transfers have proved. If they still hang, it restores the former state.
async fn end(
    helper: &HelperLink,
    before: &Status,
    target: &Target,
    any_link: bool,
    how: How,
    changed: bool,
    proof: &Proof,
) -> Result<(), Failure> {
    let Proof::NotProven { why } = proof else {
        super::print_lines(&[sentence(proof)])?;
        if how.json {
            let status = helper.status().await.ok().as_ref().map(describe::json);
            print_json(&json!({ "changed": changed, "status": status, "proof": proof }))?;
        }
        return Ok(());
    };
    let left = restore(helper, restoring_change(before, target, any_link), how.asking()).await;
    if how.json {
        let status = helper.status().await.ok().as_ref().map(describe::json);
        print_json(&json!({ "changed": false, "status": status, "proof": proof }))?;
    }
    let next = match target {
        Target::Auto => "`airpods net clamp on --mtu auto` measures what the path takes".to_owned(),
        Target::Link(link) => format!("`airpods net clamp on {link} --mtu auto` measures what the path takes"),
    };
    let next = format!("{next}; `--no-proof` keeps the clamp");
    Err(NotProven { why: why.clone(), left, next }.into())
}

/// Restores the former state, and describes the result.
pub(super) async fn restore(helper: &HelperLink, change: Change, asking: Asking) -> String {
    match helper.change(&change, asking).await {
        Ok(_) => "the former state is restored".to_owned(),
        Err(error) => {
            format!(
                "the former state could not be restored ({error}), so the clamp stays; `airpods net clamp reset` ends every clamp"
            )
        }
    }
}

fn stays(interrupted: Interrupted) -> Result<Exit, Failure> {
    super::print_lines(&[
        "note: the clamp is on; its effect was not measured: the transfers were interrupted".to_owned()
    ])?;
    Err(interrupted.into())
}

/// Whether a change would have no effect.
fn is_in_force(status: &Status, target: &Target, options: ClampOptions) -> bool {
    restoring_change(status, target, options.any_link) == Change::On(target.clone(), options)
}

/// The time limit for everything before the change: names, podman, and three seconds of transfers
/// per place.
const LIMIT: Duration = Duration::from_secs(30);

/// How often transfers are repeated after the change before they count as hanging. A busy machine
/// or a lossy link may spoil some.
const ROUNDS: u32 = 2;

/// Transfers made before a change, to be repeated after it.
pub(super) struct Before {
    plan: Plan,
    trials: Vec<Trial>,
}

impl Before {
    /// Makes the transfers.
    ///
    /// # Errors
    /// The reason that no transfer is possible, as a sentence.
    pub(super) async fn make(subject: &Subject, on_progress: ProgressCallback) -> Result<Self, String> {
        let making = async {
            let plan = subject.plan(false).await;
            let places = transfers(&plan, on_progress).await?;
            Ok(Self { plan, trials: Trial::all(&places) })
        };
        tokio::time::timeout(LIMIT, making).await.unwrap_or_else(|_| Err("the transfers took too long".to_owned()))
    }

    /// The transfers of a check. If it had no time for any, they are made now.
    pub(super) async fn of_check(plan: Plan, report: &measure::Report, on_progress: ProgressCallback) -> Self {
        let plan = Plan { proof: false, ..plan };
        let mut trials = Trial::all(&report.places);
        if trials.is_empty() {
            // If this fails, so does their repetition, which reports the reason.
            trials = transfers(&plan, on_progress).await.map(|places| Trial::all(&places)).unwrap_or_default();
        }
        Self { plan, trials }
    }

    /// Repeats the transfers and compares them.
    pub(super) async fn again(&self, helper: &HelperLink, on_progress: &ProgressCallback) -> Result<Proof, Failure> {
        let mut proof = Proof::NotMeasured { why: "no transfer was made".to_owned() };
        for _ in 0..ROUNDS {
            let counted = total(helper.status().await?.counters);
            let places = match transfers(&self.plan, on_progress.clone()).await {
                Ok(places) => places,
                Err(why) => return Ok(Proof::NotMeasured { why }),
            };
            let counted = total(helper.status().await?.counters).saturating_sub(counted);
            proof = prove(&self.trials, &Trial::all(&places), counted);
            if !matches!(proof, Proof::NotProven { .. }) {
                break;
            }
        }
        Ok(proof)
    }
}

/// The reason that transfers cannot prove a clamp of this target, if it is known without sending
/// anything. For a server that the user named it is not.
pub(super) fn out_of_reach(target: &Target, subject: &Subject, named_server: bool) -> Option<String> {
    if let Some(only_by_proxy) = &subject.unmeasurable {
        return Some(only_by_proxy.to_string());
    }
    if subject.targets.is_empty() {
        return Some("no image of the services comes from a registry; `--url https://HOST` names a server".to_owned());
    }
    let leaving = EgressLinks::of_host().filter(|_| !named_server)?;
    let links: Vec<&Egress> = leaving.links().collect();
    passes_no_clamp(target, &links)
}

/// The reason that packets to the internet do not pass a clamp of this target.
fn passes_no_clamp(target: &Target, links: &[&Egress]) -> Option<String> {
    let Some(first) = links.first() else { return Some("no route leads to the internet".to_owned()) };
    let meets = match target {
        Target::Auto => links.iter().any(|egress| egress.kind.is_vpn()),
        Target::Link(link) => links.iter().any(|egress| egress.link == link.as_str()),
    };
    (!meets).then(|| match target {
        Target::Auto => format!("packets to the internet leave by `{}`, which is no VPN", first.link),
        Target::Link(link) => format!(
            "packets to the internet leave by `{}`, not by `{link}`; `--url https://HOST` names a server behind it",
            first.link
        ),
    })
}

/// The proof as a sentence.
pub(super) fn sentence(proof: &Proof) -> String {
    match proof {
        Proof::Proven { before, of, packets } => format!(
            "proven: {before} of {of} transfers completed before, {of} of {of} complete now; the rules saw {packets} handshake packets"
        ),
        Proof::WorkedBefore { of } => {
            format!("{of} of {of} transfers complete, as before: nothing hung")
        }
        Proof::NotProven { why } => format!("not proven: {why}"),
        Proof::NotMeasured { why } => format!("its effect was not measured: {why}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use airpods_dbus::{LinkKind, LinkName, Origin, PathMtu};

    use super::*;
    use crate::cure::clamp::tests::clamped;
    use crate::cure::tests::{path, place, report};
    use crate::measure::Code;
    use crate::measure::report::{Confidence, PathReport, TransferReport};

    #[test]
    fn clamps_in_force_are_distinguished_from_missing_ones() {
        let status = clamped(Origin::Named, Some(1300));
        let wg0 = Target::Link(LinkName::parse("wg0").unwrap());
        let options = |mtu, persist| ClampOptions { mtu: PathMtu::new(mtu).ok(), persist, any_link: false };
        assert!(is_in_force(&status, &wg0, options(1300, true)));
        assert!(!is_in_force(&status, &wg0, options(1280, true)));
        assert!(!is_in_force(&status, &wg0, options(1300, false)), "it is not to be kept any more");
        assert!(!is_in_force(&status, &Target::Auto, options(1300, true)));
    }

    #[test]
    fn a_link_that_is_no_vpn_is_refused_unless_any_link_is_asked_for() {
        let links = [("eth0", false), ("wg0", true)].map(|(name, is_vpn)| (name.to_owned(), is_vpn));
        let refused = |link, any_link| refuse_other_kinds(&LinkName::parse(link).unwrap(), any_link, &links).err();
        let error = refused("eth0", false).unwrap();
        assert_eq!((error.to_string().as_str(), error.exit()), ("`eth0` is no VPN link (NotVpnLink)", Exit::NotVpn));
        assert!(refused("eth0", true).is_none());
        assert!(refused("wg0", false).is_none());
        assert!(refused("wg1", false).is_none(), "it may appear, and the helper looks at its kind then");
    }

    fn egress(link: &str, info_kind: &str) -> Egress {
        let hardware = if info_kind.is_empty() { 1 } else { 65534 };
        let kind = LinkKind { info_kind: info_kind.to_owned(), tun_type: None, hardware };
        Egress { link: link.to_owned(), index: 7, kind, mtu: 1420 }
    }

    #[test]
    fn transfers_prove_a_clamp_only_of_the_link_that_they_leave_by() {
        let (vpn, card) = (egress("wg0", "wireguard"), egress("eth0", ""));
        let named = |link: &str| Target::Link(LinkName::parse(link).unwrap());
        assert_eq!(passes_no_clamp(&Target::Auto, &[&vpn]), None);
        assert_eq!(passes_no_clamp(&named("wg0"), &[&card, &vpn]), None, "one family leaves by it");
        assert_eq!(passes_no_clamp(&named("eth0"), &[&card]), None);
        for (target, links, why) in [
            (Target::Auto, vec![&card], "leave by `eth0`, which is no VPN"),
            (named("wg1"), vec![&vpn], "leave by `wg0`, not by `wg1`"),
            (Target::Auto, vec![], "no route leads to the internet"),
        ] {
            assert!(passes_no_clamp(&target, &links).unwrap().contains(why), "{why}");
        }
    }

    #[tokio::test]
    async fn a_check_that_had_no_time_for_transfers_is_followed_by_some() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let plan = Plan { targets: vec![measure::Target { host: "127.0.0.1".to_owned(), port }], ..Plan::default() };
        let without = path(Code::PathNarrow, Some(1300), Confidence::Sure);
        let made = Some(TransferReport { completed: 1, of: 3, ..TransferReport::default() });
        let with = PathReport { transfers: made, ..without.clone() };
        for (path, completed) in [(without, 0), (with, 1)] {
            let report = report(vec![place("host", "lo", vec![path])]);
            let before = Before::of_check(plan.clone(), &report, Arc::new(|_, _| {})).await;
            let trials: Vec<_> = before.trials.iter().map(|trial| (trial.completed, trial.of)).collect();
            assert_eq!(trials, [(completed, 3)]);
        }
    }

    #[test]
    fn the_result_of_transfers_is_one_sentence() {
        let proven = sentence(&Proof::Proven { before: 0, of: 3, packets: 6 });
        assert_eq!(
            proven,
            "proven: 0 of 3 transfers completed before, 3 of 3 complete now; the rules saw 6 handshake packets"
        );
        let why = "the server does not answer".to_owned();
        assert_eq!(sentence(&Proof::NotMeasured { why }), "its effect was not measured: the server does not answer");
    }
}
