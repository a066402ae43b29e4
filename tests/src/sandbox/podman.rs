//! podman's service in a sandbox.

use std::time::Duration;

use super::{Sandbox, User};
use crate::background::Background;
use crate::error::Result;
use crate::place::Place;

impl Sandbox {
    /// Starts a user's podman service, and waits for its socket. It runs until it is dropped.
    ///
    /// # Errors
    /// When the service ends or `limit` passes first.
    pub fn serve_podman(&self, user: &User, socket: &str, limit: Duration) -> Result<Background> {
        user.sh(&format!("mkdir -p -m 755 \"$(dirname {socket})\""))?;
        let mut service = user.command("podman");
        service.args(["system", "service", "--time=0", &format!("unix://{socket}")]);
        let mut service = Background::start(&mut service, &self.log_path("podman"))?;
        let path = self.path(socket);
        service.until("podman's socket", limit, || path.exists())?;
        Ok(service)
    }
}
