//! The host behind a VPN, with the programs of this checkout installed, and its user.

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

use airpods_lab::sandbox::people;
use airpods_lab::tunnel::Carrier;
use airpods_lab::{Background, Place, Sandbox, User, World, WorldPlan};

use super::{DemoError, Result};

/// The images of the built-in services that `airpods start` launches, with the ports they serve on.
const IMAGES: [(&str, u16); 3] = [
    ("docker.io/ollama/ollama:latest", 11434),
    ("ghcr.io/open-webui/open-webui:latest", 8080),
    ("docker.io/yanwk/comfyui-boot:cu128-slim", 8188),
];

/// The user's configuration.
pub(super) const CONFIG: &str = r#"[runtime]
podman_url = "unix:///run/podman/podman.sock"   # rootful podman: containers behind a bridge

[services.ollama]
network_aliases = ["ollama"]

[services.open-webui]
env.OLLAMA_BASE_URL = "http://ollama:11434"

[services.comfyui]
pids_limit = 4096
"#;

/// The administrator's polkit rule: an ordinary user may switch clamps, without a password.
const RULE: &str = r#"polkit.addRule(function (action, subject) {
    if (action.id.indexOf("org.airpods.helper1.clamp-") == 0 && subject.user == "alice") {
        return polkit.Result.YES;
    }
});
"#;

const SOCKET: &str = "/run/podman/podman.sock";

/// The world, and the user in it.
#[derive(Debug)]
pub(super) struct Host {
    alice: User,
    // Dropped before the world that it runs in.
    _podman: Background,
    world: World,
}

impl Host {
    /// Builds the world, installs the programs, starts bus, polkit and podman, and makes the
    /// images.
    pub(super) fn assemble() -> Result<Self> {
        let world = World::new(WorldPlan::default())?;
        let sandbox = world.sandbox();
        sandbox.install_helper()?;
        sandbox.add_polkit_rule("50-alice", RULE)?;
        sandbox.start_bus()?;
        sandbox.start_polkit()?;
        for (tag, port) in IMAGES {
            world.image(tag, port)?.import(sandbox)?;
        }
        let podman = serve_podman(sandbox)?;
        let alice = sandbox.as_user("alice");
        alice.sh("mkdir -p ~/.config/airpods")?;
        sandbox.write_file("/home/alice/.config/airpods/config.toml", CONFIG)?;
        Ok(Self { alice, _podman: podman, world })
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    /// A shell line as alice types it.
    pub(super) fn alice(&self, line: &str) -> Command {
        let mut command = self.alice.command("sh");
        command.args(["-c", line]).env("CONTAINER_HOST", format!("unix://{SOCKET}"));
        command
    }

    /// The tunnel's implementation, in words.
    pub(super) fn tunnel(&self) -> &'static str {
        match self.world.carrier() {
            Carrier::Kernel => "kernel WireGuard",
            Carrier::UserSpace => "WireGuard by wireguard-go, as this kernel has none of its own",
        }
    }
}

/// Starts root's podman on a socket that alice may use. On a real machine `podman.socket` and a
/// group do that.
fn serve_podman(sandbox: &Sandbox) -> Result<Background> {
    let podman = sandbox.serve_podman(sandbox.root_user(), SOCKET, Duration::from_secs(10))?;
    let socket = sandbox.path(SOCKET);
    let alice = people::PEOPLE[0].uid;
    chown(&socket, None, Some(alice))
        .and_then(|()| std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o660)))
        .map_err(|source| DemoError::Io { doing: "hand podman's socket to alice", source })?;
    Ok(podman)
}
