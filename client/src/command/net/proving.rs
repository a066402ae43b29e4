//! Transfers before and after a change of the clamp.

use std::time::Duration;

use airpods_dbus::Target;

use super::subject::Subject;
use crate::cure::proof::total;
use crate::cure::{Proof, Trial, prove};
use crate::egress::{Egress, Leaving};
use crate::error::Failure;
use crate::helper_link::HelperLink;
use crate::measure::{Plan, Tell, transfers};

/// How long the transfers before may take with all that they need: names, podman, three seconds for each place.
const LIMIT: Duration = Duration::from_secs(30);

/// How often transfers are made after the change before they are said to hang: a busy machine or a lossy link may spoil some.
const ROUNDS: u32 = 2;

/// Transfers that were made before a change, to be made again after it.
pub(super) struct Before {
    pub(super) plan: Plan,
    pub(super) trials: Vec<Trial>,
}

impl Before {
    /// Makes the transfers.
    ///
    /// # Errors
    /// A sentence, where there is nothing to make them with.
    pub(super) async fn make(subject: &Subject, tell: Tell) -> Result<Self, String> {
        let making = async {
            let plan = subject.plan(false).await;
            let places = transfers(&plan, tell).await?;
            Ok(Self { plan, trials: Trial::all(&places) })
        };
        tokio::time::timeout(LIMIT, making).await.unwrap_or_else(|_| Err("the transfers took too long".to_owned()))
    }

    /// Makes them again, and judges.
    pub(super) async fn again(&self, helper: &HelperLink, tell: &Tell) -> Result<Proof, Failure> {
        let mut proof = Proof::NotMeasured { why: "no transfer was made".to_owned() };
        for _ in 0..ROUNDS {
            let counted = total(helper.status().await?.counters);
            let places = match transfers(&self.plan, tell.clone()).await {
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

/// Why transfers say nothing about a clamp of this target, as far as that is known without sending anything. With a server of the user's own
/// choice it is not.
pub(super) fn out_of_reach(target: &Target, subject: &Subject, named_server: bool) -> Option<String> {
    if let Some(why) = &subject.unmeasurable {
        return Some(why.clone());
    }
    if subject.targets.is_empty() {
        return Some("no image of the services comes from a registry; `--url https://HOST` names a server".to_owned());
    }
    let leaving = Leaving::of_host().filter(|_| !named_server)?;
    let links: Vec<&Egress> = leaving.links().collect();
    elsewhere(target, &links)
}

/// Why packets to the internet do not meet a clamp of this target.
fn elsewhere(target: &Target, links: &[&Egress]) -> Option<String> {
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

/// The evidence of transfers, for people.
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
    use airpods_dbus::{LinkKind, LinkName};

    use super::*;

    fn egress(link: &str, info_kind: &str) -> Egress {
        let hardware = if info_kind.is_empty() { 1 } else { 65534 };
        let kind = LinkKind { info_kind: info_kind.to_owned(), tun_type: None, hardware };
        Egress { link: link.to_owned(), index: 7, kind, mtu: 1420 }
    }

    #[test]
    fn transfers_prove_a_clamp_only_of_the_link_that_they_leave_by() {
        let (vpn, card) = (egress("wg0", "wireguard"), egress("eth0", ""));
        let named = |link: &str| Target::Link(LinkName::parse(link).unwrap());
        assert_eq!(elsewhere(&Target::Auto, &[&vpn]), None);
        assert_eq!(elsewhere(&named("wg0"), &[&card, &vpn]), None, "one family leaves by it");
        assert_eq!(elsewhere(&named("eth0"), &[&card]), None);
        for (target, links, why) in [
            (Target::Auto, vec![&card], "leave by `eth0`, which is no VPN"),
            (named("wg1"), vec![&vpn], "leave by `wg0`, not by `wg1`"),
            (Target::Auto, vec![], "no route leads to the internet"),
        ] {
            assert!(elsewhere(&target, &links).unwrap().contains(why), "{why}");
        }
    }

    #[test]
    fn what_transfers_have_shown_is_one_sentence() {
        let proven = sentence(&Proof::Proven { before: 0, of: 3, packets: 6 });
        assert_eq!(
            proven,
            "proven: 0 of 3 transfers completed before, 3 of 3 complete now; the rules saw 6 handshake packets"
        );
        let why = "the server does not answer".to_owned();
        assert_eq!(sentence(&Proof::NotMeasured { why }), "its effect was not measured: the server does not answer");
    }
}
