//! The container image that needs no registry: one static program, packed on the spot.

use std::io::Write;
use std::process::Stdio;

use crate::error::{Doing, Error, Result};
use crate::place::{Place, tail};
use crate::programs::Program;

/// An image to be imported. Its entry point is `/lab-probe`, so that commands are the probe's:
/// `serve-http 11434`.
#[derive(Clone, Debug)]
pub struct Image {
    tag: String,
    command: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Image {
    /// An image called `tag`, such as `docker.io/ollama/ollama:latest`, that serves HTTP on `port`.
    #[must_use]
    pub fn serving(tag: &str, port: u16) -> Self {
        Self { tag: tag.into(), command: vec!["serve-http".into(), port.to_string()], files: Vec::new() }
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
        let command: Vec<String> = self.command.iter().map(|word| format!("{word:?}")).collect();
        let mut podman = place
            .command("podman")
            .args(["import", "--quiet", "--change", "ENTRYPOINT [\"/lab-probe\"]", "--change"])
            .arg(format!("CMD [{}]", command.join(",")))
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
        tar.into_inner().doing(|| "pack the image".into())
    }
}
