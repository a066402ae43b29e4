//! The sandbox's system bus and its polkit: the real programs, at the standard addresses.

use std::fs;
use std::time::{Duration, Instant};

use airpods_dbus::names;

use super::Sandbox;
use super::install::HELPER;
use crate::background::Background;
use crate::bus_daemon::{BusDaemon, ON_SOCKET, RunningBus};
use crate::error::{Doing, Error, Result};
use crate::place::{Place, run};
use crate::programs::unpacked;
use crate::wait::TIMEOUT;

const SOCKET: &str = "/run/dbus/system_bus_socket";
const JOURNAL: &str = "/run/systemd/journal/socket";
const START_LIMIT: Duration = TIMEOUT;

impl Sandbox {
    /// Starts dbus-daemon as the system bus. Services are activated by the bus's own setuid
    /// launcher, as on a machine without systemd. Returns when the bus answers.
    ///
    /// # Errors
    /// When dbus-daemon does not come up.
    pub fn start_bus(&self) -> Result<()> {
        self.start_bus_of(BusDaemon::DbusDaemon)
    }

    /// Starts the system bus of this kind. dbus-broker leaves activation to systemd. There is none
    /// here, so start the helper with [`Sandbox::start_helper`].
    ///
    /// # Errors
    /// If the bus does not come up.
    pub fn start_bus_of(&self, kind: BusDaemon) -> Result<()> {
        let (socket, log) = (self.path(SOCKET), self.log_path("bus"));
        let bus = match kind {
            BusDaemon::DbusDaemon => {
                let mut command = self.command("dbus-daemon");
                command.args(["--system", "--nofork", "--nopidfile", "--nosyslog"]);
                RunningBus::reference(&mut command, &socket, &log)
            }
            BusDaemon::DbusBroker => {
                let programs = unpacked("dbus-broker")?.join("usr/bin");
                for name in ["dbus-broker", "dbus-broker-launch"] {
                    self.install_from(&programs.join(name), &format!("/usr/bin/{name}"))?;
                }
                self.sh("mkdir -p /run/systemd/journal")?;
                let mut command = self.command("sh");
                command.args(["-euc", ON_SOCKET]);
                RunningBus::broker(&mut command, &socket, &self.path(JOURNAL), &log)
            }
        }?;
        if let Ok(mut slot) = self.bus.lock() {
            *slot = Some(bus);
        }
        Ok(())
    }

    /// Starts the helper as root, as the bus's launcher or systemd would, and returns when it owns
    /// its name.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_helper(&self) -> Result<Background> {
        let mut helper = Background::start(&mut self.command(HELPER), &self.log_path("helper"))?;
        helper.until("the helper", START_LIMIT, || self.bus_name_has_owner(names::BUS_NAME).unwrap_or(false))?;
        Ok(helper)
    }

    /// Stops the bus; its clients lose their connection.
    pub fn stop_bus(&self) {
        if let Ok(mut slot) = self.bus.lock() {
            slot.take();
        }
        let _ = fs::remove_file(self.path(SOCKET));
    }

    /// Makes the bus read its policy and activation files again.
    ///
    /// # Errors
    /// When the bus is not there.
    pub fn reload_bus(&self) -> Result<()> {
        self.sh("dbus-send --system --print-reply --dest=org.freedesktop.DBus /org/freedesktop/DBus \
             org.freedesktop.DBus.ReloadConfig")
            .map(drop)
    }

    /// Whether a name on the bus has an owner.
    ///
    /// # Errors
    /// When the bus is not there.
    pub fn bus_name_has_owner(&self, name: &str) -> Result<bool> {
        let answer = self.sh(&format!(
            "dbus-send --system --print-reply --dest=org.freedesktop.DBus /org/freedesktop/DBus \
             org.freedesktop.DBus.NameHasOwner string:{name}"
        ))?;
        Ok(answer.ends_with("boolean true"))
    }

    /// Starts polkitd and returns when it owns its name.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_polkit(&self) -> Result<()> {
        // A start takes 50 ms. Once in hundreds of starts, polkitd 122 hung for good while loading
        // its rules. So one that has no name after 15 s is replaced, even if it was only late.
        let polkit = self.polkit_within(Duration::from_secs(15)).or_else(|_| self.polkit_within(START_LIMIT))?;
        if let Ok(mut slot) = self.polkit.lock() {
            *slot = Some(polkit);
        }
        Ok(())
    }

    fn polkit_within(&self, limit: Duration) -> Result<Background> {
        let mut command = self.command("/usr/lib/polkit-1/polkitd");
        let mut polkit = Background::start(&mut command, &self.log_path("polkit"))?;
        polkit.until("polkitd", limit, || self.bus_name_has_owner("org.freedesktop.PolicyKit1").unwrap_or(false))?;
        Ok(polkit)
    }

    /// Kills polkitd and waits until its name is free. Its activation file is removed, so that
    /// nothing starts it again.
    ///
    /// # Errors
    /// When the bus is not there.
    pub fn stop_polkit(&self) -> Result<()> {
        let file = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service";
        match fs::remove_file(self.path(file)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing(|| format!("remove `{file}`"));
            }
            _ => self.reload_bus()?,
        }
        if let Ok(mut slot) = self.polkit.lock() {
            slot.take();
        }
        let start = Instant::now();
        while self.bus_name_has_owner("org.freedesktop.PolicyKit1")? {
            if start.elapsed() > START_LIMIT {
                return Err(Error::NotReady { what: "polkitd's end".into(), reason: "it still owns its name".into() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Adds a polkit rules file, in the JavaScript of polkit(8), under `/etc/polkit-1/rules.d`. A
    /// running polkitd reads it after a short delay; add it before [`Sandbox::start_polkit`] to
    /// avoid that.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_polkit_rule(&self, name: &str, rule: &str) -> Result<()> {
        self.write_file(&format!("/etc/polkit-1/rules.d/{name}.rules"), rule)
    }

    /// The output of `busctl --system ARGS`, run as root.
    ///
    /// # Errors
    /// busctl's own error text.
    pub fn busctl(&self, arguments: &[&str]) -> Result<String> {
        let output = run(self.command("busctl").arg("--system").args(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
