//! The interface as zbus serves it: arguments in, arguments out, nothing decided here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use airpods_dbus::{ClampOptions, Error, ErrorKind, Target};
use zbus::message::Header;
use zbus::{Connection, OwnedVariant, interface};

use super::service::{Call, Service, Told};
use crate::authority::Action;
use crate::clamp::Request;
use crate::reconcile::VERSION;

/// `org.airpods.Helper1`.
pub(super) struct Helper(pub(super) Arc<Service>);

#[interface(name = "org.airpods.Helper1", introspection_docs = false)]
impl Helper {
    #[zbus(out_args("changed"))]
    async fn clamp_on(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        link: &str,
        options: HashMap<String, OwnedVariant>,
    ) -> Result<bool, Error> {
        let request = || Ok(Request::ClampOn(target(link)?, ClampOptions::from_wire(&options)?));
        self.0.mutate(Call { header, connection }, Action::ClampOn, link, request).await
    }

    #[zbus(out_args("changed"))]
    async fn clamp_off(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        link: &str,
    ) -> Result<bool, Error> {
        let request = || Ok(Request::ClampOff(target(link)?));
        self.0.mutate(Call { header, connection }, Action::ClampOff, link, request).await
    }

    #[zbus(out_args("changed"))]
    async fn reset(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<bool, Error> {
        self.0.mutate(Call { header, connection }, Action::Reset, "", || Ok(Request::Reset)).await
    }

    #[zbus(out_args("status"))]
    async fn get_status(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Told<'_>, Error> {
        self.0.status(Call { header, connection }).await
    }

    #[zbus(property)]
    fn clamps(&self) -> Vec<String> {
        self.0.touch();
        self.0.reconciler().properties(Instant::now()).clamps
    }

    #[zbus(property)]
    fn auto(&self) -> bool {
        self.0.touch();
        self.0.reconciler().properties(Instant::now()).auto
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        self.0.touch();
        VERSION
    }
}

fn target(link: &str) -> Result<Target, Error> {
    Target::parse(link).map_err(|broken| ErrorKind::InvalidLinkName.because(broken.to_string()))
}
