//! Keys that public stacks need, as a person writes them.

use super::*;

fn with(file: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let source = Source::of_file(PathBuf::from("/home/alice/.config/airpods/config.toml"), file.to_owned());
    let places = Places {
        data_folder: Some("/data".into()),
        file_folder: Some("/home/alice/.config/airpods".into()),
        home: Some("/home/alice".into()),
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        read: |path| match path.to_str() {
            Some("/home/alice/.config/airpods/keys.env") => Ok("KEY=abc\nURL=http://x\n".to_owned()),
            Some("/home/alice/.config/airpods/.env") => Ok("KEY=def\n".to_owned()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        },
        ..Places::default()
    };
    parse_in(Some(source), &places)
}

#[track_caller]
fn refused(file: &str, message: &str) {
    match with(file, &[]) {
        Err(ConfigError::Wrong(problems)) => {
            let all: Vec<String> = problems.iter().map(brief).collect();
            assert!(all.iter().any(|problem| problem.contains(message)), "{file}: {all:?}");
        }
        other => panic!("{file}: {other:?}"),
    }
}

const MINE: &str = "[services.mine]\nimage = \"localhost/mine\"\n";

#[test]
fn volumes_begin_at_home_or_beside_the_file_and_have_a_short_form() {
    let text = format!(
        "{MINE}volumes.a = \"~/models:/models:ro\"\nvolumes.b = \"./data:/data:Z\"\nvolumes.c = \"named:/c\"\n\
         volumes.d = \"bind://own:/d\"\nvolumes.e = {{ source = \"${{ROOT}}/x\", target = \"/e\", read_only = true }}\n"
    );
    let config = with(&text, &[("ROOT", "/srv")]).unwrap().config;
    let volume = |name: &str| config.services["mine"].volumes[name].clone();
    assert_eq!((volume("a").source, volume("a").read_only), (VolumeSource::Host("/home/alice/models".into()), true));
    let beside = VolumeSource::Host("/home/alice/.config/airpods/data".into());
    assert_eq!((volume("b").source, volume("b").relabel), (beside, Some(crate::podman::Relabel::Private)));
    assert!(matches!(volume("c").source, VolumeSource::Named(_)));
    assert!(matches!(volume("d").source, VolumeSource::Data { .. }));
    assert_eq!((volume("e").source, volume("e").read_only), (VolumeSource::Host("/srv/x".into()), true));
}

#[test]
fn variables_come_from_the_environment_and_from_files() {
    let text = format!(
        "{MINE}env = {{ A = \"${{A}}-${{B:-b}}\", URL = \"mine\", LITERAL = \"$${{A}} $HOME\" }}\nenv_file = \"keys.env\"\n"
    );
    let config = with(&text, &[("A", "a")]).unwrap().config;
    let mine = &config.services["mine"];
    assert_eq!((mine.env["A"].as_str(), mine.env["LITERAL"].as_str()), ("a-b", "${A} $HOME"));
    assert_eq!(mine.env_file[0].variables.len(), 2);
    let hidden = with(&format!("{MINE}env_file = [\".env\", \"./.env\"]\n"), &[]).unwrap().config;
    let path = |file: &EnvFile| file.path.display().to_string();
    assert_eq!(
        hidden.services["mine"].env_file.iter().map(path).collect::<Vec<_>>(),
        ["/home/alice/.config/airpods/.env"; 2]
    );
    refused(&format!("{MINE}env_file = \"~other/.env\"\n"), "`~other/.env` is not a path");
    refused(&format!("{MINE}env.A = \"${{NONE}}\"\n"), "`services.mine.env.A`: the variable `NONE` is not set");
    refused(
        &format!("{MINE}env_file = [\"other.env\"]\n"),
        "`services.mine.env_file.0`: `/home/alice/.config/airpods/other.env`",
    );
}

#[test]
fn braces_that_are_meant_as_such_can_be_written_in_a_template() {
    let text = format!(
        "{MINE}env = {{ T = '{{{{\"{{{{USER_NAME}}}} is {{{{x}}}}\"}}}} on {{{{runtime.network_name}}}}', D = '{{{{services.none.image:-else}}}}' }}\n"
    );
    let config = with(&text, &[]).unwrap().config;
    let env = &config.services["mine"].env;
    assert_eq!(env["T"], "{{USER_NAME}} is {{x}} on airpods_network");
    assert_eq!(env["D"], "else");
}

#[test]
fn a_written_configuration_reads_as_the_same_with_every_key() {
    let text = format!(
        "{MINE}ports = [\"127.0.0.1:7000:80\", \"53:53/udp\", \"7100-7102:80-82\"]\nenv = {{ A = \"$$x $${{y}}\", B = '{{{{\"{{{{\"}}}}' }}\n\
         env_file = [\"keys.env\"]\nuser = \"1000:1000\"\nshm_size = \"2g\"\ncap_drop = [\"all\"]\ninit = true\nlabels.a = \"b\"\n\
         devices = [\"/dev/kfd\"]\ngpu.device = [0, \"nvidia.com/gpu=1\"]\nextra_hosts = [\"db=192.0.2.1\"]\nnetworks = [\"proxy\"]\n\
         depends_on = [\"ollama\"]\nrestart_policy = \"on-failure\"\noneshot = true\npull = \"always\"\ncommand = \"a 'b c'\"\n\
         health = {{ command = \"true\", interval = \"1m\", retries = 3 }}\nsecret_env = {{ A1 = \"file:~/keys/a\", B1 = \"podman:b\" }}\n\
         working_dir = \"/app\"\ntmpfs = [\"/cache:size=1g\"]\nulimits.nofile = 1024\nsysctls.net.core.somaxconn = 1024\nvolumes.v = \"v:/v:ro,z\"\n[services.open-webui]\nprivileged = true\nunset = [\"health\", \"env.OLLAMA_BASE_URL\"]\n"
    );
    let config = with(&text, &[]).unwrap().config;
    let written = toml::to_string(&config.written().unwrap()).unwrap();
    assert_eq!(with(&written, &[]).unwrap().config, config, "{written}");
}

#[test]
fn a_built_in_value_can_be_taken_away() {
    let config = with("[services.open-webui]\nunset = [\"health\", \"volumes.data\", \"env.OLLAMA_BASE_URL\"]\n", &[])
        .unwrap()
        .config;
    let webui = &config.services["open-webui"];
    assert_eq!((webui.health.as_ref(), webui.volumes.len(), webui.env.len()), (None, 0, 0));
    refused("[services.ollama]\nunset = [\"helth\"]\n", "there is no `helth` to be without [did you mean `health`?]");
    refused(
        "[services.ollama]\nunset = [\"health\"]\nhealth.path = \"/x\"\n",
        "`health` is set in the same configuration",
    );
}

#[test]
fn a_built_in_service_can_be_without_ports_and_is_still_found_by_the_others() {
    let config = with("[services.ollama]\nports = []\n", &[]).unwrap().config;
    assert_eq!((config.services["ollama"].ports.len(), config.services["ollama"].health.as_ref()), (0, None));
    assert_eq!(config.services["open-webui"].env["OLLAMA_BASE_URL"], "http://ollama:11434");
    let asked = with("[services.ollama]\nports = []\nhealth.command = \"ollama list\"\n", &[]).unwrap().config;
    assert!(matches!(&asked.services["ollama"].health, Some(Health { test: HealthTest::Command { .. }, .. })));
}

#[test]
fn contradicting_settings_are_refused() {
    for (keys, message) in [
        ("depends_on = [\"none\"]", "`none`: there is no such service"),
        ("depends_on = { ollama = \"completed\" }", "that service never ends by itself"),
        ("depends_on = [\"mine\"]", "a service cannot depend on itself"),
        (
            "depends_on = { ollama = { conditon = \"healthy\" } }",
            "`services.mine.depends_on.ollama.conditon`: `condition` is all",
        ),
        ("oneshot = true\nrestart_policy = \"always\"", "would be started again for ever"),
        ("pod = \"p\"\nhostname = \"x\"", "the services of a pod have this in common"),
        ("group_add = [\"keep-groups\", \"video\"]", "podman takes no other beside it"),
        ("command = \"a\"\ncommand_args = [\"b\"]", "`command` and `command_args` are the same setting"),
        ("command = \"a 'b\"", "a quote in this command has no end"),
        ("health = { path = \"/\", command = \"true\" }\nports = [80]", "by `path` or by `command`, not both"),
        ("devices = [\"kfd\"]", "`kfd` is no device"),
        ("extra_hosts = [\"db\"]", "`db` is not a name and its address"),
        ("volumes.v = \"v:/v:rx\"", "none of `ro`, `rw`, `z` and `Z`"),
        ("labels.\"io.airpods.x\" = \"y\"", "are our own"),
        ("tmpfs = [\"/v\"]\nvolumes.v = \"v:/v\"", "`/v` is the target of volume `v` already"),
        ("privileged = true\ncap_drop = [\"ALL\"]", "a privileged service has every capability, and podman drops none"),
        ("ulimits = { nofile = { soft = 1 } }", "both `soft` and `hard` are needed"),
        (
            "sysctls.vm.max_map_count = 1",
            "`services.mine.sysctls.vm.max_map_count`: the whole host has `vm.max_map_count` in common",
        ),
        ("sysctls.net.core.somaxconn = true", "`services.mine.sysctls.net.core.somaxconn`: "),
        ("sysctls = [\"net.core.somaxconn\"]", "is not a kernel parameter with its value"),
        ("sysctls = [\"net.a=1\", \"net.a=2\"]", "`net.a` is set twice"),
        (
            "network_mode = \"host\"\nsysctls.net.core.somaxconn = 1",
            "`net.core.somaxconn` belongs to the host's network",
        ),
        ("ipc = \"host\"\nsysctls.kernel.shmmax = 1", "`kernel.shmmax` belongs to the host's IPC namespace"),
        ("pod = \"p\"\nsysctls.net.core.somaxconn = 1", "the services of a pod have this in common"),
        ("health = { command = \"true\", interval = \"soon\" }", "`soon` is not a length of time"),
        ("secret_env.KEY = \"sk-1234\"", "`services.mine.secret_env.KEY`: this does not say where the secret is kept"),
        ("secret_env.\"A B\" = \"podman:a\"", "this cannot be the name of a secret variable"),
        ("secret_env.KEY = \"podman:a b\"", "`a b` is no name of a secret"),
        ("secret_env.KEY = \"file:\"", "this does not say where the secret is kept"),
        ("env.KEY = \"x\"\nsecret_env.KEY = \"podman:a\"", "`KEY` is set in `env` as well"),
        ("network_mode = \"host\"\nnetworks = [\"proxy\"]", "is on no other"),
        ("privileged = true\nsecurity_opt = [\"label=level:s0\"]", "`label=level:s0` has no effect with `privileged"),
        ("ipc = \"host\"\nsecurity_opt = [\"label=type:x\"]", "`label=type:x` has no effect with `ipc = \"host\"`"),
    ] {
        refused(&format!("{MINE}{keys}\n"), message);
    }
}

#[test]
fn an_address_that_a_network_would_drop_is_refused_and_one_that_restricts_nothing_is_not() {
    let on_host = "`services.mine.ports.0.host_ip`: a service on the host's network listens where its program does";
    let own_link = "`services.mine.ports.0.host_ip`: podman publishes no ports on a `macvlan` network";
    for (keys, network, told) in [
        ("network_mode = \"host\"\nports = [\"127.0.0.1:80:80\"]", "", on_host),
        ("network_mode = \"host\"\nports = [{ host_ip = \"::1\", host = 80, container = 80 }]", "", on_host),
        ("ports = [\"192.0.2.7:80:80\"]", "driver = \"macvlan\"", own_link),
        ("pod = \"p\"\nports = [\"127.0.0.1:80:80\"]", "driver = \"macvlan\"", own_link),
        ("", "external = true\ninternal = true", "`runtime.network.internal`: an external network keeps its way out"),
    ] {
        refused(&format!("{MINE}{keys}\n[runtime.network]\n{network}\n"), told);
    }
    for keys in [
        "ports = [\"127.0.0.1:80:80\"]",
        "pod = \"p\"\nports = [\"127.0.0.1:80:80\"]",
        "network_mode = \"host\"\nports = [\"0.0.0.0:80:80\", \"[::]:81:81\", 82]",
    ] {
        assert!(with(&format!("{MINE}{keys}\n"), &[]).is_ok(), "{keys}");
    }
}

#[test]
fn a_secret_is_named_by_where_it_is_kept_and_never_repeated() {
    let text = format!(
        "{MINE}secret_env = {{ A = \"file:~/keys/a\", B = \"file:keys/b\", C = \"file:/run/secrets/c\", D = \"podman:d\" }}\n"
    );
    let config = with(&text, &[]).unwrap().config;
    let sources: Vec<_> = config.services["mine"].secret_env.values().map(ToString::to_string).collect();
    assert_eq!(
        sources,
        ["file:/home/alice/keys/a", "file:/home/alice/.config/airpods/keys/b", "file:/run/secrets/c", "podman:d"]
    );
    let wrong = with(&format!("{MINE}secret_env.KEY = \"sk-1234\"\n"), &[]).unwrap_err();
    assert!(!wrong.to_string().contains("sk-1234"), "{wrong}");
}
