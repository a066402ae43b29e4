//! People who log in to a machine: login sessions, as logind and polkit see them.

use std::process::Command;

use super::{Machine, User};
use crate::place::Place;

/// How a user logs in to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// At the machine itself, on the virtual console of this number. Console 1 is the one in the
    /// foreground.
    Console(u8),
    /// Remotely, as over ssh: a session without a seat.
    Remote,
}

/// A user who logs in for each command, and out at its end. A command's environment is what the
/// login gives it, and systemd replaces `$NAME` and `$$` in its arguments (systemd.service(5)).
#[derive(Clone, Debug)]
pub struct Session {
    root_user: User,
    name: String,
    login: Login,
}

impl Machine {
    /// A user of the machine who logs in: PAM and logind open a session. A user from
    /// [`Machine::as_user`] has none.
    #[must_use]
    pub fn login(&self, name: &str, login: Login) -> Session {
        Session { root_user: self.root_user().clone(), name: name.to_owned(), login }
    }
}

impl Place for Session {
    fn command(&self, program: &str) -> Command {
        let mut command = self.root_user.command("systemd-run");
        command.args(["--quiet", "--collect", "--wait", "--pipe", "--property=PAMName=login"]);
        command.arg(format!("--property=User={}", self.name));
        if let Login::Console(number) = self.login {
            command.arg(format!("--property=TTYPath=/dev/tty{number}"));
        }
        command.args(["--setenv=LANG=C.UTF-8", "--setenv=TERM=dumb", "--", program]);
        command
    }

    fn link_target(&self) -> String {
        self.root_user.link_target()
    }
}
