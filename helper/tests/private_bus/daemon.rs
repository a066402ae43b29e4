//! The bus daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use airpods_lab::{BusDaemon, RunningBus};
use tempfile::TempDir;
use zbus::Connection;
use zbus::connection::Builder;

use super::{TIMEOUT, repository};

/// A bus daemon of either kind, with the policy of a system bus and the helper's own. It is killed
/// when dropped, or when the test dies.
pub struct PrivateBus {
    daemon: Option<RunningBus>,
    folder: TempDir,
}

impl PrivateBus {
    pub fn start() -> Self {
        Self::start_of(BusDaemon::default())
    }

    pub fn start_of(kind: BusDaemon) -> Self {
        Self::with(kind, &[])
    }

    /// A bus daemon that starts these programs for these names.
    pub fn with_services(services: &[(&str, &str)]) -> Self {
        Self::with(BusDaemon::default(), services)
    }

    fn with(kind: BusDaemon, services: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, program) in services {
            let text = format!("[D-BUS Service]\nName={name}\nExec={program}\nUser=root\n");
            fs::write(folder.path().join(format!("{name}.service")), text).unwrap();
        }
        let [config, socket, log] = ["bus.conf", "bus", "bus.log"].map(|name| folder.path().join(name));
        fs::write(&config, config_text(&folder)).unwrap();
        let daemon = kind.start(&config, &socket, &log).unwrap();
        Self { daemon: Some(daemon), folder }
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("bus")
    }

    pub fn connect(&self) -> Connection {
        zruntime::block_on(Builder::address(self.address().as_str()).method_timeout(TIMEOUT).build()).unwrap()
    }

    /// Connects as another user.
    pub fn connect_as(&self, uid: u32) -> Connection {
        let stream = airpods_lab::connect_as(uid, &self.folder.path().join("bus")).unwrap();
        zruntime::block_on(Builder::unix_stream(stream).user_id(uid).method_timeout(TIMEOUT).build()).unwrap()
    }

    /// Runs a bus client program as another user. Returns whether it succeeded, and its output.
    pub fn program_as(&self, uid: u32, program: &str, arguments: &[&str]) -> (bool, String) {
        use std::os::unix::process::CommandExt;
        let address = self.address();
        let arguments = arguments.iter().map(|argument| argument.replace("ADDRESS", &address));
        let output = Command::new(program).args(arguments).uid(uid).gid(uid).output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        (output.status.success(), text)
    }

    /// The bus daemon, unless it was stopped.
    pub fn daemon(&self) -> &RunningBus {
        self.daemon.as_ref().unwrap()
    }

    /// Stops the bus daemon, as a restart of the bus would.
    pub fn stop(&mut self) {
        self.daemon = None;
    }
}

fn config_text(folder: &TempDir) -> String {
    let shipped = repository().join("dbus/org.airpods.Helper1.conf");
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <servicedir>{}</servicedir>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
  </policy>
  <include>{}</include>
  <!-- The tests' helper and polkit are processes of the tests' user. -->
  <policy user="root">
    <allow own="org.freedesktop.PolicyKit1"/>
    <allow own="org.airpods.Helper1"/>
  </policy>
</busconfig>
"#,
        folder.path().join("bus").display(),
        folder.path().display(),
        shipped.display()
    )
}
