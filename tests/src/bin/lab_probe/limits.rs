//! The limits of a container, seen from inside.

use std::path::Path;
use std::process::Command;

use crate::Result;

/// Prints `pids.max` of its own control group, in cgroups v2 or the v1 hierarchy.
pub(crate) fn pids_max() -> Result<()> {
    const PLACES: [&str; 2] = ["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"];
    let path = PLACES.iter().find(|path| Path::new(path).exists()).ok_or("no pids.max in this control group")?;
    println!("{}", std::fs::read_to_string(path)?.trim());
    Ok(())
}

/// Starts `count` processes that live until all are started, and prints how many started.
pub(crate) fn fork(count: usize) -> Result<()> {
    let own = std::env::current_exe()?;
    let mut children: Vec<_> =
        (0..count).map_while(|_| Command::new(&own).args(["sleep", "60"]).spawn().ok()).collect();
    println!("{}", children.len());
    for child in &mut children {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// Allocates memory and writes to every page of it, so that the kernel has to provide it.
pub(crate) fn hold(mib: usize) {
    let taken = std::hint::black_box(vec![1_u8; mib << 20]);
    println!("{}", taken.iter().map(|&byte| usize::from(byte)).sum::<usize>() >> 20);
}
