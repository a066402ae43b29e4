//! Texts with one error, and the message about it: `LINE:COLUMN MESSAGE [HINT]`.

pub(super) const WRONG: &[(&str, &str)] = &[
    ("runtime = 1", "1:11 `runtime`: a table is needed here, not a whole number"),
    (
        "runtime.prefer = 'dokcer'",
        "1:18 `runtime.prefer`: `dokcer` is none of `auto`, `podman`, `docker` [did you mean `docker`?]",
    ),
    (
        "runtime.podman_url = 'tcp://1.2.3.4'",
        "1:22 `runtime.podman_url`: `tcp://1.2.3.4` is not the URL of a local socket [such as `unix:///run/podman/podman.sock`; podman on another machine is not supported]",
    ),
    (
        "runtime.network_name = '-x'",
        "1:24 `runtime.network_name`: a name begins with a letter or a digit and has only letters, digits, `_`, `.` and `-`",
    ),
    (
        "runtime.network.dns_servers = 'Auto'",
        "1:31 `runtime.network.dns_servers`: `Auto` is neither `auto` nor an array of addresses [one server is an array too: `[\"192.0.2.53\"]`]",
    ),
    (
        "runtime.network.dns_servers = 1",
        "1:31 `runtime.network.dns_servers`: `auto` or an array is needed here, not a whole number",
    ),
    ("runtime.network.mss_clamp = 'on'", "1:29 `runtime.network.mss_clamp`: `on` is none of `auto`, `off`, `require`"),
    (
        "runtime.network.subnet = '10.89.0.1/16'",
        "1:26 `runtime.network.subnet`: `10.89.0.1/16` is an address within a subnet [the subnet itself is `10.89.0.0/16`]",
    ),
    (
        "runtime.network.subnet = '10.89.0.0/31'",
        "1:26 `runtime.network.subnet`: `10.89.0.0/31` is too small for a gateway and a container",
    ),
    (
        "runtime.network.subnet = 'fd00::/64'",
        "1:26 `runtime.network.subnet`: an IPv6 subnet on a network without IPv6 [set `runtime.network.ipv6 = true`]",
    ),
    (
        "runtime.network.gateway = '10.89.0.1'",
        "1:27 `runtime.network.gateway`: a gateway needs a subnet [set `runtime.network.subnet` too]",
    ),
    (
        "runtime.network = { subnet = '10.89.0.0/24', gateway = '10.88.0.1' }",
        "1:56 `runtime.network.gateway`: `10.88.0.1` does not lie in the subnet `10.89.0.0/24`",
    ),
    (
        "runtime.network = { subnet = '10.89.0.0/24', gateway = '10.89.0.255' }",
        "1:56 `runtime.network.gateway`: `10.89.0.255` is no host's address in the subnet `10.89.0.0/24`",
    ),
    (
        "runtime.network.dns_servers = ['0.0.0.0']",
        "1:32 `runtime.network.dns_servers.0`: `0.0.0.0` cannot be the address of a DNS server",
    ),
    (
        "runtime.network = { ipv6 = true, mtu = 1279 }",
        "1:40 `runtime.network.mtu`: 1279 is too small for IPv6, which needs 1280",
    ),
    (
        "runtime.gpu_device_flag = 'all of them'",
        "1:27 `runtime.gpu_device_flag`: `all of them` is no device [it is `auto`, `none`, a CDI name such as `nvidia.com/gpu=all` or a path such as `/dev/dri`]",
    ),
    ("cli.ping_timeout = 0.05", "1:20 `cli.ping_timeout`: 0.05 is not within 0.1 to 60"),
    ("services.x.enabled = true", "1:10 `services.x.image` is missing"),
    (
        "services.'a b'.image = 'localhost/x'",
        "1:10 `services.a b` cannot be a service: a name begins with a letter or a digit and has only letters, digits, `_`, `.` and `-`",
    ),
    (
        "services.ollama.image = 'Ollama'",
        "1:25 `services.ollama.image`: `Ollama` is not an image name such as `docker.io/library/debian:13`",
    ),
    (
        "services.ollama.network_mode = 'bridge'",
        "1:32 `services.ollama.network_mode`: `bridge` is none of `pod`, `host`",
    ),
    (
        "services.ollama.network_aliases = ['a b']",
        "1:36 `services.ollama.network_aliases.0`: a name on a network has labels of 1 to 63 letters, digits, `-` and `_`, separated by `.`",
    ),
    ("services.ollama.pids_limit = 0", "1:30 `services.ollama.pids_limit`: 0 is not within 1 to 1000000"),
    ("services.ollama.ports = [{ host = 1 }]", "1:26 `services.ollama.ports.0.container` is missing"),
    (
        "services.ollama.ports = [{ host = 70000, container = 1 }]",
        "1:35 `services.ollama.ports.0.host`: 70000 is not within 1 to 65535",
    ),
    (
        "services.ollama.volumes.data.target = 'x'",
        "1:39 `services.ollama.volumes.data.target`: `x` is not an absolute path in a container",
    ),
    (
        "services.ollama.volumes.data.source = 'bind://../x'",
        "1:39 `services.ollama.volumes.data.source`: `bind://../x` does not lie under the data folder [after `bind://` comes a relative path without `..`; for another folder write its absolute path]",
    ),
    (
        "services.ollama.volumes.data.source = 'bind:///etc'",
        "1:39 `services.ollama.volumes.data.source`: `bind:///etc` does not lie under the data folder [after `bind://` comes a relative path without `..`; for another folder write its absolute path]",
    ),
    (
        "services.ollama.volumes.data.source = 'x/y'",
        "1:39 `services.ollama.volumes.data.source`: `x/y` is neither the name of a volume nor a path of the host [a path begins with `/`, `~/` or `./`, which is beside the configuration; `bind://FOLDER` is a folder of ours]",
    ),
    (
        "services.comfyui.volumes = { b = { source = 'b', target = '/x' }, c = { source = 'c', target = '/x' } }",
        "1:96 `services.comfyui.volumes.c.target`: `/x` is the target of volume `b` already",
    ),
    (
        "services.ollama.health.expected_status = [300, 200]",
        "1:42 `services.ollama.health.expected_status`: two status codes are needed, the smaller one first",
    ),
    (
        "services.ollama.health.expected_status = [99, 200]",
        "1:43 `services.ollama.health.expected_status.0`: 99 is not within 100 to 599",
    ),
    (
        "services.ollama.health.path = 'x'",
        "1:31 `services.ollama.health.path`: `x` is not the path of a URL, such as `/health`",
    ),
    (
        "services.comfyui.ports = []\nservices.comfyui.health.path = '/x'",
        "1:26 `services.comfyui.health`: a service without ports cannot be asked",
    ),
    ("services.ollama.env = { A = [1] }", "1:29 `services.ollama.env.A`: a text is needed here, not an array"),
    (
        "services.ollama.resources.memory = 'lots'",
        "1:36 `services.ollama.resources.memory`: `lots` is not an amount of memory such as `512m` or `4g`",
    ),
    (
        "services.ollama.resources.cpus = -1",
        "1:34 `services.ollama.resources.cpus`: -1 is no number of CPUs, such as 1.5",
    ),
    (
        "services.comfyui.container = 'ollama-0'",
        "1:30 `services.comfyui.container`: `ollama-0` is the container of service `ollama` already [every service needs a container name of its own]",
    ),
    (
        "services.comfyui.ports = { host = 3000, container = 1 }",
        "1:35 `services.comfyui.ports.0.host`: port 3000 of the host is taken by `services.open-webui.ports.0.host` already [choose another port, or disable one of the two]",
    ),
    ("x = ", "1:5 this is not TOML: string values must be quoted"),
];
