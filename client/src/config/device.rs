//! Devices of a service, and reading them: its GPU (`gpu`, `runtime.gpu_device_flag`), `devices`.

use serde::{Serialize, Serializer};

use super::section::{Mismatch, Read, Section, boolean, one_or_list, text};
use super::tree::{Node, Value};

/// Whether a service gets the GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Use a GPU if there is one.
    pub enabled: bool,
    /// Use none, even with `enabled`.
    pub force_cpu: bool,
    /// The devices, in place of `runtime.gpu_device_flag`; empty means that setting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device: Vec<GpuDevice>,
}

impl Gpu {
    /// Whether a device is wanted.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.enabled && !self.force_cpu
    }
}

/// The device that gives a container the GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuDevice {
    /// All GPUs that this machine has ([`crate::gpu::Gpus`]), or none.
    Auto,
    /// No device, even if there is a GPU.
    None,
    /// A CDI name (`vendor/class=device`) or a path under `/dev`.
    Device(String),
    /// One of the GPUs that `Auto` finds, by its number or CDI name.
    One(String),
}

impl Serialize for GpuDevice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Device(device) | Self::One(device) => device,
        })
    }
}

/// Reads `gpu` of a service.
pub(super) fn gpu(section: &Section<'_>) -> Gpu {
    let default = Gpu { enabled: true, force_cpu: false, device: Vec::new() };
    let Some(section) = section.section("gpu") else { return default };
    let enabled = section.or("enabled", default.enabled, boolean);
    let force_cpu = section.or("force_cpu", default.force_cpu, boolean);
    section.may_be_list_or_one("device");
    let device = section.or("device", Vec::new(), one_or_list(one_gpu));
    section.finish();
    Gpu { enabled, force_cpu, device }
}

/// A device, or one of the GPUs that airpods finds, by its number or CDI name.
fn one_gpu(node: &Node) -> Read<GpuDevice> {
    match &node.value {
        Value::Integer(number @ 0..) => Ok(GpuDevice::One(number.to_string())),
        Value::String(text) if is_gpu_id(text) => Ok(GpuDevice::One(text.clone())),
        _ => gpu_device(node),
    }
}

/// A number, one of NVIDIA's `GPU-…` and `MIG-…`, or an index within a partition such as `0:1`.
fn is_gpu_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-:".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    (first || text.starts_with("GPU-") || text.starts_with("MIG-")) && text.bytes().all(fits)
}

/// Takes the device itself, or podman's flag with it, as files of the Python airpods have it.
pub(super) fn gpu_device(node: &Node) -> Read<GpuDevice> {
    let text = text(node)?.trim();
    let device = text.strip_prefix("--device").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let names_a_device = device.starts_with("/dev/")
        || device.split_once('=').is_some_and(|(class, name)| class.contains('/') && !name.is_empty());
    match device {
        "auto" => Ok(GpuDevice::Auto),
        "none" | "" => Ok(GpuDevice::None),
        "--gpus all" | "--gpus=all" => Ok(GpuDevice::Device("nvidia.com/gpu=all".to_owned())),
        _ if names_a_device && !device.contains(char::is_whitespace) => Ok(GpuDevice::Device(device.to_owned())),
        _ => Err(Mismatch::new(format_args!("`{text}` is no device"))
            .hint("it is `auto`, `none`, a CDI name such as `nvidia.com/gpu=all` or a path such as `/dev/dri`")),
    }
}

/// A CDI name, or `HOST[:CONTAINER[:rwm]]` with absolute paths (podman-run(1), `--device`).
pub(super) fn device(node: &Node) -> Read<String> {
    let text = text(node)?;
    let wrong = || {
        Mismatch::new(format_args!("`{text}` is no device"))
            .hint("it is such as `/dev/kfd`, `/dev/ttyUSB0:/dev/tty0:rw` or `amd.com/gpu=all`")
    };
    if !text.starts_with('/') {
        return match gpu_device(node)? {
            GpuDevice::Device(device) => Ok(device),
            _ => Err(wrong()),
        };
    }
    let parts: Vec<&str> = text.split(':').collect();
    let is_path = |part: &&str| part.starts_with('/') && !part.contains(char::is_whitespace);
    let is_access = |part: &str| !part.is_empty() && part.bytes().all(|byte| b"rwm".contains(&byte));
    let fits = match parts[..] {
        [host] => is_path(&host),
        [host, second] => is_path(&host) && (is_path(&second) || is_access(second)),
        [host, container, access] => is_path(&host) && is_path(&container) && is_access(access),
        _ => false,
    };
    if fits { Ok(text.to_owned()) } else { Err(wrong()) }
}
