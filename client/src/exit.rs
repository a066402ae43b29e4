//! The exit codes, documented in `docs/exit-codes.md`.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done, or declined by the user, or nothing to do.
    Done = 0,
    /// Failed; the message says how.
    Failed = 1,
    /// The command line asks for something that does not exist or is out of range.
    Usage = 2,
    /// The helper, or the system bus, is not there or does not answer.
    HelperAbsent = 3,
    /// The user is not allowed to.
    Denied = 4,
    /// The user dismissed the prompt.
    Dismissed = 5,
    /// Nobody can be asked whether the user is allowed to: polkit is not there.
    AuthUnavailable = 6,
    /// The link is no VPN.
    NotVpn = 7,
    /// Too much at once; the same call may work later.
    Busy = 8,
    /// The kernel or the surroundings cannot do it.
    Unsupported = 9,
    /// The configuration is wrong, or cannot be read.
    Configuration = 10,
    /// Interrupted by Ctrl-C: 128 + SIGINT, as shells report it.
    Interrupted = 130,
}

impl Exit {
    /// The number the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl std::process::Termination for Exit {
    fn report(self) -> std::process::ExitCode {
        self.code().into()
    }
}
