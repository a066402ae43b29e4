//! Programs of the host that services ask, and that listen for the host alone: Ollama listens on 127.0.0.1 unless it is told otherwise.

use super::{Code, Finding};

/// The port of Ollama, by whose unit it is told where to listen.
const OLLAMA: u16 = 11434;

/// A variable that leads to a port of the host on which only the host's loopback is listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOnly {
    /// The key of the variable, such as `services.open-webui.env.OLLAMA_BASE_URL`.
    pub key: String,
    /// The port.
    pub port: u16,
}

/// Judges each.
pub(super) fn judge(found: &HostOnly) -> Finding {
    let HostOnly { key, port } = found;
    let cause = format!(
        "`{key}` leads to port {port} of this host, where a program listens on 127.0.0.1 only: no container reaches it"
    );
    let cure =
        if *port == OLLAMA { "sudo systemctl edit ollama".to_owned() } else { format!("sudo ss -ltnp sport = {port}") };
    Finding::broken(Code::HostLoopback, cause, cure)
}
