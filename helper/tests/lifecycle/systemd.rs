//! A fake systemd on the sandbox's bus. It serves only what the helper asks for: the unit's job.

use std::sync::{Arc, Mutex};
use std::thread;

use airpods_lab::Sandbox;
use zbus::connection::Builder;
use zbus::interface;
use zbus::wire::OwnedObjectPath;

use crate::unit::until;

const POLICY: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <policy user="root"><allow own="org.freedesktop.systemd1"/></policy>
  <policy context="default"><allow send_destination="org.freedesktop.systemd1"/></policy>
</busconfig>
"#;
const UNIT: &str = "/org/freedesktop/systemd1/unit/airpods_2dhelper_2eservice";
const JOB: &str = "/org/freedesktop/systemd1/job/7";

/// The type of the unit's job; `None` without a job.
pub(crate) type Job = Arc<Mutex<Option<&'static str>>>;

struct Unit(Job);

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        let job = *self.0.lock().unwrap();
        job.map_or_else(|| (0, "/".try_into().unwrap()), |_| (7, JOB.try_into().unwrap()))
    }
}

struct JobObject(Job);

#[interface(name = "org.freedesktop.systemd1.Job")]
impl JobObject {
    #[zbus(property)]
    fn job_type(&self) -> String {
        self.0.lock().unwrap().unwrap_or_default().to_owned()
    }
}

/// Adds a bus policy that allows owning systemd's name. Must precede the start of the bus.
pub(crate) fn allow(sandbox: &Sandbox) {
    sandbox.write_file("/usr/share/dbus-1/system.d/systemd-double.conf", POLICY).unwrap();
}

/// Serves the job until the bus ends.
pub(crate) fn serve(sandbox: &Sandbox) -> Job {
    let job = Job::default();
    let (unit, job_object) = (Unit(Arc::clone(&job)), JobObject(Arc::clone(&job)));
    let address = format!("unix:path={}", sandbox.path("/run/dbus/system_bus_socket").display());
    thread::spawn(move || {
        zruntime::block_on(async {
            let bus = Builder::address(address.as_str()).serve_at(UNIT, unit).serve_at(JOB, job_object);
            let bus = bus.name("org.freedesktop.systemd1").build().await.unwrap();
            bus.closed().await;
        });
    });
    until("systemd's double is on the bus", || {
        sandbox.bus_name_has_owner("org.freedesktop.systemd1").unwrap_or(false).then_some(())
    });
    job
}
