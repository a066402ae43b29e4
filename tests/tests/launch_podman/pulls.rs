//! Images from a real registry within the host.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use airpods_lab::{Background, Image, Place, eventually, terminal};
use serde_json::Value;

use crate::host::{ALONE, Host, IMAGE, assert_no_process, service, signal};
use crate::podman_5;

/// The registry's address.
pub(crate) const REGISTRY: &str = "127.0.0.1:5000";

/// The address of another registry, which refuses everyone.
const CLOSED: &str = "127.0.0.1:5001";

/// The image that the registry has.
const LARGE: &str = "127.0.0.1:5000/lab/large:1";

/// The least size of a pull of it.
const MIB: u64 = 24;

/// The command as a shell line.
const START: &str = "AIRPODS_CONFIG=/etc/airpods-test.toml airpods start";

/// Slows a pull down to some seconds: podman 4.3 reports progress once a second, and none for a
/// shorter pull.
const SLOWLY: &str = "nft 'table inet slow {
    chain out {
        type filter hook output priority 0
        tcp sport 5000 limit rate over 8 mbytes/second burst 1 mbytes drop
    }
}'";

/// Starts a registry on the host; `more` goes into its configuration.
pub(crate) fn registry(host: &Host, address: &str, more: &str) -> Background {
    let name = address.replace(':', "-");
    let storage = format!("storage: {{ filesystem: {{ rootdirectory: /run/registry-{name} }} }}");
    let config = format!("version: 0.1\n{storage}\nhttp: {{ addr: \"{address}\" }}\n{more}\n");
    host.sandbox.write_file(&format!("/etc/registry-{name}.yml"), config).unwrap();
    let mut command = host.sandbox.command("docker-registry");
    command.args(["serve", &format!("/etc/registry-{name}.yml")]);
    let mut server = Background::start(&mut command, &host.sandbox.log_path(&name)).unwrap();
    let listens = format!("lab-probe get http://{address}/ | grep -q status");
    server.until("the registry answers", airpods_lab::TIMEOUT, || host.sandbox.sh(&listens).is_ok()).unwrap();
    server
}

/// A registry on the host with an image that the user's podman lacks, and a service of that image.
fn stocked(host: &Host) -> Background {
    let hosts = [REGISTRY, CLOSED].map(|address| format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n"));
    host.sandbox.write_file("/etc/containers/registries.conf", hosts.concat()).unwrap();
    let server = registry(host, REGISTRY, "");
    // Random bytes, because layers are compressed in transit.
    let mut noise = Vec::new();
    File::open("/dev/urandom").unwrap().take(MIB << 20).read_to_end(&mut noise).unwrap();
    Image::serving(LARGE, 80).with_file("/noise", noise).import(&host.user).unwrap();
    host.podman(&format!("push --quiet {LARGE}"));
    host.podman(&format!("rmi {LARGE}"));
    host.configure(&config(LARGE));
    server
}

fn config(image: &str) -> String {
    format!("{ALONE}{}", service("one", 7001, "").replace(IMAGE, image))
}

/// The images that the user's podman has.
fn images(host: &Host) -> String {
    host.podman("images --format '{{.Repository}}:{{.Tag}}'")
}

/// The bytes to download for the image, by its plan.
#[track_caller]
fn size(host: &Host, image: &str) -> Option<u64> {
    host.configure(&config(image));
    let plan: Value = serde_json::from_str(&host.succeed("start --dry-run --json").out).unwrap();
    let pulls = &plan["pulls"];
    assert_eq!(pulls["images"], 1, "{image}: {plan}");
    (pulls["of_known_size"] == 1).then(|| pulls["bytes_at_most"].as_u64().unwrap())
}

/// Pushes the image to the registry in other formats and in a list, and reads its size of each.
fn assert_sizes_known(host: &Host) {
    let _registry = stocked(host);
    let size = |name: &str| size(host, &format!("{REGISTRY}/lab/{name}:1"));
    let whole = size("large").unwrap();
    assert!((MIB << 20..(MIB + 8) << 20).contains(&whole), "{whole}");
    host.podman(&format!("pull --quiet {LARGE}"));
    host.podman(&format!("push --quiet --format v2s2 {LARGE} {REGISTRY}/lab/docker:1"));
    Image::serving(&format!("{REGISTRY}/lab/other:1"), 80).import(&host.user).unwrap();
    host.podman(&format!("push --quiet {REGISTRY}/lab/other:1"));
    for (list, image, format) in [("list", "large", "oci"), ("dockers", "docker", "v2s2")] {
        host.podman(&format!("manifest create {list}"));
        host.podman(&format!("manifest add {list} docker://{REGISTRY}/lab/{image}:1"));
        host.podman(&format!("manifest add --os windows {list} docker://{REGISTRY}/lab/other:1"));
        host.podman(&format!("manifest push --quiet --all --format {format} {list} docker://{REGISTRY}/lab/{list}:1"));
    }
    host.podman("rmi --all --force");
    assert_eq!(size("list"), Some(whole));
    assert_eq!(["docker", "dockers", "none"].map(size), [None; 3]);
    assert_eq!(images(host), "");
}

#[test]
fn a_plan_has_the_size_of_an_oci_image_alone_and_in_a_list() {
    assert_sizes_known(&Host::bare("root"));
}

#[test]
fn a_plan_by_podman_5_has_the_size_of_an_oci_image_alone_and_in_a_list() {
    let (host, _inside) = podman_5::host("root");
    assert_sizes_known(&host);
}

#[test]
fn a_silent_registry_delays_a_plan_by_seconds_and_ctrl_c_ends_the_wait() {
    let host = Host::bare("root");
    let _registry = stocked(&host);
    host.sandbox.sh("pkill -STOP docker-registry").unwrap();
    let begin = Instant::now();
    assert_eq!(size(&host, LARGE), None);
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    let mut starting = host.command("start").stderr(Stdio::piped()).spawn().unwrap();
    let asks = "ss -Htn state established '( dport = 5000 )' | grep -q .";
    eventually("the question about the size", || host.sandbox.sh(asks).is_ok());
    signal(&starting, "INT");
    let mut output = String::new();
    starting.stderr.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(starting.wait().unwrap().code(), Some(130), "{output}");
    assert_eq!(output, "", "nothing was done");
    assert_no_process(&host, "podman system service");
    host.sandbox.sh("pkill -CONT docker-registry").unwrap();
}

fn assert_pulled_and_reported(host: &Host) {
    let _registry = stocked(host);
    host.sandbox.sh(SLOWLY).unwrap();
    let output = host.succeed("start");
    let size = output.err.lines().find_map(|line| line.strip_prefix("1 image to pull, a download of at most "));
    let size = size.and_then(|rest| rest.strip_suffix(" MiB")).unwrap_or_else(|| panic!("{}", output.err));
    let told: Vec<&str> = output.err.lines().filter(|line| line.starts_with("pulled")).collect();
    let [told] = told[..] else { panic!("{}", output.err) };
    let amount = told.strip_prefix(&format!("pulled `{LARGE}`, ")).and_then(|rest| rest.split_once(" MiB, in "));
    let (amount, seconds) = amount.unwrap_or_else(|| panic!("{told}"));
    assert!(amount.parse::<f64>().unwrap() >= 24.0, "{told}");
    assert!((size.parse::<f64>().unwrap() - amount.parse::<f64>().unwrap()).abs() < 0.1, "{size} {told}");
    assert!(seconds.strip_suffix(" s").unwrap().parse::<f64>().unwrap() > 0.0, "{told}");
    assert!(!output.err.contains('\r') && !output.err.contains('\u{1b}'), "{:?}", output.err);
    assert!(!host.succeed("start").err.contains("pulled"), "it is there by now");
}

#[test]
fn images_that_are_missing_are_pulled_and_the_log_has_one_line_with_their_bytes() {
    assert_pulled_and_reported(&Host::bare("root"));
}

#[test]
fn missing_images_are_pulled_and_reported_by_a_rootless_podman_5() {
    let (host, _inside) = podman_5::host("alice");
    assert_pulled_and_reported(&host);
}

#[test]
fn on_a_terminal_a_pull_shows_its_bytes_and_ctrl_c_in_its_middle_leaves_all_as_it_was() {
    let host = Host::bare("root");
    let _registry = stocked(&host);
    host.sandbox.sh(SLOWLY).unwrap();
    let before = (host.inventory(), images(&host));
    let line = format!("stty cols 120 rows 40; export TERM=xterm; trap : INT; {START}; echo code=$?");
    let stop = || {
        // Stop the registry, so that the pull cannot finish.
        host.sandbox.sh("pkill -STOP docker-registry").unwrap();
        "\u{3}".to_owned()
    };
    let screen = terminal::once_shown(&host.user, &line, "B/s", stop).unwrap();
    assert!(screen.contains("code=130") && screen.contains("interrupted"), "{screen}");
    assert!(screen.contains(&format!("pulling {LARGE}")) && screen.contains("B/s"), "{screen}");
    assert_no_process(&host, "podman system service");
    assert_eq!((host.inventory(), images(&host)), before, "{screen}");
    host.sandbox.sh("pkill -CONT docker-registry").unwrap();
    host.succeed("start");
}

#[test]
fn on_a_dumb_terminal_a_start_is_reported_line_by_line() {
    let host = Host::bare("root");
    let _registry = stocked(&host);
    for (size, term) in [("0", "xterm"), ("120", "dumb"), ("120", "")] {
        let line = format!("stty cols {size} rows {size}; export TERM={term}; {START}");
        let screen = terminal::in_a_terminal(&host.user, &line, "").unwrap();
        assert!(screen.contains("pulled `") && screen.contains("started `one`"), "{line}: {screen}");
        host.succeed("stop --remove --yes");
        host.podman(&format!("rmi {LARGE}"));
    }
}

#[test]
fn a_silent_registry_is_waited_for_until_ctrl_c() {
    let host = Host::bare("root");
    let _registry = stocked(&host);
    let before = (host.inventory(), images(&host));
    host.sandbox.sh("pkill -STOP docker-registry").unwrap();
    let mut starting = host.command("start").stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(starting.stderr.take().unwrap());
    let mut output = String::new();
    while !output.contains("pulling `") {
        assert_ne!(stderr.read_line(&mut output).unwrap(), 0, "{output}");
    }
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(starting.try_wait().unwrap(), None, "it waits");
    signal(&starting, "INT");
    stderr.read_to_string(&mut output).unwrap();
    assert_eq!(starting.wait().unwrap().code(), Some(130), "{output}");
    assert!(output.contains("interrupted"), "{output}");
    assert_no_process(&host, "podman system service");
    host.sandbox.sh("pkill -CONT docker-registry").unwrap();
    assert_eq!((host.inventory(), images(&host)), before, "{output}");
}

#[test]
fn a_failed_pull_names_the_setting_and_the_registrys_message() {
    let host = Host::bare("root");
    let _registry = stocked(&host);
    let _closed = registry(&host, CLOSED, "auth: { htpasswd: { realm: lab, path: /run/htpasswd } }");
    for (image, words) in [
        (format!("{REGISTRY}/lab/large:2"), "manifest unknown"),
        (format!("{REGISTRY}/nobody/nothing:1"), "unknown"),
        (format!("{CLOSED}/lab/large:1"), "`podman login 127.0.0.1:5001`"),
        ("127.0.0.1:1/lab/large:1".to_owned(), "connection refused"),
    ] {
        host.configure(&config(&image));
        host.refuse("start", 1, &["services.one.image", &image, words, "hint: "]);
        assert_eq!(images(&host), "");
    }
}
