//! A private bus with a helper on it that answers what a test wants.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use airpods_dbus::{ErrorKind, Status, names};
use tokio::sync::Notify;
use zbus::message::{Flags, Header};
use zbus::{Connection, OwnedVariant, connection, interface};

/// A bus of our own. It ends with this value, and with the test's thread if that is killed.
pub(crate) struct Bus {
    daemon: Child,
    pub(crate) address: String,
    folder: tempfile::TempDir,
}

impl Bus {
    /// Starts a bus that serves every user. `services` are activation files by name.
    pub(crate) fn start(services: &[(&str, &str)]) -> Self {
        Self::start_by(services, &[])
    }

    /// Starts a bus that is a process of this user.
    pub(crate) fn start_as(uid: u32) -> Self {
        Self::start_by(&[], &[format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()])
    }

    /// Starts a bus with these options of setpriv(1).
    fn start_by(services: &[(&str, &str)], options: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Other users' clients pass through the folder to the socket, and another user's bus makes
        // the socket there.
        let open = std::os::unix::fs::PermissionsExt::from_mode(if options.is_empty() { 0o755 } else { 0o777 });
        fs::set_permissions(folder.path(), open).unwrap();
        for (name, text) in services {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let config = folder.path().join("bus.conf");
        fs::write(&config, configuration(folder.path())).unwrap();
        let mut daemon = Command::new("setpriv")
            .args(options)
            .args(["--pdeathsig", "KILL", "dbus-daemon", "--nofork", "--print-address"])
            .arg(format!("--config-file={}", config.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.is_empty(), "dbus-daemon did not start");
        Self { daemon, address: address.trim().to_owned(), folder }
    }

    /// Puts a helper on the bus.
    pub(crate) async fn serve(&self, helper: &StandIn) -> Connection {
        connection::Builder::address(self.address.as_str())
            .serve_at(names::OBJECT_PATH, helper.clone())
            .name(names::BUS_NAME)
            .build()
            .await
            .unwrap()
    }

    /// Puts one on the bus that is a process of this user.
    pub(crate) async fn serve_as(&self, uid: u32, helper: &StandIn) -> Connection {
        let stream = airpods_lab::connect_as(uid, &self.folder().join("socket")).unwrap();
        connection::Builder::unix_stream(stream)
            .user_id(uid)
            .serve_at(names::OBJECT_PATH, helper.clone())
            .name(names::BUS_NAME)
            .build()
            .await
            .unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={folder}/socket</listen>
  <servicedir>{folder}</servicedir>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>"#
    )
}

/// One call that reached the helper: its words, and whether it allowed asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) words: String,
    pub(crate) asking: bool,
}

/// The helper that answers what a test wants.
#[derive(Clone)]
pub(crate) struct StandIn {
    /// The answer to a change that does not allow asking, and to one that does.
    pub(crate) plain: Result<bool, ErrorKind>,
    pub(crate) asking: Result<bool, ErrorKind>,
    /// How many calls it refuses first, and why.
    pub(crate) refusing: (usize, ErrorKind),
    pub(crate) status: Status,
    /// The status after the first change, if that alters it.
    pub(crate) changed_to: Option<Status>,
    /// How many more reads of the status it answers.
    pub(crate) reads: Arc<AtomicUsize>,
    /// The first change is answered after this.
    pub(crate) held: Option<Arc<Notify>>,
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
}

impl StandIn {
    pub(crate) fn answering(answer: Result<bool, ErrorKind>) -> Self {
        Self {
            plain: answer,
            asking: answer,
            refusing: (0, ErrorKind::ShuttingDown),
            status: Status::default(),
            changed_to: None,
            reads: Arc::new(AtomicUsize::new(usize::MAX)),
            held: None,
            calls: Arc::default(),
        }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    async fn answer(&self, header: &Header<'_>, words: String) -> Result<bool, airpods_dbus::Error> {
        let asking = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        self.calls.lock().unwrap().push(Call { words, asking });
        if let Some(held) = self.held.as_ref().filter(|_| self.calls().len() == 1) {
            held.notified().await;
        }
        let answer = match asking {
            _ if self.calls().len() <= self.refusing.0 => Err(self.refusing.1),
            true => self.asking,
            false => self.plain,
        };
        answer.map_err(|kind| kind.because(format!("the stand-in \u{1b}[31m says {}", kind.short_name())))
    }
}

#[interface(name = "org.airpods.Helper1")]
impl StandIn {
    async fn clamp_on(
        &self,
        #[zbus(header)] header: Header<'_>,
        link: &str,
        options: HashMap<String, OwnedVariant>,
    ) -> Result<bool, airpods_dbus::Error> {
        let mut keys: Vec<_> = options.keys().map(String::as_str).collect();
        keys.sort_unstable();
        self.answer(&header, format!("on {link:?} {}", keys.join(","))).await
    }

    async fn clamp_off(&self, #[zbus(header)] header: Header<'_>, link: &str) -> Result<bool, airpods_dbus::Error> {
        self.answer(&header, format!("off {link:?}")).await
    }

    async fn reset(&self, #[zbus(header)] header: Header<'_>) -> Result<bool, airpods_dbus::Error> {
        self.answer(&header, "reset".to_owned()).await
    }

    fn get_status(&self) -> Result<Status, airpods_dbus::Error> {
        let left = self.reads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| ErrorKind::Busy.because("the stand-in is busy".to_owned()))?;
        Ok(self.changed_to.clone().filter(|_| !self.calls().is_empty()).unwrap_or_else(|| self.status.clone()))
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        self.status.version.clone()
    }
}
