//! The bus daemon.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use zbus::Connection;
use zbus::connection::Builder;

use super::{PATIENCE, repository};

/// A `dbus-daemon` with the policy of a system bus and the helper's own, killed when dropped or when the test dies.
pub struct PrivateBus {
    daemon: Child,
    folder: TempDir,
}

impl PrivateBus {
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let config = folder.path().join("bus.conf");
        fs::write(&config, config_text(&folder)).unwrap();
        let mut daemon = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", "--print-address"])
            .arg(format!("--config-file={}", config.display()))
            .stdout(Stdio::piped())
            // It complains about a user and limits that a test need not have.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("unix:path="), "dbus-daemon did not start: {address}");
        Self { daemon, folder }
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }

    /// Where it listens.
    pub fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("bus")
    }

    pub fn connect(&self) -> Connection {
        zruntime::block_on(Builder::address(self.address().as_str()).method_timeout(PATIENCE).build()).unwrap()
    }

    /// A connection that counts as another user's.
    pub fn connect_as(&self, uid: u32) -> Connection {
        let stream = airpods_lab::connect_as(uid, &self.folder.path().join("bus")).unwrap();
        zruntime::block_on(Builder::unix_stream(stream).user_id(uid).method_timeout(PATIENCE).build()).unwrap()
    }

    /// A program of the bus's own family, run as another user.
    pub fn program_as(&self, uid: u32, program: &str, arguments: &[&str]) -> (bool, String) {
        use std::os::unix::process::CommandExt;
        let address = self.address();
        let arguments = arguments.iter().map(|argument| argument.replace("ADDRESS", &address));
        let output = Command::new(program).args(arguments).uid(uid).gid(uid).output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        (output.status.success(), text)
    }

    /// Stops the bus daemon, as a restart of the bus would.
    pub fn stop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        // It may have been stopped already.
        drop(self.daemon.kill());
        drop(self.daemon.wait());
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
  <policy user="root">
    <allow own="org.freedesktop.PolicyKit1"/>
  </policy>
  <include>{}</include>
</busconfig>
"#,
        folder.path().join("bus").display(),
        shipped.display()
    )
}
