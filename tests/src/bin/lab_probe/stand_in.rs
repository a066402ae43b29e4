//! Stands for the programs of public images, as far as a launcher can tell. As the program of a
//! container it serves. Under any other name, such as `curl` or `sh`, it does one thing and ends.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::{Result, server};

/// The ports of the images in `tests/stacks`.
const PORTS: [u16; 7] = [80, 3001, 4000, 8000, 8080, 8188, 11434];

/// The variable by which the command of Ollama finds its server, and the default.
const OLLAMA: (&str, &str) = ("OLLAMA_HOST", "127.0.0.1:11434");

/// How long a server may take to listen.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Answers on every port of [`PORTS`] that it may open.
pub(crate) fn serve() -> Result<()> {
    let serve =
        |port| std::thread::spawn(move || server::serve_http(port).map_err(|why| format!("port {port}: {why}")));
    for why in PORTS.map(serve).into_iter().filter_map(|thread| thread.join().ok()?.err()) {
        eprintln!("{why}");
    }
    Err("no port can be opened".into())
}

/// Reaches the server that these words name, if they name one.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let Some(server) = server_in(&words.join(" ")) else { return Ok(()) };
    let start = Instant::now();
    loop {
        let reached =
            server.to_socket_addrs().and_then(|addresses| TcpStream::connect(&addresses.collect::<Vec<_>>()[..]));
        match reached {
            Ok(_) => return Ok(()),
            Err(why) if start.elapsed() > TIMEOUT => return Err(format!("`{server}` is not reached: {why}").into()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The server that a command line names: by a URL, or as Ollama's command does it.
fn server_in(line: &str) -> Option<String> {
    let host = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !".-:".contains(c)).unwrap_or(text.len());
        text[..end].to_owned()
    };
    let of_url = |text: &str| text.split_once("http://").map(|(_, rest)| host(rest));
    let (variable, default) = OLLAMA;
    let of_ollama = || {
        let named = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
        of_url(&named).unwrap_or(named)
    };
    of_url(line).or_else(|| line.contains("ollama ").then(of_ollama))
}
