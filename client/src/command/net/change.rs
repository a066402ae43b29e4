//! `net clamp off` and `reset`, and what every change has in common: ask for it, then say what is different now.

use std::io::{self, Write};

use airpods_dbus::{LinkName, Status, Target};

use super::{How, describe};
use crate::error::Failure;
use crate::exit::Exit;
use crate::helper_link::{Asking, Change, HelperError, HelperLink};
use crate::terminal::{Escaped, print_json};

pub(super) async fn off(link: Option<LinkName>, how: How) -> Result<Exit, Failure> {
    let target = link.map_or(Target::Auto, Target::Link);
    make(&HelperLink::connect().await?, Change::Off(target), how).await
}

pub(super) async fn reset(how: How) -> Result<Exit, Failure> {
    make(&HelperLink::connect().await?, Change::Reset, how).await
}

/// Makes a change and says what came of it.
pub(super) async fn make(helper: &HelperLink, change: Change, how: How) -> Result<Exit, Failure> {
    let changed = helper.change(&change, how.asking()).await?;
    let status = helper.status().await;
    say_outcome(&change, changed, &status)?;
    if how.json {
        let status = status.ok().as_ref().map(describe::json);
        print_json(&serde_json::json!({ "changed": changed, "status": status }))?;
    }
    Ok(Exit::Done)
}

/// Makes a change that is taken back with `back` if it does not help. polkit keeps an authorisation for the same action: to take
/// a clamp off is another one, for which it may ask again. That is said before the first prompt.
pub(super) async fn make_on_trial(
    helper: &HelperLink,
    change: &Change,
    back: &Change,
    asking: Asking,
) -> Result<bool, Failure> {
    match helper.change(change, Asking::Never).await {
        Err(error) if asking == Asking::Allowed && error.needs_password() => {
            if matches!(back, Change::Off(_)) {
                say(&[
                    "note: if the clamp does not help it is taken off again, which may need the password a second time"
                        .to_owned(),
                ])?;
            }
            Ok(helper.change(change, asking).await?)
        }
        answer => Ok(answer?),
    }
}

/// Says what is different now. The change is made whatever becomes of reading the status, so that is no failure of the command.
pub(super) fn say_outcome(change: &Change, changed: bool, status: &Result<Status, HelperError>) -> io::Result<()> {
    say(&match status {
        Ok(status) => describe::outcome(change, changed, status),
        Err(error) => vec![format!("{}; the status afterwards cannot be read: {error}", describe::bare(changed))],
    })
}

/// Says it on standard error.
pub(super) fn say(lines: &[String]) -> io::Result<()> {
    let mut err = anstream::stderr();
    lines.iter().try_for_each(|line| writeln!(err, "{}", Escaped(line)))
}
