//! `get`, `set`, `edit` and `reset`: the file afterwards, and that a wrong one is never written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use airpods_lab::terminal;

use super::home::Home;
use super::{airpods, assert_output};

impl Home {
    #[track_caller]
    pub(crate) fn set(&self, key: &str, value: &str) {
        let output = airpods(self.path(), "config set").args([key, value]).output().unwrap();
        assert_output(&output, 0, "", &format!("changed {}\n", self.file().display()));
    }

    #[track_caller]
    pub(crate) fn unset(&self, key: &str) {
        let output = airpods(self.path(), "config set").args([key, "--unset"]).output().unwrap();
        assert_output(&output, 0, "", &format!("changed {}\n", self.file().display()));
    }

    #[track_caller]
    fn gets(&self, key: &str, expected: &str) {
        assert_output(&airpods(self.path(), &format!("config get {key}")).output().unwrap(), 0, expected, "");
    }

    #[track_caller]
    pub(crate) fn gets_json(&self, key: &str, expected: &str) {
        let output = airpods(self.path(), &format!("config get {key} --json")).output().unwrap();
        let got: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(got, serde_json::from_str::<serde_json::Value>(expected).unwrap(), "{key}");
    }

    /// Edits with a line of shell that has the draft as `$1`.
    #[track_caller]
    fn edit(&self, script: &str) -> std::process::Output {
        let editor = self.editor(script);
        let path = std::env::var_os("PATH").unwrap();
        let mut command = airpods(self.path(), "config edit");
        command.env("PATH", path).env("EDITOR", format!("'{}' --wait-not", editor.display()));
        command.output().unwrap()
    }

    fn editor(&self, script: &str) -> PathBuf {
        let editor = self.path().join("editor");
        fs::write(&editor, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
        editor
    }

    /// Edits in a terminal: the first edit makes the file invalid, every later one corrects it.
    /// Presses the keys when asked whether to edit again, and returns the text on the screen.
    fn edit_again(&self, keys: &str) -> String {
        let (wrong, right) = ("s/log_lines = [0-9]*/log_lnes = 30/", "s/log_lnes/log_lines/");
        self.editor(&format!(
            "if grep -q log_lnes \"$1\"; then sed -i '{right}' \"$1\"; else sed -i '{wrong}' \"$1\"; fi"
        ));
        let line = "trap : INT; EDITOR=~/editor airpods config edit; echo code=$?";
        terminal::once_shown(self, line, "Edit it again? [y/N]", || keys.to_owned()).unwrap()
    }
}

const MINE: &str =
    "# mine\n[cli]\nlog_lines = 10 # few\n\n[services.ollama]\nports = { host = 12000, container = 11434 }\n";

#[test]
fn a_set_value_is_printed_by_get_and_comments_stay() {
    let home = Home::with(MINE);
    home.set("cli.log_lines", "20");
    home.set("services.ollama.ports.0.host", "12001");
    home.set("runtime.network_name", "5");
    home.set("services.ollama.network_aliases", "[\"ollama\", \"llm\"]");
    home.set("services.ollama.resources", "{\"memory\": \"4g\"}");
    home.set("services.comfyui.ports.0.host", "8189");
    home.gets("cli.log_lines", "20\n");
    home.gets("services.ollama.ports.0.host", "12001\n");
    home.gets("runtime.network_name", "5\n");
    home.gets("services.ollama.network_aliases", "[\"ollama\", \"llm\"]\n");
    home.gets("services.ollama.network_aliases.1", "llm\n");
    home.gets("services.ollama.resources", "memory = \"4g\"\n");
    home.gets("services.comfyui.ports.0", "host = 8189\ncontainer = 8188\n");
    home.gets("services.open-webui.env.OLLAMA_BASE_URL --json", "\"http://ollama:11434\"\n");
    let text = home.text();
    assert!(
        text.starts_with("# mine\n[cli]\nlog_lines = 20 # few\n\n[services.ollama]\nports = { host = 12001,"),
        "{text}"
    );
    assert_eq!(home.others(), [] as [PathBuf; 0]);
}

#[test]
fn the_first_item_of_a_list_can_be_set_and_the_number_after_the_last_adds_one() {
    let home = Home::with(MINE);
    home.set("services.ollama.command_args.0", "serve");
    home.set("services.ollama.command_args.1", "5");
    home.set("services.ollama.entrypoint_override.0", "/bin/ollama");
    home.set("dependencies.required.0", "jq");
    home.set("services.ollama.health.expected_status.0", "100");
    home.set("services.ollama.ports.1", "{host=5,container=6}");
    home.gets("services.ollama.command_args", "[\"serve\", \"5\"]\n");
    home.gets("services.ollama.entrypoint_override", "[\"/bin/ollama\"]\n");
    home.gets("dependencies.required", "[\"jq\"]\n");
    home.gets("services.ollama.health.expected_status", "[100, 299]\n");
    home.gets("services.ollama.ports.0.host", "12000\n");
    home.gets("services.ollama.ports.1.host", "5\n");
}

#[test]
fn a_missing_or_required_key_cannot_be_unset() {
    let text = "[services.mine]\nimage = \"docker.io/lab/mine:1\"\n";
    let home = Home::with(text);
    for (arguments, code, message) in [
        (&["cli.log_lines", "--unset"][..], 2, "`cli.log_lines` is not set in the file"),
        (&["services.mine.image", "--unset"], 10, "`services.mine.image` is missing"),
        (&["services.mine.image", "x", "--unset"], 2, "cannot be used with"),
        (&["services.mine.image"], 2, "required"),
    ] {
        let output = airpods(home.path(), "config set").args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
    assert_eq!(home.text(), text);
}

#[test]
fn a_type_can_be_named_and_a_value_that_is_not_of_it_is_a_usage_error() {
    let home = Home::with(MINE);
    for (kind, key, value, expected) in [
        ("str", "services.ollama.env.A", "5", "env.A = \"5\""),
        ("int", "cli.log_lines", "30", "log_lines = 30"),
        ("float", "cli.ping_timeout", "3", "ping_timeout = 3.0"),
        ("bool", "cli.debug", "true", "debug = true"),
        ("json", "services.ollama.command_args", "[\"serve\"]", "command_args = [\"serve\"]"),
    ] {
        let output = airpods(home.path(), "config set").args([key, value, "-t", kind]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(home.text().contains(expected), "{}", home.text());
    }
    let before = home.text();
    for (kind, value) in [("int", "x"), ("float", "x"), ("bool", "1"), ("json", "null"), ("json", "{")] {
        let output = airpods(home.path(), "config set cli.log_lines").args([value, "-t", kind]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{kind} {value}");
    }
    assert_eq!(home.text(), before);
}

#[test]
fn a_wrong_value_or_key_is_refused_and_nothing_is_written() {
    let home = Home::with(MINE);
    for (key, value, code, message) in [
        ("cli.log_lines", "0", 10, "0 is not within 1 to 10000"),
        ("cli.log_lines", "many", 10, "a whole number is needed here, not a text"),
        ("services.ollama.ports.0.host", "3000", 10, "port 3000 of the host is taken"),
        ("runtime.network_nme", "x", 10, "did you mean `network_name`?"),
        ("services.ollama.env.A", "{{services.olama.image}}", 10, "did you mean the service `ollama`?"),
        ("cli.log_lines.x", "1", 2, "`cli.log_lines` has a value and nothing below it"),
        ("services.ollama.network_aliases.7", "x", 2, "it has items 0 to 0; 1 adds one"),
        ("services.ollama.health.expected_status.0", "404", 10, "two status codes are needed, the smaller one first"),
        ("services.ollama.ports.1", "true", 10, "`services.ollama.ports.1`: a table is needed here, not true or false"),
        ("services.ollama.ports.1", "{ host = 5 }", 10, "`services.ollama.ports.1.container` is missing"),
        ("services.new.ports.0", "{ host = 5, container = 5 }", 10, "`services.new.image` is missing"),
        ("services.ollama.command_args.1", "x", 2, "set `services.ollama.command_args` itself"),
        ("cli..x", "1", 2, "`cli..x` is not a key"),
    ] {
        let output = airpods(home.path(), "config set").args([key, value]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{key}: {stderr}");
        assert!(stderr.contains(message), "{key}: {stderr}");
        assert!(code == 2 || stderr.ends_with(&format!("`{}` was not changed\n", home.file().display())), "{stderr}");
    }
    assert_eq!(home.text(), MINE);
    assert_eq!(home.others(), [] as [PathBuf; 0]);
}

#[test]
fn an_item_that_is_no_table_is_refused_in_an_array_of_tables() {
    let text = "[[services.ollama.ports]]\nhost = 1\ncontainer = 2\n";
    let home = Home::with(text);
    for item in ["0", "1"] {
        let output = airpods(home.path(), &format!("config set services.ollama.ports.{item} true")).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let message = format!("error: `services.ollama.ports.{item}`: a table is needed here, not true or false\n");
        assert!(output.status.code() == Some(10) && stderr.starts_with(&message), "{stderr}");
    }
    assert_eq!(home.text(), text);
}

#[test]
fn one_value_repairs_an_invalid_file_despite_an_unknown_key_elsewhere() {
    let home = Home::with("cli.log_lines = 0\nother = 1\n");
    let output = airpods(home.path(), "config set cli.log_lines 5").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(home.text(), "cli.log_lines = 5\nother = 1\n");
}

#[test]
fn set_makes_a_file_where_there_is_none() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".config/airpods/config.toml");
    let output = airpods(home.path(), "config set services.ollama.gpu.enabled false").output().unwrap();
    assert_output(&output, 0, "", &format!("created {}\n", file.display()));
    assert_eq!(fs::read_to_string(file).unwrap(), "[services.ollama]\ngpu.enabled = false\n");
}

#[test]
fn a_key_without_a_value_fails_with_the_nearest_that_has_one() {
    let home = Home::with(MINE);
    let output = airpods(home.path(), "config get services.olama.image").output().unwrap();
    assert_output(
        &output,
        2,
        "",
        "error: `services.olama.image` has no value\nhint: did you mean `services.ollama.image`?\n",
    );
    assert_eq!(airpods(home.path(), "config get runtime.podman_url").output().unwrap().status.code(), Some(2));
}

#[test]
fn an_edited_file_takes_effect_only_if_it_is_valid() {
    let home = Home::with(MINE);
    fs::set_permissions(home.file(), fs::Permissions::from_mode(0o640)).unwrap();
    let output = home.edit("test \"$1\" = --wait-not && sed -i s/10/30/ \"$2\"");
    assert_output(&output, 0, "", &format!("changed {}\n", home.file().display()));
    assert_eq!(home.text(), MINE.replace("10 #", "30 #"));
    assert_eq!(fs::metadata(home.file()).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(home.others(), [] as [PathBuf; 0], "no draft is left");

    let output = home.edit("exit 0");
    assert_output(&output, 0, "", &format!("{} was not changed\n", home.file().display()));
}

#[test]
fn a_wrong_draft_is_kept_and_the_file_stays_as_it_was() {
    for (script, code) in [("sed -i s/log_lines/log_lnes/ \"$2\"", 10), ("echo x > \"$2\"; exit 3", 1)] {
        let home = Home::with(MINE);
        let output = home.edit(script);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert_eq!(home.text(), MINE);
        let [draft] = &home.others()[..] else { panic!("{:?}", home.others()) };
        assert_ne!(fs::read_to_string(draft).unwrap(), MINE);
        assert!(stderr.ends_with(&format!("hint: your text is in `{}`\n", draft.display())), "{stderr}");
    }
}

#[test]
fn where_nothing_was_written_no_draft_is_left_and_none_is_named() {
    let home = Home::with(MINE);
    let file = home.file().display().to_string();
    let path = std::env::var_os("PATH").unwrap();
    let output =
        airpods(home.path(), "config edit").env("PATH", path).env("EDITOR", "no-such-editor").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "error: `{file}` was not changed: the editor `no-such-editor` ended with exit status: 127\n\
         hint: `$VISUAL` or `$EDITOR` names the editor\n"
    );
    assert!(output.status.code() == Some(1) && stderr.ends_with(&expected), "{stderr}");
    assert_eq!(home.others(), [] as [PathBuf; 0]);
    for script in ["exit 3", "rm \"$2\"; exit 3"] {
        let stderr = String::from_utf8(home.edit(script).stderr).unwrap();
        assert!(
            stderr.contains("ended with exit status: 3") && !stderr.contains("your text is in"),
            "{script}: {stderr}"
        );
        assert_eq!(home.others(), [] as [PathBuf; 0], "{script}");
    }
    fs::remove_file(home.file()).unwrap();
    assert_eq!(home.edit("exit 3").status.code(), Some(1));
    assert!(!home.file().exists() && home.others().is_empty(), "the draft of a first file is one, too");
}

#[test]
fn an_invalid_edit_is_continued_from_its_draft() {
    let home = Home::with(MINE);
    let screen = home.edit_again("y\n");
    assert!(screen.contains("code=0"), "{screen}");
    assert_eq!(home.text(), MINE.replace("10 #", "30 #"));
    assert_eq!(home.others(), [] as [PathBuf; 0], "no draft is left");
}

#[test]
fn faults_are_reported_before_the_question_including_unknown_keys() {
    let screen = Home::with("cli.log_lines = 5\ncli.stop_timeout = 0\n").edit_again("n\n");
    let (shown, _) = screen.split_once("Edit it again?").unwrap();
    assert!(shown.contains("error: unknown key `log_lnes` in `cli`"), "{screen}");
    assert!(shown.contains("error: `cli.stop_timeout`: 0 is not within 1 to 300"), "{screen}");
}

#[test]
fn an_abandoned_edit_is_kept_as_a_draft() {
    for (keys, code) in [("n\n", 10), ("\u{4}", 10), ("\u{3}", 130)] {
        let home = Home::with(MINE);
        let screen = home.edit_again(keys);
        assert!(screen.contains(&format!("code={code}")), "{keys:?}: {screen}");
        assert_eq!(home.text(), MINE);
        let [draft] = &home.others()[..] else { panic!("{:?}", home.others()) };
        assert!(fs::read_to_string(draft).unwrap().contains("log_lnes"));
        let kept = format!(
            "\r\nerror: `{}` was not changed\r\nhint: your text is in `{}`",
            home.file().display(),
            draft.display()
        );
        assert!(screen.contains(&kept), "{keys:?}: {screen}");
    }
}

#[test]
fn a_change_by_another_program_during_an_edit_is_not_lost() {
    let home = Home::with(MINE);
    let output = home.edit(&format!("echo 'cli.debug = true' > '{}'; sed -i s/10/30/ \"$2\"", home.file().display()));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(home.text(), "cli.debug = true\n");
    assert_eq!(fs::read_to_string(&home.others()[0]).unwrap(), MINE.replace("10 #", "30 #"));
}

#[test]
fn reset_keeps_a_copy_and_needs_consent() {
    let home = Home::with("wrong");
    let output = airpods(home.path(), "config reset").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(home.text(), "wrong");
    let output = airpods(home.path(), "config reset -f").output().unwrap();
    let [copy] = &home.others()[..] else { panic!("{:?}", home.others()) };
    let expected = format!("restored the defaults in {}; the old file is {}\n", home.file().display(), copy.display());
    assert_output(&output, 0, "", &expected);
    assert_eq!(fs::read_to_string(copy).unwrap(), "wrong");
    assert_eq!(home.text(), airpods::config::DEFAULTS);
}

#[test]
fn reset_without_a_file_has_nothing_to_do() {
    let home = tempfile::tempdir().unwrap();
    let output = airpods(home.path(), "config reset").output().unwrap();
    assert_output(&output, 0, "", "there is no configuration file, the built-in defaults are used\n");
}
