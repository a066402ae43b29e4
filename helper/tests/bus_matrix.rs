//! The authorisation matrix: every method of the served introspection data, with every kind of
//! caller.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::fs;

use airpods_dbus::{ClampOptions, ErrorKind, PathMtu, names};
use airpods_helper::authority::{Action, Denial};
use airpods_helper::doubles::{RecordedQuestion, Recording};
use airpods_lab::{BusDaemon, on_both_buses};
use futures_lite::StreamExt;
use private_bus::*;
use roxmltree::{Document, Node};
use zbus::fdo::{DBusProxy, IntrospectableProxy, PropertiesProxy};
use zbus::message::Flags;
use zbus::wire::{Dict, Signature, StructureBuilder};
use zbus::{Message, MessageStream, Variant};

const ROOT: u32 = 0;
/// An ordinary user on every Debian system. The bus daemon rejects users that the system does not
/// know.
const NOBODY: u32 = 65534;

/// The outcome of a call that would change something.
enum Outcome {
    Served,
    Refused(&'static str),
    /// The caller leaves before polkit allows the call.
    Left,
}

/// A kind of caller.
struct Caller {
    who: &'static str,
    uid: u32,
    polkit: Recording,
    flags: Flags,
    /// The flags of the questions to polkit.
    questions: &'static [u32],
    outcome: Outcome,
}

/// One question, without a prompt.
const ONCE: &[u32] = &[0];
/// polkit needs a password, so a second question allows a prompt (`AllowUserInteraction`).
const TWICE: &[u32] = &[0, 1];

/// Every kind of caller.
fn callers() -> Vec<Caller> {
    use Outcome::{Left, Refused, Served};
    const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
    const PASSWORD: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
    const DISMISSED: &str = "org.airpods.Helper1.Error.AuthDismissed";
    const UNAVAILABLE: &str = "org.airpods.Helper1.Error.AuthUnavailable";
    let (quiet, asking) = (Flags::empty(), Flags::ALLOW_INTERACTIVE_AUTH);
    let says = |is_authorized, is_challenge, is_dismissed| {
        Recording::answering(Denial::unless(is_authorized, is_challenge, is_dismissed))
    };
    let yes = Recording::allowing;
    let (no, challenge) = (|| says(false, false, false), || says(false, true, false));
    let (wrong, dismissed) = (no().at_a_prompt(), says(false, true, true).at_a_prompt());
    let gone = || Recording::answering(Err(Denial::Absent("no such name".to_owned())));
    let no_policy = || Recording::answering(Err(Denial::Failed("Action is not registered".to_owned())));
    let blocking = Recording::blocking;
    [
        ("root", ROOT, yes(), quiet, ONCE, Served),
        ("root who may be asked", ROOT, yes(), asking, ONCE, Served),
        ("a user whom polkit allows it", NOBODY, yes(), quiet, ONCE, Served),
        ("a user whom polkit allows it without a password", NOBODY, yes(), asking, ONCE, Served),
        ("a user who gave a password", NOBODY, yes().at_a_prompt(), asking, TWICE, Served),
        ("a user whom polkit refuses it", NOBODY, no(), quiet, ONCE, Refused(DENIED)),
        ("a user whose password was wrong", NOBODY, wrong, asking, TWICE, Refused(DENIED)),
        ("a user who must not be asked", NOBODY, challenge(), quiet, ONCE, Refused(PASSWORD)),
        ("a user without an agent", NOBODY, challenge(), asking, TWICE, Refused(PASSWORD)),
        ("a user who dismissed the prompt", NOBODY, dismissed, asking, TWICE, Refused(DISMISSED)),
        ("root, with polkit gone", ROOT, gone(), quiet, ONCE, Served),
        ("a user, with polkit gone", NOBODY, gone(), quiet, ONCE, Refused(UNAVAILABLE)),
        ("a user who may be asked, with polkit gone", NOBODY, gone(), asking, ONCE, Refused(UNAVAILABLE)),
        ("root, where the policy is not installed", ROOT, no_policy(), quiet, ONCE, Refused(DENIED)),
        ("a user, where the policy is not installed", NOBODY, no_policy(), quiet, ONCE, Refused(DENIED)),
        ("root who leaves while polkit thinks", ROOT, blocking(), quiet, ONCE, Left),
        ("a user who leaves while polkit thinks", NOBODY, blocking(), quiet, ONCE, Left),
        ("a user who leaves at the prompt", NOBODY, blocking().at_a_prompt(), asking, TWICE, Left),
    ]
    .map(|(who, uid, polkit, flags, questions, outcome)| Caller { who, uid, polkit, flags, questions, outcome })
    .into()
}

/// A method of the served interface.
struct Method {
    name: String,
    /// The types of its arguments.
    takes: Vec<String>,
}

impl Method {
    /// A call of the method, with valid arguments.
    fn call(&self, flags: Flags) -> Message {
        let call = Message::method_call(names::OBJECT_PATH, self.name.as_str())
            .destination(names::BUS_NAME)
            .interface(names::INTERFACE)
            .with_flags(flags);
        if self.takes.is_empty() {
            return call.build(&()).unwrap();
        }
        let body = self.takes.iter().fold(StructureBuilder::new(), |body, kind| {
            let made = argument(kind);
            body.append_field(made.unwrap_or_else(|| panic!("{}: what is an argument of type {kind}?", self.name)))
        });
        call.build(&body.build().unwrap()).unwrap()
    }

    /// The subject of the question to polkit.
    fn subject(&self) -> &'static str {
        if self.takes.iter().any(|kind| kind == "s") { "wg0" } else { "every link" }
    }
}

/// A valid argument of this type: the link to clamp, or no options.
fn argument(kind: &str) -> Option<Variant<'static>> {
    match kind {
        "s" => Some(Variant::from("wg0")),
        "a{sv}" => Some(Variant::from(Dict::new(&Signature::Str, &Signature::Variant))),
        _ => None,
    }
}

/// The interface as this helper serves it.
fn introspected(helper: &Helper) -> String {
    zruntime::block_on(async {
        let connection = helper.client().connection;
        let proxy = IntrospectableProxy::builder(&connection).destination(names::BUS_NAME).path(names::OBJECT_PATH);
        proxy.build().await.unwrap().introspect().await.unwrap()
    })
}

/// The members of this kind in our interface.
fn members<'a, 'input>(document: &'a Document<'input>, kind: &'a str) -> Vec<Node<'a, 'input>> {
    let ours = document.descendants().find(|node| node.attribute("name") == Some(names::INTERFACE)).unwrap();
    ours.children().filter(|node| node.has_tag_name(kind)).collect()
}

fn parsed(xml: &str) -> Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    Document::parse_with_options(xml, options).unwrap()
}

fn methods(introspected: &str) -> Vec<Method> {
    let document = parsed(introspected);
    let method = |node: &Node<'_, '_>| {
        let inputs = node.children().filter(|child| child.attribute("direction") == Some("in"));
        let takes = inputs.map(|input| input.attribute("type").unwrap().to_owned()).collect();
        Method { name: node.attribute("name").unwrap().to_owned(), takes }
    };
    members(&document, "method").iter().map(method).collect()
}

/// The action that the helper requires for a method; checks that the committed contract has the
/// same.
fn action_of(method: &str) -> Option<Action> {
    let (_, action) = Action::OF_METHODS.into_iter().find(|(name, _)| *name == method).expect(method);
    let contract = fs::read_to_string(repository().join("dbus/org.airpods.Helper1.xml")).unwrap();
    let document = parsed(&contract);
    let nodes = members(&document, "method");
    let node = nodes.iter().find(|node| node.attribute("name") == Some(method)).expect(method);
    let comment = node.prev_siblings().find(Node::is_comment).and_then(|comment| comment.text()).unwrap();
    let promised = comment.split("polkit action:").nth(1).and_then(|rest| rest.split_whitespace().next());
    let promised = promised.map(|action| action.trim_end_matches('.'));
    assert_eq!(action.map(Action::id), promised, "{method}");
    action
}

/// The state that a call without effect must not change: the table and the remembered clamps.
fn state(helper: &Helper) -> String {
    let (saved, errors) = helper.state_dirs.load();
    assert!(errors.is_empty(), "{errors:?}");
    format!("{:?} {:?} {saved:?}", helper.kernel.table(), helper.kernel.times_applied())
}

/// A helper for which every method changes something: its clamp can be changed, ended and dropped.
fn clamping(bus: BusDaemon, polkit: &Recording) -> Helper {
    let helper = Helper::with(Setup { bus, authority: polkit.clone(), ..Setup::default() });
    polkit.next(Ok(()));
    let options = ClampOptions { mtu: Some(PathMtu::new(1300).unwrap()), persist: true, any_link: false };
    helper.client().on_with("wg0", options).unwrap();
    helper
}

/// Sends a call and waits for its reply; the error is the name of an error reply.
fn answered(client: &Client, call: &Message) -> Result<Message, String> {
    zruntime::block_on(async {
        let mut messages = MessageStream::from(&client.connection);
        client.connection.send(call).await.unwrap();
        let serial = Some(call.primary_header().serial_num());
        loop {
            let message = messages.next().await.unwrap().unwrap();
            let header = message.header();
            if header.reply_serial() == serial {
                return match header.error_name() {
                    Some(name) => Err(name.to_string()),
                    None => Ok(message.clone()),
                };
            }
        }
    })
}

/// The caller sends a call, and leaves the bus after polkit got this many questions in all. Only
/// then polkit allows the call.
fn sent_and_left(helper: &Helper, client: Client, call: &Message, questions: usize) {
    let name = client.name();
    zruntime::block_on(client.connection.send(call)).unwrap();
    helper.wait_until("polkit thinks", || helper.authority.asked().len() == questions);
    zruntime::block_on(client.connection.close()).unwrap();
    let watching = helper.client().connection;
    let is_gone = || {
        zruntime::block_on(async {
            let name = name.as_str().try_into().unwrap();
            !DBusProxy::new(&watching).await.unwrap().name_has_owner(name).await.unwrap()
        })
    };
    helper.wait_until("the caller is gone", is_gone);
    helper.authority.release();
    helper.wait_until("the call is accounted for", || helper.audit().iter().any(|line| says(line, "sender", &name)));
}

fn says(line: &airpods_helper::log::Line, field: &str, value: &str) -> bool {
    line.field(field).is_some_and(|said| said.trim_matches('"') == value)
}

/// Tests one cell of the matrix, for a method that changes something.
fn tried(bus: BusDaemon, caller: &Caller, method: &Method, action: Action) {
    let cell = format!("{} by {} on {bus:?}", method.name, caller.who);
    let helper = clamping(bus, &caller.polkit);
    let (before, asked_before) = (state(&helper), helper.authority.asked().len());
    let client = Client::on(helper.bus.connect_as(caller.uid));
    let (name, message) = (client.name(), method.call(caller.flags));
    let question = |flags: &u32| RecordedQuestion {
        subject_kind: "system-bus-name".to_owned(),
        subject_details: vec![("name".to_owned(), format!("\"{name}\""))],
        action_id: action.id(),
        // The premise, as `clamping` made it: the clamp is kept.
        details: details(method.subject(), action.operation(), "yes"),
        flags: *flags,
    };
    match caller.outcome {
        Outcome::Served => {
            let changed = answered(&client, &message).expect(&cell).body().deserialize::<bool>().unwrap();
            assert!(changed, "{cell}");
            assert_ne!(state(&helper), before, "{cell}");
        }
        Outcome::Refused(error) => {
            assert_eq!(answered(&client, &message).map(drop), Err(error.to_owned()), "{cell}");
            assert_eq!(state(&helper), before, "{cell}");
        }
        Outcome::Left => {
            sent_and_left(&helper, client, &message, asked_before + caller.questions.len());
            let audit = helper.audit();
            let line = audit.iter().find(|line| says(line, "sender", &name)).unwrap();
            assert!(says(line, "result", ErrorKind::AccessDenied.short_name()), "{cell}: {line}");
            assert_eq!(state(&helper), before, "{cell}");
        }
    }
    let questions: Vec<RecordedQuestion> = caller.questions.iter().map(question).collect();
    assert_eq!(helper.authority.asked()[asked_before..], questions, "{cell}");
    assert!(helper.audit().iter().any(|line| says(line, "uid", &caller.uid.to_string())), "{cell}: who it was");
}

/// Tests one cell for a method that changes nothing: the helper does not ask polkit at all.
fn read(bus: BusDaemon, caller: &Caller, method: &Method) {
    let cell = format!("{} by {} on {bus:?}", method.name, caller.who);
    let helper = clamping(bus, &caller.polkit);
    let (before, asked_before) = (state(&helper), helper.authority.asked().len());
    let client = Client::on(helper.bus.connect_as(caller.uid));
    answered(&client, &method.call(caller.flags)).expect(&cell);
    assert_eq!((state(&helper), helper.authority.asked().len()), (before, asked_before), "{cell}");
}

on_both_buses! {
    fn every_served_method_asks_for_its_own_action_and_gives_every_kind_of_caller_what_is_theirs(bus: BusDaemon) {
        let served = methods(&introspected(&Helper::with(Setup { bus, ..Setup::default() })));
        assert_eq!(served.len(), Action::OF_METHODS.len());
        for method in served {
            let action = action_of(&method.name);
            for caller in callers() {
                match action {
                    Some(action) => tried(bus, &caller, &method, action),
                    None => read(bus, &caller, &method),
                }
            }
        }
    }

    fn every_served_property_is_read_by_every_kind_of_caller_set_by_none_and_never_prompts(bus: BusDaemon) {
        let helper = Helper::with(Setup { bus, ..Setup::default() });
        let xml = introspected(&helper);
        let document = parsed(&xml);
        let properties = members(&document, "property");
        assert!(!properties.is_empty());
        for uid in [ROOT, NOBODY] {
            let connection = helper.bus.connect_as(uid);
            for property in properties.iter().map(|node| node.attribute("name").unwrap()) {
                zruntime::block_on(async {
                    let proxy = PropertiesProxy::builder(&connection).destination(names::BUS_NAME).path(names::OBJECT_PATH);
                    let proxy = proxy.build().await.unwrap();
                    let interface = || names::INTERFACE.try_into().unwrap();
                    let value = proxy.get(interface(), property).await.unwrap();
                    assert!(proxy.set(interface(), property, &value).await.is_err(), "{property}");
                });
            }
        }
        assert_eq!((helper.authority.asked(), helper.kernel.times_applied()), (Vec::new(), 0));
    }
}
