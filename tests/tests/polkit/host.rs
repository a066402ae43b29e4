//! A throw-away host with the system bus, polkitd, a VPN link, and the helper as its package
//! installs it. Another program's rules on it must stay as they are.

use std::process::{Command, Output, Stdio};

use airpods_lab::{Place, Sandbox};

/// busctl's options as recommended for scripts: they never prompt for a password.
pub(crate) const SCRIPT: [&str; 3] = ["--system", "--allow-interactive-authorization=no", "--timeout=5"];

/// The methods that change something, as arguments of busctl. In this order each has something to
/// do.
pub(crate) const CHANGES: [&[&str]; 3] = [&["ClampOn", "sa{sv}", "wg0", "0"], &["ClampOff", "s", "wg0"], &["Reset"]];
pub(crate) const ON: &[&str] = CHANGES[0];
pub(crate) const OFF: &[&str] = CHANGES[1];

pub(crate) struct Host {
    pub(crate) sandbox: Sandbox,
}

impl Host {
    /// The helper's name, object and interface, as arguments of busctl.
    pub(crate) const HELPER: [&str; 3] = ["org.airpods.Helper1", "/org/airpods/Helper1", "org.airpods.Helper1"];

    /// A host with polkitd and these rules files.
    pub(crate) fn with_rules(rules: &[(&str, &str)]) -> Self {
        let host = Self::without_polkit();
        for (name, rule) in rules {
            host.sandbox.add_polkit_rule(name, rule).unwrap();
        }
        host.sandbox.start_polkit().unwrap();
        host
    }

    /// A host with polkitd and Debian's defaults: `sudo` is the administrators' group, and no rule
    /// names airpods.
    pub(crate) fn new() -> Self {
        Self::with_rules(&[])
    }

    pub(crate) fn without_polkit() -> Self {
        let sandbox = Sandbox::new().unwrap();
        sandbox.install_helper().unwrap();
        sandbox.start_bus().unwrap();
        sandbox.sh("ip tuntap add mode tun name wg0; ip link set wg0 mtu 1380 up").unwrap();
        sandbox
            .sh("nft 'table inet other { chain c { type filter hook forward priority 0; tcp dport 25 drop; }; }'")
            .unwrap();
        Self { sandbox }
    }

    /// The answer to busctl when this user calls a method of the helper.
    pub(crate) fn call(&self, user: &str, words: &[&str]) -> Answer {
        let mut busctl = self.sandbox.as_user(user).command("busctl");
        Answer::of(busctl.args(SCRIPT).arg("call").args(Self::HELPER).args(words))
    }

    /// `airpods net clamp WORDS`, by a user without a terminal: its exit code and its output.
    pub(crate) fn airpods(&self, user: &str, words: &str) -> (i32, String) {
        let mut airpods = self.sandbox.as_user(user).command("timeout");
        let output = airpods
            .args(["60", "airpods", "net", "clamp"])
            .args(words.split(' '))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code().unwrap(), text(&output))
    }

    /// Every rule of the host.
    pub(crate) fn ruleset(&self) -> String {
        self.sandbox.sh("nft list ruleset").unwrap()
    }

    /// The helper's log so far. Its standard error is the bus's.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.sandbox.log_path("bus")).unwrap()
    }

    /// The process that owns a name, by its id in the sandbox.
    pub(crate) fn owner(&self, name: &str) -> String {
        let words = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
        let mut busctl = self.sandbox.command("busctl");
        busctl.args(["--system", "call"]).args(words).args(["GetConnectionUnixProcessID", "s", name]);
        Answer::of(&mut busctl).0.unwrap().trim_start_matches("u ").to_owned()
    }

    pub(crate) fn helper_pid(&self) -> String {
        self.owner("org.airpods.Helper1")
    }
}

/// The answer to a call: busctl's output, or the error's name on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) Result<String, String>);

impl Answer {
    /// Runs busctl. It prints an error's text alone; its own log has the name.
    pub(crate) fn of(busctl: &mut Command) -> Self {
        let output = busctl.env("SYSTEMD_LOG_LEVEL", "debug").stdin(Stdio::null()).output().unwrap();
        Self::from_busctl(&output)
    }

    pub(crate) fn from_busctl(output: &Output) -> Self {
        if output.status.success() {
            return Self(Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
        }
        let text = text(output);
        let error = text.lines().rfind(|line| line.contains("Got message type=error"));
        let name = error.and_then(|line| line.split("error-name=").nth(1)).and_then(|rest| rest.split(' ').next());
        Self(Err(name.unwrap_or_else(|| panic!("busctl failed by itself: {text}")).to_owned()))
    }

    pub(crate) fn changed() -> Self {
        Self(Ok("b true".to_owned()))
    }

    pub(crate) fn unchanged() -> Self {
        Self(Ok("b false".to_owned()))
    }

    /// A standard error of D-Bus.
    pub(crate) fn standard(name: &str) -> Self {
        Self(Err(format!("org.freedesktop.DBus.Error.{name}")))
    }

    /// An error of the helper.
    pub(crate) fn own(name: &str) -> Self {
        Self(Err(format!("org.airpods.Helper1.Error.{name}")))
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
