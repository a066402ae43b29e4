//! `airpods config`: shows, checks and changes the configuration.

mod edit;
mod read;
mod write;

use std::io::Write;

use clap::Subcommand;

use super::{Context, completions};
use crate::config::edit::KeyPath;
use crate::error::{Exit, Failure};
use crate::terminal::EscapedLine;

/// The arguments of `airpods config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the path of the file in use
    #[command(after_help = "Example: airpods config path")]
    Path {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the whole configuration, with defaults, and with templates replaced
    #[command(after_help = "Example: airpods config show -f json")]
    Show {
        /// The format to print in
        #[arg(short, long, value_enum, default_value_t = read::Format::Toml, value_name = "FORMAT")]
        format: read::Format,
        /// Print JSON, the same as `--format json`
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Print the value in effect, even if it is a default
    #[command(after_help = "Example: airpods config get services.ollama.ports.0.host")]
    Get {
        /// The key, with dots between its parts and numbers for the items of arrays
        #[arg(value_name = "KEY", add = completions::keys())]
        key: KeyPath,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change or remove one value in the file; comments and order are kept
    #[command(after_help = "Examples:
  airpods config set runtime.network.mtu 1380
  airpods config set services.ollama.network_aliases '[\"ollama\", \"llm\"]'
  airpods config set -t str services.ollama.env.LEVEL 3
  airpods config set services.ollama.env.LEVEL --unset")]
    Set {
        /// The key, with dots between its parts and numbers for the items of arrays
        #[arg(value_name = "KEY", add = completions::keys())]
        key: KeyPath,
        /// The value
        #[arg(value_name = "VALUE", allow_hyphen_values = true, required_unless_present = "unset")]
        value: Option<String>,
        /// Remove the key from the file, so that its default applies
        #[arg(long, conflicts_with_all = ["value", "kind"])]
        unset: bool,
        /// The type of the value; `auto` follows its form, or takes a string if the key needs one
        #[arg(short = 't', long = "type", value_enum, default_value_t = write::Type::Auto, value_name = "TYPE")]
        kind: write::Type,
    },
    /// Change the file in an editor; a draft with errors is not accepted
    #[command(after_help = "Example: airpods config edit")]
    Edit,
    /// Check the configuration and print its errors, each with its line
    #[command(after_help = "Example: airpods config validate")]
    Validate {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a config.toml with every default and its meaning
    #[command(after_help = "Example: airpods config init")]
    Init {
        /// Replace an existing file
        #[arg(short, long)]
        force: bool,
    },
    /// Replace the file with the defaults, and keep a copy of it
    #[command(after_help = "Example: airpods config reset")]
    Reset {
        /// Do not ask for confirmation
        #[arg(short, long, visible_short_alias = 'y', visible_alias = "yes")]
        force: bool,
    },
}

/// Runs `airpods config`.
///
/// # Errors
/// Those of reading, checking and writing the configuration.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.action {
        Action::Path { json } => read::path(context, json),
        Action::Show { format, json } => read::show(context, if json { read::Format::Json } else { format }),
        Action::Get { key, json } => read::get(context, &key, json),
        Action::Set { key, value, kind, .. } => write::set(context, &key, value.as_deref(), kind),
        Action::Edit => edit::run(context).await,
        Action::Validate { json } => read::validate(context, json),
        Action::Init { force } => write::init(context, force),
        Action::Reset { force } => write::reset(context, force).await,
    }
}

/// Prints a message to stderr. A closed stderr is no failure.
fn print_message(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", EscapedLine(text));
}
