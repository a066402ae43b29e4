//! The table as nft sees it.

use crate::place::{Host, ruleset};
use airpods_helper::kernel::Kernel;
use airpods_lab::Place;

#[test]
fn smoke() {
    let mut host = Host::new();
    let held = host.apply(&ruleset(&["wg0", "a"], &[]));
    println!("{:?}", host.net.command("nft").args(["-j", "list", "ruleset"]).output());
    println!("{:?}", host.net.command("nft").args(["-j", "list", "table", "inet", "airpods"]).output());
    println!("{:?}", host.net.sh("sleep 0.1; nft -j list ruleset | cat"));
    println!("{:?}", host.kernel.links());
}
