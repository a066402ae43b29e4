//! Debian's firewalld, for what lives beside it or is compared with it.

use std::time::Duration;

use super::Sandbox;
use crate::background::Background;
use crate::error::Result;
use crate::place::Place;

impl Sandbox {
    /// Starts firewalld and puts a link in its zone `public`, so that rich rules have a chain to be in. The bus must be
    /// running.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start_firewalld(&self, link: &str) -> Result<Background> {
        const START_LIMIT: Duration = Duration::from_secs(30);
        let mut command = self.command("firewalld");
        command.args(["--nofork", "--nopid"]);
        let mut firewalld = Background::start(&mut command, &self.log_path("firewalld"))?;
        firewalld.until("firewalld", START_LIMIT, || self.sh("firewall-cmd --state").is_ok())?;
        self.sh(&format!("firewall-cmd --zone=public --change-interface={link}"))?;
        Ok(firewalld)
    }
}
