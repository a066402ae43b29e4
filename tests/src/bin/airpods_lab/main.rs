//! The laboratory's program: the demo, the bench, and (hidden) the processes that a sandbox is made of.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use airpods_lab::sandbox::stage::{self, Entrance};
use airpods_lab::{Image, Place, Result, World, WorldPlan};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "airpods-lab", about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Holds a world until it is killed; the laboratory's tests kill it
    #[command(hide = true)]
    Hold,
    /// Outside a sandbox: makes it and removes it
    #[command(hide = true)]
    Guardian,
    /// Process 1 of a sandbox
    #[command(hide = true)]
    Init {
        /// The control groups to live in
        groups: Vec<PathBuf>,
    },
    /// Runs a command inside a sandbox
    #[command(hide = true)]
    Enter {
        /// Process 1 of the sandbox
        #[arg(long)]
        init: u32,
        /// A network namespace of the sandbox
        #[arg(long)]
        netns: Option<String>,
        /// A user of the sandbox
        #[arg(long)]
        user: Option<String>,
        /// The command
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    run(Arguments::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            eprintln!("cause: {inner}");
            cause = inner.source();
        }
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Hold => hold()?,
        Command::Guardian => stage::guardian()?,
        Command::Init { groups } => stage::init(&groups)?,
        Command::Enter { init, netns, user, words } => return stage::enter(&Entrance { init, netns, user }, &words),
    }
    Ok(ExitCode::SUCCESS)
}

fn hold() -> Result<()> {
    let world = World::new(WorldPlan::default())?;
    let _machine = world.add_machine("box")?;
    Image::serving("localhost/held:latest", 80).import(world.sandbox())?;
    world.sandbox().sh("podman run -d --pids-limit 100 localhost/held:latest")?;
    world.sandbox().start_bus()?;
    world.sandbox().start_polkit()?;
    println!("{}", world.sandbox().init());
    loop {
        std::thread::park();
    }
}
