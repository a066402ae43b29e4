//! Configuration as values: a text in, a value or problems with their places out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod earlier;
mod needs;
mod stacks;
mod wrong;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::*;
use wrong::WRONG;

fn read(text: &str) -> Result<Loaded, ConfigError> {
    let source = Source::of_file(PathBuf::from("/etc/config.toml"), text.to_owned());
    parse(Some(source), Some(Path::new("/data")))
}

#[track_caller]
fn valid(text: &str) -> Loaded {
    read(text).unwrap_or_else(|error| panic!("{error:?}"))
}

/// All problems of a text that is wrong, as `LINE:COLUMN MESSAGE [HINT]`.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    match read(text) {
        Err(ConfigError::Wrong(problems)) => problems.iter().map(brief).collect(),
        other => panic!("{other:?}"),
    }
}

fn brief(problem: &Problem) -> String {
    let place = problem.at.as_ref().map_or("-".to_owned(), |at| {
        let (line, column) = at.line_and_column();
        format!("{line}:{column}")
    });
    let hint = problem.hint.as_ref().map_or(String::new(), |hint| format!(" [{hint}]"));
    format!("{place} {}{hint}", problem.message)
}

#[test]
fn the_defaults_alone_are_a_configuration() {
    let loaded = parse(None, None).unwrap();
    let config = &loaded.config;
    assert_eq!(loaded.file, None);
    assert_eq!(loaded.warnings, []);
    assert_eq!(
        config.services.keys().map(ServiceName::as_str).collect::<Vec<_>>(),
        ["ollama", "open-webui", "comfyui"]
    );
    let webui = &config.services["open-webui"];
    assert_eq!(webui.env["OLLAMA_BASE_URL"], "http://ollama:11434");
    assert_eq!(webui.container.as_str(), "open-webui-0");
    assert_eq!(webui.pids_limit.get(), 2048);
    assert!(webui.needs_webui_secret && !webui.gpu.wanted());
    assert_eq!(config.runtime.network.dns_servers, DnsServers::List(Vec::new()));
    assert_eq!((config.runtime.network.mss_clamp, config.runtime.network.measure), (MssClamp::Auto, true));
}

#[test]
fn the_mixed_example_of_the_troubleshooting_guide_loads_unchanged() {
    let loaded = valid(include_str!("../../tests/data/mixed.toml"));
    assert_eq!(loaded.warnings, [], "aliases from the defaults are no reason to warn of host mode");
    let config = &loaded.config;
    let dns = ["8.8.8.8", "1.1.1.1"].map(|server| server.parse().unwrap());
    assert_eq!(config.runtime.network.dns_servers, DnsServers::List(dns.to_vec()));
    let comfyui = &config.services["comfyui"];
    assert_eq!((comfyui.network_mode, comfyui.network_aliases.len()), (NetworkMode::Host, 0));
    assert_eq!(comfyui.ports[0].container.first().get(), 8188);
    let webui = &config.services["open-webui"];
    assert_eq!(webui.network_aliases.iter().map(NetworkAlias::as_str).collect::<Vec<_>>(), ["webui", "open-webui"]);
    assert_eq!(webui.env["OLLAMA_BASE_URL"], "http://ollama:11434");
    assert_eq!(config.services["ollama"].network_mode, NetworkMode::Pod);
}

#[test]
fn every_example_in_the_documentation_loads() {
    let text = include_str!("../../../docs/configuration.md");
    let examples: Vec<_> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        valid(example);
    }
}

#[test]
fn the_shown_configuration_loads_as_the_same() {
    let text = r#"
        [runtime]
        podman_url = "unix:///run/podman/podman.sock"
        host_gateway = "192.0.2.1"
        gpu_device_flag = "--device=nvidia.com/gpu=0"
        [runtime.network]
        subnet = "10.89.0.0/16"
        gateway = "10.89.0.1"
        mtu = 1380
        dns_servers = "auto"
        mss_clamp = "require"
        measure = false
        [services.mine]
        image = "localhost/mine"
        pod = "shared"
        ports = { host = 8000, container = 80 }
        volumes.a = { source = "bind://a/b", target = "/a" }
        volumes.b = { source = "/srv", target = "/b" }
        resources = { memory = "1536m", cpus = "1.5" }
        health = { path = "/up", expected_status = [200, 399] }
        command_args = ["-x", "{{not a template}}"]
        entrypoint_override = "/bin/mine"
        env = { N = 5, URL = "http://{{runtime.host_gateway}}:{{ services.mine.ports.0.host }}" }
    "#;
    let config = valid(text).config;
    assert_eq!(config.services["mine"].env["URL"], "http://192.0.2.1:8000");
    let network = &config.runtime.network;
    assert_eq!((&network.dns_servers, network.mss_clamp), (&DnsServers::Auto, MssClamp::Require));
    assert!(!network.measure);
    let shown = toml::to_string(&config.written().unwrap()).unwrap();
    assert_eq!(valid(&shown).config, config, "{shown}");
}

#[test]
fn tables_merge_and_arrays_replace() {
    let config = valid("[services.ollama]\nports = [{ host = 1, container = 2 }]\nhealth.path = '/x'\n").config;
    let ollama = &config.services["ollama"];
    assert_eq!(ollama.ports.len(), 1);
    assert_eq!(ollama.ports[0].host.first().get(), 1);
    assert!(matches!(&ollama.health, Some(Health { test: HealthTest::Http { path, .. }, .. }) if path == "/x"));
    assert_eq!(ollama.image.as_str(), "docker.io/ollama/ollama:latest");
    assert_eq!(config.services["open-webui"].env["OLLAMA_BASE_URL"], "http://ollama:2");
}

#[test]
fn a_problem_shows_file_line_column_and_the_text() {
    let Err(error) = read("[services.ollama]\n\tpids_limit = '4096'\n") else { panic!("accepted") };
    let mut shown = Vec::new();
    crate::error::Failure::from(error).write(&mut shown).unwrap();
    let expected = "error: `services.ollama.pids_limit`: a whole number is needed here, not a text
  --> /etc/config.toml:2:15
   |
 2 |  pids_limit = '4096'
   |               ^^^^^^
";
    assert_eq!(String::from_utf8(shown).unwrap(), expected);
}

#[test]
fn an_unknown_key_is_a_warning_with_the_nearest_known_one_until_it_is_refused() {
    let text = "a = 1\n[services.ollama]\npid_limit = 4096\n[runtime]\ncuda_version = '12'\n";
    let loaded = valid(text);
    assert_eq!(loaded.config, valid("runtime.cuda_version = '12'").config);
    let unknown = [
        "3:1 unknown key `pid_limit` in `services.ollama` [did you mean `pids_limit`?]",
        "1:1 unknown key `a` [there are `meta`, `runtime`, `cli`, `dependencies`, `services`]",
    ];
    assert_eq!(loaded.unknown_keys().map(brief).collect::<Vec<_>>(), unknown);
    assert!(loaded.unknown_keys().all(|problem| problem.to_string().starts_with("warning: ")));

    let Err(ConfigError::Wrong(problems)) = loaded.refuse_unknown_keys() else { panic!("accepted") };
    let errors: Vec<_> = problems.iter().filter(|problem| problem.to_string().starts_with("error: ")).collect();
    assert_eq!(errors.into_iter().map(brief).collect::<Vec<_>>(), unknown);
    assert!(valid("runtime.cuda_version = '12'").refuse_unknown_keys().is_ok(), "a key without effect is no mistake");
}

#[test]
fn an_unknown_key_that_may_restrict_a_service_is_refused_by_a_launch_and_names_the_nearest() {
    for (text, message) in [
        ("services.ollama.ports = [{ host_ipp = '127.0.0.1', host = 1, container = 1 }]", "unknown key `host_ipp`"),
        ("services.ollama.volumes.data.read_onyl = true", "unknown key `read_onyl`"),
        ("services.ollama.gpu.dvice = '0'", "unknown key `dvice`"),
        ("services.ollama.resources.memroy = '1g'", "[did you mean `memory`?]"),
        ("services.ollama.cap_drp = ['ALL']", "unknown key `cap_drp`"),
        ("services.ollama.readOnly = true", "unknown key `readOnly`"),
        ("services.ollama.health.intervall = 1", "unknown key `intervall`"),
        ("runtime.network.isolat = true", "unknown key `isolat`"),
        ("runtime.read_only = true", "unknown key `read_only`"),
    ] {
        let Err(ConfigError::Wrong(problems)) = valid(text).refuse_unknown_restrictions() else {
            panic!("accepted: {text}")
        };
        let errors: Vec<_> = problems.iter().filter(|one| one.severity == Severity::Error).map(brief).collect();
        assert!(errors.len() == 1 && errors[0].contains(message), "{text}: {errors:?}");
    }
    for harmless in ["cli.colour = true", "a = 1", "meta.author = 'x'", "services.ollama.env.read_only = 1"] {
        assert!(valid(harmless).refuse_unknown_restrictions().is_ok(), "{harmless}");
    }
}

#[test]
fn all_problems_are_reported_at_once_each_with_its_place() {
    let text = "[runtime.network]\nsubnet = '10.89.0.0/33'\ndns_servers = ['1.1.1.1', 'one']\n[cli]\nlog_lines = 0\n";
    assert_eq!(
        problems(text),
        [
            "2:10 `runtime.network.subnet`: `10.89.0.0/33` is not a subnet such as `10.89.0.0/16`",
            "3:27 `runtime.network.dns_servers.1`: `one` is not the address of a DNS server",
            "5:13 `cli.log_lines`: 0 is not within 1 to 10000",
        ]
    );
}

#[test]
fn conflicts_between_settings_are_reported_if_each_alone_is_valid() {
    let together = "[services.comfyui]\nports = { host = 3000, container = 1 }\n[services.ollama]\nenv.A = '{{x}}'\n";
    assert_eq!(problems(together).len(), 2);
    assert_eq!(
        problems(&format!("cli.log_lines = 0\n{together}")),
        ["1:17 `cli.log_lines`: 0 is not within 1 to 10000"]
    );
}

#[test]
fn every_wrong_value_is_one_error_that_names_its_place() {
    let wrong = |(text, expected): &(&str, &str)| {
        let found = problems(text);
        (found.len() != 1 || !found[0].starts_with(expected))
            .then(|| format!("{text}\n  is {found:?}\n  not {expected}\n"))
    };
    let wrong: String = WRONG.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_port_used_twice_is_no_problem_when_one_service_is_disabled() {
    let text = "[services.open-webui]\nenabled = false\n[services.comfyui]\nports = { host = 3000, container = 1 }\n";
    assert_eq!(valid(text).config.enabled().count(), 2);
}

#[test]
fn a_service_on_the_hosts_network_occupies_its_own_port_there() {
    let text = "[services.open-webui]\nnetwork_mode = 'host'\n[services.x]\nimage = 'localhost/x'\nports = { host = 8080, container = 1 }\n";
    let found = problems(text);
    assert!(found.iter().any(|problem| problem.contains("port 8080 of the host is taken")), "{found:?}");
}

#[test]
fn templates_name_runtime_and_services_and_each_other() {
    let text = "[services.ollama.env]\nA = '{{services.open-webui.env.B}}/{{services.comfyui.image}}'\n\
                [services.open-webui.env]\nB = '{{runtime.host_gateway}} {{runtime.network_name}}'\n";
    let config = valid(text).config;
    let expected = "host.containers.internal airpods_network/docker.io/yanwk/comfyui-boot:cu128-slim";
    assert_eq!(config.services["ollama"].env["A"], expected);
}

#[test]
fn an_unknown_or_circular_template_names_its_place() {
    let env = |value: &str| problems(&format!("[services.ollama]\nenv.A = '{value}'\n"));
    for (value, message) in [
        (
            "{{services.olama.image}}",
            "the template `{{services.olama.image}}` names nothing that has a value [did you mean the service `ollama`?]",
        ),
        (
            "{{services.ollama.ports.7.host}}",
            "the template `{{services.ollama.ports.7.host}}` names nothing that has a value",
        ),
        ("{{services.ollama.ports}}", "the template `{{services.ollama.ports}}` names nothing that has a value"),
        ("{{cli.verbose}}", "the template `{{cli.verbose}}` names nothing that has a value"),
        ("{{", "a template begins with `{{` and does not end with `}}`"),
        ("{{services.ollama.env.A}}", "the template is circular: `services.ollama.env.A` -> `services.ollama.env.A`"),
    ] {
        let found = env(value);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("2:9 `services.ollama.env.A`: {message}")),
            "{found:?}"
        );
    }
}

#[test]
fn keys_without_effect_give_a_warning_and_no_error() {
    let text = "[runtime]\nprefer = 'docker'\ncuda_version = '12.8'\n[dependencies]\nrequired = ['podman']\n\
                [services.comfyui]\nnetwork_mode = 'host'\nnetwork_aliases = ['comfyui']\nports = { host = 1, container = 2 }\n";
    let warnings: Vec<_> = valid(text).warnings.iter().map(brief).collect();
    let expected = [
        "2:10 `runtime.prefer`: docker is not driven; podman is used",
        "3:16 `runtime.cuda_version` has no effect: name the image you want",
        "8:19 `services.comfyui.network_aliases` has no effect with network_mode `host` [other services reach this one by the host's name]",
        "9:18 `services.comfyui.ports.0.host` has no effect with network_mode `host`: the service is on port 2",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn settings_that_another_one_makes_ineffective_give_a_warning_at_their_place() {
    let warnings = |text: &str| valid(text).warnings.iter().map(brief).collect::<Vec<_>>();
    assert_eq!(
        warnings("[services.comfyui]\npod = 'p'\nnetwork_mode = 'host'\n"),
        [
            "2:7 `services.comfyui.pod` has no effect with network_mode `host` [a service of a pod needs network_mode `pod`]"
        ]
    );
    assert_eq!(
        warnings(
            "[services.x]\nimage = 'localhost/x'\nports = { host = 1, container = 2 }\nhealth.expected_status = [200, 399]\n"
        ),
        [
            "4:26 `services.x.health.expected_status` has no effect without `services.x.health.path` [where no path is set, nothing is asked for]"
        ]
    );
    assert_eq!(warnings("[services.x]\nimage = 'localhost/x'\nhealth = {}\n"), [""; 0]);
}

#[test]
fn where_podman_publishes_no_ports_the_services_that_have_some_are_named() {
    let others = "services.open-webui.network_mode = 'host'\n[services.x]\nimage = 'localhost/x'\n";
    for driver in ["macvlan", "ipvlan"] {
        let text = format!("runtime.network.driver = '{driver}'\n{others}");
        let warnings: Vec<_> = valid(&text).warnings.iter().map(brief).collect();
        let expected = format!(
            "1:26 `services.ollama.ports`, `services.comfyui.ports`: podman publishes no ports on a `{driver}` network \
             [a service is reached by its own address on that network, and is not asked for its health]"
        );
        assert_eq!(warnings[..1], [expected]);
        assert!(warnings[1..].iter().all(|warning| warning.contains("open-webui")), "{warnings:?}");
    }
    assert_eq!(valid("runtime.network.driver = 'bridge'\n").warnings, []);
}

#[test]
fn one_port_of_a_pod_is_for_one_service_of_those_that_are_in_it() {
    let pod = |first: &str, second: &str| {
        let service = |name: &str, host: u16, more: &str| {
            format!(
                "[services.{name}]\nimage = 'localhost/x'\npod = 'p'\nports = {{ host = {host}, container = 80 }}\n{more}\n"
            )
        };
        service("a", 8001, first) + &service("b", 8002, second)
    };
    let expected = "9:36 `services.b.ports.0.container`: port 80 of the pod `p` is taken by `services.a.ports.0.container` already \
                    [the services of a pod share one network namespace: choose another port, or another pod]";
    assert_eq!(problems(&pod("", "")), [expected]);
    valid(&pod("", "enabled = false"));
    valid(&pod("network_mode = 'host'", ""));
    valid(&pod("", "").replacen("'p'", "'q'", 1));
    valid(
        "[services.a]\nimage = 'localhost/x'\npod = 'p'\nports = [{ host = 1, container = 80 }, { host = 2, container = 80 }]\n",
    );
}

#[test]
fn a_hostile_file_cannot_steer_the_terminal() {
    let found = read("services.ollama.image = \"\\u001b]0;x\\u0007\"").unwrap_err();
    let mut shown = Vec::new();
    crate::error::Failure::from(found).write(&mut shown).unwrap();
    assert!(shown.iter().all(|&byte| byte >= 0x20 || byte == b'\n'), "{shown:?}");
}

#[test]
fn a_place_can_be_found_later() {
    let loaded = valid("[services.ollama]\nports = [{ host = 1, container = 2 }]\n");
    let at = |key: &str| loaded.locate(key).unwrap().to_string();
    assert_eq!(at("services.ollama.ports.0.host"), "/etc/config.toml:2:19");
    assert!(at("services.ollama.image").starts_with("built-in defaults:"), "{}", at("services.ollama.image"));
    assert!(loaded.locate("services.nope").unwrap().is_users());
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::read(|name| {
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| OsString::from(value))
    })
}

#[test]
fn files_are_searched_in_the_documented_order() {
    let paths = |variables: &[(&str, &str)]| match environment(variables).search(None) {
        Search::Named { path, by } => vec![format!("{by} {}", path.display())],
        Search::FirstOf(paths) => paths.iter().map(|path| path.display().to_string()).collect(),
    };
    let all = [("AIRPODS_CONFIG", "/c.toml"), ("AIRPODS_HOME", "/a"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
    assert_eq!(paths(&all), ["`$AIRPODS_CONFIG` /c.toml"]);
    assert_eq!(paths(&all[1..]), ["/a/configs/config.toml", "/a/config.toml"]);
    assert_eq!(
        paths(&all[2..]),
        [
            "/x/airpods/configs/config.toml",
            "/x/airpods/config.toml",
            "/h/.config/airpods/configs/config.toml",
            "/h/.config/airpods/config.toml"
        ]
    );
    assert_eq!(paths(&[("XDG_CONFIG_HOME", "relative"), ("AIRPODS_CONFIG", "")]), [] as [&str; 0]);
    assert_eq!(
        environment(&all).search(Some(Path::new("o.toml"))),
        Search::Named { path: "o.toml".into(), by: "`--config`" }
    );
    assert_eq!(environment(&all[1..]).new_file(None), Some("/a/config.toml".into()));
}

#[test]
fn data_and_state_lie_together_under_airpods_home_and_apart_without_it() {
    let own = environment(&[("AIRPODS_HOME", "/a"), ("HOME", "/h")]);
    assert_eq!((own.data_folder(), own.state_folder()), (Some("/a/volumes".into()), Some("/a/state".into())));
    let xdg = environment(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]);
    let expected = (Some("/h/.local/share/airpods/volumes".into()), Some("/s/airpods".into()));
    assert_eq!((xdg.data_folder(), xdg.state_folder()), expected);
    assert_eq!(environment(&[]).data_folder(), None);
}
