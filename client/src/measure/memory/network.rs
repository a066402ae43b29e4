//! The network that a measurement is of, and its salted hashes.

use airpods_dbus::LinkKind;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::egress;
use crate::kernel::{Gateway, gateways};

/// The facts by which a network is recognised: the link that packets leave by, and the routers
/// beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The link's name.
    pub(super) link: String,
    /// The link's kind and MTU; `None` if the kernel does not tell.
    pub(super) shape: Option<(LinkKind, u32)>,
    /// The default routes that do not leave by it.
    pub(super) gateways: Vec<Gateway>,
}

impl Network {
    /// Reads the facts around a link from the kernel.
    #[must_use]
    pub fn of(link: &str) -> Self {
        Self { link: link.to_owned(), shape: egress::kind_and_mtu(link), gateways: gateways(link) }
    }

    pub(super) fn fingerprint(&self, salt: &str) -> Fingerprint {
        let hash = |parts: &[String]| {
            let digest = Sha256::digest(format!("{salt}\0{}", parts.join("\0")));
            format!("{:032x}", digest.first_chunk().copied().map_or(0, u128::from_be_bytes))
        };
        let addresses: Vec<String> =
            self.gateways.iter().map(|gateway| format!("{} {}", gateway.link, gateway.address)).collect();
        let cards: Vec<String> = self.gateways.iter().filter_map(|gateway| gateway.hardware.clone()).collect();
        Fingerprint {
            link: hash(&["link".to_owned(), self.link.clone()]),
            shape: hash(&["shape".to_owned(), format!("{:?}", self.shape)]),
            gateways: hash(&addresses),
            hardware: (!cards.is_empty()).then(|| hash(&cards)),
        }
    }
}

/// A network, as salted hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fingerprint {
    link: String,
    /// The link's kind and MTU: with another MTU it is another path.
    shape: String,
    gateways: String,
    /// `None` as long as the kernel does not know the routers' MAC addresses.
    hardware: Option<String>,
}

impl Fingerprint {
    /// Whether both are the same network. The router's MAC address decides, or its IP address if
    /// the MAC address is unknown.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        let same_router = match (&self.hardware, &other.hardware) {
            (Some(one), Some(other)) => one == other,
            _ => self.gateways == other.gateways,
        };
        self.is_link_of(other) && self.shape == other.shape && same_router
    }

    /// Whether both have a link of the same name.
    pub(super) fn is_link_of(&self, other: &Self) -> bool {
        self.link == other.link
    }
}
