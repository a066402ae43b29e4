//! Confirmation: `start` stops a running container to replace it only after the user has agreed.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::error::{Exit, Failure, Report};
use crate::plan::{Conflict, Plan, Replaced};
use crate::terminal::{Answer, Consent, EscapedLine, ask};

/// Replacing something that runs needs confirmation, and there is no terminal.
#[derive(Debug, thiserror::Error)]
#[error("replacing {what} needs confirmation, and there is no terminal")]
struct Unconfirmed {
    what: String,
}

impl Report for Unconfirmed {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("pass `--yes`, or set `cli.auto_confirm = true`".into())
    }
}

/// Prints what is replaced and why, and asks for confirmation if something running is stopped.
/// Returns whether to go on.
///
/// `conflict` is the error to return if the user cannot be asked about the network.
pub(super) async fn confirm(plan: &Plan, consent: Consent, conflict: Option<Conflict>) -> Result<bool, Failure> {
    let asked = plan.needs_consent();
    if asked.is_empty() {
        print_replaced(plan)?;
        return Ok(true);
    }
    let what = list(&asked);
    if consent == Consent::Asked && !crate::terminal::is_interactive() {
        if let Some(conflict) = conflict {
            return Err(conflict.into());
        }
        print_replaced(plan)?;
        return Err(Unconfirmed { what }.into());
    }
    print_replaced(plan)?;
    let answer = ask(&format!("Stop and replace {what}? Volumes stay."), consent).await?;
    if answer != Answer::Yes {
        writeln!(anstream::stderr(), "nothing was changed")?;
    }
    Ok(answer == Answer::Yes)
}

/// Prints why each object is replaced.
fn print_replaced(plan: &Plan) -> io::Result<()> {
    let mut err = anstream::stderr();
    for replaced in &plan.replaced {
        let (kind, name) = (replaced.kind, EscapedLine(&replaced.name));
        let why = match replaced.why.as_slice() {
            [] if replaced.asked_for => "as asked for".to_owned(),
            [] => "its settings have changed".to_owned(),
            why => why.join(", "),
        };
        writeln!(err, "the {kind} `{name}` needs replacing: {}", EscapedLine(&why))?;
    }
    Ok(())
}

fn list(replaced: &[&Replaced]) -> String {
    replaced.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ")
}
