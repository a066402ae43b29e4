//! A host behind a path, with the helper, and a server with a megabyte to download.

use std::process::Command;

use airpods_lab::client::ALONE;
use airpods_lab::path::Server;
use airpods_lab::{CommandOutput, PathWorld, Place, Rules, Transfer, User, client};
use serde_json::Value;

/// The image's registry, which airpods measures with and which serves the megabyte.
pub(crate) const REGISTRY: &str = "registry.example";

/// A service whose image comes from the server.
const SERVICE: &str = r#"
[services.model]
image = "registry.example/lab/model:1"
ports = [{ host = 7001, container = 7001 }]
command_args = ["serve-http", "7001"]
health = { path = "/" }
"#;

/// Alice may clamp without a password.
const ALLOWED: &str = r#"polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.airpods.") == 0 && subject.user == "alice") return polkit.Result.YES;
});"#;

pub(crate) struct Host {
    pub(crate) world: PathWorld,
    pub(crate) user: User,
}

impl Host {
    /// A host behind a path with these rules and a running server. alice may clamp.
    pub(crate) fn behind(rules: Rules) -> Self {
        Self::with_rule(rules, ALLOWED)
    }

    /// The same with a TAP link.
    pub(crate) fn behind_tap(rules: Rules) -> Self {
        Self::in_world(PathWorld::behind_tap(rules, 1).unwrap(), ALLOWED)
    }

    /// The same with another rule of polkit.
    pub(crate) fn with_rule(rules: Rules, rule: &str) -> Self {
        Self::in_world(PathWorld::new(rules, 1).unwrap(), rule)
    }

    fn in_world(mut world: PathWorld, rule: &str) -> Self {
        world.serve_as(Server::Rustls, REGISTRY).unwrap();
        let sandbox = world.sandbox();
        sandbox.sh("mkdir -p /etc/lab && cp /tmp/ca.pem /etc/lab/ca.pem").unwrap();
        client::configure(sandbox, &format!("{ALONE}{SERVICE}")).unwrap();
        sandbox.install_helper().unwrap();
        sandbox.add_polkit_rule("50-lab", rule).unwrap();
        sandbox.start_bus().unwrap();
        sandbox.start_polkit().unwrap();
        let user = world.sandbox().as_user("alice");
        Self { world, user }
    }

    /// Configures the service with these lines of `[runtime.network]`.
    pub(crate) fn configure(&self, network: &str) {
        client::configure(self.world.sandbox(), &format!("{ALONE}{SERVICE}[runtime.network]\n{network}\n")).unwrap();
    }

    /// The command as alice gives it.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        client::command(&self.user, arguments)
    }

    pub(crate) fn airpods(&self, arguments: &str) -> CommandOutput {
        client::run(&self.user, arguments).unwrap()
    }

    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &str) -> CommandOutput {
        let output = self.airpods(arguments);
        assert_eq!(output.code, 0, "airpods {arguments}: {output:?}");
        output
    }

    /// Downloads a megabyte over HTTPS and checks its checksum.
    pub(crate) fn download(&self) -> Transfer {
        let mut get = self.user.command("/usr/local/bin/lab-probe");
        Transfer::of(get.args(["get", &format!("https://{REGISTRY}/download"), "--timeout", "5"])).unwrap()
    }

    /// The MTU of the clamp on `wg0`: `None` without one, 0 for the route's MTU, or a number.
    pub(crate) fn clamped_to(&self) -> Option<u64> {
        let status: Value = serde_json::from_str(&self.succeed("net clamp status --json").out).unwrap();
        let clamp = status["clamps"].as_array().unwrap().iter().find(|clamp| clamp["link"] == "wg0")?.clone();
        assert_eq!(clamp["state"], "active");
        Some(clamp["mtu"].as_u64().unwrap_or(0))
    }
}
