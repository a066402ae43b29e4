//! Imports as values: the text of a file in, the text of a configuration and notes out. Every
//! resulting configuration must load.

#![allow(clippy::unwrap_used, clippy::panic)]

mod needs;
mod units;

use std::path::Path;

use super::*;
use crate::config::Config;

/// The folders, variables and files for a configuration in `/srv/stack`.
fn places() -> Places {
    Places {
        data_folder: Some("/data".into()),
        file_folder: Some("/srv/stack".into()),
        home: Some("/home/alice".into()),
        variables: [("HOME", "/home/alice"), ("SET", "of the environment")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        read: |path| match path.to_str() {
            Some("/srv/stack/keys.env") => Ok("KEY=abc\n".to_owned()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        },
        ..Places::default()
    }
}

fn import_to(output: &str, path: &str, text: &str) -> Result<Imported, ImportError> {
    let places = places();
    let path = Path::new(path);
    let paths = ImportPaths { path, folder: path.parent().unwrap(), output: Path::new(output), places: &places };
    compose(&paths, text)
}

/// The text of the configuration, and the notes. The text must load.
fn of_compose(text: &str) -> (String, Vec<String>) {
    text_and_notes(import_to("/srv/stack/config.toml", "/srv/stack/compose.yaml", text).unwrap())
}

fn units(files: &[(&str, &str)], only: Option<&str>) -> Result<Imported, ImportError> {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let places = places();
    let folder = Path::new("/srv/stack");
    let paths = ImportPaths { path: folder, folder, output: Path::new("/srv/stack/config.toml"), places: &places };
    quadlet(&paths, files, only)
}

fn of_units(files: &[(&str, &str)]) -> (String, Vec<String>) {
    text_and_notes(units(files, None).unwrap())
}

fn text_and_notes(imported: Imported) -> (String, Vec<String>) {
    loaded(&imported.text);
    (imported.text, imported.notes.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn loaded(text: &str) -> Config {
    let source = Source::of_file("/srv/stack/config.toml".into(), text.to_owned());
    let loaded = config::parse_in(Some(source), &places()).unwrap_or_else(|error| panic!("{text}\n{error:?}"));
    assert_eq!(loaded.warnings, [], "{text}");
    loaded.config
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|there| there == *line), "no line `{line}` in\n{text}");
    }
}

const STACK: &str = r#"
services:
  ollama:
    image: ollama/ollama
    ports: ["127.0.0.1:11434:11434"]
    volumes:
      - models:/root/.ollama
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              count: all
              capabilities: [gpu]
    restart: unless-stopped
    healthcheck: { test: [CMD, ollama, list] }
  webui:
    image: ghcr.io/open-webui/open-webui:main
    depends_on:
      ollama: { condition: service_healthy }
    environment:
      - OLLAMA_BASE_URL=http://ollama:11434
      - WEBUI_NAME=$${NAME}
    ports:
      - target: 8080
        published: "3000"
    volumes: ["./data:/app/backend/data:ro"]
volumes:
  models: {}
"#;

#[test]
fn the_usual_stack_is_carried_over_whole() {
    let (text, notes) = of_compose(STACK);
    has(
        &text,
        &[
            "built_in_services = false",
            "restart_policy = \"no\"",
            "image = \"docker.io/ollama/ollama:latest\"",
            "ports = [\"127.0.0.1:11434:11434\"]",
            "data = { source = \"./data\", target = \"/app/backend/data\", read_only = true }",
            "depends_on = { ollama = \"healthy\" }",
            "ports = [\"3000:8080\"]",
            "restart_policy = \"unless-stopped\"",
            "OLLAMA_BASE_URL = \"http://ollama:11434\"",
        ],
    );
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn a_volume_keeps_the_name_that_compose_gave_it_so_that_its_content_is_found() {
    let (text, _) = of_compose(STACK);
    assert!(text.contains("source = \"stack_models\""), "{text}");
    let named = STACK.replace("models: {}", "models: { external: true }");
    assert!(of_compose(&named).0.contains("source = \"models\""));
    let named = format!("name: mine\n{STACK}");
    assert!(of_compose(&named).0.contains("source = \"mine_models\""));
}

#[test]
fn only_a_service_that_asks_for_a_gpu_gets_one() {
    let (text, _) = of_compose(STACK);
    let (ollama, webui) = text.split_once("[services.webui]").unwrap();
    assert!(ollama.contains("gpu = { enabled = true }") && webui.contains("gpu = { enabled = false }"), "{text}");
}

#[test]
fn settings_that_are_not_carried_over_are_named_with_their_line() {
    let text = "services:\n  a:\n    image: docker.io/a/b:1\n    sysctls: {a: b}\n    frobnicate: 1\nsecrets:\n  s: {external: true}\n";
    let (_, notes) = of_compose(text);
    let begins = |note: &str, begin: &str| assert!(note.starts_with(begin), "{notes:?}");
    assert_eq!(notes.len(), 3, "{notes:?}");
    begins(&notes[0], "line 4: `services.a.sysctls`: ");
    begins(&notes[1], "line 5: `services.a.frobnicate`: ");
    begins(&notes[2], "line 7: `secrets.s`: ");
}

#[test]
fn a_service_that_is_built_gets_a_local_image_and_a_note() {
    let (text, notes) = of_compose("services:\n  a:\n    build: .\n");
    assert!(text.contains("image = \"localhost/a:latest\""));
    assert!(notes.iter().any(|note| note.contains("podman build")), "{notes:?}");
}

#[test]
fn a_network_that_exists_is_used_by_the_services_that_are_on_it() {
    let text = "services:\n  a:\n    image: docker.io/a/b:1\n    networks: [proxy]\nnetworks:\n  proxy: { external: true, name: traefik }\n";
    let (toml, notes) = of_compose(text);
    has(&toml, &["networks = [\"traefik\"]"]);
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn a_service_whose_end_is_waited_for_runs_once() {
    let text = "services:\n  pull:\n    image: docker.io/a/b:1\n  web:\n    image: docker.io/a/c:1\n    depends_on:\n      pull: { condition: service_completed_successfully }\n";
    has(&of_compose(text).0, &["oneshot = true", "depends_on = { pull = \"completed\" }"]);
}

#[test]
fn a_file_without_services_is_an_error() {
    for text in ["services: {}\n", "volumes: {}\n", "[]\n", ""] {
        let error = import_to("/srv/stack/config.toml", "/srv/stack/compose.yaml", text).unwrap_err();
        assert!(matches!(error, ImportError::Empty { .. }), "{text}: {error}");
    }
    assert!(units(&[("a.volume", "")], None).is_err());
    let broken = import_to("/srv/stack/config.toml", "/srv/stack/compose.yaml", "services: [\n").unwrap_err();
    assert!(matches!(broken, ImportError::Yaml { .. }), "{broken}");
}

#[test]
fn a_value_that_the_configuration_refuses_is_left_out_and_named_with_its_line() {
    let (text, notes) = of_compose(
        "services:\n  a:\n    image: docker.io/x/a:1\n    ipc: service:b\n    ports:\n      - '80:80'\n      - 'web:81'\n      - '82:82'\n    \
         security_opt: [apparmor=x, writable-cgroups=true]\n    volumes: ['a/b:/x', 'kept:/y']\n    labels: {io.airpods.x: y}\n",
    );
    let config = loaded(&text);
    let service = &config.services["a"];
    assert_eq!(service.ports.iter().map(|port| port.host.first().get()).collect::<Vec<_>>(), [80, 82]);
    assert_eq!((service.volumes.len(), service.labels.len()), (1, 0));
    let begins: Vec<_> = notes.iter().map(|note| note.split("`: ").next().unwrap()).collect();
    assert_eq!(
        begins,
        [
            "line 4: `services.a.ipc",
            "line 7: `services.a.ports",
            "line 9: `services.a.security_opt",
            "line 10: `services.a.volumes",
            "line 11: `services.a.labels"
        ],
        "{notes:?}"
    );
}

#[test]
fn a_dependency_is_met_as_far_as_it_can_be() {
    let (text, notes) = of_compose(
        "services:\n  db:\n    image: docker.io/x/db:1\n  off:\n    image: docker.io/x/off:1\n    profiles: [more]\n  a:\n    image: \
         docker.io/x/a:1\n    depends_on:\n      db: {condition: service_healthy}\n      off: {condition: service_started}\n",
    );
    has(&text, &["depends_on = { db = \"started\" }"]);
    assert!(notes[1].starts_with("line 10: `services.a.depends_on`: `db` has no health check"), "{notes:?}");
    assert!(notes[2].starts_with("line 11: `services.a.depends_on`: `off` is switched off"), "{notes:?}");
}

#[test]
fn a_variable_that_is_not_set_is_named_and_empty_as_compose_has_it() {
    let (text, notes) = of_compose(
        "services:\n  a:\n    image: docker.io/x/a:1\n    environment:\n      - KEY=$MISSING\n      - GIVEN\n",
    );
    assert_eq!(loaded(&text).services["a"].env["KEY"], "");
    assert!(notes[0].starts_with("line 5: `services.a.environment`: the variable `MISSING` is not set"), "{notes:?}");
    assert!(notes[1].starts_with("line 6: `services.a.environment.GIVEN`: taken from the environment"), "{notes:?}");
}

#[test]
fn a_configuration_elsewhere_finds_the_same_files() {
    let text = "services:\n  a:\n    image: docker.io/x/a:1\n    volumes: ['./data:/data', 'kept:/kept']\n    env_file: keys.env\n";
    let imported = import_to("/home/alice/config.toml", "/srv/stack/compose.yaml", text).unwrap();
    let service = &loaded(&imported.text).services["a"];
    let source = |name: &str| format!("{:?}", service.volumes[name].source);
    assert_eq!(source("data"), "Host(\"/srv/stack/./data\")");
    assert_eq!(source("kept"), "Named(ObjectName(\"kept\"))");
    assert_eq!(service.env_file[0].path, Path::new("/srv/stack/keys.env"));
}
