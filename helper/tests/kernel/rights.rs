//! A process without `CAP_NET_ADMIN`.

use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::kernel::{Kernel, KernelError};
use airpods_lab::{Netns, Place};
use caps::{CapSet, Capability};

use crate::host::ruleset;

#[test]
fn without_cap_net_admin_everything_about_rules_is_not_permitted() {
    let net = Netns::new().unwrap();
    let (applied, held, watched, links) = net.run(|| {
        // Only this thread loses the capability. The namespace's thread does nothing else after
        // this.
        caps::drop(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap();
        let mut kernel = Netlink::open().unwrap();
        (kernel.apply(&ruleset(&["wg0"], &[])), kernel.read_table(), kernel.events().map(drop), kernel.links(&|_| true))
    });
    assert!(matches!(applied, Err(KernelError::NotPermitted)), "{applied:?}");
    assert!(matches!(held, Err(KernelError::NotPermitted)), "{held:?}");
    assert!(matches!(watched, Err(KernelError::NotPermitted)), "{watched:?}");
    assert!(links.is_ok(), "reading links needs no right: {links:?}");
    assert_eq!(net.sh("nft list ruleset").unwrap(), "");
}
