//! The mixed example of the troubleshooting guide, unchanged.

use airpods_lab::{Image, Place};
use serde_json::json;

use crate::host::Host;

const EXAMPLE: &str = r#"
# config.toml - ComfyUI on host network, Ollama/WebUI on bridge

[runtime.network]
dns_servers = ["8.8.8.8", "1.1.1.1"]

[services.ollama]
network_mode = "pod"  # Keep on bridge for inter-service communication
network_aliases = ["ollama"]

[services.open-webui]
network_mode = "pod"  # Can reach Ollama via http://ollama:11434
network_aliases = ["webui", "open-webui"]
env.OLLAMA_BASE_URL = "http://ollama:11434"

[services.comfyui]
network_mode = "host"  # Bypass bridge for VPN compatibility
# No network_aliases needed in host mode
# Access via http://localhost:8188 from host
"#;

#[test]
fn the_mixed_example_of_the_guide_does_what_it_describes() {
    does_what_it_says(&Host::bare("root"));
}

/// The test for the podman of `host`, also used by `podman_5.rs`.
pub(crate) fn does_what_it_says(host: &Host) {
    let images = [
        ("docker.io/ollama/ollama:latest", 11434),
        ("ghcr.io/open-webui/open-webui:latest", 8080),
        ("docker.io/yanwk/comfyui-boot:cu128-slim", 8188),
    ];
    for (image, port) in images {
        Image::serving(image, port).import(&host.user).unwrap();
    }
    host.configure(EXAMPLE);
    let output = host.succeed("start");
    for url in ["http://localhost:11434/", "http://localhost:3000/", "http://localhost:8188/"] {
        assert!(output.err.contains(url), "{}", output.err);
    }

    let base = host.inside("open-webui-0", "env").out;
    assert!(base.contains("OLLAMA_BASE_URL=http://ollama:11434\n"), "{base}");
    let address = host.field("ollama-0", ".NetworkSettings.Networks.airpods_network.IPAddress");
    assert_eq!(host.inside("open-webui-0", "resolve ollama").out.trim(), address);
    let reached = host.inside("open-webui-0", "get http://ollama:11434/");
    assert_eq!(reached.code, 0, "{}", reached.err);

    let own = host.sandbox.sh("readlink /proc/1/ns/net").unwrap();
    let namespace = |container: &str| {
        let pid = host.field(container, ".State.Pid");
        host.sandbox.sh(&format!("readlink /proc/{pid}/ns/net")).unwrap()
    };
    assert_eq!(namespace("comfyui-0"), own, "comfyui is not on the host's network");
    assert_ne!(namespace("ollama-0"), own);
    for container in ["ollama-0", "open-webui-0", "comfyui-0"] {
        assert_eq!(host.inside(container, "pids-max").out.trim(), "2048", "{container}");
        assert_eq!(host.field(container, ".HostConfig.RestartPolicy.Name"), "unless-stopped");
    }

    let status = host.status();
    for service in status["services"].as_array().unwrap() {
        assert_eq!((&service["status"], &service["health"]["code"]), (&json!("running"), &json!(200)), "{service}");
    }
    let before = host.podman("ps --format '{{.ID}}'");
    let again = host.succeed("start");
    assert_eq!(host.podman("ps --format '{{.ID}}'"), before, "{}", again.err);

    host.succeed("stop --remove --yes");
    let left = "podman\nairpods_comfyui_data\nairpods_ollama_data\nairpods_webui_data";
    assert_eq!(host.inventory(), left, "only the volumes stay");
}
