//! `airpods-lab demo`: shows the main job in a short run and checks every sentence of it.
//!
//! A container hangs behind a VPN whose black hole drops large packets. After `airpods net clamp
//! on` the same container works. Then the path becomes narrower than the tunnel's MTU, and its size
//! is measured, set and proven.

mod host;
mod terminal;
mod traces;

use std::process::ExitCode;
use std::time::Instant;

use airpods_lab::{Capture, Family, Place, Syn};

use host::Host;
use terminal::{CommandOutput, Terminal, print_check, print_heading, print_remark};
use traces::Traces;

type Result<T, E = DemoError> = std::result::Result<T, E>;

/// Why the demo stopped early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The laboratory could not be built.
    #[error(transparent)]
    Lab(#[from] airpods_lab::Error),
    /// A step did not do what the demo claims.
    #[error("the demo did not go as expected: {expected}")]
    Unexpected {
        /// The expected outcome, and the actual one.
        expected: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// A system call failed.
    #[error("cannot {doing}")]
    Io {
        /// Completes "cannot …".
        doing: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
}

/// 128 + SIGINT, as in shells.
const INTERRUPTED: u8 = 130;

fn ensure(held: bool, expected: impl FnOnce() -> String) -> Result<()> {
    if held { Ok(()) } else { Err(DemoError::Unexpected { expected: expected() }) }
}

/// The container that downloads, of the built-in service `comfyui`.
const DOWNLOADER: &str = "comfyui-0";
/// The MSS for a container's own MTU of 1500, and for the tunnel's of 1380: 40 bytes are headers.
const UNCLAMPED: u16 = 1460;
const CLAMPED: u16 = 1340;
/// The largest packet that the path carries on the second network, in bytes: less than the tunnel's
/// MTU.
const NARROW: u16 = 1300;
/// The server that alice measures with, instead of her images' registries.
const MEASURED: &str = "https://download.example/";

/// Runs the demo. Everything is removed when it ends, even if it ends early.
///
/// # Errors
/// If a step does not do what the demo claims.
pub(crate) fn run() -> Result<ExitCode> {
    let terminal = Terminal::new()?;
    let outcome = run_on(&terminal);
    if terminal.is_interrupted() {
        // After an interruption, any failure is a consequence of it, so only the interruption is
        // reported.
        eprintln!("interrupted; everything is removed again");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

fn run_on(terminal: &Terminal) -> Result<()> {
    let began = Instant::now();
    let before = Traces::on_host()?;
    let host = Host::assemble()?;
    let inside = Traces::of_sandbox(host.world().sandbox())?;
    let outcome = run_parts(terminal, &host);
    if matches!(outcome, Err(DemoError::Unexpected { .. })) && !terminal.is_interrupted() {
        eprintln!("\n{}", host.world().sandbox().logs());
    }
    drop(host);
    outcome?;
    inside.ensure_gone()?;
    Traces::on_host()?.ensure_nothing_new_since(&before)?;
    print_check("the throw-away host is gone, and no process, network namespace or firewall table of it is left");
    print_remark(&format!(
        "\nTold in {:.0} s. To have it on your own machine, see \"Install\" in README.md.",
        began.elapsed().as_secs_f32()
    ));
    Ok(())
}

fn run_parts(terminal: &Terminal, host: &Host) -> Result<()> {
    introduce(terminal, host)?;
    start(terminal, host)?;
    let bridge =
        host.world().sandbox().sh("podman network inspect airpods_network --format '{{.NetworkInterface}}'")?;
    let wires = Wires { bridge: &bridge };
    print_heading("From a container, what is small comes through, and what is big hangs");
    small(terminal, host)?;
    wires.hang(terminal, host, UNCLAMPED)?;
    print_remark(&format!(
        "{UNCLAMPED} bytes and 40 of headers are 1500: what the bridge takes, and {} too many for the tunnel.",
        1500 - 1380
    ));
    clamp_on(terminal, host)?;
    wires.flow(terminal, host, CLAMPED)?;
    move_to_a_narrow_network(terminal, host, &wires)?;
    status(terminal, host)?;
    remove_all(terminal, host)
}

fn introduce(terminal: &Terminal, host: &Host) -> Result<()> {
    print_heading("A laptop on a VPN");
    print_remark(&format!(
        "This is a throw-away host with a network, users, a system bus and polkit of its own: nothing here can touch yours.\n\
         Its default route is a tunnel: wg0, MTU 1380 ({}).\n\
         Somewhere beyond, the ICMP that reports \"too big\" is dropped, as it often is. That makes a black hole.\n\
         You are alice, an ordinary user. polkit has a rule that lets her switch clamps; without it she would be asked for an\n\
         administrator's password. This is her configuration:\n ",
        host.tunnel()
    ));
    terminal.show("cat ~/.config/airpods/config.toml", &mut host.alice("cat ~/.config/airpods/config.toml"))?;
    Ok(())
}

/// Runs a command of alice, which must succeed.
fn succeed(terminal: &Terminal, host: &Host, line: &str) -> Result<CommandOutput> {
    let output = terminal.show(line, &mut host.alice(line))?;
    ensure(output.success, || format!("`{line}` should have succeeded"))?;
    Ok(output)
}

fn start(terminal: &Terminal, host: &Host) -> Result<()> {
    print_heading("Three services start, each in its container behind podman's bridge, whose MTU is 1500");
    succeed(terminal, host, "airpods start")?;
    let running = host.world().sandbox().sh("podman ps --format '{{.Names}}' | sort | xargs")?;
    ensure(running == "comfyui-0 ollama-0 open-webui-0", || format!("three containers should run, not `{running}`"))
}

fn clamp_on(terminal: &Terminal, host: &Host) -> Result<()> {
    print_heading("The cure: lower the MSS that both ends announce, on the fly");
    succeed(terminal, host, "airpods net clamp on")?;
    Ok(())
}

fn move_to_a_narrow_network(terminal: &Terminal, host: &Host, wires: &Wires) -> Result<()> {
    print_heading("Another network: the path is narrower than the tunnel's MTU says");
    print_remark(&format!(
        "Here {NARROW} bytes pass, and nothing says so: no route knows a better MTU than the tunnel's.\n "
    ));
    host.world().narrow(NARROW)?;
    wires.hang(terminal, host, CLAMPED)?;
    print_heading("What does the path carry? Measured without root, by what TCP acknowledges");
    let check = format!("airpods net check --url {MEASURED}");
    let output = terminal.show(&check, &mut host.alice(&check))?;
    ensure(!output.success && output.text.contains(&NARROW.to_string()), || {
        format!("`{check}` should have found {NARROW}")
    })?;
    print_heading("The cure with the measured number, and the proof");
    succeed(terminal, host, &format!("airpods net clamp on --mtu auto --url {MEASURED}"))?;
    wires.flow(terminal, host, NARROW - 40)
}

fn status(terminal: &Terminal, host: &Host) -> Result<()> {
    print_heading("What the helper counted");
    let output = succeed(terminal, host, "airpods net clamp status")?;
    ensure(output.text.contains("wg0"), || "the status should name wg0".into())
}

fn remove_all(terminal: &Terminal, host: &Host) -> Result<()> {
    print_heading("And all of it away again");
    succeed(terminal, host, "airpods net clamp off")?;
    succeed(terminal, host, "airpods stop --remove --yes")?;
    let tables = host.world().sandbox().sh("nft list tables")?;
    ensure(!tables.contains("airpods"), || format!("the table should be gone, but there are:\n{tables}"))?;
    let containers = host.world().sandbox().sh("podman ps --all --format '{{.Names}}'")?;
    ensure(containers.is_empty(), || format!("no container should be left, but there is {containers}"))?;
    print_check("no firewall table and no container is left");
    Ok(())
}

/// Shows that small packets pass: a name look-up and a short page.
fn small(terminal: &Terminal, host: &Host) -> Result<()> {
    print_remark("/lab-probe is the one program in these images: it serves, downloads and uploads.\n");
    let output =
        succeed(terminal, host, &format!("podman exec {DOWNLOADER} /lab-probe get --body http://download.example/"))?;
    ensure(output.text.trim() == "ok", || "a short page should have come".into())
}

/// The links on which the handshakes are captured.
struct Wires<'a> {
    bridge: &'a str,
}

impl Wires<'_> {
    fn hang(&self, terminal: &Terminal, host: &Host, mss: u16) -> Result<()> {
        let handshake = self.transfer(terminal, host, |output, line| {
            ensure(!output.success && output.text.contains("timed out"), || format!("`{line}` should have hung"))
        })?;
        handshake.ensure_mss(mss)?;
        handshake.print();
        Ok(())
    }

    fn flow(&self, terminal: &Terminal, host: &Host, mss: u16) -> Result<()> {
        print_heading("The same container, the same transfers");
        let handshake = self.transfer(terminal, host, |output, line| {
            ensure(output.success && output.text.contains("1048576 bytes"), || {
                format!("`{line}` should have completed")
            })
        })?;
        handshake.ensure_mss(mss)?;
        handshake.print();
        print_remark(&format!("{mss} bytes and 40 of headers are {}: they fit.", mss + 40));
        print_check("download and upload complete, with the right checksums");
        Ok(())
    }

    /// 1 MB down and up, each to a host that is new to the container, so that it has not learnt any
    /// path MTU.
    fn transfer(
        &self,
        terminal: &Terminal,
        host: &Host,
        judge: impl Fn(&CommandOutput, &str) -> Result<()>,
    ) -> Result<Handshake> {
        let sandbox = host.world().sandbox();
        let (tunnel, bridge) = (Capture::start(sandbox, "wg0")?, Capture::start(sandbox, self.bridge)?);
        for (verb, path) in [("get", "download"), ("put", "upload")] {
            let url = format!("https://{}/{path}", host.world().mirror());
            let line = format!("podman exec {DOWNLOADER} /lab-probe {verb} --words --timeout 3 {url}");
            judge(&terminal.show(&line, &mut host.alice(&line))?, &line)?;
        }
        let https = |syn: &Syn| syn.family == Family::V4 && (syn.source.port() == 443 || syn.destination.port() == 443);
        let leaving = tunnel.expect(|syn| https(syn) && !syn.ack)?;
        let reaching = bridge.expect(|syn| https(syn) && syn.ack)?;
        Ok(Handshake { leaving, reaching, bridge: self.bridge.to_owned() })
    }
}

/// A handshake as it was on the wire.
struct Handshake {
    leaving: Syn,
    reaching: Syn,
    bridge: String,
}

impl Handshake {
    fn ensure_mss(&self, wanted: u16) -> Result<()> {
        for syn in [&self.leaving, &self.reaching] {
            ensure(syn.mss == Some(wanted), || format!("the MSS should be {wanted} in {syn:?}"))?;
        }
        Ok(())
    }

    fn print(&self) {
        let mss = |syn: &Syn| syn.mss.unwrap_or_default();
        print_remark(&format!(
            "Seen by tcpdump: SYN leaving through wg0 with MSS {}, SYN-ACK reaching the container over {} with MSS {}.",
            mss(&self.leaving),
            self.bridge,
            mss(&self.reaching)
        ));
    }
}
