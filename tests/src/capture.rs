//! The SYNs and SYN-ACKs on a link, captured by tcpdump.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStderr, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;

use crate::error::{Doing, Error, Result};
use crate::place::Place;
use crate::wait::TIMEOUT;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Both families, in the order of their age.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A SYN or SYN-ACK as it was on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syn {
    /// The family.
    pub family: Family,
    /// From whom.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Whether ACK is set: the answer to a SYN.
    pub ack: bool,
    /// The announced maximum segment size in bytes; `None` without the option.
    pub mss: Option<u16>,
}

/// A running capture on one link. It sees outgoing packets after the clamp and incoming packets
/// before it.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Child,
    seen: Arc<Mutex<Vec<Syn>>>,
    reader: Option<JoinHandle<()>>,
}

/// Matches packets with the SYN flag, with or without others. tcpdump's `tcp[…]` supports IPv4
/// only. IPv6 offset: 40 bytes of header, then byte 13 of TCP.
const FILTER: &str = "tcp[tcpflags] & tcp-syn != 0 or (ip6 and ip6[6] == 6 and ip6[53] & 2 != 0)";

impl Capture {
    /// Starts to capture; every SYN after the return is seen.
    ///
    /// # Errors
    /// When tcpdump does not start: there is no such link.
    pub fn start(place: &dyn Place, link: &str) -> Result<Self> {
        let mut command = place.command("tcpdump");
        // -Z root: otherwise tcpdump would change its user and outlive a killed test.
        command.args(["-i", link, "-n", "-U", "--immediate-mode", "-Z", "root", "-w", "-", FILTER]);
        let mut tcpdump = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| "start tcpdump".into())?;
        let (out, err) = (tcpdump.stdout.take(), tcpdump.stderr.take());
        let seen = Arc::default();
        let mut capture = Self { tcpdump, seen: Arc::clone(&seen), reader: None };
        wait_until_listening(link, err)?;
        capture.reader = out.map(|out| std::thread::spawn(move || collect(out, &seen)));
        Ok(capture)
    }

    /// The SYNs seen so far.
    #[must_use]
    pub fn syns(&self) -> Vec<Syn> {
        self.seen.lock().map(|seen| seen.clone()).unwrap_or_default()
    }

    /// Waits until a SYN was seen that `wanted` accepts, for up to [`TIMEOUT`], and returns it.
    ///
    /// # Errors
    /// When none came; all that came are in the message.
    pub fn expect(&self, wanted: impl Fn(&Syn) -> bool) -> Result<Syn> {
        let start = Instant::now();
        loop {
            if let Some(syn) = self.syns().into_iter().find(|syn| wanted(syn)) {
                return Ok(syn);
            }
            if start.elapsed() > TIMEOUT {
                return Err(Error::NotReady { what: "a SYN".into(), reason: format!("seen: {:?}", self.syns()) });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // `airpods-lab enter` passes SIGTERM on to a tcpdump in a sandbox; SIGKILL would only end
        // `enter` itself.
        let _ = kill(Pid::from_raw(self.tcpdump.id().cast_signed()), Signal::SIGTERM);
        let _ = self.tcpdump.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn wait_until_listening(link: &str, err: Option<ChildStderr>) -> Result<()> {
    let mut output = String::new();
    let Some(err) = err else { return Ok(()) };
    let mut lines = BufReader::new(err);
    loop {
        let start = output.len();
        if lines.read_line(&mut output).unwrap_or(0) == 0 {
            return Err(Error::NotReady { what: format!("tcpdump on `{link}`"), reason: output.trim().to_owned() });
        }
        if output[start..].contains("listening on") {
            // Keep reading, so that tcpdump can write its closing statistics.
            std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
            return Ok(());
        }
    }
}

fn collect(out: ChildStdout, seen: &Mutex<Vec<Syn>>) {
    let Ok(mut pcap) = PcapReader::new(out) else { return };
    let link = pcap.header().datalink;
    while let Some(Ok(packet)) = pcap.next_packet() {
        if let (Some(syn), Ok(mut seen)) = (parse(link, &packet.data), seen.lock()) {
            seen.push(syn);
        }
    }
}

/// Reads one packet of a link with Ethernet frames (veth, bridge) or bare IP (tun, WireGuard).
fn parse(link: DataLink, bytes: &[u8]) -> Option<Syn> {
    let packet = match link {
        DataLink::ETHERNET => SlicedPacket::from_ethernet(bytes).ok()?,
        _ => SlicedPacket::from_ip(bytes).ok()?,
    };
    let (family, from, to): (_, IpAddr, IpAddr) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => (Family::V4, ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (Family::V6, ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => return None,
    };
    let TransportSlice::Tcp(tcp) = packet.transport? else { return None };
    let mss = tcp.options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
        _ => None,
    });
    Some(Syn {
        family,
        source: SocketAddr::new(from, tcp.source_port()),
        destination: SocketAddr::new(to, tcp.destination_port()),
        ack: tcp.ack(),
        mss,
    })
}
