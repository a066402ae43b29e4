//! A text, a key and a value in; the text that a person would have written out.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::DEFAULTS;

fn edited(text: &str, key: &str, value: &str) -> Result<String, EditError> {
    set(text, DEFAULTS, &key.parse()?, value.parse().unwrap())
}

#[track_caller]
fn becomes(text: &str, key: &str, value: &str, expected: &str) {
    assert_eq!(edited(text, key, value).as_deref(), Ok(expected), "{key} = {value} in\n{text}");
}

#[test]
fn only_the_value_changes_and_its_comments_stay() {
    let text = "# mine\n[cli]\nlog_lines  =  10 # few\n\n# of services\n[services.ollama]\n  env = { B = 'b', A = 'a' } # both\n";
    becomes(text, "cli.log_lines", "20", &text.replace("10", "20"));
    becomes(text, "services.ollama.env.A", "'x'", &text.replace("'a'", "'x'"));
    becomes(text, "services.ollama.env.C", "'c'", &text.replace("'a' }", "'a', C = 'c' }"));
}

#[test]
fn missing_keys_are_added_in_their_section() {
    becomes("", "cli.log_lines", "5", "[cli]\nlog_lines = 5\n");
    becomes("", "services.ollama.gpu.enabled", "false", "[services.ollama]\ngpu.enabled = false\n");
    becomes(
        "[runtime]\nprefer = 'podman'\n\n[cli]\ndebug = true\n",
        "runtime.network.mtu",
        "1380",
        "[runtime]\nprefer = 'podman'\n\n[runtime.network]\nmtu = 1380\n\n[cli]\ndebug = true\n",
    );
    becomes(
        "runtime.prefer = 'auto'\n",
        "runtime.network.mtu",
        "1380",
        "runtime.prefer = 'auto'\nruntime.network.mtu = 1380\n",
    );
}

#[test]
fn items_of_arrays_have_numbers_and_one_more_is_added() {
    let text = "services.ollama.ports = [{ host = 1, container = 2 }, { host = 3, container = 4 }] # two\n";
    becomes(text, "services.ollama.ports.1.host", "5", &text.replace('3', "5"));
    becomes(
        text,
        "services.ollama.ports.2",
        "{ host = 5, container = 6 }",
        &text.replace("4 }", "4 }, { host = 5, container = 6 }"),
    );
    let tables = "[[services.ollama.ports]]\nhost = 1 # first\ncontainer = 2\n";
    becomes(tables, "services.ollama.ports.0.host", "5", &tables.replace('1', "5"));
    let single = "[services.ollama]\nports = { host = 1, container = 2 }\n";
    becomes(single, "services.ollama.ports.0.host", "5", &single.replace('1', "5"));
}

#[test]
fn a_key_that_is_no_number_makes_a_table_where_that_may_stand_for_a_list() {
    let text = "[services.a]\nimage = 'b/c:1'\n";
    for (key, value) in [
        ("sysctls.net.core.somaxconn", "1024"),
        ("sysctls.'net.core.somaxconn'", "1024"),
        ("ulimits.nofile", "512"),
        ("depends_on.ollama", "'healthy'"),
    ] {
        let written = key.replace('\'', "\"");
        becomes(text, &format!("services.a.{key}"), value, &format!("{text}{written} = {value}\n"));
    }
    becomes(text, "services.a.sysctls.0", "'net.a=1'", &format!("{text}sysctls = ['net.a=1']\n"));
    let listed = format!("{text}sysctls = ['net.a=1']\n");
    assert!(edited(&listed, "services.a.sysctls.net.b", "1").is_err());
}

#[test]
fn an_array_of_the_defaults_comes_along_with_the_item_that_changes() {
    let expected = "[services.ollama]\nports = [{ host = 12000, container = 11434 }]\n";
    becomes("", "services.ollama.ports.0.host", "12000", expected);
}

#[test]
fn the_first_item_of_an_unset_list_creates_the_list() {
    let of_ollama = |line: &str| format!("[services.ollama]\n{line}\n");
    becomes("", "services.ollama.command_args.0", "'serve'", &of_ollama("command_args = ['serve']"));
    becomes("", "services.ollama.entrypoint_override.0", "'/bin/x'", &of_ollama("entrypoint_override = ['/bin/x']"));
    becomes("", "dependencies.required.0", "'jq'", "[dependencies]\nrequired = ['jq']\n");
    becomes("", "services.new.network_aliases.0", "'a'", "[services.new]\nnetwork_aliases = ['a']\n");
    becomes("", "services.new.ports.0", "{host=5,container=6}", "[services.new]\nports = [{host=5,container=6}]\n");
    becomes("", "services.\"a.b\".ports.0", "{}", "[services.\"a.b\"]\nports = [{}]\n");
    // The other items keep their default values.
    becomes("", "services.ollama.health.expected_status.1", "399", &of_ollama("health.expected_status = [200, 399]"));
    let inline = "services.ollama = { pids_limit = 9 }\n";
    becomes(inline, "services.ollama.command_args.0", "'x'", &inline.replace("9 }", "9, command_args = ['x'] }"));
    // The comment of the default is dropped: within braces it would comment out the rest.
    let inline = "runtime.network = { mtu = 1380 }\n";
    becomes(inline, "runtime.network.dns_servers.0", "'::1'", &inline.replace("0 }", "0, dns_servers = ['::1'] }"));
}

#[test]
fn a_number_below_a_table_of_free_names_is_a_name() {
    becomes("", "services.x.env.0", "'a'", "[services.x]\nenv.0 = 'a'\n");
    becomes("", "services.x.volumes.0.source", "'a'", "[services.x]\nvolumes.0.source = 'a'\n");
    becomes("", "services.0.image", "'a'", "[services.0]\nimage = 'a'\n");
}

#[test]
fn a_single_value_that_stands_for_an_array_becomes_one_when_another_is_added() {
    let added = "{ host = 3, container = 4 }";
    let single = "[services.ollama]\nports = { host = 1, container = 2 } # mine\n";
    let two = "[services.ollama]\nports = [{ host = 1, container = 2 }, { host = 3, container = 4 }] # mine\n";
    becomes(single, "services.ollama.ports.1", added, two);
    becomes(single, "services.ollama.ports.0", added, &two.replace("{ host = 1, container = 2 }, ", ""));
    let word = "services.ollama.command_args = 'serve' # mine\n";
    becomes(word, "services.ollama.command_args.1", "'-v'", &word.replace("'serve'", "['serve', '-v']"));
    let header = "# first\n[services.ollama.ports]\nhost = 1 # of all\ncontainer = 2\n\n[cli]\ndebug = true\n";
    let tables = header.replace("[services.ollama.ports]", "[[services.ollama.ports]]");
    let second = "[[services.ollama.ports]]\nhost = 3\ncontainer = 4\n";
    becomes(header, "services.ollama.ports.1", added, &tables.replace("\n[cli]", &format!("\n{second}\n[cli]")));
    becomes(&tables, "services.ollama.ports.1", added, &tables.replace("\n[cli]", &format!("\n{second}\n[cli]")));
    let dotted = "[services.ollama]\nports.host = 1 # of all\nports.container = 2\npids_limit = 9\n";
    let expected =
        "[services.ollama]\npids_limit = 9\n\n[[services.ollama.ports]]\nhost = 1 # of all\ncontainer = 2\n\n";
    becomes(dotted, "services.ollama.ports.1", added, &format!("{expected}{second}"));
}

#[test]
fn a_key_with_no_place_is_refused() {
    let refused = |text: &str, key: &str| edited(text, key, "1").unwrap_err().to_string();
    assert_eq!(refused("", "a..b"), "`a..b` is not a key");
    assert_eq!(refused("", ""), "`` is not a key");
    assert_eq!(refused("cli.log_lines = 1\n", "cli.log_lines.x"), "`cli.log_lines` has a value and nothing below it");
    for part in ["1.host", "x", "-1", "2", "99999999999999999999"] {
        let message = refused("", &format!("services.ollama.ports.{part}"));
        let part = part.split('.').next().unwrap();
        assert_eq!(
            message,
            format!("`services.ollama.ports` is an array: `{part}` is not the number of one of its items")
        );
    }
    for (key, part) in [("ports.0.host", "0"), ("command_args.1", "1"), ("network_aliases.x", "x")] {
        let array = key.split('.').next().unwrap();
        let expected = format!("`services.new.{array}` is an array: `{part}` is not the number of one of its items");
        assert_eq!(refused("", &format!("services.new.{key}")), expected);
    }
    // `auto` does not stand for an array of one.
    let auto = "runtime.network.dns_servers = 'auto'\n";
    let expected = "`runtime.network.dns_servers` has a value and nothing below it";
    assert_eq!(refused(auto, "runtime.network.dns_servers.1"), expected);
    assert_eq!(refused("x = ", "cli.log_lines"), "this is not TOML");
}

#[test]
fn a_part_of_a_key_may_be_quoted() {
    becomes("", "services.x.env.\"a.b\"", "'c'", "[services.x]\nenv.\"a.b\" = 'c'\n");
}

#[track_caller]
fn becomes_without(text: &str, key: &str, expected: &str) {
    assert_eq!(unset(text, &key.parse().unwrap()).as_deref(), Ok(expected), "without {key}:\n{text}");
}

#[test]
fn a_removed_key_takes_its_comment_along_and_the_rest_stays() {
    let text = "# mine\n[cli]\nlog_lines = 10\n# talkative\ndebug = true # now\nverbose = true\n";
    becomes_without(text, "cli.debug", "# mine\n[cli]\nlog_lines = 10\nverbose = true\n");
    becomes_without("[a]\nx = 1\n[b]\ny = 2\n", "a", "[b]\ny = 2\n");
    becomes_without("[a]\nenv = { A = '1', B = '2' }\n", "a.env.B", "[a]\nenv = { A = '1' }\n");
    becomes_without("[a]\nx.y.z = 1\nu = 2\n", "a.x.y.z", "[a]\nu = 2\n");
}

#[test]
fn an_item_of_an_array_goes_by_its_number() {
    becomes_without("a = ['x', 'y', 'z']\n", "a.1", "a = ['x', 'z']\n");
    becomes_without("a = [{ b = 1, c = 2 }]\n", "a.0.b", "a = [{ c = 2 }]\n");
    becomes_without("[[a]]\nb = 1\n[[a]]\nb = 2\n", "a.0", "[[a]]\nb = 2\n");
    becomes_without("[[a]]\nb = 1\nc = 1\n", "a.0.c", "[[a]]\nb = 1\n");
}

#[test]
fn one_value_in_the_place_of_an_array_is_its_item_0() {
    let short = "services.a.ports.0.protocol";
    becomes_without(
        "[services.a]\nports = { host = 1, protocol = 'udp' }\n",
        short,
        "[services.a]\nports = { host = 1 }\n",
    );
    becomes_without("[services.a.ports]\nhost = 1\nprotocol = 'udp'\n", short, "[services.a.ports]\nhost = 1\n");
    becomes_without("[services.a]\nports = '80' # web\n", "services.a.ports.0", "[services.a]\nports = [] # web\n");
    becomes_without("[services.a.ports]\nhost = 1\n", "services.a.ports.0", "[services.a]\nports = []\n");
    becomes_without("[[services.a.ports]]\nhost = 1\n", "services.a.ports.0", "[services.a]\nports = []\n");
    becomes_without(
        "services = { a = { ports = '80' } }\n",
        "services.a.ports.0",
        "services = { a = { ports = [] } }\n",
    );
}

#[test]
fn a_key_that_is_not_set_cannot_be_removed() {
    let text = "[cli]\nlog_lines = 10\na = ['x']\n[[b]]\nc = 1\n[services.a]\nenv = { B = '1' }\nports = '80'\n";
    let no_items = ["cli.debug", "runtime", "cli.log_lines.x", "cli.a.1", "cli.a.x", "cli.a.0.y", "b.1", "b.1.c"];
    let no_lists = ["cli.0", "cli.0.log_lines", "services.0.a", "services.a.env.0.B", "services.a.ports.1"];
    for key in [&no_items[..], &no_lists].concat() {
        assert_eq!(unset(text, &key.parse().unwrap()), Err(EditError::NotSet(key.to_owned())), "{key}");
    }
}
