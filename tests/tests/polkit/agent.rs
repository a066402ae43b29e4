//! A user at a prompt: an authentication agent like a desktop's, registered for one process.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use airpods_lab::Place;
use zbus::connection::Builder;
use zbus::{Connection, DBusError, OwnedVariant, Variant, interface};
use zruntime::Event;

use crate::host::Host;

const OBJECT: &str = "/org/freedesktop/PolicyKit1/Authority";
const AUTHORITY: &str = "org.freedesktop.PolicyKit1.Authority";
const POLKIT: &str = "org.freedesktop.PolicyKit1";
const PATH: &str = "/agent";

/// Time limit, longer than anything here takes even on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The person's reaction to a prompt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Person {
    /// Closes the prompt.
    Dismisses,
    /// Leaves it open.
    Hesitates,
    /// Authenticates as the administrator.
    Agrees,
}

/// The content of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) action: String,
    pub(crate) message: String,
    /// The uids whose password is accepted.
    pub(crate) users: Vec<u32>,
}

/// A command of a user who has this agent.
pub(crate) struct Prompted {
    shell: Child,
    record: Arc<Mutex<AgentRecord>>,
    over: Arc<Event>,
}

impl Drop for Prompted {
    fn drop(&mut self) {
        self.over.notify(usize::MAX);
        // The command has ended already, unless the test is failing.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[derive(Default)]
struct AgentRecord {
    prompts: Vec<Prompt>,
    closed: HashSet<String>,
}

struct Agent {
    person: Person,
    /// The uids that polkit may record as the agent's owner: root, who registers it, or since
    /// polkit 125 the owner of the process.
    owners: [u32; 2],
    record: Arc<Mutex<AgentRecord>>,
    polkit: Connection,
}

type Identity = (String, HashMap<String, OwnedVariant>);

#[interface(name = "org.freedesktop.PolicyKit1.AuthenticationAgent")]
impl Agent {
    async fn begin_authentication(
        &self,
        action: String,
        message: String,
        icon: String,
        details: HashMap<String, String>,
        cookie: String,
        identities: Vec<Identity>,
    ) -> Result<(), Dismissed> {
        // The sandbox has no icons, and the message has the details.
        drop((icon, details));
        let users = identities.iter().map(|(_, id)| u32::try_from(&*id["uid"]).unwrap()).collect();
        self.record.lock().unwrap().prompts.push(Prompt { action, message, users });
        match self.person {
            Person::Dismisses => Err(Dismissed),
            Person::Hesitates => std::future::pending().await,
            Person::Agrees => {
                // polkit's setuid helper sends this message after a successful PAM authentication.
                // polkitd accepts it only from root.
                let (kind, id) = &identities[0];
                for owner in self.owners {
                    let proof = (owner, cookie.as_str(), (kind.as_str(), id));
                    let method = "AuthenticationAgentResponse2";
                    match self.polkit.call_method(Some(POLKIT), OBJECT, Some(AUTHORITY), method, &proof).await {
                        Ok(_) => return Ok(()),
                        Err(error) => eprintln!("polkit does not take the proof from {owner}'s agent: {error}"),
                    }
                }
                // Answer even here, because polkit waits for an agent without a time limit.
                Err(Dismissed)
            }
        }
    }

    fn cancel_authentication(&self, cookie: String) {
        self.record.lock().unwrap().closed.insert(cookie);
    }
}

/// The error by which an agent reports that the prompt was closed.
#[derive(Debug)]
struct Dismissed;

impl DBusError for Dismissed {
    fn create_reply(&self, call: &zbus::message::Header<'_>) -> zbus::Result<zbus::Message> {
        zbus::Message::error(call, self.name()).build(&"the prompt was closed")
    }

    fn name(&self) -> zbus::names::ErrorName<'_> {
        zbus::names::ErrorName::from_static_str_unchecked("org.freedesktop.PolicyKit1.Error.Cancelled")
    }

    fn description(&self) -> Option<&str> {
        None
    }
}

impl Prompted {
    /// Starts a command as this user, with `person` at the user's prompts and without a terminal.
    pub(crate) fn start(host: &Host, user: &str, person: Person, words: &[&str]) -> Self {
        // The shell waits and then becomes the command, so the agent is registered before the
        // command starts.
        let mut shell = host.sandbox.as_user(user).command("sh");
        shell.args(["-c", "echo $$; read go; exec \"$@\"", "sh"]).args(words);
        shell.env("SYSTEMD_LOG_LEVEL", "debug");
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut pid).unwrap();
        let (record, over) = (Arc::default(), Arc::new(Event::new()));
        let id = host.sandbox.sh(&format!("id -u {user}")).unwrap().parse().unwrap();
        register(host, pid.trim(), (person, id), Arc::clone(&record), Arc::clone(&over));
        shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
        Self { shell, record, over }
    }

    /// The prompts so far.
    pub(crate) fn prompts(&self) -> Vec<Prompt> {
        self.record.lock().unwrap().prompts.clone()
    }

    /// The number of prompts that polkit cancelled. polkit may cancel twice, because the caller
    /// leaves and because the helper cancels, so this counts cookies.
    pub(crate) fn closed(&self) -> usize {
        self.record.lock().unwrap().closed.len()
    }

    /// Waits for the command's end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> (Output, Vec<Prompt>) {
        let stdout = all_of(self.shell.stdout.take().unwrap());
        let stderr = all_of(self.shell.stderr.take().unwrap());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.shell.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < TIMEOUT, "the command does not end, with the prompts {:?}", self.prompts());
            thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (stdout.recv_timeout(TIMEOUT).unwrap(), stderr.recv_timeout(TIMEOUT).unwrap());
        (Output { status, stdout, stderr }, self.prompts())
    }
}

/// Reads to the end of the pipe. A process left behind may hold it open longer than the command.
fn all_of(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (read, is_read) = mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        // The receiver is gone if the test has failed.
        let _ = pipe.read_to_end(&mut all).map(|_| read.send(all));
    });
    is_read
}

/// Registers an agent for a process of the sandbox until `over`. root may do so for any process.
fn register(host: &Host, pid: &str, (person, user): (Person, u32), record: Arc<Mutex<AgentRecord>>, over: Arc<Event>) {
    let since = host.sandbox.sh(&format!("cut -d' ' -f22 /proc/{pid}/stat")).unwrap();
    let process = HashMap::from([
        ("pid", Variant::from(pid.parse::<u32>().unwrap())),
        ("start-time", Variant::from(since.parse::<u64>().unwrap())),
    ]);
    let address = format!("unix:path={}", host.sandbox.path("/run/dbus/system_bus_socket").display());
    let (ready, is_ready) = mpsc::channel();
    let serve = async move {
        let is_over = over.listen();
        let polkit = Builder::address(address.as_str()).build().await.unwrap();
        let agent = Agent { person, owners: [0, user], record, polkit };
        let connection = Builder::address(address.as_str()).serve_at(PATH, agent).build().await.unwrap();
        let registration = (("unix-process", process), "C", PATH);
        let method = "RegisterAuthenticationAgent";
        connection.call_method(Some(POLKIT), OBJECT, Some(AUTHORITY), method, &registration).await.unwrap();
        ready.send(()).unwrap();
        is_over.await;
    };
    thread::spawn(move || zruntime::block_on(serve));
    is_ready.recv_timeout(TIMEOUT).unwrap();
}
