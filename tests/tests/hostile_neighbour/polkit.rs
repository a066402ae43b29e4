//! A stand-in for polkitd: it needs a password of everybody but root, and the agent that is to ask for it never answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use airpods_lab::{Place, Sandbox, connect_as};
use zbus::connection::Builder;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::{Connection, OwnedVariant, interface};

use crate::host::ROOT;

type Subject = (String, HashMap<String, OwnedVariant>);

/// The prompts that are open, by the name under which they are taken back, and the most that there were.
#[derive(Default)]
struct Prompts {
    open: Vec<String>,
    most: usize,
}

pub(crate) struct Polkit {
    prompts: Arc<Mutex<Prompts>>,
    _connection: Connection,
}

impl Polkit {
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        // The bus gives the name to polkitd's own user only.
        let user = sandbox.sh("id -u polkitd").unwrap().parse().unwrap();
        let stream = connect_as(user, &sandbox.path("/run/dbus/system_bus_socket")).unwrap();
        let prompts = Arc::<Mutex<Prompts>>::default();
        let authority = StandIn(Arc::clone(&prompts));
        let connection = zruntime::block_on(async {
            let builder = Builder::unix_stream(stream).user_id(user);
            let builder = builder.serve_at("/org/freedesktop/PolicyKit1/Authority", authority);
            builder.name("org.freedesktop.PolicyKit1").build().await.unwrap()
        });
        Self { prompts, _connection: connection }
    }

    pub(crate) fn open(&self) -> usize {
        self.prompts.lock().unwrap().open.len()
    }

    pub(crate) fn most(&self) -> usize {
        self.prompts.lock().unwrap().most
    }
}

struct StandIn(Arc<Mutex<Prompts>>);

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl StandIn {
    async fn check_authorization(
        &self,
        subject: Subject,
        action: String,
        details: HashMap<String, String>,
        flags: u32,
        cancellation: String,
        #[zbus(connection)] connection: &Connection,
    ) -> (bool, bool, HashMap<String, String>) {
        const ALLOW_USER_INTERACTION: u32 = 1;
        let _ = (action, details);
        if is_root(connection, &subject).await {
            return (true, false, HashMap::new());
        }
        if flags & ALLOW_USER_INTERACTION == 0 {
            return (false, true, HashMap::new());
        }
        {
            let mut prompts = self.0.lock().unwrap();
            prompts.open.push(cancellation);
            prompts.most = prompts.most.max(prompts.open.len());
        }
        std::future::pending().await
    }

    fn cancel_check_authorization(&self, cancellation: &str) {
        self.0.lock().unwrap().open.retain(|open| open != cancellation);
    }
}

/// Whether the bus says that a `system-bus-name` is root's.
async fn is_root(connection: &Connection, (_, details): &Subject) -> bool {
    let name: &str = details["name"].downcast_ref().unwrap();
    let bus = DBusProxy::new(connection).await.unwrap();
    // Whoever has left is nobody.
    bus.get_connection_unix_user(BusName::try_from(name).unwrap()).await.is_ok_and(|uid| uid == ROOT)
}
