//! The container image that needs no registry: one static program, packed on the spot.

use std::io::Write;
use std::process::Stdio;

use crate::error::{Doing, Error, Result};
use crate::place::{Place, tail};
use crate::programs::Program;

/// Where the images have the probe.
const PROBE: &str = "/lab-probe";

/// An image to be imported. Its entry point is `/lab-probe`, so that commands are the probe's:
/// `serve-http 11434`.
#[derive(Clone, Debug)]
pub struct Image {
    tag: String,
    entry_point: Vec<String>,
    command: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    /// Further names of the probe.
    links: Vec<String>,
}

/// The programs that public stacks call in their images.
const PROGRAMS: [&str; 8] = [
    "bin/sh",
    "bin/bash",
    "usr/bin/curl",
    "usr/bin/huggingface-cli",
    "usr/bin/ollama",
    "usr/bin/pg_isready",
    "usr/bin/python",
    "usr/bin/valkey-server",
];

impl Image {
    /// An image called `tag`, such as `docker.io/ollama/ollama:latest`, that serves HTTP on `port`.
    #[must_use]
    pub fn serving(tag: &str, port: u16) -> Self {
        Self {
            tag: tag.into(),
            entry_point: vec![PROBE.into()],
            command: vec!["serve-http".into(), port.to_string()],
            files: Vec::new(),
            links: Vec::new(),
        }
    }

    /// An image that stands for those of public stacks: it serves on the usual ports, whatever its
    /// arguments are. It has the groups of devices, and the programs of [`PROGRAMS`].
    #[must_use]
    pub fn standing_in(tag: &str) -> Self {
        let image = Self {
            tag: tag.into(),
            entry_point: vec![PROBE.into(), "stand-in".into()],
            command: Vec::new(),
            files: Vec::new(),
            links: PROGRAMS.map(str::to_owned).into(),
        };
        image
            .with_file("/etc/passwd", "root:x:0:0::/:/bin/sh\n")
            .with_file("/etc/group", "root:x:0:\nvideo:x:44:\nrender:x:105:\n")
    }

    /// With a further file, its path absolute.
    #[must_use]
    pub fn with_file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.trim_start_matches('/').to_owned(), content.into()));
        self
    }

    /// Imports it into the storage of the place's user. 0.3 s rootful.
    ///
    /// # Errors
    /// When the probe is not built, or podman refuses; its error text is in the message.
    pub fn import(&self, place: &dyn Place) -> Result<()> {
        let tar = self.tar()?;
        let list = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(",");
        let mut podman = place
            .command("podman")
            .args(["import", "--quiet", "--change"])
            .arg(format!("ENTRYPOINT [{}]", list(&self.entry_point)))
            .arg("--change")
            .arg(format!("CMD [{}]", list(&self.command)))
            .args(["-", &self.tag])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| "start podman".into())?;
        if let Some(mut stdin) = podman.stdin.take() {
            // If podman ended early, its own error is reported below.
            let _ = stdin.write_all(&tar);
        }
        let output = podman.wait_with_output().doing(|| "wait for podman".into())?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = tail(&String::from_utf8_lossy(&output.stderr));
        Err(Error::Command { line: format!("podman import - {}", self.tag), status: output.status, stderr })
    }

    fn tar(&self) -> Result<Vec<u8>> {
        let path = Program::Probe.path()?;
        let probe = std::fs::read(&path).doing(|| format!("read `{}`", path.display()))?;
        let mut tar = tar::Builder::new(Vec::new());
        let executable = [("lab-probe", probe.as_slice(), 0o755)];
        let files = self.files.iter().map(|(path, content)| (path.as_str(), content.as_slice(), 0o644));
        for (path, content, mode) in executable.into_iter().chain(files) {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            tar.append_data(&mut header, path, content).doing(|| format!("pack `{path}`"))?;
        }
        for link in &self.links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, link, PROBE).doing(|| format!("pack `{link}`"))?;
        }
        tar.into_inner().doing(|| "pack the image".into())
    }
}
