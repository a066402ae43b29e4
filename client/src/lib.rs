//! The client of airpods: launches services in podman containers, and asks the helper for the
//! firewall change that makes them work behind a VPN.
//!
//! It runs as the user and never needs more. [`Cli`] defines the command line and passes each
//! command to its file in [`command`]; [`config`] reads the configuration. Every failure is an
//! error that implements [`error::Report`], shown in one place ([`run`]) and turned into one of the
//! documented exit codes ([`Exit`]).

#![forbid(unsafe_code)]

pub mod command;
pub mod config;
pub mod cure;
pub mod dns;
pub mod doctor;
pub mod egress;
pub mod error;
pub mod execute;
pub mod export;
pub mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gpu;
pub mod health;
pub mod helper_link;
mod home;
pub mod import;
mod inside;
pub mod kernel;
pub mod measure;
pub mod plan;
pub mod podman;
pub mod port;
pub mod secret;
pub mod system_bus;
pub mod terminal;
pub mod webui_secret;

pub use error::Exit;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser, Subcommand, ValueHint};

use command::Context;
use config::Environment;
use error::Failure;

/// Local AI services in podman containers that work behind a VPN
#[derive(Debug, Parser)]
#[command(name = "airpods", version, disable_version_flag = true, propagate_version = false, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 helper or bus absent, 4 denied, 5 prompt dismissed,
6 polkit absent, 7 not a VPN link, 8 busy, 9 unsupported here, 10 configuration, 130 interrupted")]
pub struct Cli {
    /// Print the version
    #[arg(short = 'v', long = "version", action = ArgAction::Version)]
    version: Option<bool>,
    /// Print more details
    #[arg(short = 'V', long, global = true)]
    verbose: bool,
    /// Read this file instead of searching for one
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, global = true)]
    config: Option<PathBuf>,
    /// An overview if there is none.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start services
    #[command(visible_aliases = ["up", "run"])]
    Start(command::start::Args),
    /// Stop services
    #[command(visible_alias = "down")]
    Stop(command::stop::Args),
    /// Stop services and start them again with their current settings
    Restart(command::restart::Args),
    /// Show the state of services
    #[command(visible_aliases = ["ps", "info"])]
    Status(command::status::Args),
    /// Show a service's page in the browser
    Open(command::open::Args),
    /// Show the output of services
    Logs(command::logs::Args),
    /// Find the cause of each problem, and the command that repairs it
    #[command(visible_alias = "health")]
    Doctor(command::doctor::Args),
    /// Remove the services' containers, volumes, images, network and files
    Clean(command::clean::Args),
    /// Configure: show, check or create config.toml
    Config(command::config::Args),
    /// Write the services as systemd units or as Kubernetes YAML
    Export(command::export::Args),
    /// Create a config.toml from a compose file or from Quadlet units
    Import(command::import::Args),
    /// Measure the network path, and clamp TCP on VPN links
    Net(command::net::Args),
    /// Print the versions of airpods, its helper, podman and the kernel
    Version(command::version::Args),
    /// Print the completion script for a shell
    Completions(command::completions::Args),
    /// Ask the name servers of a container from within its network
    #[command(hide = true, name = dns::ask::COMMAND, after_help = "Example: airpods ask-inside 4711")]
    AskInside(inside::Args),
    /// Measure from within the network of a container
    #[command(
        hide = true,
        name = measure::places::COMMAND,
        after_help = "Example: airpods measure-inside 4711"
    )]
    MeasureInside(inside::Args),
    /// Read kernel parameters from within the namespaces of a container
    #[command(
        hide = true,
        name = kernel::container::COMMAND,
        after_help = "Example: airpods sysctl-inside 4711"
    )]
    SysctlInside(inside::Args),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Any failure, ready to be printed.
    pub async fn run(self) -> Result<Exit, Failure> {
        let context = Context { environment: Environment::of_process(), config: self.config, verbose: self.verbose };
        let Some(command) = self.command else { return command::overview::run(&context).await };
        match command {
            Command::Start(args) => Box::pin(command::start::run(args, &context)).await,
            Command::Stop(args) => command::stop::run(args, &context).await,
            Command::Restart(args) => command::restart::run(args, &context).await,
            Command::Status(args) => command::status::run(args, &context).await,
            Command::Open(args) => command::open::run(args, &context).await,
            Command::Logs(args) => command::logs::run(args, &context).await,
            Command::Doctor(args) => command::doctor::run(&args, &context).await,
            Command::Clean(args) => command::clean::run(args, &context).await,
            Command::Config(args) => command::config::run(args, &context).await,
            Command::Export(args) => command::export::run(&args, &context),
            Command::Import(args) => command::import::run(&args, &context),
            Command::Net(args) => command::net::run(args, &context).await,
            Command::Version(args) => command::version::run(args, &context).await,
            Command::Completions(args) => command::completions::run(&args),
            Command::AskInside(args) => inside::ask(&args),
            Command::MeasureInside(args) => inside::measure(&args),
            Command::SysctlInside(args) => inside::sysctl(&args),
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> Exit {
    match command::completions::answer(Cli::command) {
        Ok(false) => {}
        Ok(true) => return Exit::Done,
        // A shell asks for completions while the user types, and a message would garble the line.
        Err(_) => return Exit::Failed,
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error),
    };
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| error::Failure::from(NoRuntime(cause)))
        .and_then(|runtime| {
            let outcome = runtime.block_on(cli.run());
            // A thread that waits for a name server must not keep an interrupted command from
            // ending.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            // If stderr is closed, the exit code still reports the failure.
            let _ = failure.write(&mut anstream::stderr());
            failure.exit()
        }
    }
}

/// Prints help or the version, or what is wrong with the command line.
fn print_usage(error: &clap::Error) -> Exit {
    // A failed write does not change the exit code.
    if error.use_stderr() {
        // clap repeats words of the command line, which may hold control characters.
        let _ = write!(anstream::stderr(), "{}", terminal::Escaped(&error.render().to_string()));
        Exit::Usage
    } else {
        let _ = error.print();
        Exit::Done
    }
}

/// The event loop could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the event loop could not be started")]
struct NoRuntime(#[source] io::Error);

impl error::Report for NoRuntime {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_exit_code_is_in_the_help() {
        let help = Cli::command().render_long_help().to_string();
        let rows = include_str!("../../docs/exit-codes.md").lines().filter_map(|line| line.strip_prefix("| "));
        let codes = rows.filter_map(|row| row.split(' ').next()?.parse::<u8>().ok());
        let missing: Vec<u8> = codes.filter(|code| !help.contains(&format!("{code} "))).collect();
        assert_eq!(missing, Vec::<u8>::new(), "{help}");
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            let leaves = command.get_subcommands().count() == 0;
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!leaves || help.contains("Example"), "{} has no example", command.get_name());
            command.get_subcommands().for_each(check);
        }
        Cli::command().get_subcommands().for_each(check);
    }
}
