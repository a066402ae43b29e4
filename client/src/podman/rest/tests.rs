#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};

use super::*;
use crate::podman::{ContainerState, Endpoint, Fixed, Limits, Mount, Networking, Options, Relabel, Restart};
use crate::port::{HostPort, PublishedPort};

fn endpoint() -> Endpoint {
    Endpoint {
        network: "airpods_network".into(),
        aliases: vec!["ollama".into()],
        ports: vec![PublishedPort { host: HostPort::tcp(3000), container: 8080 }],
        dns_servers: vec!["192.0.2.53".parse().unwrap()],
        hosts: Vec::new(),
        further: Vec::new(),
        host_name: Some("outside".into()),
        fixed_place: None,
        fixed: Some(Fixed {
            address: "10.89.0.254".parse().unwrap(),
            hosts: vec![("webui".into(), "10.89.0.253".parse().unwrap())],
        }),
    }
}

fn container(networking: Networking) -> ContainerSpec {
    ContainerSpec {
        name: "ollama-0".into(),
        image: "docker.io/ollama/ollama:latest".into(),
        networking,
        env: [("A".into(), "b".into())].into(),
        secret_env: [
            ("WEBUI_SECRET_KEY".into(), crate::podman::SecretSource::WebUi),
            ("OPENAI_API_KEY".into(), crate::podman::SecretSource::Podman("openai".into())),
        ]
        .into(),
        command: Some(vec!["serve".into()]),
        entrypoint: None,
        mounts: vec![
            Mount::Volume { name: "kept".into(), target: "/kept".into(), read_only: false },
            Mount::Bind { source: "/src".into(), target: "/dst".into(), read_only: true, relabel: Relabel::Shared },
        ],
        limits: Limits { pids: 2048, memory: Some(1 << 20), cpus: Some(1.5) },
        restart: Restart::UnlessStopped,
        gpu: vec!["nvidia.com/gpu=all".into()],
        devices: vec!["/dev/fuse".into()],
        options: Options::default(),
        hosts: vec!["db:192.0.2.7".into()],
        health: Some(vec!["CMD-SHELL".into(), "true".into()]),
        health_timeout: None,
        label_disable: true,
        labels: [("io.airpods.service".into(), "ollama".into())].into(),
    }
}

fn body(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn a_container_is_encoded_as_libpod_reads_it() {
    let network = json!({ "airpods_network": { "aliases": ["ollama"], "static_ips": ["10.89.0.254"] } });
    assert_eq!(
        body(ContainerBody::from(&container(Networking::Own(endpoint())))),
        json!({
            "name": "ollama-0",
            "image": "docker.io/ollama/ollama:latest",
            "labels": { "io.airpods.service": "ollama" },
            "netns": { "nsmode": "bridge" },
            "Networks": network,
            "portmappings": [{ "host_port": 3000, "container_port": 8080, "protocol": "tcp" }],
            "dns_server": ["192.0.2.53"],
            "hostadd": ["webui:10.89.0.253", "outside:host-gateway", "db:192.0.2.7"],
            "env": { "A": "b" },
            "secret_env": { "OPENAI_API_KEY": "openai" },
            "command": ["serve"],
            "mounts": [{ "type": "bind", "source": "/src", "destination": "/dst", "options": ["rbind", "ro", "z"] }],
            "volumes": [{ "Name": "kept", "Dest": "/kept" }],
            "resource_limits": {
                "pids": { "limit": 2048 },
                "memory": { "limit": 1 << 20 },
                "cpu": { "quota": 150_000, "period": 100_000 },
            },
            "restart_policy": "unless-stopped",
            "devices": [{ "path": "nvidia.com/gpu=all" }, { "path": "/dev/fuse" }],
            "healthconfig": { "Test": ["CMD-SHELL", "true"], "Timeout": 30_000_000_000_u64, "Retries": 1 },
            "selinux_opts": ["disable"],
            "annotations": { "io.podman.annotations.label": "disable" },
        })
    );
}

#[test]
fn a_container_in_a_pod_leaves_the_network_to_the_pod() {
    let inside = body(ContainerBody::from(&container(Networking::Pod("ai".into()))));
    assert_eq!(inside["pod"], "ai");
    for key in ["netns", "Networks", "portmappings", "dns_server", "hostadd"] {
        assert_eq!(inside.get(key), None, "{key}");
    }
    let pod = body(PodBody::from(&PodSpec { name: "ai".into(), endpoint: endpoint(), labels: [].into() }));
    assert_eq!(pod["dns_server"], json!(["192.0.2.53"]));
    assert_eq!(pod["Networks"]["airpods_network"]["aliases"], json!(["ollama"]));
}

#[test]
fn a_container_on_the_hosts_network_has_nothing_of_ours() {
    let host = body(ContainerBody::from(&container(Networking::Host)));
    assert_eq!((&host["netns"], host.get("portmappings")), (&json!({ "nsmode": "host" }), None));
}

#[test]
fn a_network_is_encoded_with_what_is_configured_only() {
    let mut spec = NetworkSpec {
        name: "n".into(),
        external: false,
        driver: "bridge".into(),
        subnet: None,
        gateway: None,
        ipv6: false,
        internal: false,
        mtu: None,
        labels: [].into(),
    };
    let plain = json!({
        "name": "n", "driver": "bridge", "ipv6_enabled": false, "internal": false, "dns_enabled": true, "labels": {},
    });
    assert_eq!(body(NetworkBody::from(&spec)), plain);
    spec.subnet = Some("10.89.3.4/16".parse().unwrap());
    spec.gateway = Some("10.89.0.1".parse().unwrap());
    spec.mtu = Some(1380);
    let full = body(NetworkBody::from(&spec));
    assert_eq!(full["subnets"], json!([{ "subnet": "10.89.0.0/16", "gateway": "10.89.0.1" }]));
    assert_eq!(full["options"], json!({ "mtu": "1380" }));
}

#[test]
fn a_listed_container_is_read_from_podman_4_and_5() {
    // podman 4.3.1's answer, shortened; 5.4 adds fields.
    let answer = json!({
        "Command": ["sleep"], "ExitedAt": -62_135_596_800_i64, "ExitCode": 0, "Id": "46", "Image": "i", "IsInfra": false,
        "Labels": null, "Names": ["ollama-0"], "Networks": [], "Pid": 385, "Pod": "da", "PodName": "ollama",
        "Ports": [{ "host_ip": "", "container_port": 80, "host_port": 8000, "range": 2, "protocol": "tcp" }],
        "StartedAt": 1_795_462_979_i64, "State": "running", "Status": "",
    });
    let container: Container = serde_json::from_value::<ContainerAnswer>(answer).unwrap().into();
    assert_eq!(container.state, ContainerState::Running);
    assert_eq!(
        (container.pod.as_deref(), container.host_ports.as_slice()),
        (Some("ollama"), [8000, 8001].map(HostPort::tcp).as_slice())
    );
    assert_eq!((container.started_at, container.exited_at), (Some(1_795_462_979), None));
}

#[test]
fn an_inspected_container_is_read_with_the_name_servers_of_its_pod() {
    let answer = json!({
        "Id": "46", "RestartCount": 1,
        "State": { "Status": "exited", "Pid": 0, "ExitCode": 3, "OOMKilled": true, "StoppedByUser": true },
        "HostConfig": {
            "NetworkMode": "container:b89a", "PidsLimit": 777, "Dns": [], "Memory": 0, "NanoCpus": 0,
            "RestartPolicy": { "Name": "" },
        },
        "NetworkSettings": {
            "Ports": { "80/tcp": [{ "HostIp": "", "HostPort": "8000" }], "81/tcp": null },
            "Networks": { "n": { "Aliases": ["a"] } },
        },
    });
    let answer: DetailAnswer = serde_json::from_value(answer).unwrap();
    assert_eq!(answer.network_owner(), Some("b89a"));
    let detail = answer.into_detail(Names { dns_servers: vec!["192.0.2.53".parse().unwrap()], hosts: Vec::new() });
    assert_eq!(detail.state, ContainerState::Exited(3));
    assert!(detail.oom_killed && detail.stopped_by_user);
    assert_eq!((detail.pids_limit, detail.restart.as_str(), detail.pid), (777, "no", None));
    assert_eq!(detail.ports, [PublishedPort { host: HostPort::tcp(8000), container: 80 }]);
    assert_eq!(detail.networks["n"], ["a"]);
}

#[test]
fn a_pulls_report_is_progress_or_its_failure() {
    let mut seen = Vec::new();
    let mut keep = |progress| seen.push(progress);
    let line = br#"{"status":"Downloading","progressDetail":{"current":10,"total":30},"id":"abc"}"#;
    report(line, &mut keep).unwrap();
    report(b"  ", &mut keep).unwrap();
    let failed = report(br#"{"error":"manifest unknown","errorDetail":{"message":"manifest unknown"}}"#, &mut keep);
    assert_eq!(failed.unwrap_err().message(), "manifest unknown");
    let expected = PullProgress { layer: "abc".into(), status: "Downloading".into(), bytes: Some((10, 30)) };
    assert_eq!(seen, [expected]);
}

#[test]
fn names_are_escaped_in_paths() {
    let options = LogOptions { follow: true, tail: Some(3), since: Some("2026-01-01T00:00:00+01:00".into()) };
    assert_eq!(
        log_path("a?b#c d", &options),
        "/containers/a%3Fb%23c%20d/logs?stdout=true&stderr=true&timestamps=true&follow=true&tail=3&since=2026-01-01T00:00:00%2B01:00"
    );
}

/// A podman that answers each request with this head and, if there is a piece, repeats that for
/// ever.
fn serve(head: &str, piece: Option<Vec<u8>>) -> (tempfile::TempDir, Rest) {
    serve_in_turn(&[head], piece)
}

/// The same with one head per request; the last one answers all further requests.
fn serve_in_turn(heads: &[&str], piece: Option<Vec<u8>>) -> (tempfile::TempDir, Rest) {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("podman.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    std::thread::spawn(move || {
        for (number, mut stream) in listener.incoming().flatten().enumerate() {
            let (head, piece) = (heads[number.min(heads.len() - 1)].clone(), piece.clone());
            std::thread::spawn(move || {
                // The thread ends when the client closes the connection.
                let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(head.as_bytes()));
                while piece.as_ref().is_some_and(|piece| stream.write_all(piece).is_ok()) {}
            });
        }
    });
    let version = Version { major: 4, minor: 3 };
    let rest = Rest {
        http: Http { socket },
        version,
        version_text: "4.3.1".into(),
        rootless: true,
        shares_pids: true,
        left_out: Mutex::default(),
    };
    (folder, rest)
}

const ENDLESS: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";

#[tokio::test]
async fn an_answer_that_never_ends_is_an_error_and_not_all_of_the_memory() {
    let (_folder, podman) = serve(ENDLESS, Some(vec![b' '; 1 << 20]));
    assert!(matches!(podman.networks().await, Err(PodmanError::AnswerTooLong { .. })));
    let refused = ENDLESS.replace("200 OK", "500 No");
    let (_folder, podman) = serve(&refused, Some(vec![b' '; 1 << 20]));
    assert!(matches!(podman.networks().await, Err(PodmanError::AnswerTooLong { .. })));
}

#[tokio::test]
async fn a_process_that_ends_while_podman_looks_at_it_is_looked_at_again() {
    let response = |status: &str, message: &str| {
        let body = json!({ "cause": message, "message": message, "response": 500 }).to_string();
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let lost = response("500 Internal Server Error", "read /proc/353/cgroup: no such process");
    let gone = response("404 Not Found", "no such container");
    let (_folder, podman) = serve_in_turn(&[&lost, &gone], None);
    assert!(podman.inspect_container("web").await.unwrap_err().is_not_found());
    let (_folder, podman) = serve_in_turn(&[&lost], None);
    assert!(podman.inspect_container("web").await.unwrap_err().process_vanished());
    let (_folder, podman) = serve_in_turn(&[&response("500 Internal Server Error", "no space"), &gone], None);
    assert!(!podman.inspect_container("web").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_log_whose_frame_never_ends_is_an_error() {
    // The header announces a first frame of two gigabytes.
    let (_folder, podman) = serve(ENDLESS, Some([&[1, 0, 0, 0, 0x7f][..], &vec![b'x'; 1 << 16]].concat()));
    let ended = podman.logs("web", &LogOptions::default(), &mut |_| true).await;
    assert!(matches!(ended, Err(PodmanError::AnswerTooLong { .. })), "{ended:?}");
}

#[tokio::test]
async fn an_object_in_an_unknown_form_is_left_out_and_named_and_the_others_are_there() {
    let body = json!([
        { "name": "good", "driver": "bridge" },
        { "name": "odd", "driver": ["a", "b"] },
        { "name": "odder", "driver": "x", "subnets": [{ "subnet": "everything" }] },
        17,
    ])
    .to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (_folder, podman) = serve(&head, None);
    let names: Vec<String> = podman.networks().await.unwrap().into_iter().map(|network| network.name).collect();
    assert_eq!(names, ["good"]);
    let warnings: Vec<String> = podman.left_out.lock().unwrap().iter().cloned().collect();
    assert_eq!(warnings.len(), 3);
    for name in ["`odd`", "`odder`", "without a name"] {
        assert!(warnings.iter().any(|warning| warning.contains(name)), "{name}: {warnings:?}");
    }
}

#[test]
fn every_state_of_a_container_is_known_by_podmans_word() {
    use crate::podman::ContainerState as S;
    for (word, known) in [
        ("created", S::Created),
        ("configured", S::Created),
        ("initialized", S::Created),
        ("running", S::Running),
        ("exited", S::Exited(3)),
        ("stopped", S::Exited(3)),
        ("paused", S::Paused),
        ("stopping", S::Stopping),
        ("removing", S::Removing),
        ("unknown", S::Unknown),
        ("bad state", S::Unknown),
    ] {
        assert_eq!(crate::podman::container::state(word, 3), known, "{word}");
    }
}

#[test]
fn settings_passed_unchanged_have_libpods_names() {
    use crate::podman::ContainerOption as O;
    let mut spec = container(Networking::Host);
    spec.options.set(O::WorkingDir, vec!["/app".into()]);
    spec.options.set(O::Tmpfs, vec!["/cache:size=64m,mode=1777".into(), "/x".into()]);
    spec.options.set(O::Ulimits, vec!["nofile=512:1024".into(), "core=-1:-1".into()]);
    spec.options.set(O::Sysctls, vec!["net.core.somaxconn=1024".into(), "kernel.sem=250 32000 32 128".into()]);
    spec.options.set(O::Privileged, vec!["true".into()]);
    let body = body(ContainerBody::from(&spec));
    assert_eq!((&body["work_dir"], &body["privileged"]), (&json!("/app"), &json!(true)));
    assert_eq!(
        body["r_limits"],
        json!([
            { "type": "nofile", "soft": 512, "hard": 1024 },
            { "type": "core", "soft": u64::MAX, "hard": u64::MAX },
        ])
    );
    assert_eq!(body["sysctl"], json!({ "net.core.somaxconn": "1024", "kernel.sem": "250 32000 32 128" }));
    let tmpfs: Vec<&Value> =
        body["mounts"].as_array().unwrap().iter().filter(|mount| mount["type"] == "tmpfs").collect();
    assert_eq!(
        tmpfs,
        [
            &json!({ "type": "tmpfs", "source": "tmpfs", "destination": "/cache", "options": ["size=64m", "mode=1777"] }),
            &json!({ "type": "tmpfs", "source": "tmpfs", "destination": "/x", "options": [] }),
        ]
    );
}
