//! The tunnel's implementation: WireGuard in the kernel if it has one, otherwise the same protocol
//! in a process.

use crate::background::Background;
use crate::error::Result;
use crate::place::Place;
use crate::sandbox::{Sandbox, User};
use crate::wait::TIMEOUT;

/// The tunnel's implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A link of kind `wireguard`.
    Kernel,
    /// wireguard-go: the kernel shows a link of kind `tun`.
    UserSpace,
}

/// The gateway's name of its end. The two ends of wireguard-go share a socket folder, so the names
/// differ.
const FAR_END: &str = "peer0";
const PORT: u16 = 51820;

/// Makes both ends, with keys and each other's endpoint, without addresses and down. For kernel
/// WireGuard there are no programs.
pub(super) fn connect(host: &Sandbox, gateway: &User, link: &str) -> Result<(Carrier, Vec<Background>)> {
    let kernel = host.sh(&format!("ip link add {link} type wireguard")).is_ok();
    let (carrier, programs) = if kernel {
        gateway.sh(&format!("ip link add {FAR_END} type wireguard"))?;
        (Carrier::Kernel, Vec::new())
    } else {
        (Carrier::UserSpace, vec![start(host, host, link)?, start(host, gateway, FAR_END)?])
    };
    let key =
        |end: &str| host.sh(&format!("mkdir -p /run/lab; umask 077; wg genkey | tee /run/lab/{end}.key | wg pubkey"));
    let (near_key, far_key) = (key(link)?, key(FAR_END)?);
    host.sh(&format!(
        "wg set {link} private-key /run/lab/{link}.key peer {far_key} \
         endpoint 203.0.113.1:{PORT} allowed-ips 0.0.0.0/0,::/0"
    ))?;
    gateway.sh(&format!(
        "wg set {FAR_END} private-key /run/lab/{FAR_END}.key listen-port {PORT} \
         peer {near_key} allowed-ips 0.0.0.0/0,::/0"
    ))?;
    Ok((carrier, programs))
}

fn start(host: &Sandbox, place: &dyn Place, link: &str) -> Result<Background> {
    let mut command = place.command("wireguard-go");
    // Without this variable, wireguard-go first prints a page about the kernel's WireGuard.
    command.args(["-f", link]).env("WG_PROCESS_FOREGROUND", "1");
    let mut program = Background::start(&mut command, &host.log_path(&format!("tunnel-{link}")))?;
    // Wait for the socket by which `wg` finds wireguard-go. The link appears earlier.
    let socket = host.path(&format!("/run/wireguard/{link}.sock"));
    program.until(&format!("wireguard-go on {link}"), TIMEOUT, || socket.exists())?;
    Ok(program)
}
