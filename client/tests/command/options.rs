//! Every option of a container, set and unset by `config set`.

use airpods::podman::{ContainerOption, OPTION_ROWS, OptionShape};

use super::airpods;
use super::home::Home;

/// Values of an option as people type them, and as `config get --json` prints them. A new option
/// needs its own here.
fn values_of(option: ContainerOption) -> Vec<(&'static str, &'static str)> {
    use ContainerOption as O;
    match option {
        O::User => vec![("1000:1000", "\"1000:1000\""), ("1000", "\"1000\"")],
        O::Userns => vec![("keep-id:uid=1000", "\"keep-id:uid=1000\"")],
        O::GroupAdd => vec![("[\"video\"]", "[\"video\"]"), ("[\"44\", \"video\"]", "[\"44\",\"video\"]")],
        O::Hostname => vec![("model-host", "\"model-host\"")],
        O::Init | O::ReadOnly | O::Privileged => vec![("true", "true")],
        O::Ipc => vec![("host", "\"host\"")],
        O::ShmSize => vec![("8g", "\"8g\""), ("64m", "\"64m\"")],
        O::CapAdd | O::CapDrop => vec![("[\"sys_ptrace\"]", "[\"CAP_SYS_PTRACE\"]")],
        O::SecurityOpt => vec![("[\"no-new-privileges:true\"]", "[\"no-new-privileges\"]")],
        O::WorkingDir => vec![("/app/", "\"/app\"")],
        O::Tmpfs => vec![("[\"/cache:size=1g\"]", "[\"/cache:size=1g\"]")],
        O::Ulimits => vec![("{ nofile = 1024 }", "[\"nofile=1024:1024\"]"), ("[\"nofile=1:2\"]", "[\"nofile=1:2\"]")],
        O::Sysctls => {
            let one = "[\"net.core.somaxconn=1024\"]";
            vec![("{ \"net.core.somaxconn\" = 1024 }", one), ("{\"net.core.somaxconn\": \"1024\"}", one), (one, one)]
        }
    }
}

#[test]
fn every_option_of_a_container_can_be_set_and_unset() {
    let text = "# mine\n[services.mine]\nimage = \"docker.io/lab/mine:1\"\n";
    for row in &OPTION_ROWS {
        let home = Home::with(text);
        let key = format!("services.mine.{}", row.key);
        let without = || airpods(home.path(), &format!("config get {key}")).output().unwrap().status.code();
        for (typed, got) in values_of(row.option) {
            assert_eq!(without(), Some(2), "{key} has a value");
            home.set(&key, typed);
            home.gets_json(&key, got);
            home.unset(&key);
            assert_eq!(home.text(), text, "{key} = {typed}");
        }
        assert_eq!(without(), Some(2), "{key} has a value");
    }
}

#[test]
fn an_option_that_is_a_list_can_be_changed_by_its_items() {
    let text = "[services.mine]\nimage = \"docker.io/lab/mine:1\"\n";
    for row in OPTION_ROWS.iter().filter(|row| row.shape == OptionShape::List) {
        let home = Home::with(text);
        let key = format!("services.mine.{}", row.key);
        let listed = values_of(row.option).into_iter().filter(|(typed, _)| typed.starts_with('['));
        for (typed, got) in listed {
            let items: Vec<String> = serde_json::from_str(typed).unwrap();
            for (number, item) in items.iter().enumerate() {
                home.set(&format!("{key}.{number}"), item);
            }
            home.gets_json(&key, got);
            for _ in &items {
                home.unset(&format!("{key}.0"));
            }
            assert_eq!(airpods(home.path(), &format!("config get {key}")).output().unwrap().status.code(), Some(2));
            home.unset(&key);
            assert_eq!(home.text(), text, "{key} = {typed}");
        }
    }
    // A kernel parameter has dots in its name.
    let home = Home::with(text);
    home.set("services.mine.sysctls.net.core.somaxconn", "1024");
    home.set("services.mine.sysctls.\"net.ipv4.ip_local_port_range\"", "1024 65000");
    let range = "\"net.ipv4.ip_local_port_range=1024 65000\"";
    home.gets_json("services.mine.sysctls", &format!("[\"net.core.somaxconn=1024\", {range}]"));
    home.unset("services.mine.sysctls.net.core.somaxconn");
    home.gets_json("services.mine.sysctls", &format!("[{range}]"));
}
