//! `airpods config`: where a configuration is, what it says, and what is wrong with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{airpods, assert_output};

#[test]
fn init_writes_a_file_that_is_found_valid_and_the_same_as_the_defaults() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &str| airpods(home.path(), arguments).output().unwrap();
    assert_output(&run("config path"), 0, "", "there is no configuration file, the built-in defaults are used\n");
    assert_output(&run("config path --json"), 0, "{\n  \"file\": null\n}\n", "");
    let defaults = run("config show").stdout;

    let file = home.path().join(".config/airpods/config.toml").display().to_string();
    assert_output(&run("config init"), 0, "", &format!("created {file}\n"));
    assert_output(&run("config path"), 0, &format!("{file}\n"), "");
    assert_output(&run("config init"), 1, "", &format!("error: `{file}` exists\nhint: `--force` replaces it\n"));
    fs::write(&file, "x").unwrap();
    assert_output(&run("config init -f"), 0, "", &format!("created {file}\n"));

    assert_output(&run("config show"), 0, &String::from_utf8(defaults).unwrap(), "");
    let files = fs::read_dir(home.path().join(".config/airpods")).unwrap().count();
    assert_eq!(files, 1, "nothing temporary is left");
}

#[test]
fn show_prints_json_in_both_spellings() {
    let home = tempfile::tempdir().unwrap();
    for arguments in ["config show --json", "config show -f json"] {
        let output = airpods(home.path(), arguments).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["services"]["open-webui"]["env"]["OLLAMA_BASE_URL"], "http://ollama:11434");
    }
}

#[test]
fn an_invalid_file_is_reported_with_its_place_and_its_own_exit_code() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("my.toml"), "[runtime]\nnetwork_name = 5\n").unwrap();
    let expected = "error: `runtime.network_name`: a text is needed here, not a whole number\n  --> my.toml:2:16\n   |\n \
                    2 | network_name = 5\n   |                ^\n";
    for arguments in ["config validate", "config show", "config get cli.debug", "start --dry-run", "status"] {
        let output = airpods(home.path(), &format!("--config my.toml {arguments}")).output().unwrap();
        assert_output(&output, 10, "", expected);
    }
    assert_output(&airpods(home.path(), "--config my.toml config path").output().unwrap(), 0, "my.toml\n", "");
}

#[test]
fn an_unknown_key_is_a_warning_that_only_validate_refuses() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("my.toml"), "[runtime]\nnetwork_nme = \"x\"\n").unwrap();
    let told_of = |word: &str| {
        format!(
            "{word}: unknown key `network_nme` in `runtime`\n  --> my.toml:2:1\n   |\n 2 | network_nme = \"x\"\n   \
             | ^^^^^^^^^^^\nhint: did you mean `network_name`?\n"
        )
    };
    let output = airpods(home.path(), "--config my.toml config get runtime.network_name").output().unwrap();
    assert_output(&output, 0, "airpods_network\n", &told_of("warning"));
    let output = airpods(home.path(), "--config my.toml config validate").output().unwrap();
    assert_output(&output, 10, "", &told_of("error"));
}

#[test]
fn validate_prints_json_about_a_wrong_file_and_a_missing_one_too() {
    let home = tempfile::tempdir().unwrap();
    let report = |arguments: &str| {
        let output = airpods(home.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(10));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("error: "), "a person is told as well: {stderr}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    fs::write(home.path().join("my.toml"), "cli.log_lines = 0\nruntime.cuda_version = 'x'\na = 1\n").unwrap();
    let json = report("--config my.toml config validate --json");
    assert_eq!((&json["valid"], &json["file"]), (&false.into(), &"my.toml".into()));
    let error = &json["errors"][0];
    assert_eq!((&error["line"], &error["column"], &error["file"]), (&1.into(), &17.into(), &"my.toml".into()));
    assert_eq!(error["message"], "`cli.log_lines`: 0 is not within 1 to 10000");
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2);

    let json = report("--config missing.toml config validate --json");
    assert_eq!(json["errors"][0]["message"], "there is no file `missing.toml`, which `--config` names");
}

#[test]
fn a_file_that_is_named_must_exist() {
    let home = tempfile::tempdir().unwrap();
    let output = airpods(home.path(), "config show").env("AIRPODS_CONFIG", "/nonexistent.toml").output().unwrap();
    let expected = "error: there is no file `/nonexistent.toml`, which `$AIRPODS_CONFIG` names\n\
                    hint: `airpods config init` creates one\n";
    assert_output(&output, 10, "", expected);
}

#[test]
fn a_dangling_link_is_reported_and_not_skipped() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/airpods");
    fs::create_dir_all(&folder).unwrap();
    let link = folder.join("config.toml");
    symlink("dotfiles/airpods.toml", &link).unwrap();
    let expected = |link: &Path, target: &str| {
        format!(
            "error: `{}` cannot be read: the link leads to `{target}`, which is not there\n\
             hint: bring back what it leads to, or remove the link\n",
            link.display()
        )
    };
    for arguments in ["config path", "config show", "config set cli.log_lines 5", "config reset -f", "status"] {
        let output = airpods(home.path(), arguments).output().unwrap();
        assert_output(&output, 10, "", &expected(&link, "dotfiles/airpods.toml"));
    }
    assert!(link.is_symlink());
    // One that is named must exist, however it is missing.
    let output = airpods(home.path(), "--config .config/airpods/config.toml config show").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: there is no file"), "{output:?}");

    fs::remove_file(&link).unwrap();
    fs::remove_dir(&folder).unwrap();
    symlink("/nonexistent/airpods", &folder).unwrap();
    assert_output(
        &airpods(home.path(), "config show").output().unwrap(),
        10,
        "",
        &expected(&folder, "/nonexistent/airpods"),
    );
}

#[test]
fn a_configuration_of_the_current_folder_is_never_taken() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".git")).unwrap();
    fs::write(home.path().join("config.toml"), "this is not TOML").unwrap();
    assert_eq!(airpods(home.path(), "config validate").output().unwrap().status.code(), Some(0));
}

#[test]
fn validate_counts_services_and_prints_warnings() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("my.toml"), "runtime.cuda_version = '12.8'\nservices.comfyui.enabled = false\n")
        .unwrap();
    let output = airpods(home.path(), "--config my.toml config validate --json").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["valid"], &json["services"], &json["enabled"]), (&true.into(), &3.into(), &2.into()));
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("warning: `runtime.cuda_version` has no effect"));
}
