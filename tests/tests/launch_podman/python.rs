//! Starts the newest default configuration of the Python airpods unchanged.

use airpods_lab::{CommandOutput, Image, Place};

use crate::host::Host;

const NEWEST: &str = include_str!("../../../client/tests/data/newest.toml");

/// The folder of that tool.
const HOME: &str = "/root/.config/airpods";

const SECRET: &str = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy_-1";

/// Runs the command, which finds the file by itself.
#[track_caller]
fn succeed(host: &Host, arguments: &str) -> CommandOutput {
    let mut command = host.user.command("airpods");
    let output = CommandOutput::of(command.env("HOME", "/root").args(arguments.split_whitespace())).unwrap();
    assert_eq!(output.code, 0, "airpods {arguments}: {output:?}");
    output
}

#[test]
fn the_newest_file_starts_with_its_data_and_secret_and_names_the_data_folder_once() {
    let host = Host::bare("root");
    let images = [
        ("docker.io/ollama/ollama:latest", 11434),
        ("ghcr.io/open-webui/open-webui:latest", 8080),
        ("docker.io/yanwk/comfyui-boot:cu128-slim", 8188),
    ];
    for (image, port) in images {
        Image::serving(image, port).import(&host.user).unwrap();
    }
    host.sandbox.write_file(&format!("{HOME}/config.toml"), NEWEST).unwrap();
    host.sandbox.write_file(&format!("{HOME}/volumes/airpods_ollama_data/models/a"), "a model").unwrap();
    host.sandbox.write_file(&format!("{HOME}/configs/webui_secret"), SECRET).unwrap();
    host.sandbox.sh(&format!("chmod 644 {HOME}/configs/webui_secret")).unwrap();

    // The laboratory's image does not accept these arguments, so this service is only planned.
    let planned = succeed(&host, "start --dry-run llamacpp").out;
    assert!(planned.contains("--model /models/a-model.gguf --ctx-size 4096"), "{planned}");

    let first = succeed(&host, "start --cpu ollama open-webui comfyui");
    let told = format!("`ollama` uses the data of the Python airpods in {HOME}/volumes/airpods_ollama_data\n");
    assert_eq!(first.err.matches(&told).count(), 1, "{}", first.err);
    let mounts = host.field("ollama-0", ".Mounts");
    assert!(mounts.contains(&format!("{HOME}/volumes/airpods_ollama_data")), "{mounts}");
    let env = host.inside("open-webui-0", "env").out;
    assert!(env.contains(&format!("WEBUI_SECRET_KEY={SECRET}\n")), "everybody would be logged out: {env}");
    let reached = host.inside("open-webui-0", "get http://ollama:11434/");
    assert_eq!(reached.code, 0, "{}", reached.err);

    let again = succeed(&host, "start --cpu ollama open-webui comfyui");
    assert!(!again.err.contains("uses the data of the Python airpods"), "{}", again.err);
}
