//! `net clamp on`, `off` and `reset`: ask for the change, then say what is different now.

use std::io::Write;

use airpods_dbus::{ClampOptions, LinkName, Target};

use super::{How, OnArgs, describe};
use crate::error::Failure;
use crate::exit::Exit;
use crate::helper_link::{Change, HelperLink};
use crate::terminal::{Escaped, print_json};

pub(super) async fn on(args: OnArgs) -> Result<Exit, Failure> {
    let options = ClampOptions { mtu: args.mtu, persist: args.persist, any_link: args.any_link };
    make(Change::On(target(args.link), options), args.how).await
}

pub(super) async fn off(link: Option<LinkName>, how: How) -> Result<Exit, Failure> {
    make(Change::Off(target(link)), how).await
}

pub(super) async fn reset(how: How) -> Result<Exit, Failure> {
    make(Change::Reset, how).await
}

fn target(link: Option<LinkName>) -> Target {
    link.map_or(Target::Auto, Target::Link)
}

async fn make(change: Change, how: How) -> Result<Exit, Failure> {
    let helper = HelperLink::connect().await?;
    let changed = helper.change(&change, how.asking()).await?;
    // The change is made whatever becomes of this second call, so its failure is no failure of the command.
    let status = helper.status().await;
    let lines = match &status {
        Ok(status) => describe::outcome(&change, changed, status),
        Err(error) => vec![format!("{}; the status afterwards cannot be read: {error}", describe::bare(changed))],
    };
    for line in lines {
        writeln!(anstream::stderr(), "{}", Escaped(&line))?;
    }
    if how.json {
        let status = status.ok().as_ref().map(describe::json);
        print_json(&serde_json::json!({ "changed": changed, "status": status }))?;
    }
    Ok(Exit::Done)
}
