//! The disks and memory images that machines start from. They are made once and kept in
//! `target/machines`.
//!
//! There are four steps. The **image** is a disk and a kernel. The **booted** machine adds its
//! changes to the disk, and its memory. Then the packages are **installed**, and at last the
//! machine is **stocked** with everything that launching needs. Each step has a folder, whose name
//! ends in a hash of all its inputs.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::emulator::Start;
use super::suite::{CUSTOMIZE, DISK, LEFT_OUT, Suite, recipe};
use super::{Machine, TIMEOUT, stock};
use crate::error::{Doing, Result};
use crate::place::{Place, run};
use crate::programs::{PACKAGES, Program, package, target_folder};

/// The preparation steps of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It has booted and is idle.
    Booted,
    /// The package has been installed, and nothing else has happened.
    Installed,
    /// A user can launch services: they have a service manager, an image, and a network around
    /// them.
    Stocked,
}

/// The files from which a machine at this step starts. They are made if they are missing, which
/// takes minutes the first time.
pub(super) fn at(step: Step, suite: Suite) -> Result<Start> {
    let cache = target_folder()?.join("machines");
    fs::create_dir_all(&cache).doing(|| format!("make `{}`", cache.display()))?;
    // A second process waits for the lock and then finds the machine made.
    let lock = cache.join(format!("{suite}.lock"));
    let lock = File::create(&lock).doing(|| format!("make `{}`", lock.display()))?;
    lock.lock().doing(|| "wait for whoever is making the machine".into())?;
    let kept = Kept { cache, suite };
    let image = kept.image()?;
    let booted = kept.booted(&image)?;
    if step == Step::Booted {
        return Ok(start(&image, &booted));
    }
    let installed = kept.installed(&image, &booted)?;
    if step == Step::Installed {
        return Ok(start(&image, &installed));
    }
    kept.stocked(&image, &installed).map(|stocked| start(&image, &stocked))
}

struct Kept {
    cache: PathBuf,
    suite: Suite,
}

impl Kept {
    /// The folder of the step `name` with the inputs `from`. If it does not exist, `make` fills it,
    /// and older folders of the same step are removed.
    fn folder(&self, name: &str, from: &impl Hash, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let mut hasher = DefaultHasher::new();
        from.hash(&mut hasher);
        let prefix = format!("{}-{name}-", self.suite);
        let folder = self.cache.join(format!("{prefix}{:016x}", hasher.finish()));
        if folder.is_dir() {
            return Ok(folder);
        }
        let others = fs::read_dir(&self.cache).doing(|| format!("list `{}`", self.cache.display()))?;
        let others = others.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        for other in others.map(|entry| entry.path()) {
            fs::remove_dir_all(&other).doing(|| format!("remove `{}`", other.display()))?;
        }
        let unfinished = folder.with_extension("unfinished");
        fs::create_dir(&unfinished).doing(|| format!("make `{}`", unfinished.display()))?;
        make(&unfinished)?;
        fs::rename(&unfinished, &folder).doing(|| format!("name `{}`", folder.display()))?;
        Ok(folder)
    }

    /// Debian from the archive, on a disk.
    fn image(&self) -> Result<PathBuf> {
        self.folder("image", &recipe(self.suite), |folder| {
            let (script, root, disk) = (folder.join("customize.sh"), folder.join("root"), folder.join("disk"));
            fs::write(&script, CUSTOMIZE).doing(|| format!("write `{}`", script.display()))?;
            let people: Vec<String> = Suite::people().iter().map(|word| format!("'{word}'")).collect();
            let mut build = Command::new("mmdebstrap");
            build.args(["--quiet", "--variant=apt", "--format=directory"]);
            build.arg(format!("--include={}", Suite::packages()));
            build.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
            build.arg(format!("--customize-hook=sh '{}' \"$1\" {}", script.display(), people.join(" ")));
            run(build.arg(self.suite.codename()).arg(&root))?;
            for (link, name) in [("vmlinuz", "kernel"), ("initrd.img", "initrd")] {
                fs::copy(root.join(link), folder.join(name)).doing(|| format!("copy the {name} of {}", self.suite))?;
            }
            run(Command::new("mkfs.ext4").arg("-q").arg("-d").arg(&root).arg(&disk).arg(DISK))?;
            fs::remove_dir_all(&root).doing(|| format!("remove `{}`", root.display()))
        })
    }

    /// The image after a boot.
    fn booted(&self, image: &Path) -> Result<PathBuf> {
        let probe = Program::Probe.path()?;
        let program = fs::read(&probe).doing(|| format!("read `{}`", probe.display()))?;
        let emulator = run(Command::new("qemu-system-x86_64").arg("--version"))?.stdout;
        self.folder("booted", &(image, &program, emulator, Start::fixed()), |folder| {
            // A disk has whole sectors.
            let mut disk = program.clone();
            disk.resize(program.len().next_multiple_of(512), 0);
            fs::write(folder.join("probe"), disk).doing(|| "copy the laboratory's program".into())?;
            overlay(&folder.join("disk"), &image.join("disk"), "raw")?;
            let start = Start { keep: true, memory: None, ..start(image, folder) };
            let machine = Machine::boot(&start)?;
            machine.settle(TIMEOUT)?;
            machine.save(&folder.join("memory"))
        })
    }

    /// The booted machine with the packages.
    fn installed(&self, image: &Path, booted: &Path) -> Result<PathBuf> {
        let mut contents = Vec::new();
        for name in PACKAGES {
            let package = package(name)?;
            contents.push(fs::read(&package).doing(|| format!("read `{}`", package.display()))?);
        }
        self.folder("installed", &(booted, &contents), |folder| {
            on_from(image, booted, folder, |machine| {
                machine.install_packages()?;
                // Loads the programs into memory, as on a machine in use: reading them from an
                // emulated disk takes seconds.
                machine
                    .sh("airpods --version; /usr/libexec/airpods-helper --version; nft --version; busctl --version")
                    .map(drop)
            })
        })
    }

    /// The machine with the packages, and with what a user launches.
    fn stocked(&self, image: &Path, installed: &Path) -> Result<PathBuf> {
        self.folder("stocked", &(installed, stock::RECIPE, stock::IMAGE), |folder| {
            on_from(image, installed, folder, stock::stock)
        })
    }
}

/// Resumes the machine saved in the folder `below`, does something to it, and saves it to `folder`.
fn on_from(image: &Path, below: &Path, folder: &Path, work: impl FnOnce(&Machine) -> Result<()>) -> Result<()> {
    overlay(&folder.join("disk"), &below.join("disk"), "qcow2")?;
    let probe = folder.join("probe");
    fs::hard_link(below.join("probe"), &probe).doing(|| format!("make `{}`", probe.display()))?;
    let start = Start { keep: true, memory: Some(below.join("memory")), ..start(image, folder) };
    let machine = Machine::wake(&start)?;
    work(&machine)?;
    machine.settle(TIMEOUT)?;
    machine.save(&folder.join("memory"))
}

/// The start files of a machine whose disk and memory are in `folder`.
fn start(image: &Path, folder: &Path) -> Start {
    Start {
        kernel: image.join("kernel"),
        initrd: image.join("initrd"),
        disk: folder.join("disk"),
        probe: folder.join("probe"),
        memory: Some(folder.join("memory")),
        keep: false,
    }
}

/// Makes a disk that shows the content of the disk `below` and keeps its own writes.
fn overlay(disk: &Path, below: &Path, format: &str) -> Result<()> {
    let mut make = Command::new("qemu-img");
    make.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(below).arg(disk);
    run(&mut make).map(drop)
}
