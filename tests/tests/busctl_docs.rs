//! Runs the bus commands of docs/dbus-api.md and the README verbatim on a throw-away host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;

use airpods_dbus::ErrorKind;
use airpods_lab::{Place, Sandbox, repository, run};
use serde_json::Value;

const API: &str = "docs/dbus-api.md";
const README: &str = "README.md";

/// The host that the pages assume: with the helper and a VPN link `wg0`.
fn host() -> Sandbox {
    let sandbox = Sandbox::new().unwrap();
    sandbox.install_helper().unwrap();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.sh("ip tuntap add mode tun name wg0; ip link set wg0 mtu 1380 up").unwrap();
    sandbox
}

fn page(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

/// The fenced blocks of a page in one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A command line of a page, and the output that the page shows below it.
struct Step<'a> {
    line: &'a str,
    shown: Vec<&'a str>,
}

fn steps(page: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for line in blocks(page, "console").into_iter().flat_map(str::lines) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(line), _) => steps.push(Step { line, shown: Vec::new() }),
            (None, Some(step)) => step.shown.push(line),
            (None, None) => panic!("`{line}` is no output of anything"),
        }
    }
    steps
}

impl Step<'_> {
    /// Runs it and compares the output; `...` stands for the rest of it.
    fn check(&self, sandbox: &Sandbox) {
        let output = sandbox.sh(self.line).unwrap_or_else(|error| panic!("{error}"));
        match self.shown.split_last() {
            Some((&"...", first)) => assert!(output.starts_with(&first.join("\n")), "{}: {output}", self.line),
            _ => assert_eq!(output, self.shown.join("\n"), "{}", self.line),
        }
    }
}

#[test]
fn every_busctl_line_does_what_the_page_shows() {
    for (name, expected) in [(API, 9), (README, 1)] {
        let page = page(name);
        let lines: Vec<_> = steps(&page).into_iter().filter(|step| step.line.starts_with("busctl ")).collect();
        assert!(lines.len() >= expected, "{name} has {} lines for busctl", lines.len());
        let sandbox = host();
        for step in lines {
            assert!(!step.shown.is_empty(), "{name} does not show what `{}` says", step.line);
            step.check(&sandbox);
        }
    }
}

#[test]
fn every_clamp_of_the_readme_works_as_typed() {
    let page = page(README);
    let sandbox = host();
    // Skip `--mtu auto`: this host has no path to measure. `tests/tests/cure` and the demo have
    // one.
    let clamps = |step: &Step| step.line.starts_with("airpods net clamp ") && !step.line.contains("--mtu auto");
    let lines: Vec<_> = steps(&page).into_iter().filter(clamps).collect();
    assert!(lines.len() >= 4);
    for step in lines {
        assert!(step.shown.is_empty());
        sandbox.sh(step.line).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_configuration_of_the_readme_is_valid() {
    let page = page(README);
    let sandbox = host();
    let examples = blocks(&page, "toml");
    assert!(!examples.is_empty());
    for example in examples {
        sandbox.write_file("/tmp/config.toml", example).unwrap();
        let validate = ["config", "validate", "--config", "/tmp/config.toml"];
        run(sandbox.as_user("alice").command("airpods").args(validate)).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Names and types from the rows of the table below a heading of two columns: "| `name` | `type` |
/// …".
fn documented(page: &str, heading: &str) -> BTreeMap<String, String> {
    let (_, below) = page.split_once(heading).unwrap_or_else(|| panic!("no table `{heading}`"));
    let rows = below.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cell = |row: &str, number: usize| row.split('|').nth(number).unwrap().trim().trim_matches('`').to_owned();
    rows.map(|row| (cell(row, 1), cell(row, 2))).collect()
}

/// Names and types of an `a{sv}` in busctl's JSON.
fn served(dictionary: &Value) -> BTreeMap<String, String> {
    let entries = dictionary.as_object().unwrap().iter();
    entries.map(|(name, value)| (name.clone(), value["type"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn the_status_has_the_keys_and_types_that_the_page_lists_and_no_others() {
    let page = page(API);
    let sandbox = host();
    let helper = "org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1";
    for link in ["wg0", "''"] {
        sandbox.sh(&format!("busctl call {helper} ClampOn 'sa{{sv}}' {link} 1 mtu u 1300")).unwrap();
    }
    let json = sandbox.sh(&format!("busctl --json=short call {helper} GetStatus")).unwrap();
    let answer: Value = serde_json::from_str(&json).unwrap();
    let status = &answer["data"][0];
    let mut keys = documented(&page, "| key | type | meaning |");
    // The kernel refuses nothing here, so this key is missing.
    assert_eq!(keys.remove("refusal").as_deref(), Some("s"));
    assert_eq!(served(status), keys);
    let mut keys = documented(&page, "| key of a clamp | type | meaning |");
    // No route of this host sets an MTU, so this key is missing.
    assert_eq!(keys.remove("route-mtu").as_deref(), Some("u"));
    assert_eq!(served(&status["clamps"]["data"][0]), keys);
}

#[test]
fn the_page_lists_every_error_there_is() {
    let page = page(API);
    for &kind in ErrorKind::ALL {
        let (prefix, name) =
            kind.name().rsplit_once('.').map(|(prefix, name)| (prefix.to_owned(), name.to_owned())).unwrap();
        let table = page.split_once(&format!("| `{prefix}.` | when |")).unwrap().1;
        let mut rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        assert!(rows.any(|row| row.starts_with(&format!("| `{name}` |"))), "{}", kind.name());
    }
}

#[test]
fn busctl_introspects_the_interface() {
    let sandbox = host();
    let list = sandbox.sh("busctl introspect org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1").unwrap();
    let words: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    for member in [
        [".ClampOn", "method", "sa{sv}"],
        [".ClampOff", "method", "s"],
        [".Reset", "method", "-"],
        [".GetStatus", "method", "-"],
        [".Clamps", "property", "as"],
        [".Auto", "property", "b"],
        [".Version", "property", "s"],
    ] {
        assert!(words.contains(&member.to_vec()), "{member:?} in {list}");
    }
}

#[test]
fn the_log_reads_as_the_page_shows_it() {
    let page = page(API);
    let sandbox = host();
    let rule = "polkit.addRule(function(action, subject) {
        if (subject.user != 'alice') return;
        return action.id == 'org.airpods.helper1.clamp-on' ? polkit.Result.YES : polkit.Result.NO;
    });";
    sandbox.add_polkit_rule("50-alice", rule).unwrap();
    // Restart polkitd: a running one reads a new rule only after a delay.
    sandbox.stop_polkit().unwrap();
    sandbox.start_polkit().unwrap();
    let helper = "busctl call org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1";
    let alice = sandbox.as_user("alice");
    alice.sh(&format!("{helper} ClampOn 'sa{{sv}}' wg0 0")).unwrap();
    alice.sh(&format!("{helper} Reset")).unwrap_err();
    // Hide the unique bus names, which a page cannot predict.
    let anonymous = |line: &str| {
        let words = line.split(' ').map(|word| if word.starts_with("sender=:1.") { "sender=…" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    let log = fs::read_to_string(sandbox.log_path("bus")).unwrap();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(" uid=")).map(anonymous).collect();
    let shown: Vec<_> = blocks(&page, "text")[0].lines().map(anonymous).collect();
    assert_eq!(lines, shown);
}

#[test]
fn busctl_logs_the_name_of_an_error_at_debug_level() {
    let sandbox = host();
    sandbox.sh("ip link add br0 type bridge").unwrap();
    let helper = "busctl call org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1";
    let output =
        |variable: &str| sandbox.sh(&format!("{variable} {helper} ClampOn 'sa{{sv}}' br0 0")).unwrap_err().to_string();
    let (plain, debug) = (output(""), output("SYSTEMD_LOG_LEVEL=debug"));
    assert!(plain.contains("no VPN link") && !plain.contains("NotVpnLink"), "{plain}");
    assert!(debug.contains("error-name=org.airpods.Helper1.Error.NotVpnLink "), "{debug}");
}
