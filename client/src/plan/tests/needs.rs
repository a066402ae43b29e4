//! Settings that public stacks of local AI need, in small configurations of our own. Each starts,
//! and a second start has nothing to do.

use super::*;
use crate::config::Condition;
use crate::podman::Networking;

/// The name of the need, the services' tables, and text of the plan that shows it.
type Need = (&'static str, &'static str, &'static [&'static str]);

const MODEL: &str = "[services.model]\nimage = \"docker.io/lab/model:1\"\n";

const NEEDS: [Need; 27] = [
    ("an address of the host", "ports = [\"127.0.0.1:7001:80\"]", &["ports 127.0.0.1:7001:80"]),
    ("udp, and a range", "ports = [\"53:53/udp\", \"7001-7003:81-83\"]", &["7001-7003:81-83, 53:53/udp"]),
    ("no port at all", "ports = []", &["on the network `airpods_network`, as model, at most"]),
    (
        "a device",
        "devices = [\"/dev/zero\", \"/dev/null:/dev/kfd:rw\"]",
        &["device /dev/zero", "device /dev/null:/dev/kfd:rw"],
    ),
    ("a certain GPU", "gpu.device = \"nvidia.com/gpu=1\"", &["device nvidia.com/gpu=1"]),
    ("groups", "group_add = [\"video\", \"render\"]", &["group_add video render"]),
    ("the user's own groups", "group_add = [\"keep-groups\"]", &["group_add keep-groups"]),
    ("shared memory", "shm_size = \"8g\"", &["shm_size 8g"]),
    ("the host's shared memory", "ipc = \"host\"", &["ipc host"]),
    (
        "security options",
        "security_opt = [\"seccomp:unconfined\", \"no-new-privileges:true\", \"label=disable\"]",
        &["security_opt seccomp=unconfined no-new-privileges label=disable"],
    ),
    ("capabilities", "cap_add = [\"sys_ptrace\"]\ncap_drop = [\"ALL\"]", &["cap_add CAP_SYS_PTRACE", "cap_drop ALL"]),
    ("a user", "user = \"1000:1000\"\nuserns = \"keep-id\"", &["user 1000:1000", "userns keep-id"]),
    ("init and a host name", "init = true\nhostname = \"box\"", &["init", "hostname box"]),
    (
        "labels",
        "labels = { \"traefik.enable\" = true, \"a.b\" = \"c d\" }",
        &["label traefik.enable=true", "label a.b='c d'"],
    ),
    (
        "names for hosts",
        "extra_hosts = [\"host.docker.internal=host-gateway\"]",
        &["host host.docker.internal:host-gateway"],
    ),
    (
        "read-only root and volumes",
        "read_only = true\nvolumes.w = \"weights:/weights:ro\"\nvolumes.s = { source = \"/srv\", target = \"/s\", read_only = true }",
        &["read_only", "volume `weights` at /weights (read-only)", "/srv at /s (read-only)"],
    ),
    ("a command in one line", "command = \"serve --host '0.0.0.0 x' -v\"", &["arguments serve --host '0.0.0.0 x' -v"]),
    ("health by a command", "health.command = \"ollama list\"", &["`ollama list` succeeds in the container `model-0`"]),
    ("a folder to work in", "working_dir = \"/app/\"", &["working_dir /app"]),
    ("folders in memory", "tmpfs = [\"/cache:size=64m\", \"/x\"]", &["tmpfs /cache:size=64m /x"]),
    (
        "limits of a process",
        "ulimits = { nofile = 65536, memlock = { soft = -1, hard = -1 } }",
        &["ulimits nofile=65536:65536 memlock=-1:-1"],
    ),
    (
        "kernel parameters",
        "sysctls = { \"net.core.somaxconn\" = 1024, net.ipv4.ip_local_port_range = \"1024 65000\" }",
        &["sysctls net.core.somaxconn=1024 'net.ipv4.ip_local_port_range=1024 65000'"],
    ),
    ("every right", "privileged = true", &["privileged"]),
    (
        "a patient health check",
        "health = { command = \"true\", interval = \"5s\", timeout = \"1m30s\", retries = 4, start_period = 120 }",
        &["`true` succeeds"],
    ),
    ("a restart policy of its own", "restart_policy = \"on-failure\"", &["restart on-failure"]),
    ("an image that is there", "pull = \"never\"", &["create the container `model-0`"]),
    ("an image that is new", "pull = \"always\"", &["pull the image `docker.io/lab/model:1`"]),
];

#[tokio::test]
async fn the_needs_of_public_stacks_are_planned_and_a_second_start_has_nothing_to_do() {
    for (need, keys, shown) in NEEDS {
        for version in [OLD, NEW] {
            let toml = format!("{ALONE}{MODEL}{keys}\n");
            let podman = podman_with_registry(version);
            let text = start(&podman, &toml, &[]).await.to_string();
            for words in shown {
                assert!(text.contains(words), "{need}: {words}\n{text}");
            }
            let again = plan(&podman, &toml, &[]).await.unwrap();
            assert!(again.is_empty(), "{need}: {again}");
        }
    }
}

/// A simulated podman that has every image and can pull it again.
fn podman_with_registry(version: Version) -> Simulated {
    let mut objects = podman(version).objects();
    objects.registry = objects.images.clone();
    Simulated::new(version, objects)
}

#[tokio::test]
async fn settings_that_podman_drops_are_reported_with_their_key() {
    type Spoil = fn(&mut crate::podman::ContainerDetail);
    let none: Spoil = |detail| {
        detail.options = crate::podman::Options::default();
        detail.labels.retain(|label, _| label.starts_with("io.airpods."));
        detail.hosts.clear();
        detail.health.clear();
        detail.health_timeout = None;
        detail.mounts.iter_mut().for_each(|mount| mount.read_only = false);
    };
    for (need, keys, key) in [
        ("groups", "group_add = [\"video\"]", "group_add"),
        ("shared memory", "shm_size = \"8g\"", "shm_size"),
        ("ipc", "ipc = \"host\"", "ipc"),
        ("security options", "security_opt = [\"no-new-privileges\"]", "security_opt"),
        ("a capability", "cap_add = [\"SYS_PTRACE\"]", "cap_add"),
        ("a user", "user = \"1000\"", "user"),
        ("a user namespace", "userns = \"keep-id\"", "userns"),
        ("init", "init = true", "init"),
        ("a host name", "hostname = \"box\"", "hostname"),
        ("a read-only root", "read_only = true", "read_only"),
        ("a folder to work in", "working_dir = \"/app\"", "working_dir"),
        ("a folder in memory", "tmpfs = [\"/x\"]", "tmpfs"),
        ("a limit of a process", "ulimits = [\"core=0\"]", "ulimits"),
        ("every right", "privileged = true", "privileged"),
        ("the time of a health command", "health = { command = \"true\", timeout = 5 }", "health.timeout"),
        ("a read-only volume", "volumes.w = \"weights:/weights:ro\"", "volumes"),
        ("a label", "labels.a = \"b\"", "labels"),
        ("a name", "extra_hosts = [\"db:192.0.2.1\"]", "extra_hosts"),
        ("a health command", "health.command = [\"true\"]", "health.command"),
    ] {
        let toml = format!("{ALONE}{MODEL}{keys}\n");
        let mut podman = podman(NEW);
        start(&podman, &toml, &[]).await;
        podman.distort = Some(none);
        let again = plan(&podman, &toml, &[]).await.unwrap();
        let why: Vec<&String> = again.replaced.iter().flat_map(|replaced| &replaced.why).collect();
        assert!(why.iter().any(|why| why.starts_with(&format!("`services.model.{key}`"))), "{need}: {why:?}");
    }
}

#[tokio::test]
async fn capabilities_that_were_dropped_and_are_there_are_a_difference() {
    let toml = format!("{ALONE}{MODEL}cap_drop = [\"CHOWN\"]\n");
    let mut podman = podman(NEW);
    start(&podman, &toml, &[]).await;
    podman.distort = Some(|detail| {
        detail.options.set(crate::podman::ContainerOption::CapAdd, vec!["CAP_CHOWN".to_owned()]);
    });
    assert!(!plan(&podman, &toml, &[]).await.unwrap().is_empty());
}

/// A job, and a service that waits for it and for another service.
const CHAIN: &str = "[services.paint]\nimage = \"docker.io/lab/paint:1\"\noneshot = true\n\
    [services.model]\nimage = \"docker.io/lab/model:1\"\nhealth.command = [\"true\"]\n\
    [services.web]\nimage = \"docker.io/lab/web:1\"\ndepends_on = { model = \"healthy\", paint = \"completed\" }\n";

#[tokio::test]
async fn a_service_is_started_when_what_it_depends_on_has_come_so_far() {
    let podman = podman(NEW);
    let plan = plan(&podman, &format!("{ALONE}{CHAIN}"), &[]).await.unwrap();
    let place = |words: &str| {
        plan.steps.iter().position(|step| step.action.to_string() == words).unwrap_or_else(|| panic!("{words}\n{plan}"))
    };
    let start = &plan.steps[place("start the container `web-0`")];
    assert!(start.after.contains(&place("wait until the container `paint-0` has ended well")), "{plan}");
    assert!(start.after.contains(&place("wait until `true` succeeds in the container `model-0`")), "{plan}");
}

const SHORT_PACE: Pace = Pace { startup: std::time::Duration::from_millis(200), ..PACE };

async fn run(podman: &Simulated, toml: &str) -> Result<crate::execute::Outcome, String> {
    let mut plan = plan(podman, toml, &[]).await.unwrap();
    plan.ports.clear();
    execute(podman, &plan, &SHORT_PACE, &Silent, std::future::pending())
        .await
        .map_err(|aborted| aborted.cause.to_string())
}

#[tokio::test]
async fn a_one_shot_service_that_succeeded_is_done_and_not_started_again() {
    let podman = podman(NEW);
    podman.end_when_started("paint-0", 0);
    let toml = format!("{ALONE}{CHAIN}");
    run(&podman, &toml).await.unwrap();
    assert_eq!(podman.objects().containers["web-0"].1, ContainerState::Running);
    let again = plan(&podman, &toml, &[]).await.unwrap();
    assert!(again.is_empty(), "{again}");
    let starts = podman.calls().iter().filter(|call| **call == Call::StartContainer("paint-0".into())).count();
    assert_eq!(starts, 1);
    // With other settings, the job runs again.
    let changed = plan(&podman, &toml.replace("oneshot = true", "oneshot = true\nenv.A = \"b\""), &[]).await.unwrap();
    assert!(changed.to_string().contains("start the container `paint-0`"), "{changed}");
}

#[tokio::test]
async fn a_one_shot_service_that_fails_or_a_dependency_that_is_not_healthy_ends_the_start() {
    let toml = format!("{ALONE}{CHAIN}");
    let failing = podman(NEW);
    failing.end_when_started("paint-0", 3);
    assert!(run(&failing, &toml).await.unwrap_err().contains("ended with exit code 3"));
    let sick = podman(NEW);
    sick.end_when_started("paint-0", 0);
    sick.fail_health("model-0");
    let error = run(&sick, &toml).await.unwrap_err();
    assert!(error.contains("`services.model`") && error.contains("`true`"), "{error}");
    assert_eq!(sick.objects().containers.len(), 0, "what was made is undone");
}

#[tokio::test]
async fn a_network_of_others_is_used_and_never_made_changed_or_removed() {
    let external = format!(
        "runtime.network_name = \"proxy\"\nruntime.network.external = true\n{ALONE}{MODEL}networks = [\"db\"]\n"
    );
    let bare = podman(NEW);
    let missing = plan(&bare, &external, &[]).await.unwrap_err();
    assert_eq!(missing.to_string(), "`runtime.network_name`: there is no network named `proxy`");
    let mut objects = bare.objects();
    for name in ["proxy", "db"] {
        let spec =
            crate::podman::NetworkSpec { name: name.into(), labels: [].into(), ..desired(&external, &[], NEW).network };
        let made = Simulated::new(NEW, objects);
        crate::podman::Podman::create_network(&made, &spec).await.unwrap();
        objects = made.objects();
    }
    let podman = Simulated::new(NEW, objects.clone());
    start(&podman, &external, &[]).await;
    assert!(plan(&podman, &external, &[]).await.unwrap().is_empty());
    let desired = desired(&external, &[], NEW);
    let reset = decide(&desired, &observed(&podman, &desired).await, NetworkReset::AskedFor).unwrap();
    assert!(!reset.to_string().contains("remove the network"), "{reset}");
    assert_eq!(podman.objects().networks, objects.networks);
    let Networking::Own(endpoint) = &podman.objects().containers["model-0"].0.networking else {
        panic!("it has no network")
    };
    assert_eq!((endpoint.network.as_str(), endpoint.further.as_slice()), ("proxy", ["db".to_owned()].as_slice()));
}

#[tokio::test]
async fn a_required_image_that_is_missing_is_reported_before_the_first_step() {
    let podman = Simulated::new(NEW, Objects::default());
    let missing = plan(&podman, &format!("{ALONE}{MODEL}pull = \"never\"\n"), &[]).await.unwrap_err();
    assert_eq!(missing.to_string(), "`services.model.image`: there is no image named `docker.io/lab/model:1`");
}

#[test]
fn a_name_in_the_environment_does_not_turn_a_dependency_round() {
    let web = "[services.web]\nimage = \"localhost/web\"\ndepends_on = { db = \"healthy\" }\n";
    let db = "[services.db]\nimage = \"localhost/db\"\nenv = { POSTGRES_DB = \"web\", PEER = \"job\" }\nhealth.command = \"true\"\n";
    let job = "[services.job]\nimage = \"localhost/job\"\n";
    let desired = desired(&format!("{ALONE}{web}{db}{job}"), &[], NEW);
    let uses = |name: &str| desired.launches.iter().find(|launch| launch.service == name).unwrap().uses.clone();
    assert_eq!(uses("web"), [("db".to_owned(), Condition::Healthy)].into());
    assert_eq!(uses("db"), [("job".to_owned(), Condition::Started)].into());
}

#[test]
fn a_gpu_that_is_found_is_given_with_the_groups_that_may_use_it() {
    let config = config(&format!("{ALONE}{MODEL}"));
    let launch = |gpu: crate::gpu::Gpus, rootless: bool| {
        let host_context = HostContext { gpu, rootless, ..HostContext::default() };
        let services = chosen(&config, &[], false).unwrap();
        let container = Desired::from_config(&config, &services, NEW, &host_context).launches.remove(0).container;
        (container.gpu, container.options.get(crate::podman::ContainerOption::GroupAdd).to_vec())
    };
    let amd = crate::gpu::Gpus {
        class: None,
        common: vec!["/dev/kfd".to_owned()],
        nodes: vec!["/dev/dri/renderD128".to_owned()],
    };
    let devices = vec!["/dev/kfd".to_owned(), "/dev/dri".to_owned()];
    assert_eq!(launch(amd.clone(), true), (devices.clone(), vec!["keep-groups".to_owned()]));
    assert_eq!(launch(amd, false), (devices, Vec::new()));
    let nvidia = crate::gpu::Gpus { class: Some("nvidia.com/gpu".to_owned()), ..crate::gpu::Gpus::default() };
    assert_eq!(launch(nvidia, true), (vec!["nvidia.com/gpu=all".to_owned()], Vec::new()));
}

#[test]
fn a_gpu_turns_selinux_labels_off_unless_the_service_has_a_label_of_its_own() {
    let is_off = |options: &str| {
        let toml = format!("{ALONE}{MODEL}gpu.device = \"/dev/dri\"\n{options}");
        desired(&toml, &[], NEW).launches[0].container.label_disable
    };
    assert!(is_off("") && is_off("security_opt = [\"no-new-privileges\"]"));
    assert!(!is_off("security_opt = [\"label=type:container_t\"]"));
}
