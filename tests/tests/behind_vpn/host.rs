//! A host behind the VPN `wg0` (MTU 1380) with a black hole in both directions, and one service.

use std::fmt::Write;

use airpods_lab::client::ALONE;
use airpods_lab::tunnel::Trials;
use airpods_lab::{BlackHole, CommandOutput, FAMILIES, Place, Program, User, World, WorldPlan, client};

/// The image that stands for any service.
const IMAGE: &str = "localhost/lab:1";

/// A service of the laboratory's image on a network with both families.
const SERVICE: &str = r#"
[services.model]
image = "localhost/lab:1"
ports = [{ host = 7001, container = 7001 }]
command_args = ["serve-http", "7001"]
health = { path = "/" }
"#;

pub(crate) struct Host {
    pub(crate) world: World,
    pub(crate) user: User,
}

impl Host {
    /// A host with the helper, the bus and polkit, used by root.
    pub(crate) fn new() -> Self {
        let host = Self::without_helper("root");
        host.world.sandbox().install_helper().unwrap();
        host.world.sandbox().start_bus().unwrap();
        host.world.sandbox().start_polkit().unwrap();
        host
    }

    /// A host without these, used by this user.
    pub(crate) fn without_helper(user: &str) -> Self {
        let world = World::new(WorldPlan::with_hole(BlackHole::AB)).unwrap();
        world.sandbox().install(Program::Client, "/usr/bin/airpods").unwrap();
        let user = world.sandbox().as_user(user);
        world.image(IMAGE, 7001).unwrap().import(&user).unwrap();
        Self { world, user }
    }

    /// Configures the service with these lines of `[runtime.network]`.
    pub(crate) fn configure(&self, network: &str) {
        client::configure(self.world.sandbox(), &format!("{ALONE}{SERVICE}[runtime.network]\n{network}\n")).unwrap();
    }

    pub(crate) fn airpods(&self, arguments: &str) -> CommandOutput {
        client::run(&self.user, arguments).unwrap()
    }

    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &str) -> CommandOutput {
        let output = self.airpods(arguments);
        assert_eq!(output.code, 0, "airpods {arguments}: {}", output.err);
        output
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.succeed("status --json").out).unwrap()
    }

    /// podman's containers, networks and volumes.
    pub(crate) fn inventory(&self) -> String {
        self.user
            .sh("podman ps -a --format '{{.Names}}'; podman network ls --format '{{.Name}}'; podman volume ls -q")
            .unwrap()
    }

    pub(crate) fn inside(&self, words: &str) -> CommandOutput {
        let mut podman = self.user.command("podman");
        podman.args(["exec", "model-0", "/lab-probe"]).args(words.split_whitespace());
        CommandOutput::of(&mut podman).unwrap()
    }

    /// 1 MB down and up, at once.
    pub(crate) fn transfers(&self) -> Trials {
        self.world
            .try_by(&FAMILIES[..1], || {
                let mut podman = self.user.command("podman");
                podman.args(["exec", "model-0", "/lab-probe"]);
                podman
            })
            .unwrap()
    }

    pub(crate) fn clamped(&self) -> bool {
        let rules = self.world.sandbox().sh("nft list ruleset").unwrap();
        rules.contains("table inet airpods") && rules.contains("\"wg0\"")
    }
}

/// Lines for `nft` that reject all DNS queries except those to this server, as Mullvad's firewall
/// does.
pub(crate) fn only_this_server(server: &str) -> String {
    let mut chains = String::new();
    for hook in ["output", "forward"] {
        let _ = write!(
            chains,
            "chain {hook}_names {{ type filter hook {hook} priority filter;
                ip daddr {server} accept
                oifname \"lo\" accept
                oifname \"podman*\" accept
                udp dport 53 reject
                tcp dport 53 reject with tcp reset
            }}\n"
        );
    }
    format!("nft 'table inet vpn {{\n{chains}}}'")
}
