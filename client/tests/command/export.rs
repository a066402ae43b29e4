//! `airpods export`: where files go, who may read them, and what stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{airpods, assert_output};

#[test]
fn units_are_written_into_a_folder_and_those_that_are_there_stay() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &str| airpods(home.path(), arguments).output().unwrap();
    let output = run("export quadlet --dir units open-webui");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mode = |name: &str| fs::metadata(home.path().join("units").join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("airpods-open-webui.container"), mode("airpods-open-webui.env")), (0o644, 0o600));
    let secret = fs::read_to_string(home.path().join(".local/state/airpods/webui-secret")).unwrap();
    let env = fs::read_to_string(home.path().join("units/airpods-open-webui.env")).unwrap();
    assert_eq!(env, format!("WEBUI_SECRET_KEY={secret}"));

    fs::remove_file(home.path().join("units/airpods-open-webui.container")).unwrap();
    let output = run("export quadlet --dir units open-webui");
    let expected = "error: `units/airpods_network.network`, `units/airpods-open-webui.env` exists\n\
                    hint: nothing was written; `--force` replaces existing files\n";
    assert_output(&output, 1, "", expected);
    assert!(!home.path().join("units/airpods-open-webui.container").exists());
    assert_eq!(run("export quadlet --dir units open-webui --force").status.code(), Some(0));
    assert_eq!(mode("airpods-open-webui.container"), 0o644);
}

#[test]
fn printed_output_contains_and_creates_no_secret() {
    let home = tempfile::tempdir().unwrap();
    for arguments in ["export quadlet", "export kube"] {
        let output = airpods(home.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("its owner alone"), "{stderr}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("docker.io/ollama/ollama:latest"));
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "something was written");
}

#[test]
fn a_file_of_yaml_with_a_secret_is_private_and_one_without_is_not() {
    let home = tempfile::tempdir().unwrap();
    for (services, mode) in [("open-webui", 0o600), ("ollama", 0o644)] {
        let output = airpods(home.path(), &format!("export kube -f -o a.yaml {services}")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(fs::metadata(home.path().join("a.yaml")).unwrap().permissions().mode() & 0o777, mode);
    }
}

#[test]
fn a_service_that_there_is_not_is_a_usage_error() {
    let home = tempfile::tempdir().unwrap();
    let output = airpods(home.path(), "export kube olama").output().unwrap();
    assert_output(
        &output,
        2,
        "",
        "error: there is no service `olama` in the configuration\nhint: did you mean `ollama`?\n",
    );
}

#[test]
fn units_are_given_the_secret_and_the_data_of_the_python_airpods() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/airpods");
    fs::create_dir_all(folder.join("configs")).unwrap();
    fs::create_dir_all(folder.join("volumes/airpods_webui_data")).unwrap();
    fs::write(folder.join("configs/config.toml"), include_str!("../data/newest.toml")).unwrap();
    let secret = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy";
    fs::write(folder.join("configs/webui_secret"), secret).unwrap();
    let output = airpods(home.path(), "export quadlet --dir units").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let unit = |name: &str| fs::read_to_string(home.path().join("units").join(name)).unwrap();
    assert_eq!(unit("airpods-open-webui.env"), format!("WEBUI_SECRET_KEY={secret}\n"));
    let (container, data) = (unit("airpods-open-webui.container"), folder.join("volumes/airpods_webui_data"));
    assert!(container.contains(&format!("Volume={}:/app/backend/data:z", data.display())), "{container}");
    assert_eq!(fs::read_to_string(folder.join("configs/webui_secret")).unwrap(), secret);
}
