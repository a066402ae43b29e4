//! `airpods import`: the files that it writes and keeps, and that its configuration can be
//! launched.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{airpods, assert_output};

const COMPOSE: &str = "services:\n  web:\n    image: docker.io/x/web:1\n    ports: ['8080:80']\n    volumes: ['./data:/data']\n    logging: { driver: json-file }\n";

#[test]
fn a_compose_file_becomes_a_configuration_beside_it_that_loads() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("stack")).unwrap();
    fs::write(home.path().join("stack/compose.yaml"), COMPOSE).unwrap();
    let run = |arguments: &str| airpods(home.path(), arguments).output().unwrap();
    let file = home.path().join("stack/config.toml");
    let (folder, path) = (home.path().join("stack"), file.display());
    let expected = format!(
        "warning: line 6: `services.web.logging`: not carried over: podman's own log driver is used\n\
         warning: `{}` is missing: create it before the start\nwrote {path} with web\nnext: airpods --config {path} start --dry-run\n",
        folder.join("data").display()
    );
    assert_output(&run("import stack/compose.yaml"), 0, "", &expected);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_output(&run("--config stack/config.toml config get services.web.ports.0.host"), 0, "8080\n", "");
    assert_eq!(run("--config stack/config.toml config validate").status.code(), Some(0));
    assert_eq!(run("--config stack/config.toml export quadlet").status.code(), Some(0));
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_forced() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("compose.yaml"), COMPOSE).unwrap();
    fs::write(home.path().join("config.toml"), "mine").unwrap();
    let run = |arguments: &str| airpods(home.path(), arguments).output().unwrap();
    let refused = run("import compose.yaml");
    assert_eq!(refused.status.code(), Some(1));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("exists") && stderr.contains("`--force` replaces it"), "{stderr}");
    assert_eq!(fs::read_to_string(home.path().join("config.toml")).unwrap(), "mine");
    assert_eq!(run("import compose.yaml --force").status.code(), Some(0));
    assert_ne!(fs::read_to_string(home.path().join("config.toml")).unwrap(), "mine");
}

#[test]
fn a_minus_prints_and_writes_nothing() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("compose.yaml"), COMPOSE).unwrap();
    let output = airpods(home.path(), "import compose.yaml -o -").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("# Written by `airpods import` from compose.yaml.\n"), "{text}");
    let json = airpods(home.path(), "import compose.yaml -o - --json").output().unwrap();
    assert!(json.stderr.is_empty(), "{json:?}");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json["file"].is_null(), json["services"][0].as_str()), (true, Some("web")));
    assert_eq!((json["text"].as_str(), json["not_carried_over"][0]["line"].as_u64()), (Some(text.as_str()), Some(6)));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "something was written");
}

#[test]
fn a_folder_of_units_becomes_one_configuration_and_a_unit_one_service() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    write("a.container", "[Container]\nImage=docker.io/x/a:1\nVolume=kept.volume:/kept\n");
    write("b.container", "[Container]\nImage=docker.io/x/b:1\n");
    write("kept.volume", "[Volume]\nVolumeName=mine\n");
    write("notes.txt", "no unit");
    let text = |arguments: &str| String::from_utf8(airpods(home.path(), arguments).output().unwrap().stdout).unwrap();
    let all = text("import . -o -");
    assert!(all.contains("[services.a]") && all.contains("[services.b]") && all.contains("source = \"mine\""), "{all}");
    let one = text("import a.container -o -");
    assert!(!one.contains("[services.b]") && one.contains("source = \"mine\""), "{one}");
}

#[test]
fn a_file_of_neither_format_is_an_error_and_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    for (text, code) in [("a: [", 10), ("nothing: here\n", 10), ("\u{0}", 10)] {
        fs::write(home.path().join("compose.yaml"), text).unwrap();
        let output = airpods(home.path(), "import compose.yaml").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
    assert_eq!(airpods(home.path(), "import none.yaml").output().unwrap().status.code(), Some(2));
    assert!(!home.path().join("config.toml").exists());
}

#[test]
fn a_file_of_variables_that_is_not_there_yet_is_named() {
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join("compose.yaml"),
        "services:\n  a:\n    image: docker.io/x/a:1\n    env_file: keys.env\n",
    )
    .unwrap();
    let output = airpods(home.path(), "import compose.yaml").output().unwrap();
    assert_eq!(output.status.code(), Some(10));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("wrote ") && stderr.contains("keys.env` cannot be read"), "{stderr}");
    fs::write(home.path().join("keys.env"), "A=1\n").unwrap();
    assert_eq!(airpods(home.path(), "--config config.toml config validate").output().unwrap().status.code(), Some(0));
}
