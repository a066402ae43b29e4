//! The laboratory's program: the demo, the bench, and (hidden) the processes that a sandbox is made
//! of.
#![forbid(unsafe_code)]

mod bench;
mod demo;
mod picture;
mod resolved;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use airpods_lab::machine::{self, inside};
use airpods_lab::path::{PathWorld, Rules, Server};
use airpods_lab::sandbox::stage::{self, Entrance};
use airpods_lab::{Image, Place, World, WorldPlan};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "airpods-lab", about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the main job: a container behind a VPN, without and with the clamp
    Demo,
    /// Measures the clamp against nft, iptables and firewalld, the helper, the way of the packets,
    /// and launches
    Bench {
        /// One question only
        question: Option<bench::Question>,
    },
    /// Draws the terminal run at the head of README.md from a real one, in light and in dark
    Picture {
        /// Where the pictures go
        folder: PathBuf,
    },
    /// The bench's stopwatch for changes, inside its sandbox
    #[command(hide = true)]
    Race,
    /// The bench's stopwatch for the helper, inside its sandbox
    #[command(hide = true)]
    Life,
    /// The bench's stopwatch for launches, inside its sandbox
    #[command(hide = true)]
    Launch,
    /// A launch by podman's API alone, inside the bench's sandbox
    #[command(hide = true)]
    RestMinimum,
    /// The bench's traffic, at the two ends of a router
    #[command(hide = true)]
    Load {
        #[command(subcommand)]
        end: bench::End,
    },
    /// Holds a world until it is killed; the laboratory's tests kill it
    #[command(hide = true)]
    Hold {
        /// A host behind a path, instead of one behind a VPN
        #[arg(long)]
        path: bool,
    },
    /// Answers on the system bus as systemd-resolved does
    #[command(hide = true)]
    Resolved {
        /// INDEX=ADDRESS[,ADDRESS…], with ! at its end for a link that is asked for its own names
        /// only, and ~ for one that wants all
        #[arg(value_parser = resolved::parse)]
        links: Vec<resolved::LinkServers>,
    },
    /// Outside a sandbox: makes it and removes it
    #[command(hide = true)]
    Supervisor,
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
    /// Starts an emulator and ends it
    #[command(hide = true)]
    MachineSupervisor {
        /// Its arguments
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
    /// Runs a command inside a machine
    #[command(hide = true)]
    MachineEnter {
        /// Where the machine's sockets are
        #[arg(long)]
        folder: PathBuf,
        /// After how many seconds it is killed
        #[arg(long)]
        limit: u64,
        /// A user of the machine
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
        let mut cause = error.source();
        while let Some(inner) = cause {
            eprintln!("cause: {inner}");
            cause = inner.source();
        }
        ExitCode::FAILURE
    })
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo => return Ok(demo::run()?),
        Command::Bench { question } => bench::bench(question)?,
        Command::Picture { folder } => picture::draw(&folder)?,
        Command::Race => bench::race()?,
        Command::Life => bench::life()?,
        Command::Launch => bench::launch()?,
        Command::RestMinimum => bench::rest_minimum()?,
        Command::Load { end } => bench::load(end)?,
        Command::Hold { path } => hold(path)?,
        Command::Resolved { links } => resolved::serve(links)?,
        Command::Supervisor => stage::supervisor()?,
        Command::Init { groups } => stage::init(&groups)?,
        Command::Enter { init, netns, user, words } => {
            return Ok(stage::enter(&Entrance { init, netns, user }, &words)?);
        }
        Command::MachineSupervisor { words } => machine::supervisor(&words)?,
        Command::MachineEnter { folder, limit, user, words } => {
            let limit = Duration::from_secs(limit);
            return Ok(inside::run(&inside::RemoteCommand { folder, user, limit, words })?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn hold(path: bool) -> Result<()> {
    if path {
        let mut world = PathWorld::new(Rules::default(), 1)?;
        world.serve(Server::Rsa)?;
        world.serve(Server::UserTcp)?;
        park(world.sandbox().init());
    }
    let world = World::new(WorldPlan::default())?;
    let _machine = world.add_machine("box")?;
    Image::serving("localhost/held:latest", 80).import(world.sandbox())?;
    world.sandbox().sh("podman run -d --pids-limit 100 localhost/held:latest")?;
    world.sandbox().start_bus()?;
    world.sandbox().start_polkit()?;
    park(world.sandbox().init())
}

/// Prints the id of the world's process 1 for the test, and waits to be killed.
fn park(init: u32) -> ! {
    println!("{init}");
    loop {
        std::thread::park();
    }
}
