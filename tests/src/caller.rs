//! Connections that count as another user's.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::{io, thread};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use crate::error::{Doing, Result};

/// Connects to a socket as this user: the kernel reports that uid to the other end. The rest of the
/// process keeps its user, which must be root.
///
/// # Errors
/// When the user may not connect, or this process may not become that user.
pub fn connect_as(user: u32, socket: &Path) -> Result<UnixStream> {
    let doing = || format!("connect to `{}` as user {user}", socket.display());
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).doing(doing);
    };
    // root opens the folder first, because the path may lead through folders that only root can
    // enter, such as `/proc/PID/root`.
    let folder = File::open(folder).doing(doing)?;
    let path = format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), name.to_string_lossy());
    // Credentials belong to a thread in Linux, and end with it.
    let connecting = thread::spawn(move || {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        UnixStream::connect(path)
    });
    connecting.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())).doing(doing)
}
