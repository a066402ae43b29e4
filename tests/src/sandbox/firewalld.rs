//! Debian's firewalld, for tests beside it and for the benchmarks.

use super::Sandbox;
use crate::background::Background;
use crate::error::Result;
use crate::neighbours::FIREWALLD;
use crate::place::Place;
use crate::wait::TIMEOUT;

impl Sandbox {
    /// Starts firewalld and puts a link in its zone `public`, so that firewalld makes the chains
    /// that rich rules need. The bus must be running.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start_firewalld(&self, link: &str) -> Result<Background> {
        let mut command = self.command("firewalld");
        command.args(["--nofork", "--nopid"]);
        let mut firewalld = Background::start(&mut command, &self.log_path("firewalld"))?;
        firewalld.until("firewalld", TIMEOUT, || self.sh("firewall-cmd --state").is_ok())?;
        self.sh(&format!("{FIREWALLD}.zone changeZoneOfInterface ss public {link}"))?;
        Ok(firewalld)
    }
}
