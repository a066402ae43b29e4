//! How a line goes on when Tab is pressed, in the shells themselves and by what they ask `airpods`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use airpods::command::completions::Shell;
use airpods_lab::{Place, terminal};

use super::home::Home;

impl Home {
    fn write(&self, file: &str, text: &str) {
        let file = self.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// The answer to a shell that asks about the last of these words.
    fn ask(&self, words: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_airpods"));
        command.env("AIRPODS_COMPLETE", "bash").env("_CLAP_IFS", "\n");
        command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
        command.arg("--").args(words).output().unwrap()
    }

    /// The words, of which there are some, without complaint.
    #[track_caller]
    fn offered(&self, words: &[&str]) -> Vec<String> {
        let output = self.ask(words);
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
        String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
    }
}

const WHISPER: &str = "[services.whisper]\nimage = 'docker.io/lab/whisper:7'\n";

/// A shell that reads its completions from where `make install` puts them, or as it is configured.
fn start(shell: Shell, home: &Home) -> &'static str {
    let script = shell.script().unwrap();
    match shell {
        Shell::Bash => {
            home.write("bashrc", "PS1='ready> '\nsource <(airpods completions bash)\n");
            "bash --rcfile bashrc -i"
        }
        Shell::Zsh => {
            home.write("functions/_airpods", &script);
            let rc = "PS1='ready> '\nfpath=(~/functions $fpath)\nautoload -Uz compinit\ncompinit -u -D\n";
            home.write(".zshrc", rc);
            "zsh -i"
        }
        Shell::Fish => {
            home.write(".config/fish/completions/airpods.fish", &script);
            // Where this folder is missing, fish fills it from all manual pages, by a process that
            // outlives it.
            home.write(".local/share/fish/generated_completions/none", "");
            home.write(".config/fish/config.fish", "function fish_prompt\n echo -n 'ready> '\nend\n");
            "fish -i"
        }
    }
}

#[test]
fn each_shell_completes_the_name_of_a_configured_service_at_the_first_tab() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let home = Home::with(WHISPER);
        let keys = || "airpods export kube whis\t\rexit\r".to_owned();
        let screen = terminal::once_shown(&home, start(shell, &home), "ready> ", keys).unwrap();
        assert!(screen.contains("image: docker.io/lab/whisper:7"), "{shell:?}: {screen}");
    }
}

#[test]
fn commands_are_offered_by_their_names_and_an_alias_to_who_begins_it() {
    let home = Home::with("");
    let offered = home.offered(&["airpods", ""]);
    for name in ["start", "stop", "status", "doctor"] {
        assert!(offered.iter().any(|word| word == name), "{name}: {offered:?}");
    }
    assert!(!offered.iter().any(|word| ["run", "up", "down", "info", "ask-inside"].contains(&word.as_str())));
    assert_eq!(home.offered(&["airpods", "do"]), ["doctor"]);
    assert_eq!(home.offered(&["airpods", "up"]), ["up"]);
    assert_eq!(home.offered(&["airpods", "up", "ol"]), ["ollama"]);
    assert_eq!(home.offered(&["airpods", "net", "cl"]), ["clamp"]);
}

#[test]
fn every_command_that_takes_services_offers_them() {
    let home = Home::with(WHISPER);
    for command in ["start", "stop", "restart", "status", "logs", "export quadlet", "export kube"] {
        let words: Vec<&str> = ["airpods"].into_iter().chain(command.split(' ')).chain(["ollama", "w"]).collect();
        assert_eq!(home.offered(&words), ["whisper"], "{command}");
    }
}

#[test]
fn keys_of_the_configuration_are_offered() {
    let home = Home::with(WHISPER);
    for command in ["get", "set"] {
        let offered = home.offered(&["airpods", "config", command, "services.whisper.p"]);
        assert_eq!(
            offered,
            ["pids_limit", "pod", "ports", "privileged", "pull"].map(|key| format!("services.whisper.{key}"))
        );
    }
}

#[test]
fn the_file_that_the_line_names_is_read() {
    let home = Home::with(WHISPER);
    home.write("other.toml", "[services.whisker]\nimage = 'x'\n");
    assert_eq!(home.offered(&["airpods", "--config", "other.toml", "start", "whis"]), ["whisker"]);
    assert_eq!(home.offered(&["airpods", "start", "--config=other.toml", "whis"]), ["whisker"]);
}

#[test]
fn a_wrong_or_missing_configuration_is_no_trouble() {
    for config in ["[services.whisper]\nimage = 3\n", "this is no TOML", "\0"] {
        assert_eq!(Home::with(config).offered(&["airpods", "start", "ol"]), ["ollama"], "{config}");
    }
    let home = Home::with("");
    assert_eq!(home.offered(&["airpods", "--config", "nowhere.toml", "start", "ol"]), ["ollama"]);
}

#[test]
fn without_a_terminal_nothing_is_asked_or_written() {
    let home = Home::with(WHISPER);
    home.write("bin/podman", "#!/bin/sh\ntouch ~/asked\n");
    fs::set_permissions(home.path().join("bin/podman"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = home.command(env!("CARGO_BIN_EXE_airpods"));
    // Neither is the bus, which would have to be there.
    command.env("PATH", home.path().join("bin")).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
    command.env("AIRPODS_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "2");
    let output = command.args(["--", "airpods", "start", "whis"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "whisper");
    let mut found: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    assert_eq!(found, [".config", "bin"]);
}

#[test]
fn bash_without_the_program_and_an_unknown_shell_get_no_output() {
    let home = Home::with("");
    home.write("airpods.bash", &Shell::Bash.script().unwrap());
    let line = ". ./airpods.bash; COMP_WORDS=(airpods start ol); COMP_CWORD=2; _clap_complete_airpods airpods ol start; \
                echo \"${COMPREPLY[@]}\"";
    let run = |path: Option<&str>| {
        let mut bash = home.command("bash");
        path.map(|path| bash.env("PATH", path));
        let output = bash.args(["-c", line]).output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap().trim().to_owned())
    };
    assert_eq!(run(None), ["ollama", ""]);
    assert_eq!(run(Some("/usr/bin:/bin")), ["", ""]);
    let output = home.command(env!("CARGO_BIN_EXE_airpods")).env("AIRPODS_COMPLETE", "tcsh").output().unwrap();
    assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(1), vec![], vec![]));
}
