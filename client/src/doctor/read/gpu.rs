//! What there is of GPUs.

use std::fs;
use std::path::{Path, PathBuf};

use super::program;
use crate::cdi;
use crate::config::{Config, GpuDevice};
use crate::doctor::{Description, Gpu};

/// NVIDIA's number at the PCI-SIG.
const NVIDIA: &str = "0x10de";

pub(super) fn read(config: &Config) -> Gpu {
    let wanted_by = config.enabled().filter(|(_, service)| service.gpu.wanted()).map(|(name, _)| name.to_string());
    let device = config.runtime.gpu_device_flag.clone();
    let descriptions = cdi::describing("nvidia.com/gpu", &cdi::FOLDERS.map(Path::new))
        .into_iter()
        .map(|(file, text)| description(file, &text));
    Gpu {
        wanted_by: wanted_by.collect(),
        device_there: matches!(&device, GpuDevice::Device(path) if Path::new(path).exists()),
        device,
        nvidia_card: has_card(Path::new("/sys/bus/pci/devices")),
        nvidia_driver: Path::new("/proc/driver/nvidia/version").exists() || Path::new("/dev/nvidiactl").exists(),
        toolkit: program::find("nvidia-ctk").is_some(),
        descriptions: descriptions.collect(),
    }
}

fn description(file: PathBuf, text: &str) -> Description {
    Description { file, missing: cdi::needs(text).into_iter().find(|path| !path.exists()) }
}

/// Whether one of the PCI devices is a display controller (class 03) of NVIDIA's.
fn has_card(devices: &Path) -> bool {
    let devices = fs::read_dir(devices).into_iter().flatten().flatten();
    devices.map(|entry| entry.path()).any(|device| {
        let says =
            |file: &str, word: &str| fs::read_to_string(device.join(file)).is_ok_and(|text| text.starts_with(word));
        says("vendor", NVIDIA) && says("class", "0x03")
    })
}
