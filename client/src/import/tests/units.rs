//! Imports Quadlet units: their texts in, a configuration out.

use super::*;
use crate::export::{self, ExportSet};
use crate::plan::HostContext;

#[test]
fn units_are_carried_over_with_their_names_and_order() {
    let (text, notes) = of_units(&[
        ("data.volume", "[Volume]\nVolumeName=llm\n"),
        (
            "ollama.container",
            "[Unit]\nDescription=LLM\n[Container]\nImage=docker.io/ollama/ollama:latest\nPublishPort=11434:11434\n\
             Volume=data.volume:/root/.ollama\nAddDevice=nvidia.com/gpu=all\nEnvironment=A=1 \"B=two words\"\n\
             [Service]\nRestart=always\n[Install]\nWantedBy=default.target\n",
        ),
        (
            "web.container",
            "[Unit]\nRequires=ollama.service\nAfter=ollama.service\n[Container]\nImage=ghcr.io/a/b:1\nContainerName=web\n\
             Volume=%h/files:/files:ro\nPodmanArgs=--cgroups=split\n",
        ),
    ]);
    has(
        &text,
        &[
            "container = \"systemd-ollama\"",
            "container = \"web\"",
            "depends_on = { ollama = \"started\" }",
            "restart_policy = \"always\"",
            "B = \"two words\"",
            "files = { source = \"~/files\", target = \"/files\", read_only = true }",
        ],
    );
    assert!(text.contains("source = \"llm\""), "{text}");
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("line 8: `web.container: PodmanArgs`: `--cgroups` is not"), "{notes:?}");
    assert!(notes[1].starts_with("line 12: `ollama.container: WantedBy`"), "{notes:?}");
}

/// Keys of `[Container]`, and the text of `config.toml` below `[services.a]`.
const KEYS: &[(&str, &str)] = &[
    ("PublishPort=127.0.0.1:3000:8080\nPublishPort=53:53/udp", "ports = ['127.0.0.1:3000:8080', '53:53/udp']"),
    ("PublishPort=1:1\nPublishPort=\nPublishPort=2:2", "ports = ['2:2']"),
    (
        "Environment=A=1 \"B=two words\" C=$$X 'D={{ x }}'",
        "env = { A = '1', B = 'two words', C = '$X', D = '{{\"{{\"}} x }}' }",
    ),
    ("Environment=A=$${X} B=%% C=%h/x", "env = { A = '$${X}', B = '%', C = '/home/alice/x' }"),
    ("EnvironmentFile=keys.env", "env_file = 'keys.env'"),
    ("Exec=serve --name 'two words' \\\n  $$HOME", "command_args = ['serve', '--name', 'two words', '$HOME']"),
    ("Entrypoint=[\"/bin/sh\", \"-c\"]", "entrypoint_override = ['/bin/sh', '-c']"),
    ("Volume=data.volume:/data:ro,z", "volumes.data = 'systemd-data:/data:ro,z'"),
    ("Volume=%h/models:/models", "volumes.models = '~/models:/models'"),
    ("AddDevice=nvidia.com/gpu=all", "gpu = { enabled = true, device = 'nvidia.com/gpu=all' }"),
    ("AddDevice=-/dev/kfd\nAddDevice=/dev/dri", "devices = ['/dev/kfd', '/dev/dri']"),
    (
        "PodmanArgs=--group-add keep-groups --ipc=host --shm-size 8g",
        "group_add = ['keep-groups']\nipc = 'host'\nshm_size = '8g'",
    ),
    (
        "PodmanArgs=--security-opt=label=disable --memory 4g --gpus all",
        "security_opt = ['label=disable']\nresources.memory = '4g'\ngpu.enabled = true",
    ),
    ("SecurityLabelDisable=true\nNoNewPrivileges=yes", "security_opt = ['label=disable', 'no-new-privileges']"),
    (
        "DropCapability=ALL\nAddCapability=SYS_PTRACE NET_ADMIN",
        "cap_drop = ['ALL']\ncap_add = ['SYS_PTRACE', 'NET_ADMIN']",
    ),
    (
        "ReadOnly=true\nRunInit=true\nUserNS=keep-id\nUser=1000",
        "read_only = true\ninit = true\nuserns = 'keep-id'\nuser = '1000'",
    ),
    ("HealthCmd=\"ollama list\"", "health.command = 'ollama list'"),
    ("HealthCmd=[\"ollama\", \"list\"]", "health.command = ['ollama', 'list']"),
    (
        "Label=traefik.enable=true\nAutoUpdate=registry",
        "labels = { 'traefik.enable' = 'true', 'io.containers.autoupdate' = 'registry' }",
    ),
    ("Network=net.network:alias=b\nNetwork=proxy", "network_aliases = ['b']\nnetworks = ['proxy']"),
    ("Network=elsewhere.network", "networks = ['systemd-elsewhere']"),
    (
        "HealthCmd=true\nHealthInterval=10s\nHealthTimeout=1m30s\nHealthRetries=5\nHealthStartPeriod=5m",
        "health = { command = 'true', interval = '10s', timeout = '90s', retries = 5, start_period = '300s' }",
    ),
    (
        "WorkingDir=/app\nTmpfs=/cache:size=64m\nTmpfs=/run/x\nUlimit=nofile=1024:2048\nPodmanArgs=--privileged --ulimit core=-1",
        "working_dir = '/app'\ntmpfs = ['/cache:size=64m', '/run/x']\nulimits = ['nofile=1024:2048', 'core=-1']\nprivileged = true",
    ),
    (
        "Sysctl=net.core.somaxconn=1024 \"kernel.sem=250 32000 32 128\"\nSysctl=net.ipv4.tcp_syncookies=0\nPodmanArgs=--sysctl=fs.mqueue.msg_max=64",
        "sysctls = ['net.core.somaxconn=1024', 'kernel.sem=250 32000 32 128', 'net.ipv4.tcp_syncookies=0', 'fs.mqueue.msg_max=64']",
    ),
    (
        "Secret=openai,type=env,target=OPENAI_API_KEY\nSecret=TOKEN,type=env",
        "secret_env = { OPENAI_API_KEY = 'podman:openai', TOKEN = 'podman:TOKEN' }",
    ),
    ("Network=host", "network_mode = 'host'"),
    ("Pull=always\nPidsLimit=99\nHostName=box", "pull = 'always'\npids_limit = 99\nhostname = 'box'"),
    ("[Service]\nRestart=on-failure", "restart_policy = 'on-failure'"),
    ("[Service]\nType=oneshot", "oneshot = true"),
];

#[test]
fn an_imported_unit_has_the_same_meaning() {
    for (unit, toml) in KEYS {
        let unit = format!("[Container]\nImage=docker.io/x/a:1\nContainerName=a\n{unit}\n");
        let (text, notes) =
            of_units(&[("a.container", &unit), ("data.volume", "[Volume]\n"), ("net.network", "[Network]\n")]);
        assert_eq!(notes, Vec::<String>::new(), "{unit}");
        let gpu = if toml.contains("gpu") { "" } else { "gpu.enabled = false\n" };
        let ours = format!(
            "meta.built_in_services = false\nruntime.restart_policy = 'no'\n[services.a]\nimage = 'docker.io/x/a:1'\ncontainer = \
             'a'\n{gpu}{toml}\n"
        );
        assert_eq!(loaded(&text), loaded(&ours), "{unit}:\n{text}");
    }
}

#[test]
fn every_key_that_is_not_carried_over_is_named_with_its_line() {
    let unit = "[Unit]\nConditionPathExists=/x\nAfter=nfs.mount\n[Container]\nImage=docker.io/x/a:1\nMask=a=b\nEnvironment=A=%i\n\
                Secret=s\n[Service]\nExecStartPre=/bin/true\nEnvironment=B=1\n[X-Other]\nA=b\n";
    let (_, notes) = of_units(&[("a.container", unit), ("b.kube", "[Kube]\nYaml=x\n")]);
    let begins: Vec<_> = notes.iter().map(|note| note.split("`: ").next().unwrap()).collect();
    assert_eq!(
        begins,
        [
            "line 1: `b.kube",
            "line 2: `a.container: ConditionPathExists",
            "line 3: `a.container: After",
            "line 6: `a.container: Mask",
            "line 7: `a.container: Environment",
            "line 8: `a.container: Secret",
            "line 10: `a.container: ExecStartPre",
            "line 11: `a.container: Environment",
            "line 13: `a.container: A"
        ],
        "{notes:?}"
    );
}

#[test]
fn one_unit_is_imported_with_the_names_of_the_others() {
    let files = [
        ("a.container", "[Container]\nImage=docker.io/x/a:1\nVolume=kept.volume:/kept\n"),
        ("b.container", "[Container]\nImage=docker.io/x/b:1\n"),
        ("kept.volume", "[Volume]\nVolumeName=kept\n"),
    ];
    let imported = units(&files, Some("a.container")).unwrap();
    assert_eq!(imported.services, ["a"]);
    assert!(imported.text.contains("source = \"kept\""), "{}", imported.text);
}

#[test]
fn the_ports_of_a_pod_are_those_of_its_first_service() {
    let (text, notes) = of_units(&[
        ("p.pod", "[Pod]\nPodName=both\nPublishPort=8080:80\n"),
        ("a.container", "[Container]\nImage=docker.io/x/a:1\nPod=p.pod\n"),
        ("b.container", "[Container]\nImage=docker.io/x/b:1\nPod=p.pod\n"),
    ]);
    assert_eq!(notes, Vec::<String>::new());
    let config = loaded(&text);
    assert_eq!((config.services["a"].ports.len(), config.services["b"].ports.len()), (1, 0));
    assert!(config.services.values().all(|service| service.pod.as_ref().is_some_and(|pod| pod.as_str() == "both")));
}

/// Every setting that units can express.
const EXPORTED: &str = "meta.built_in_services = false\nruntime.restart_policy = 'no'\n[services.a]\nimage = 'docker.io/x/a:1'\n\
    container = 'a-0'\nports = ['127.0.0.1:3000:8080', '7000-7002:80-82', '53:53/udp']\nuser = '1000'\ncap_drop = ['ALL']\n\
    security_opt = ['no-new-privileges', 'seccomp=unconfined']\nshm_size = '2g'\nhostname = 'box'\ninit = true\nread_only = true\n\
    group_add = ['video']\ndevices = ['/dev/kfd']\nextra_hosts = ['db:192.0.2.1']\nnetworks = ['proxy']\npull = 'always'\n\
    restart_policy = 'on-failure'\npids_limit = 99\nresources = { memory = '4g', cpus = 1.5 }\ngpu.enabled = false\n\
    entrypoint_override = ['/bin/sh', '-c']\ncommand_args = ['echo \"$HOME\" 100%', 'two words']\nhealth = { command = ['a b', 'c'], interval = '5s', timeout = '9s', retries = 4, start_period = '2m' }\n\
    working_dir = '/app'\ntmpfs = ['/cache:size=64m,noexec']\nulimits = ['nofile=1024:2048']\nsysctls = ['net.core.somaxconn=1024', 'kernel.sem=250 32000 32 128']\n\
    secret_env = { KEY = 'podman:kept' }\n\
    env = { A = '1', B = 'two words', C = '50% of $$x {{\"{{\"}} y }}' }\nlabels.'a.b' = 'c d'\nnetwork_aliases = ['a', 'other']\n\
    volumes.kept = 'kept:/kept:ro'\nvolumes.host = '/srv/x:/host:Z'\n";

#[test]
fn an_export_imports_as_the_same_configuration() {
    let before = loaded(EXPORTED);
    let set = ExportSet::of(&before, &[], &HostContext::default()).unwrap();
    let files: Vec<_> = export::quadlet::export(&set).files.into_iter().map(|file| (file.name, file.text)).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let after = loaded(&of_units(&files).0);
    let written = |config: &Config, service: &str| {
        let mut value = toml::Value::try_from(&config.services[service]).unwrap();
        // An export has its own order of ports.
        value["ports"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        value
    };
    assert_eq!(written(&after, "airpods-a"), written(&before, "a"));
}
