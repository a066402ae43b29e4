//! `net clamp on` with the route's MTU or a number: sets it, then proves that it helps.

use std::borrow::Cow;
use std::pin::pin;

use airpods_dbus::{ClampOptions, Status, Target};
use nix::net::if_::if_nametoindex;
use serde_json::json;

use super::proving::{Before, out_of_reach, sentence};
use super::subject::{Progress, Subject, lock};
use super::{How, Mtu, OnArgs, auto, change, describe};
use crate::command::Context;
use crate::cure::{Proof, put_back};
use crate::egress;
use crate::error::{Failure, Report};
use crate::execute::{self, Interrupted};
use crate::exit::Exit;
use crate::helper_link::{Asking, Change, HelperLink};
use crate::terminal::print_json;

/// Transfers still hang, or something else cured them. What was before is there again.
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
    // Before a password is asked for: a mistyped name would be clamped whenever such a link appears, that is never.
    if let Target::Link(link) = args.target()
        && if_nametoindex(link.as_str()).is_err()
        && let Ok(links) = egress::links()
    {
        change::say(&Vec::from_iter(describe::absent(link.as_str(), &links)))?;
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
        return change::make(&helper, wanted, how).await;
    }
    let status = helper.status().await?;
    if is_in_force(&status, &target, options) {
        return change::make(&helper, wanted, how).await;
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
        Before::make(&subject, progress.tell()).await.map(|before| (before, lock))
    };
    let before = execute::unless(interrupt.as_mut(), preparing).await;
    progress.end();
    let before = before?;
    let back = put_back(&status, &target, args.any_link);
    let changed = change::make_on_trial(&helper, &wanted, &back, how.asking()).await?;
    change::say_outcome(&wanted, changed, &helper.status().await)?;
    let proof = match &before {
        Ok((before, _lock)) => {
            let progress = Progress::new("making the same transfers again");
            let proof = execute::unless(interrupt, before.again(&helper, &progress.tell())).await;
            progress.end();
            match proof {
                Ok(proof) => proof?,
                Err(interrupted) => return stays(interrupted),
            }
        }
        Err(why) => Proof::NotMeasured { why: why.clone() },
    };
    end(&helper, &status, &target, args.any_link, how, changed, &proof).await
}

/// Says what the transfers have shown; where they still hang, puts back what was before.
async fn end(
    helper: &HelperLink,
    before: &Status,
    target: &Target,
    any_link: bool,
    how: How,
    changed: bool,
    proof: &Proof,
) -> Result<Exit, Failure> {
    let Proof::NotProven { why } = proof else {
        change::say(&[sentence(proof)])?;
        if how.json {
            let status = helper.status().await.ok().as_ref().map(describe::json);
            print_json(&json!({ "changed": changed, "status": status, "proof": proof }))?;
        }
        return Ok(Exit::Done);
    };
    let left = restore(helper, put_back(before, target, any_link), how.asking()).await;
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

/// Puts back what was before, and says how that ended.
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
    change::say(&["note: the clamp is on; its effect was not measured: the transfers were interrupted".to_owned()])?;
    Err(interrupted.into())
}

/// Whether a change would change nothing.
fn is_in_force(status: &Status, target: &Target, options: ClampOptions) -> bool {
    put_back(status, target, options.any_link) == Change::On(target.clone(), options)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use airpods_dbus::{LinkName, Origin, PathMtu};

    use super::*;
    use crate::cure::clamp::tests::clamped;

    #[test]
    fn what_is_in_force_already_is_told_from_what_is_not() {
        let status = clamped(Origin::Named, Some(1300));
        let wg0 = Target::Link(LinkName::parse("wg0").unwrap());
        let options = |mtu, persist| ClampOptions { mtu: PathMtu::new(mtu).ok(), persist, any_link: false };
        assert!(is_in_force(&status, &wg0, options(1300, true)));
        assert!(!is_in_force(&status, &wg0, options(1280, true)));
        assert!(!is_in_force(&status, &wg0, options(1300, false)), "it is not to be kept any more");
        assert!(!is_in_force(&status, &Target::Auto, options(1300, true)));
    }
}
