//! `airpods net check`: measures what the path really carries, names the cause and the cure.

use std::io::{self, Write};
use std::pin::pin;

use super::subject::{NoServer, Progress, Subject, lock, url};
use crate::command::{Context, completions};
use crate::error::Failure;
use crate::execute;
use crate::exit::Exit;
use crate::measure::picture;
use crate::measure::verdict::Weight;
use crate::measure::{self, Report, Target, memory};
use crate::terminal::{EscapedLine, print_json};

/// The arguments of `airpods net check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The services whose path is checked; every enabled one if none is named
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Measure with this server instead of the registries that the services' images come from
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<Target>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Measure sizes only: make no plain transfers, and try no UDP
    #[arg(long)]
    no_proof: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let subject = Subject::of(context, &args.services, args.url)?;
    if subject.targets.is_empty() && subject.unmeasurable.is_none() {
        return Err(NoServer.into());
    }
    let _lock = lock(context)?;
    let mut interrupt = pin!(execute::interrupted());
    let progress = Progress::new("finding the services' networks");
    let checking = async { measure::check(&subject.plan(!args.no_proof).await, progress.tell()).await };
    let report = execute::unless(interrupt.as_mut(), checking).await;
    progress.end();
    let report = report?;
    memory::remember(context.environment.state_folder().as_deref(), &report);
    if args.json {
        print_json(&report)?;
    } else {
        write(&report, &mut anstream::stdout())?;
    }
    Ok(match report.verdict.weight() {
        Weight::Fine => Exit::Done,
        Weight::Broken => Exit::Failed,
        Weight::Unmeasured => Exit::Unsupported,
    })
}

fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for line in picture::lines(report) {
        // anstream leaves colours out where standard output is no terminal.
        let style = line.tone.style();
        writeln!(out, "{style}{}{style:#}", EscapedLine(&line.text))?;
    }
    Ok(())
}
