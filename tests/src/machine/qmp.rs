//! The emulator's control socket: qemu's QMP, JSON in lines.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::inside::Deadline;
use crate::error::{Doing, Error, Result};

/// Time limit for an answer. Saving and restoring continue after the answer, so no answer takes
/// longer.
const LIMIT: Duration = Duration::from_secs(30);

/// An open control socket.
pub(super) struct Qmp {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Qmp {
    /// Opens the socket of an emulator that has just been started.
    pub(super) fn open(socket: &Path) -> Result<Self> {
        let opening = || format!("open `{}`", socket.display());
        let stream = UnixStream::connect(socket).doing(opening)?;
        stream.set_read_timeout(Some(LIMIT)).doing(opening)?;
        let answers = BufReader::new(stream.try_clone().doing(opening)?);
        let mut qmp = Self { stream, answers };
        qmp.line()?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns its answer.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.stream.write_all(line.as_bytes()).doing(|| format!("tell the emulator `{command}`"))?;
        loop {
            let mut answer = self.line()?;
            if !answer["return"].is_null() {
                return Ok(answer["return"].take());
            }
            if !answer["error"].is_null() {
                let reason = answer["error"]["desc"].to_string();
                return Err(Error::NotReady { what: format!("the emulator's `{command}`"), reason });
            }
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).doing(|| "hear from the emulator".into())?;
        serde_json::from_str(&line)
            .map_err(|error| Error::Parse { what: format!("the emulator's answer {line:?}"), why: error.to_string() })
    }

    /// Repeats a command until its answer is as wanted.
    fn until(&mut self, command: &str, limit: Duration, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Deadline::after(limit);
        loop {
            let answer = self.execute(command, &json!({}))?;
            if is_so(&answer) {
                return Ok(answer);
            }
            if deadline.passed() {
                return Err(Error::NotReady {
                    what: format!("the emulator's `{command}`"),
                    reason: answer.to_string(),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the machine, writes its memory and devices to a file, and ends the emulator.
    pub(super) fn save(mut self, file: &Path) -> Result<()> {
        self.execute("stop", &json!({}))?;
        // Lifts the bandwidth limit, whose default is meant for live migration over a shared
        // network.
        self.execute("migrate-set-parameters", &json!({ "max-bandwidth": 1_u64 << 40 }))?;
        self.execute("migrate", &json!({ "uri": format!("exec:cat > '{}'", file.display()) }))?;
        let over = |answer: &Value| answer["status"] == "completed" || answer["status"] == "failed";
        let answer = self.until("query-migrate", Duration::from_secs(300), over)?;
        if answer["status"] != "completed" {
            return Err(Error::NotReady { what: "the machine's saved memory".into(), reason: answer.to_string() });
        }
        self.execute("quit", &json!({})).map(drop)
    }

    /// Waits until the saved memory has been read, and lets the machine run.
    pub(super) fn resume(mut self) -> Result<()> {
        self.until("query-status", Duration::from_secs(120), |answer| answer["status"] != "inmigrate")?;
        self.execute("cont", &json!({})).map(drop)
    }
}
