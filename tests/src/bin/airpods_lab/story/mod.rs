//! `airpods-lab demo`: the main job as a short story, each sentence of which is checked.
//!
//! A container behind a VPN whose black hole swallows what is big; `airpods net clamp on`; the same container without the hang. Then the
//! same on a path that is narrower than the tunnel's MTU says: measured, set and proven.

mod cast;
mod teller;
mod traces;

use std::process::ExitCode;
use std::time::Instant;

use airpods_lab::{Capture, Family, Place, Syn};

use cast::Cast;
use teller::{Said, Teller, aside, scene, verdict};
use traces::Traces;

type Result<T, E = StoryError> = std::result::Result<T, E>;

/// Why the story ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoryError {
    /// The laboratory could not be built.
    #[error(transparent)]
    Lab(#[from] airpods_lab::Error),
    /// A step did not do what the story says.
    #[error("the story goes otherwise: {expected}")]
    Otherwise {
        /// What should have happened, and what did.
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

/// 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

fn ensure(held: bool, expected: impl FnOnce() -> String) -> Result<()> {
    if held { Ok(()) } else { Err(StoryError::Otherwise { expected: expected() }) }
}

/// The container that downloads, of the built-in service `comfyui`.
const DOWNLOADER: &str = "comfyui-0";
/// What a container's own MTU of 1500 makes of the MSS, and what the tunnel's of 1380 takes: 40 bytes are headers.
const UNCLAMPED: u16 = 1460;
const CLAMPED: u16 = 1340;
/// What the path carries on the second network, in bytes: less than the tunnel's MTU.
const NARROW: u16 = 1300;
/// The server that alice measures with, instead of her images' registries.
const MEASURED: &str = "https://download.example/";

/// Tells the story. Everything is removed when it ends, also when it ends early.
///
/// # Errors
/// When a step does not do what it says.
pub(crate) fn tell() -> Result<ExitCode> {
    let teller = Teller::new()?;
    let told = tell_by(&teller);
    if teller.is_interrupted() {
        // Whatever failed then, it failed because of that.
        eprintln!("interrupted; everything is removed again");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    told.map(|()| ExitCode::SUCCESS)
}

fn tell_by(teller: &Teller) -> Result<()> {
    let began = Instant::now();
    let before = Traces::on_host()?;
    let cast = Cast::assemble()?;
    let inside = Traces::of_sandbox(cast.world().sandbox())?;
    let played = play(teller, &cast);
    if matches!(played, Err(StoryError::Otherwise { .. })) && !teller.is_interrupted() {
        eprintln!("\n{}", cast.world().sandbox().logs());
    }
    drop(cast);
    played?;
    inside.ensure_gone()?;
    Traces::on_host()?.ensure_nothing_new_since(&before)?;
    verdict("the throw-away host is gone, and no process, network namespace or firewall table of it is left");
    aside(&format!(
        "\nTold in {:.0} s. To have it on your own machine, see \"Install\" in README.md.",
        began.elapsed().as_secs_f32()
    ));
    Ok(())
}

fn play(teller: &Teller, cast: &Cast) -> Result<()> {
    set_the_scene(teller, cast)?;
    start(teller, cast)?;
    let bridge =
        cast.world().sandbox().sh("podman network inspect airpods_network --format '{{.NetworkInterface}}'")?;
    let wires = Wires { bridge: &bridge };
    scene("From a container, what is small comes through, and what is big hangs");
    small(teller, cast)?;
    wires.hang(teller, cast, UNCLAMPED)?;
    aside(&format!(
        "{UNCLAMPED} bytes and 40 of headers are 1500: what the bridge takes, and {} too many for the tunnel.",
        1500 - 1380
    ));
    clamp_on(teller, cast)?;
    wires.flow(teller, cast, CLAMPED)?;
    move_to_a_narrow_network(teller, cast, &wires)?;
    status(teller, cast)?;
    take_down(teller, cast)
}

fn set_the_scene(teller: &Teller, cast: &Cast) -> Result<()> {
    scene("A laptop on a VPN");
    aside(&format!(
        "This is a throw-away host with a network, users, a system bus and polkit of its own: nothing here can touch yours.\n\
         Its default route is a tunnel: wg0, MTU 1380 ({}).\n\
         Somewhere beyond, the ICMP that reports \"too big\" is dropped, as it often is. That makes a black hole.\n\
         You are alice, an ordinary user. polkit has a rule that lets her switch clamps; without it she would be asked for an\n\
         administrator's password. This is her configuration:\n ",
        cast.tunnel()
    ));
    teller.show("cat ~/.config/airpods/config.toml", &mut cast.alice("cat ~/.config/airpods/config.toml"))?;
    Ok(())
}

/// A command of alice's that must succeed.
fn succeed(teller: &Teller, cast: &Cast, line: &str) -> Result<Said> {
    let said = teller.show(line, &mut cast.alice(line))?;
    ensure(said.success, || format!("`{line}` should have succeeded"))?;
    Ok(said)
}

fn start(teller: &Teller, cast: &Cast) -> Result<()> {
    scene("Three services start, each in its container behind podman's bridge, whose MTU is 1500");
    succeed(teller, cast, "airpods start")?;
    let running = cast.world().sandbox().sh("podman ps --format '{{.Names}}' | sort | xargs")?;
    ensure(running == "comfyui-0 ollama-0 open-webui-0", || format!("three containers should run, not `{running}`"))
}

fn clamp_on(teller: &Teller, cast: &Cast) -> Result<()> {
    scene("The cure: lower the MSS that both ends announce, on the fly");
    succeed(teller, cast, "airpods net clamp on")?;
    Ok(())
}

fn move_to_a_narrow_network(teller: &Teller, cast: &Cast, wires: &Wires) -> Result<()> {
    scene("Another network: the path is narrower than the tunnel's MTU says");
    aside(&format!("Here {NARROW} bytes pass, and nothing says so: no route knows a better MTU than the tunnel's.\n "));
    cast.world().narrow(NARROW)?;
    wires.hang(teller, cast, CLAMPED)?;
    scene("What does the path carry? Measured without root, by what TCP acknowledges");
    let check = format!("airpods net check --url {MEASURED}");
    let said = teller.show(&check, &mut cast.alice(&check))?;
    ensure(!said.success && said.text.contains(&NARROW.to_string()), || {
        format!("`{check}` should have found {NARROW}")
    })?;
    scene("The cure with the measured number, and the proof");
    succeed(teller, cast, &format!("airpods net clamp on --mtu auto --url {MEASURED}"))?;
    wires.flow(teller, cast, NARROW - 40)
}

fn status(teller: &Teller, cast: &Cast) -> Result<()> {
    scene("What the helper counted");
    let said = succeed(teller, cast, "airpods net clamp status")?;
    ensure(said.text.contains("wg0"), || "the status should name wg0".into())
}

fn take_down(teller: &Teller, cast: &Cast) -> Result<()> {
    scene("And all of it away again");
    succeed(teller, cast, "airpods net clamp off")?;
    succeed(teller, cast, "airpods stop --remove --yes")?;
    let tables = cast.world().sandbox().sh("nft list tables")?;
    ensure(!tables.contains("airpods"), || format!("the table should be gone, but there are:\n{tables}"))?;
    let containers = cast.world().sandbox().sh("podman ps --all --format '{{.Names}}'")?;
    ensure(containers.is_empty(), || format!("no container should be left, but there is {containers}"))?;
    verdict("no firewall table and no container is left");
    Ok(())
}

/// What fits into one packet of any size comes through: a name look-up, and a short page.
fn small(teller: &Teller, cast: &Cast) -> Result<()> {
    aside("/lab-probe is the one program in these images: it serves, downloads and uploads.\n");
    let said =
        succeed(teller, cast, &format!("podman exec {DOWNLOADER} /lab-probe get --body http://download.example/"))?;
    ensure(said.text.trim() == "ok", || "a short page should have come".into())
}

/// The links on which the handshakes are watched.
struct Wires<'a> {
    bridge: &'a str,
}

impl Wires<'_> {
    fn hang(&self, teller: &Teller, cast: &Cast, mss: u16) -> Result<()> {
        let seen = self.transfer(teller, cast, |said, line| {
            ensure(!said.success && said.text.contains("timed out"), || format!("`{line}` should have hung"))
        })?;
        seen.ensure_mss(mss)?;
        seen.tell();
        Ok(())
    }

    fn flow(&self, teller: &Teller, cast: &Cast, mss: u16) -> Result<()> {
        scene("The same container, the same transfers");
        let seen = self.transfer(teller, cast, |said, line| {
            ensure(said.success && said.text.contains("1048576 bytes"), || format!("`{line}` should have completed"))
        })?;
        seen.ensure_mss(mss)?;
        seen.tell();
        aside(&format!("{mss} bytes and 40 of headers are {}: they fit.", mss + 40));
        verdict("download and upload complete, with the right checksums");
        Ok(())
    }

    /// 1 MB down and up, each to a host that is new to the container, so that it has not learnt any path MTU.
    fn transfer(&self, teller: &Teller, cast: &Cast, judge: impl Fn(&Said, &str) -> Result<()>) -> Result<Seen> {
        let sandbox = cast.world().sandbox();
        let (tunnel, bridge) = (Capture::start(sandbox, "wg0")?, Capture::start(sandbox, self.bridge)?);
        for (verb, path) in [("get", "download"), ("put", "upload")] {
            let url = format!("https://{}/{path}", cast.world().mirror());
            let line = format!("podman exec {DOWNLOADER} /lab-probe {verb} --words --timeout 3 {url}");
            judge(&teller.show(&line, &mut cast.alice(&line))?, &line)?;
        }
        let https = |syn: &Syn| syn.family == Family::V4 && (syn.source.port() == 443 || syn.destination.port() == 443);
        let leaving = tunnel.expect(|syn| https(syn) && !syn.ack)?;
        let reaching = bridge.expect(|syn| https(syn) && syn.ack)?;
        Ok(Seen { leaving, reaching, bridge: self.bridge.to_owned() })
    }
}

/// A handshake as it was on the wire.
struct Seen {
    leaving: Syn,
    reaching: Syn,
    bridge: String,
}

impl Seen {
    fn ensure_mss(&self, wanted: u16) -> Result<()> {
        for syn in [&self.leaving, &self.reaching] {
            ensure(syn.mss == Some(wanted), || format!("the MSS should be {wanted} in {syn:?}"))?;
        }
        Ok(())
    }

    fn tell(&self) {
        let mss = |syn: &Syn| syn.mss.unwrap_or_default();
        aside(&format!(
            "Seen by tcpdump: SYN leaving through wg0 with MSS {}, SYN-ACK reaching the container over {} with MSS {}.",
            mss(&self.leaving),
            self.bridge,
            mss(&self.reaching)
        ));
    }
}
