//! Whether services that want a GPU get one.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Code, Finding, programs};
use crate::config::{Config, GpuDevice};
use crate::gpu;

/// The GPUs for the services that want one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a thing that is there or not")]
pub struct Gpu {
    /// The enabled services that want one.
    pub wanted_by: Vec<String>,
    /// `runtime.gpu_device_flag`.
    pub device: GpuDevice,
    /// The configured device is a path that exists.
    pub device_there: bool,
    /// A card of NVIDIA is in the machine.
    pub nvidia_card: bool,
    /// NVIDIA's driver is loaded.
    pub nvidia_driver: bool,
    /// `nvidia-ctk`, which describes cards to containers, is installed.
    pub toolkit: bool,
    /// The descriptions of NVIDIA's cards (CDI).
    pub descriptions: Vec<Description>,
}

/// A description of NVIDIA's cards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The file.
    pub file: PathBuf,
    /// The first path in it that does not exist: a device, or a library of another version of the
    /// driver.
    pub missing: Option<PathBuf>,
}

/// Judges the GPUs.
pub(super) fn judge(gpu: &Gpu) -> Vec<Finding> {
    let by_name = match &gpu.device {
        GpuDevice::None => return Vec::new(),
        _ if gpu.wanted_by.is_empty() => return Vec::new(),
        GpuDevice::Auto | GpuDevice::One(_) => false,
        GpuDevice::Device(device) if device.starts_with("/dev/") => return path(gpu, device).into_iter().collect(),
        GpuDevice::Device(device) if !device.starts_with("nvidia.com/") => return Vec::new(),
        GpuDevice::Device(_) => true,
    };
    nvidia(gpu, by_name).into_iter().collect()
}

fn path(gpu: &Gpu, device: &str) -> Option<Finding> {
    (!gpu.device_there).then(|| {
        let cause = format!("`runtime.gpu_device_flag` is {device}, which is not there");
        Finding::broken(Code::GpuDevice, cause, "airpods config set runtime.gpu_device_flag auto")
    })
}

/// Judges NVIDIA's GPU. `by_name`: the configuration names it, and a start fails without it.
fn nvidia(gpu: &Gpu, by_name: bool) -> Option<Finding> {
    let level = if by_name { Finding::broken } else { Finding::note };
    let describe = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";
    if let Some(description) = gpu.descriptions.first() {
        let missing = description.missing.as_ref()?;
        let cause = format!(
            "{} describes the GPU with {}, which is not there: the driver was changed since",
            description.file.display(),
            missing.display()
        );
        // podman refuses to start a container with such a description, even if the configuration is
        // right.
        return Some(Finding::broken(Code::GpuStale, cause, describe));
    }
    if !gpu.nvidia_card && !gpu.nvidia_driver {
        return by_name.then(|| {
            let cause = "`runtime.gpu_device_flag` names NVIDIA's GPU, and there is none";
            Finding::broken(Code::GpuDevice, cause, "airpods config set runtime.gpu_device_flag auto")
        });
    }
    let who = gpu.wanted_by.iter().map(|service| format!("`{service}`")).collect::<Vec<_>>().join(", ");
    if !gpu.nvidia_driver {
        let cause = format!("there is a GPU of NVIDIA's without its driver, so {who} must do without");
        return Some(level(Code::GpuDriver, cause, "sudo apt install nvidia-driver".to_owned()));
    }
    let cure = if gpu.toolkit {
        describe.to_owned()
    } else {
        format!("sudo apt install nvidia-container-toolkit && {describe}")
    };
    let cause = format!("there is a GPU that is not described to containers (CDI), so {who} must do without");
    Some(level(Code::GpuNotDescribed, cause, cure))
}

/// NVIDIA's PCI vendor ID.
const NVIDIA: &str = "0x10de";

pub(super) fn read(config: &Config) -> Gpu {
    let wanted_by = config.enabled().filter(|(_, service)| service.gpu.wanted()).map(|(name, _)| name.to_string());
    let device = config.runtime.gpu_device_flag.clone();
    let descriptions = gpu::describing("nvidia.com/gpu", &gpu::FOLDERS.map(Path::new))
        .into_iter()
        .map(|(file, text)| description(file, &text));
    Gpu {
        wanted_by: wanted_by.collect(),
        device_there: matches!(&device, GpuDevice::Device(path) if Path::new(path).exists()),
        device,
        nvidia_card: has_card(Path::new("/sys/bus/pci/devices")),
        nvidia_driver: Path::new("/proc/driver/nvidia/version").exists() || Path::new("/dev/nvidiactl").exists(),
        toolkit: programs::find("nvidia-ctk").is_some(),
        descriptions: descriptions.collect(),
    }
}

fn description(file: PathBuf, text: &str) -> Description {
    Description { file, missing: gpu::needs(text).into_iter().find(|path| !path.exists()) }
}

/// Whether one of the PCI devices is a display controller (class 03) by NVIDIA.
fn has_card(devices: &Path) -> bool {
    let devices = fs::read_dir(devices).into_iter().flatten().flatten();
    devices.map(|entry| entry.path()).any(|device| {
        let has_prefix =
            |file: &str, word: &str| fs::read_to_string(device.join(file)).is_ok_and(|text| text.starts_with(word));
        has_prefix("vendor", NVIDIA) && has_prefix("class", "0x03")
    })
}
