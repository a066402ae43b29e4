//! A host with a bus, a VPN link, and the helper as a unit of the test's service manager.

use std::fs;
use std::time::Duration;

use airpods_helper::kernel::Kernel;
use airpods_helper::kernel::netlink::Netlink;
use airpods_lab::{Place, Sandbox};
use zbus::connection::Builder;

use crate::private_bus::{Client, TIMEOUT};
use crate::reader::{kernel_of, links};
use crate::systemd;
use crate::unit::{Unit, until};

pub(crate) struct Machine {
    /// The first field, so that it is dropped first.
    pub(crate) unit: Unit,
    pub(crate) kernel: Netlink,
    pub(crate) sandbox: Sandbox,
}

impl Machine {
    /// A machine whose helper is not running. Only the unit starts it.
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new().unwrap();
        sandbox.install_helper().unwrap();
        let activation = sandbox.path("/usr/share/dbus-1/system-services");
        for service in ["org.airpods.Helper1.service", "org.freedesktop.PolicyKit1.service"] {
            fs::remove_file(activation.join(service)).unwrap();
        }
        systemd::allow(&sandbox);
        sandbox.start_bus().unwrap();
        let job = systemd::serve(&sandbox);
        let link = "ip tuntap add mode tun name wg0; ip link set wg0 mtu 1380 up; ip addr add 10.8.0.1/24 dev wg0";
        sandbox.sh(link).unwrap();
        let (unit, kernel) = (Unit::new(&sandbox, job), kernel_of(&sandbox));
        Self { unit, kernel, sandbox }
    }

    /// The same with its helper running and `wg0` clamped.
    pub(crate) fn clamping() -> Self {
        let mut machine = Self::new();
        machine.unit.start(&machine.sandbox);
        assert_eq!(machine.client().on_link("wg0"), Ok(true));
        machine
    }

    /// A client of root, which needs no polkit. Waits until the helper owns its name, which comes
    /// after readiness.
    pub(crate) fn client(&self) -> Client {
        self.client_within(TIMEOUT)
    }

    /// The same with a time limit for each call.
    pub(crate) fn client_within(&self, limit: Duration) -> Client {
        let address = format!("unix:path={}", self.sandbox.path("/run/dbus/system_bus_socket").display());
        let connection = Builder::address(address.as_str()).method_timeout(limit).build();
        let client = Client::on(zruntime::block_on(connection).unwrap());
        until("the helper is on the bus", || zruntime::block_on(client.helper.get_status()).ok());
        client
    }

    /// The links in the table; `None` if there is no table.
    pub(crate) fn clamped(&mut self) -> Option<Vec<String>> {
        self.kernel.read_table().unwrap().as_ref().map(links)
    }

    /// Sends a SYN through `wg0`, which the rules count.
    pub(crate) fn handshake(&self) {
        self.sandbox.sh("timeout 0.2 bash -c '>/dev/tcp/10.8.0.2/80' || true").unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.sandbox.log_path("helper")).unwrap_or_default()
    }
}
