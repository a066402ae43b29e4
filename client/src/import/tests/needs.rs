//! Settings that public stacks use (counted over 57 of them), in compose's syntax and in ours. Both
//! must give the same configuration.

use super::*;
use crate::config::NetworkMtu;

/// The name of the need, the text of a compose file below its service, and that of `config.toml`
/// below `[services.a]`.
const NEEDS: &[(&str, &str, &str)] = &[
    ("a short bind beside the file", "volumes: ['./data:/app/data']", "volumes.data = './data:/app/data'"),
    ("a bind at home", "volumes: ['~/models:/models:ro']", "volumes.models = '~/models:/models:ro'"),
    (
        "a bind at home by its variable, and one above the file",
        "volumes: ['$HOME/models:/models', '${HOME}/x:/x', '../shared:/shared:z']",
        "volumes.models = '/home/alice/models:/models'\nvolumes.x = '/home/alice/x:/x'\nvolumes.shared = '../shared:/shared:z'",
    ),
    (
        "a long bind",
        "volumes: [{type: bind, source: /srv/m, target: /models, read_only: true}]",
        "volumes.models = { source = '/srv/m', target = '/models', read_only = true }",
    ),
    (
        "NVIDIA, every GPU",
        "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}}",
        "gpu.enabled = true",
    ),
    ("NVIDIA by its runtime", "runtime: nvidia", "gpu.enabled = true"),
    ("GPUs in the new form", "gpus: all", "gpu.enabled = true"),
    (
        "a certain GPU",
        "deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ['1'], capabilities: [gpu]}]}}}",
        "gpu = { enabled = true, device = ['1'] }",
    ),
    (
        "so many GPUs",
        "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 2, capabilities: [gpu]}]}}}",
        "gpu = { enabled = true, device = ['0', '1'] }",
    ),
    (
        "AMD's device nodes and groups",
        "devices: [/dev/kfd, '/dev/dri:/dev/dri']\ngroup_add: [video, '44']",
        "devices = ['/dev/kfd', '/dev/dri:/dev/dri']\ngroup_add = ['video', '44']",
    ),
    ("groups that are kept", "group_add: [keep-groups]", "group_add = ['keep-groups']"),
    (
        "variables with and without a default",
        "environment:\n  A: ${SET}\n  B: ${NONE:-b}\n  C: $SET$$x\n  D: ${NONE:-${SET}}\n  E: 1.10\n  F: yes\n  G: true",
        "env = { A = 'of the environment', B = 'b', C = 'of the environment$x', D = 'of the environment', E = '1.10', F = 'yes', \
         G = 'true' }",
    ),
    ("a list of variables", "environment: ['A=1', 'B=a=b', 'C=']", "env = { A = '1', B = 'a=b', C = '' }"),
    ("a file of variables", "env_file: keys.env", "env_file = ['keys.env']"),
    ("several files", "env_file: ['./keys.env', {path: keys.env}]", "env_file = ['./keys.env', 'keys.env']"),
    ("no port", "expose: ['80']", "ports = []"),
    ("an address for a port", "ports: ['127.0.0.1:3000:8080']", "ports = ['127.0.0.1:3000:8080']"),
    ("ports by variables", "ports: ['${NONE:-3000}:8080']", "ports = ['3000:8080']"),
    ("udp, and a range", "ports: ['53:53/udp', '7000-7002:80-82']", "ports = ['53:53/udp', '7000-7002:80-82']"),
    (
        "a long port",
        "ports: [{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: udp}]",
        "ports = ['127.0.0.1:8080:80/udp']",
    ),
    (
        "names of the host",
        "extra_hosts: ['host.docker.internal:host-gateway', 'db=192.0.2.1']",
        "extra_hosts = ['host.docker.internal:host-gateway', 'db:192.0.2.1']",
    ),
    ("a table of names", "extra_hosts: {db: 192.0.2.1}", "extra_hosts = ['db:192.0.2.1']"),
    ("health by a line", "healthcheck: {test: 'ollama list || exit 1'}", "health.command = 'ollama list || exit 1'"),
    ("health by a program", "healthcheck: {test: [CMD, ollama, list]}", "health.command = ['ollama', 'list']"),
    ("health by a shell", "healthcheck: {test: [CMD-SHELL, pg_isready -U x]}", "health.command = 'pg_isready -U x'"),
    (
        "times of a health check",
        "healthcheck: {test: x, interval: 10s, timeout: 1m30s, retries: 5, start_period: 5m}",
        "health = { command = 'x', interval = '10s', timeout = '90s', retries = 5, start_period = '300s' }",
    ),
    ("a folder in memory", "tmpfs: /cache", "tmpfs = ['/cache']"),
    (
        "folders in memory with options",
        "tmpfs: ['/cache:size=64m,mode=1777']\nvolumes: [{type: tmpfs, target: /x, tmpfs: {size: 1048576}}]",
        "tmpfs = ['/cache:size=64m,mode=1777', '/x:size=1048576']",
    ),
    ("a folder to work in", "working_dir: /app", "working_dir = '/app'"),
    (
        "limits of a process",
        "ulimits: {nproc: 65535, memlock: -1, nofile: {soft: 20000, hard: 40000}}",
        "ulimits = { nproc = 65535, memlock = -1, nofile = { soft = 20000, hard = 40000 } }",
    ),
    (
        "kernel parameters",
        "sysctls: {net.core.somaxconn: 1024, net.ipv4.ip_local_port_range: '1024 65000'}",
        "sysctls = { 'net.core.somaxconn' = 1024, 'net.ipv4.ip_local_port_range' = '1024 65000' }",
    ),
    (
        "a list of kernel parameters",
        "sysctls: [net.core.somaxconn=1024, 'kernel.sem=250 32000 32 128']",
        "sysctls = ['net.core.somaxconn=1024', 'kernel.sem=250 32000 32 128']",
    ),
    ("every right", "privileged: true", "privileged = true"),
    ("shared memory", "shm_size: 8gb", "shm_size = '8g'"),
    ("the host's memory", "ipc: host", "ipc = 'host'"),
    (
        "security options",
        "security_opt: ['seccomp:unconfined', 'no-new-privileges:true', 'label=disable']",
        "security_opt = ['seccomp=unconfined', 'no-new-privileges', 'label=disable']",
    ),
    ("labels", "labels: ['traefik.enable=true']", "labels.'traefik.enable' = 'true'"),
    (
        "a table of labels",
        "labels: {traefik.enable: true, a.b: 1}",
        "labels = { 'traefik.enable' = 'true', 'a.b' = '1' }",
    ),
    ("a command in one line", "command: serve --name 'two words'", "command_args = ['serve', '--name', 'two words']"),
    ("a command in words", "command: [serve, --port, 80]", "command_args = ['serve', '--port', '80']"),
    (
        "a program of one's own",
        "entrypoint: /bin/sh -c 'echo $$X'",
        "entrypoint_override = ['/bin/sh', '-c', 'echo $X']",
    ),
    ("pulled always", "pull_policy: always", "pull = 'always'"),
    (
        "updated by podman",
        "labels: {io.containers.autoupdate: registry}",
        "labels.'io.containers.autoupdate' = 'registry'",
    ),
    ("capabilities", "cap_add: [SYS_PTRACE]\ncap_drop: [ALL]", "cap_add = ['SYS_PTRACE']\ncap_drop = ['ALL']"),
    ("a root that is read only", "read_only: true", "read_only = true"),
    (
        "a user, a name and an init",
        "user: '1000:100'\nhostname: box\ninit: true",
        "user = '1000:100'\nhostname = 'box'\ninit = true",
    ),
    ("a number for a user", "user: 1000", "user = '1000'"),
    ("a user namespace", "userns_mode: keep-id", "userns = 'keep-id'"),
    ("a policy", "restart: unless-stopped", "restart_policy = 'unless-stopped'"),
    ("no restart", "restart: 'no'", "restart_policy = 'no'"),
    (
        "limits",
        "mem_limit: 4g\ncpus: 1.5\npids_limit: 100",
        "resources = { memory = '4g', cpus = 1.5 }\npids_limit = 100",
    ),
    (
        "limits of deploy",
        "deploy: {resources: {limits: {memory: 4G, cpus: '1.5', pids: 100}}}",
        "resources = { memory = '4g', cpus = 1.5 }\npids_limit = 100",
    ),
    ("the host's network", "network_mode: host", "network_mode = 'host'"),
    ("a name for the container", "container_name: mine", "container = 'mine'"),
    (
        "braces of the service's own",
        "environment: {T: '{{prompt:start:100}} and {{ x }}'}",
        "env.T = '{{\"{{\"}}prompt:start:100}} and {{\"{{\"}} x }}'",
    ),
];

#[test]
fn an_imported_compose_file_has_the_same_meaning() {
    for (need, compose, toml) in NEEDS {
        let below: String = compose.lines().flat_map(|line| ["    ", line, "\n"]).collect();
        let file = format!("services:\n  a:\n    image: docker.io/x/a:1\n{below}");
        let (text, notes) = of_compose(&file);
        assert_eq!(notes, Vec::<String>::new(), "{need}");
        let gpu = if toml.contains("gpu") { "" } else { "gpu.enabled = false\n" };
        let ours = format!(
            "meta.built_in_services = false\nruntime.restart_policy = 'no'\n[services.a]\nimage = 'docker.io/x/a:1'\n{gpu}{toml}\n"
        );
        assert_eq!(loaded(&text), loaded(&ours), "{need}:\n{text}");
    }
}

#[test]
fn a_short_image_is_docker_io_s() {
    for (theirs, ours) in [
        ("ollama/ollama", "docker.io/ollama/ollama:latest"),
        ("nginx:1", "docker.io/library/nginx:1"),
        ("ghcr.io/x/y", "ghcr.io/x/y:latest"),
        ("ollama/ollama:${TAG:-0.5}", "docker.io/ollama/ollama:0.5"),
        ("${REGISTRY:-ghcr.io}/x/y:1", "ghcr.io/x/y:1"),
    ] {
        let (text, _) = of_compose(&format!("services:\n  a:\n    image: {theirs}\n"));
        assert_eq!(loaded(&text).services["a"].image.as_str(), ours);
    }
}

#[test]
fn networks_that_exist_are_used_and_the_file_s_own_is_ours() {
    let text = "services:\n  a:\n    image: docker.io/x/a:1\n    networks:\n      proxy:\n      own: {aliases: [b]}\nnetworks:\n  \
                proxy: {external: true, name: traefik}\n  own: {internal: true, driver_opts: {com.docker.network.driver.mtu: 1380}}\n";
    let (text, notes) = of_compose(text);
    assert_eq!(notes, Vec::<String>::new());
    let config = loaded(&text);
    let service = &config.services["a"];
    assert_eq!(service.networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["traefik"]);
    assert_eq!(service.network_aliases.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b"]);
    assert!(config.runtime.network.internal);
    assert_eq!(config.runtime.network.mtu, NetworkMtu::new(1380));
}

#[test]
fn networks_that_kept_services_apart_are_named() {
    let (_, notes) = of_compose(
        "services:\n  a:\n    image: docker.io/x/a:1\n    networks: [one]\nnetworks:\n  one: {}\n  two: {internal: true}\n",
    );
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].starts_with("line 6: `networks.one`: ") && notes[1].starts_with("line 7: `networks.two`: "),
        "{notes:?}"
    );
}

#[test]
fn a_network_namespace_in_common_is_a_pod() {
    let text = "services:\n  vpn:\n    image: docker.io/x/vpn:1\n  a:\n    image: docker.io/x/a:1\n    network_mode: service:vpn\n";
    let config = loaded(&of_compose(text).0);
    let pods: Vec<_> = config.services.values().map(|service| service.pod.as_ref().map(ToString::to_string)).collect();
    assert_eq!(pods, [Some("vpn".to_owned()), Some("vpn".to_owned())]);
}

#[test]
fn a_secret_is_a_file_that_the_service_may_read() {
    let text = "services:\n  a:\n    image: docker.io/x/a:1\n    secrets:\n      - key\n      - {source: cert, target: /etc/cert.pem}\n\
                secrets:\n  key: {file: ./key.txt}\n  cert: {file: cert.pem}\n";
    let (toml, notes) = of_compose(text);
    assert_eq!(notes, Vec::<String>::new());
    let ours = "meta.built_in_services = false\nruntime.restart_policy = 'no'\n[services.a]\nimage = 'docker.io/x/a:1'\n\
                container = 'stack-a-1'\ngpu.enabled = false\nvolumes.key = './key.txt:/run/secrets/key:ro'\n\
                volumes.cert_pem = './cert.pem:/etc/cert.pem:ro'\n";
    assert_eq!(loaded(&toml).services["a"].volumes, loaded(ours).services["a"].volumes, "{toml}");
}
