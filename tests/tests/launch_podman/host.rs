//! A throw-away host with the client installed and images in podman's storage.

use std::process::Command;

pub(crate) use airpods_lab::client::ALONE;
use airpods_lab::{Background, CommandOutput, Image, Place, Program, Sandbox, User, client, eventually, run};
use serde_json::Value;

/// The image that stands for any service.
pub(crate) const IMAGE: &str = "localhost/lab:1";

/// The address of the name server in the host's neighbourhood (documentation range, RFC 5737).
pub(crate) const DNS: &str = "192.0.2.53";

/// A host, and a user on it.
pub(crate) struct Host {
    pub(crate) sandbox: Sandbox,
    pub(crate) user: User,
    /// The host's neighbour, which is its router and name server. It needs an address of its own,
    /// because rootless containers behind pasta have the host's address.
    neighbour: User,
}

impl Host {
    /// A host used by root, whose podman has the image.
    pub(crate) fn new() -> Self {
        Self::of("root")
    }

    /// A host used by this user, whose podman has the image.
    pub(crate) fn of(user: &str) -> Self {
        let host = Self::bare(user);
        Image::serving(IMAGE, 80).import(&host.user).unwrap();
        host
    }

    /// The same without any image.
    pub(crate) fn bare(user: &str) -> Self {
        let sandbox = Sandbox::new().unwrap();
        sandbox.install(Program::Client, "/usr/bin/airpods").unwrap();
        sandbox.install(Program::Probe, "/usr/bin/lab-probe").unwrap();
        let neighbour = sandbox.add_netns("neighbour").unwrap();
        let link = format!("ip link add lan0 type veth peer name lan0 netns {}", neighbour.link_target());
        let up = "ip addr add 192.0.2.10/24 dev lan0; ip link set lan0 up; ip route add default via 192.0.2.53";
        sandbox.sh(&format!("{link}; {up}")).unwrap();
        neighbour.sh(&format!("ip addr add {DNS}/24 dev lan0; ip link set lan0 up")).unwrap();
        let user = sandbox.as_user(user);
        Self { sandbox, user, neighbour }
    }

    /// Writes the user's configuration.
    pub(crate) fn configure(&self, toml: &str) {
        client::configure(&self.sandbox, toml).unwrap();
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        client::command(&self.user, arguments)
    }

    pub(crate) fn airpods(&self, arguments: &str) -> CommandOutput {
        client::run(&self.user, arguments).unwrap()
    }

    /// Runs the command, which must succeed.
    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &str) -> CommandOutput {
        let output = self.airpods(arguments);
        assert_eq!(output.code, 0, "airpods {arguments}: {}", output.err);
        output
    }

    /// Runs the command. It must fail with this code, print all of `words`, and leave podman
    /// unchanged.
    #[track_caller]
    pub(crate) fn refuse(&self, arguments: &str, code: i32, words: &[&str]) -> CommandOutput {
        let before = self.inventory();
        let output = self.airpods(arguments);
        assert_eq!(output.code, code, "airpods {arguments}: {output:?}");
        for word in words {
            assert!(output.err.contains(word), "airpods {arguments} did not say {word:?}: {}", output.err);
        }
        assert_eq!(self.inventory(), before, "airpods {arguments} left something behind");
        output
    }

    #[track_caller]
    pub(crate) fn podman(&self, arguments: &str) -> String {
        self.user.sh(&format!("podman {arguments}")).unwrap()
    }

    /// A field of a container, in Go's template language.
    #[track_caller]
    pub(crate) fn field(&self, container: &str, template: &str) -> String {
        self.podman(&format!("inspect --format '{{{{{template}}}}}' {container}"))
    }

    /// Runs the probe within a container.
    pub(crate) fn inside(&self, container: &str, words: &str) -> CommandOutput {
        let mut podman = self.user.command("podman");
        podman.args(["exec", container, "/lab-probe"]).args(words.split_whitespace());
        CommandOutput::of(&mut podman).unwrap()
    }

    /// Every object in podman that a start could leave behind.
    pub(crate) fn inventory(&self) -> String {
        self.user
            .sh("podman ps -a --format '{{.Names}}' --sort names; podman ps --format '{{.Names}} runs' --sort names; \
                 podman pod ps --format '{{.Name}}'; podman network ls --format '{{.Name}}'; podman volume ls --format '{{.Name}}' | sort")
            .unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.succeed("status --json").out).unwrap()
    }

    /// Starts a name server on [`DNS`] that logs its queries.
    pub(crate) fn start_dns(&self) -> (Background, impl Fn() -> String) {
        let log = self.sandbox.log_path("dns");
        let mut server = self.neighbour.command("lab-probe");
        server.args(["serve-dns", &format!("{DNS}:53"), "--record", "far.example=203.0.113.7"]);
        let (server, _) = Background::start_ready(&mut server, &log).unwrap();
        (server, move || std::fs::read_to_string(&log).unwrap())
    }
}

/// A service of the laboratory's image that listens on its port within the container.
pub(crate) fn service(name: &str, port: u16, more: &str) -> String {
    format!(
        "[services.{name}]\nimage = \"{IMAGE}\"\nports = [{{ host = {port}, container = {port} }}]\n\
         command_args = [\"serve-http\", \"{port}\"]\nhealth = {{ path = \"/\" }}\n{more}\n"
    )
}

/// Checks that no process in the sandbox matches `words`.
#[track_caller]
pub(crate) fn assert_no_process(host: &Host, words: &str) {
    let mut search = host.sandbox.command("pgrep");
    search.args(["-af", words]);
    eventually(&format!("the end of `{words}`"), || !search.output().unwrap().status.success());
}

/// Sends a signal to the program behind a command.
pub(crate) fn signal(child: &std::process::Child, name: &str) {
    run(Command::new("kill").args(["-s", name, &child.id().to_string()])).unwrap();
}
