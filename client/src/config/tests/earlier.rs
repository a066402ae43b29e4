//! Files and folders of the Python airpods.

use super::*;

#[test]
fn every_key_of_the_earlier_tool_is_known_and_only_those_without_effect_give_a_warning() {
    let loaded = valid(include_str!("../../../tests/data/earlier.toml"));
    assert_eq!(loaded.unknown_keys().count(), 0);
    let ineffective: Vec<_> =
        loaded.warnings.iter().map(|warning| warning.message.split(['`', ' ']).nth(1).unwrap_or_default()).collect();
    assert_eq!(ineffective, ["runtime.prefer", "runtime.cuda_version"]);
    let Config { runtime, cli, services, .. } = &loaded.config;
    assert_eq!(runtime.network.gateway, Some("10.89.0.1".parse().unwrap()));
    assert_eq!((cli.stop_timeout.get(), cli.max_concurrent_pulls.get(), cli.auto_confirm), (20, 5, true));
    let mine = &services["mine"];
    assert_eq!((mine.ports[0].host.first().get(), mine.pids_limit.get(), mine.gpu.wanted()), (8000, 4096, false));
    assert_eq!(mine.resources.memory.map(Memory::bytes), Some(4 << 30));
    assert_eq!(mine.volumes["own"].source, VolumeSource::Data { path: "/data/a/b".into(), relative: "a/b".into() });
    assert_eq!(mine.volumes["shared"].source, VolumeSource::Host("/srv/models".into()));
    assert!(matches!(&mine.volumes["kept"].source, VolumeSource::Named(name) if name.as_str() == "kept"));
    assert!(
        matches!(&mine.health, Some(Health { test: HealthTest::Http { expected_status, .. }, .. }) if expected_status.contains(399))
    );
}

const NEWEST: &str = include_str!("../../../tests/data/newest.toml");

#[test]
fn the_newest_file_loads_as_it_is_and_what_has_no_effect_is_named() {
    let loaded = valid(NEWEST).refuse_unknown_restrictions().unwrap();
    let keys: Vec<_> = loaded.warnings.iter().map(|warning| warning.key().unwrap_or_default()).collect();
    assert_eq!(
        keys,
        [
            "services.comfyui.volumes.data",
            "services.comfyui.custom_nodes",
            "services.llamacpp.default_model_url",
            "services.open-webui.env.PORT",
            "services.llamacpp.command_args.port"
        ]
    );
    let services = &loaded.config.services;
    assert_eq!(
        services.keys().map(ServiceName::as_str).collect::<Vec<_>>(),
        ["ollama", "open-webui", "comfyui", "llamacpp"]
    );
    assert_eq!(services["ollama"].image.as_str(), "docker.io/ollama/ollama:latest");
    // The Python airpods has it on the host's network, on port 3000. Here the host's 3000 leads to
    // its 8080.
    assert_eq!(services["open-webui"].env["PORT"], "8080");
    assert_eq!(services["open-webui"].env["OLLAMA_BASE_URL"], "http://ollama:11434");
    assert_eq!(
        services["llamacpp"].command_args.as_ref().unwrap().join(" "),
        "--model /models/a-model.gguf --ctx-size 4096 --temp 0.5 --flash-attn --lora a --lora b --port 8080 --host 0.0.0.0"
    );
    // The built-in volume is left out: it would cover the folders around the file's own.
    assert_eq!(services["comfyui"].volumes.keys().collect::<Vec<_>>(), ["workspace", "models", "nodes"]);
    let shown = toml::to_string(&loaded.config.written().unwrap()).unwrap();
    assert_eq!(valid(&shown).config.services["llamacpp"], services["llamacpp"], "{shown}");
}

#[test]
fn only_the_service_s_own_port_of_the_host_is_taken_as_the_container_s() {
    let env = |text: &str, more: &str| {
        let text =
            format!("[services.mine]\nimage = 'localhost/mine'\nports = ['4000:8080']\nenv = {{ {text} }}\n{more}");
        valid(&text).config.services["mine"].env.clone()
    };
    assert_eq!(env("PORT = '{{ services.mine.ports.0.host }}'", "")["PORT"], "8080");
    assert_eq!(env("PORT = '{{services.mine.ports.0.host}}'", "network_mode = 'host'\n")["PORT"], "4000");
    assert_eq!(env("PORT = '1{{services.mine.ports.0.host}}'", "")["PORT"], "14000");
    assert_eq!(env("PUBLIC_PORT = '{{services.mine.ports.0.host}}'", "")["PUBLIC_PORT"], "4000");
    assert_eq!(env("PORT = '{{services.ollama.ports.0.host}}'", "")["PORT"], "11434");
}

#[test]
fn braces_in_an_array_of_arguments_are_the_program_s_own() {
    let config = valid("[services.mine]\nimage = 'localhost/mine'\ncommand_args = ['--template', '{{ .x }}']\n").config;
    assert_eq!(config.services["mine"].command_args.as_ref().unwrap()[1], "{{ .x }}");
    let wrong =
        problems("[services.mine]\nimage = 'localhost/mine'\ncommand_args = { model = '{{services.mine.none}}' }\n");
    assert!(wrong[0].contains("`services.mine.command_args`: the template `{{services.mine.none}}`"), "{wrong:?}");
    let wrong = problems("[services.mine]\nimage = 'localhost/mine'\ncommand_args = { lora = [{}] }\n");
    assert!(wrong[0].contains("`services.mine.command_args.lora.0`: a text is needed here"), "{wrong:?}");
}

#[test]
fn a_built_in_volume_gives_way_to_one_in_its_place_and_stays_beside_others() {
    let volumes = |text: &str| valid(text).config.services["comfyui"].volumes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(volumes("services.comfyui.volumes.out = './a:/out'\n".replace("./", "/").as_str()), ["data", "out"]);
    assert_eq!(volumes("services.comfyui.volumes.all = '/a:/root'\n"), ["all"]);
    assert_eq!(volumes("services.comfyui.volumes.near = '/a:/rootless'\n"), ["data", "near"]);
    let both = "[services.comfyui.volumes]\ndata.source = 'mine'\nmodels = '/a:/root/models'\n";
    assert_eq!(volumes(both), ["data", "models"]);
}

/// The configuration, loaded with our data folder and that of the Python airpods.
fn with_folders(text: Option<&str>, exists: fn(&Path) -> bool) -> Loaded {
    let places = Places {
        data_folder: Some("/own".into()),
        earlier_folder: Some("/earlier".into()),
        exists,
        ..Places::default()
    };
    parse_in(text.map(|text| Source::of_file("/etc/config.toml".into(), text.to_owned())), &places).unwrap()
}

fn path(loaded: &Loaded, service: &str, volume: &str) -> String {
    match &loaded.config.services[service].volumes[volume].source {
        VolumeSource::Data { path, .. } => path.display().to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn data_of_the_earlier_tool_is_used_where_it_is() {
    let loaded = with_folders(Some(NEWEST), |path| path == Path::new("/earlier/airpods_ollama_data"));
    assert_eq!(path(&loaded, "ollama", "data"), "/earlier/airpods_ollama_data");
    assert_eq!(path(&loaded, "llamacpp", "ollama_models"), "/earlier/airpods_ollama_data");
    assert_eq!(path(&loaded, "llamacpp", "models"), "/own/airpods_models/gguf");
}

#[test]
fn data_in_both_folders_is_used_from_ours_and_the_other_named() {
    let loaded = with_folders(Some("[services.ollama.volumes.data]\nsource = 'bind://mine'\n"), |_| true);
    assert_eq!(path(&loaded, "ollama", "data"), "/own/mine");
    let message = brief(&loaded.warnings[0]);
    assert!(
        message.contains("`services.ollama.volumes.data` is `/own/mine`") && message.contains("`/earlier/mine`"),
        "{message}"
    );
}

#[test]
fn without_a_file_the_folders_of_the_earlier_tool_are_found_too() {
    let loaded = with_folders(None, |path| path.starts_with("/earlier"));
    assert_eq!(path(&loaded, "ollama", "data"), "/earlier/airpods_ollama_data");
    assert_eq!(path(&loaded, "open-webui", "data"), "/earlier/airpods_webui_data");
    // The folder of the Python airpods has only a part of this volume.
    assert!(path(&loaded, "comfyui", "data").starts_with("Named"));
    assert!(path(&with_folders(None, |_| false), "ollama", "data").starts_with("Named"));
}

#[test]
fn the_earlier_tool_s_folder_is_that_of_its_file() {
    let home = environment(&[("HOME", "/h")]);
    let of = |environment: &Environment, file: Option<&str>| environment.earlier_home(file.map(Path::new));
    assert_eq!(of(&home, Some("/x/config.toml")), Some("/x".into()));
    assert_eq!(of(&home, Some("/x/configs/config.toml")), Some("/x".into()));
    assert_eq!(of(&home, None), Some("/h/.config/airpods".into()));
    assert_eq!(of(&environment(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")]), None), Some("/c/airpods".into()));
    assert_eq!(of(&environment(&[("HOME", "/h"), ("AIRPODS_HOME", "/a")]), Some("/x/config.toml")), Some("/a".into()));
    assert_eq!(home.earlier_secret(None), Some("/h/.config/airpods/configs/webui_secret".into()));
}
