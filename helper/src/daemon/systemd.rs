//! The service manager that started the helper, if one did: what it is told, and what it keeps.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use sd_notify::NotifyState;

use crate::kernel::KernelError;
use crate::kernel::netlink::Netlink;
use crate::log::{Line, Log};

/// What the daemon asks of a service manager.
pub trait ServiceManager: Send + Sync {
    /// Whether there is one: it removes the runtime folder when the helper is stopped for good, and starts the next helper
    /// only when this one is gone.
    fn is_there(&self) -> bool;

    /// After how long without [`NotifyState::Watchdog`] it takes the helper for hung; `None` if it does not watch.
    fn watchdog(&self) -> Option<Duration>;

    /// Tells it something.
    ///
    /// # Errors
    /// The system's error if there is one and it does not listen.
    fn tell(&self, news: &[NotifyState<'_>]) -> io::Result<()>;
}

/// systemd, or whatever else speaks as it does through the environment: `sd_notify(3)`, `sd_listen_fds(3)`.
#[derive(Clone, Copy, Debug)]
pub struct Systemd;

impl ServiceManager for Systemd {
    fn is_there(&self) -> bool {
        std::env::var_os("RUNTIME_DIRECTORY").is_some()
    }

    fn watchdog(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }

    fn tell(&self, news: &[NotifyState<'_>]) -> io::Result<()> {
        sd_notify::notify(news)
    }
}

/// The name of the socket in the descriptor store; `systemctl show -P NFileDescriptorStore` counts it.
const NAME: NotifyState<'static> = NotifyState::FdName("table");

/// Opens the kernel with the socket that the service manager kept while the helper was away, or else with a new one, which
/// the service manager is given a duplicate of. As long as there is one, the kernel keeps the table: over a crash, a
/// restart and an upgrade. It goes when the service is stopped, as the manager then closes what it kept.
///
/// What else the manager hands over is closed; by its name in `LISTEN_FDNAMES` nothing is believed.
///
/// # Errors
/// As for [`Netlink::open`].
pub fn open_kernel(log: &Log) -> Result<Netlink, KernelError> {
    let mut kept = None;
    let mut is_full = false;
    for number in handed_over(log) {
        is_full = true;
        let adopted = reclaim(number).map_err(|error| error.to_string()).and_then(|descriptor| {
            if kept.is_some() {
                return Err("the table's socket is there already".to_owned());
            }
            Netlink::adopt(descriptor).map_err(|error| error.to_string())
        });
        match adopted {
            Ok(netlink) => kept = Some(netlink),
            Err(cause) => {
                let line = Line::warning("descriptor-closed").with("number", number).with("cause", cause);
                log.write(line.with("hint", "FileDescriptorStoreMax=1 and no Sockets= are all that the unit needs"));
            }
        }
    }
    if let Some(netlink) = kept {
        log.write(Line::info("socket-taken-back"));
        return Ok(netlink);
    }
    let netlink = Netlink::open()?;
    if let Err(cause) = park(netlink.owning_socket(), is_full) {
        log.write(Line::warning("socket-not-kept").with("cause", cause));
    }
    Ok(netlink)
}

/// The numbers of the descriptors that were handed over, closed on exec from now on.
fn handed_over(log: &Log) -> Vec<RawFd> {
    match sd_notify::listen_fds() {
        Ok(numbers) => numbers.collect(),
        Err(cause) => {
            log.write(Line::warning("descriptors-ignored").with("cause", cause));
            Vec::new()
        }
    }
}

/// Gives the manager a duplicate to keep, in the place of whatever it had before if the store `is_full`.
fn park(socket: BorrowedFd<'_>, is_full: bool) -> io::Result<()> {
    if is_full {
        sd_notify::notify(&[NotifyState::FdStoreRemove, NAME])?;
    }
    // Without polling: the manager would drop the socket after an overrun, which it sees as an error pending.
    sd_notify::notify_with_fds(&[NotifyState::FdStore, NAME, NotifyState::Custom("FDPOLL=0")], &[socket])
}

/// Makes a descriptor of a bare number. The kernel does it: what is passed over a socket arrives as a descriptor of the
/// receiver's own, and a number that is not open is refused.
fn reclaim(number: RawFd) -> io::Result<OwnedFd> {
    let (here, there) = UnixDatagram::pair()?;
    let rights = [number];
    sendmsg::<()>(
        here.as_raw_fd(),
        &[IoSlice::new(&[0])],
        &[ControlMessage::ScmRights(&rights)],
        MsgFlags::empty(),
        None,
    )?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&there, &mut [IoSliceMut::new(&mut [0])], &mut passed, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = passed.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    nix::unistd::close(number)?;
    descriptor.ok_or_else(|| io::Error::other("it could not be passed on"))
}
