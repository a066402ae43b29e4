//! The one file of the laboratory's container image, linked statically. It is a service with a
//! health path, a client that downloads and uploads from inside a container, and a check of the
//! container's limits. It is also the HTTPS and DNS server of the laboratory's internet.
//!
//! Servers print one line on standard output when they listen. Clients print one line of JSON, and
//! on failure one sentence on standard error that names the step.
#![forbid(unsafe_code)]

mod agent;
mod client;
mod dns;
mod limits;
mod reader;
mod server;
mod stand_in;
mod tls;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};

/// Any error type will do, because a test only shows the sentence.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "lab-probe", about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A service: 200 on every path; `/whoami` tells the host's name and the caller's address
    ServeHttp { port: u16 },
    /// The internet: `/download` (`?bytes=N`, 1 MB unless said) with its SHA-256 in a header,
    /// `/upload` answers the SHA-256
    ServeHttps {
        port: u16,
        /// Where to write the certificate of the authority made for this run
        #[arg(long)]
        ca_out: PathBuf,
        /// Names and addresses the server answers for
        #[arg(long = "name", required = true)]
        names: Vec<String>,
    },
    /// Answers a fixed zone over UDP and prints each query: `TYPE NAME from ADDRESS`
    ServeDns {
        listen: SocketAddr,
        /// `NAME=ADDRESS`, any number of times
        #[arg(long = "record", value_parser = dns::parse_record)]
        records: Vec<(String, IpAddr)>,
    },
    /// Downloads and checks
    Get(client::Request),
    /// Uploads and checks
    Put {
        #[command(flatten)]
        request: client::Request,
        /// How much to upload
        #[arg(long, default_value_t = 1 << 20)]
        bytes: usize,
    },
    /// The addresses of a name, one per line, by the C library and its resolv.conf
    Resolve { name: String },
    /// The environment, one `NAME=VALUE` per line
    Env,
    /// The limit of processes of the own control group
    PidsMax,
    /// Starts so many processes at once and prints how many there could be
    Fork { count: usize },
    /// Takes so many MiB of memory, writes to all of it, and says so
    Hold { mib: usize },
    /// Runs the commands that come through a machine's serial ports
    ServeCommands,
    /// Reads the table a thousand times a second until the end of standard input, and tells every
    /// moment without the link
    ReadTable { link: String },
    /// Sleeps so many seconds
    Sleep { seconds: u64 },
    /// Stands for the program of a public image: it serves, whatever the words are
    StandIn {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// The name of this program. Images have it under other names too, see [`stand_in`].
const NAME: &str = "lab-probe";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let called = words.first().map_or(NAME, String::as_str);
    let outcome = match called.rsplit('/').next() {
        Some(NAME) | None => run(Arguments::parse().command),
        Some(_) => stand_in::run(&words),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    if matches!(command, Command::ServeCommands) {
        // Block no signals here, because the agent's commands would inherit the mask.
        return agent::serve();
    }
    end_on_sigterm()?;
    match command {
        Command::ServeHttp { port } => server::serve_http(port),
        Command::ServeHttps { port, ca_out, names } => server::serve_https(port, &tls::Authority::new(names)?, &ca_out),
        Command::ServeDns { listen, records } => dns::serve(listen, &records),
        Command::Get(request) => client::get(&request),
        Command::Put { request, bytes } => client::put(&request, bytes),
        Command::Resolve { name } => resolve(&name),
        Command::Env => {
            std::env::vars_os().for_each(|(name, value)| println!("{}={}", name.display(), value.display()));
            Ok(())
        }
        Command::PidsMax => limits::pids_max(),
        Command::Fork { count } => limits::fork(count),
        Command::Hold { mib } => {
            limits::hold(mib);
            Ok(())
        }
        Command::ServeCommands => Ok(()),
        Command::ReadTable { link } => reader::read(&link),
        Command::Sleep { seconds } => {
            std::thread::sleep(Duration::from_secs(seconds));
            Ok(())
        }
        Command::StandIn { words: _ } => stand_in::serve(),
    }
}

/// Ends on SIGTERM and SIGINT. The kernel ignores signals that process 1 of a container does not
/// handle, and `podman stop` would wait 10 s for it.
fn end_on_sigterm() -> Result<()> {
    let mut ends = SigSet::from(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block()?;
    std::thread::spawn(move || {
        let _ = ends.wait();
        std::process::exit(0);
    });
    Ok(())
}

fn resolve(name: &str) -> Result<()> {
    let mut addresses: Vec<IpAddr> = (name, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
    addresses.dedup();
    for address in addresses {
        println!("{address}");
    }
    Ok(())
}
