//! The helper's interface on the bus: methods, properties, signals and errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use std::collections::HashMap;

use airpods_dbus::{ClampOptions, ClampState, ErrorKind, PathMtu, names};
use futures_lite::StreamExt;
use private_bus::*;
use zbus::fdo::{IntrospectableProxy, PropertiesProxy};
use zbus::{DBusError, Variant, proxy::CacheProperties};

/// Calls a method with any body; the error is the name and the text of an error reply.
fn call<B>(client: &Client, interface: &str, method: &str, body: &B) -> Result<(), (String, String)>
where
    B: serde::Serialize + zbus::DynamicType,
{
    let called =
        client.connection.call_method(Some(names::BUS_NAME), names::OBJECT_PATH, Some(interface), method, body);
    zruntime::block_on(called).map(drop).map_err(|error| name_and_text(&error))
}

/// The name and the text of an error reply.
fn name_and_text(error: &zbus::Error) -> (String, String) {
    match error {
        zbus::Error::MethodError(name, text, _) => (name.to_string(), text.clone().unwrap_or_default()),
        zbus::Error::FDO(error) => (error.name().to_string(), error.description().unwrap_or_default().to_owned()),
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn a_named_link_is_clamped_and_released() {
    let helper = Helper::start();
    let client = helper.client();
    assert_eq!(client.on_link("wg0"), Ok(true));
    assert_eq!(helper.clamped(), ["wg0"]);
    let status = client.status();
    assert_eq!((status.clamps[0].link.as_str(), status.clamps[0].state), ("wg0", ClampState::Active));
    assert_eq!(client.off("wg0"), Ok(true));
    assert_eq!(helper.kernel.table(), None);
}

#[test]
fn auto_clamps_only_vpn_links() {
    let helper = Helper::start();
    let client = helper.client();
    assert_eq!(client.on_link(""), Ok(true));
    assert_eq!(helper.clamped(), ["wg0", "wg1"]);
    assert!(client.status().auto);
    assert_eq!(client.off(""), Ok(true));
    assert_eq!(helper.kernel.table(), None);
}

#[test]
fn asking_again_with_other_options_changes_the_clamp() {
    let helper = Helper::start();
    let client = helper.client();
    let fixed = ClampOptions { mtu: Some(PathMtu::new(1300).unwrap()), ..ClampOptions::default() };
    assert_eq!(client.on_link("wg0"), Ok(true));
    assert_eq!(client.on_with("wg0", fixed), Ok(true));
    assert_eq!(client.on_with("wg0", fixed), Ok(false));
    assert_eq!(helper.kernel.table().unwrap().fixed[&name("wg0")].bytes(), 1300);
}

#[test]
fn reset_drops_everything() {
    let helper = Helper::start();
    let client = helper.client();
    let kept = ClampOptions { persist: true, ..ClampOptions::default() };
    assert_eq!((client.on_with("wg0", kept), client.on_link("")), (Ok(true), Ok(true)));
    assert_eq!((client.reset(), client.reset()), (Ok(true), Ok(false)));
    assert_eq!(helper.kernel.table(), None);
    assert_eq!(helper.state_dirs.load().0, airpods_helper::clamp::Desired::default());
}

#[test]
fn a_hostile_name_is_refused_before_polkit_is_asked() {
    let helper = Helper::start();
    let client = helper.client();
    for name in [
        "1234567890123456",
        "a/b",
        "a b",
        "a\nb",
        "\u{1b}[31m",
        ".",
        "..",
        "a:b",
        "*",
        "wg*",
        "wg0\"",
        "wg0;",
        "-x",
        "wgé",
        "lo",
        "all",
        "default",
        "$(id)",
        "<b>x</b>",
    ] {
        for refused in [client.on_link(name), client.off(name)] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidLinkName, "{name:?}");
            assert!(error.message().bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{error}");
        }
    }
    assert_eq!(helper.authority.asked(), []);
    assert_eq!(helper.kernel.times_applied(), 0);
}

#[test]
fn a_link_that_is_no_vpn_is_refused_by_the_kernels_word() {
    let helper = Helper::with(Setup { links: vec![link("wg0", "veth"), wireguard("eth0")], ..Setup::default() });
    let client = helper.client();
    assert_eq!(kind(client.on_link("wg0")), ErrorKind::NotVpnLink);
    assert_eq!(helper.authority.asked(), []);
    assert_eq!(client.on_link("eth0"), Ok(true));
    assert_eq!(client.on_with("wg0", ClampOptions { any_link: true, ..ClampOptions::default() }), Ok(true));
}

#[test]
fn unknown_and_wrong_options_are_refused_before_polkit_is_asked() {
    let helper = Helper::start();
    let client = helper.client();
    let with = |option: &'static str, value: Variant<'static>| {
        let options = HashMap::from([(option, value)]);
        kind(zruntime::block_on(client.helper.clamp_on("wg0", options)).map_err(|error| ours(&error)))
    };
    assert_eq!(with("force", Variant::Bool(true)), ErrorKind::InvalidOption);
    assert_eq!(with("mtu", Variant::U32(1)), ErrorKind::InvalidOption);
    assert_eq!(with("persist", Variant::from("yes")), ErrorKind::InvalidOption);
    let any = ClampOptions { any_link: true, ..ClampOptions::default() };
    assert_eq!(kind(client.on_with("", any)), ErrorKind::InvalidOption);
    assert_eq!(helper.authority.asked(), []);
}

#[test]
fn wrong_types_and_arity_are_invalid_arguments_in_the_buss_own_words() {
    let helper = Helper::start();
    let client = helper.client();
    let invalid = |method: &str, refused: Result<(), (String, String)>| {
        let (name, text) = refused.expect_err(method);
        assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs", "{method}: {text}");
        for rust in ["::", "HashMap", "Variant", "&str", "String", "panicked", "unit", "tuple", "struct"] {
            assert!(!text.contains(rust), "{method}: {text}");
        }
    };
    for method in ["ClampOn", "ClampOff"] {
        invalid(method, call(&client, names::INTERFACE, method, &()));
        invalid(method, call(&client, names::INTERFACE, method, &(vec![1u8, 2],)));
        invalid(method, call(&client, names::INTERFACE, method, &(vec!["wg0"],)));
        invalid(method, call(&client, names::INTERFACE, method, &(Variant::from("wg0"),)));
        invalid(method, call(&client, names::INTERFACE, method, &7i32));
        invalid(method, call(&client, names::INTERFACE, method, &("a", "b", "c", "d", "e")));
        invalid(method, call(&client, names::INTERFACE, method, &("wg0", HashMap::from([("mtu", "1300")]))));
    }
    invalid("Reset", call(&client, names::INTERFACE, "Reset", &"wg0"));
    invalid("GetStatus", call(&client, names::INTERFACE, "GetStatus", &"wg0"));
    assert_eq!(helper.authority.asked(), []);
    assert!(client.status().clamps.is_empty(), "and it is still there");
}

#[test]
fn unknown_objects_interfaces_and_methods_get_the_standard_errors() {
    let helper = Helper::start();
    let client = helper.client();
    let refused = |interface: &str, method: &str| call(&client, interface, method, &()).unwrap_err().0;
    assert_eq!(refused(names::INTERFACE, "Nope"), "org.freedesktop.DBus.Error.UnknownMethod");
    let properties = "org.freedesktop.DBus.Properties";
    let of = |property: &str| call(&client, properties, "Get", &(names::INTERFACE, property)).unwrap_err().0;
    assert_eq!(of("Nope"), "org.freedesktop.DBus.Error.UnknownProperty");
    let (read_only, _) =
        call(&client, properties, "Set", &(names::INTERFACE, "Auto", Variant::Bool(true))).unwrap_err();
    assert_eq!(read_only, "org.freedesktop.DBus.Error.PropertyReadOnly");
    let elsewhere =
        client.connection.call_method(Some(names::BUS_NAME), "/elsewhere", Some(names::INTERFACE), "GetStatus", &());
    assert_eq!(
        name_and_text(&zruntime::block_on(elsewhere).unwrap_err()).0,
        "org.freedesktop.DBus.Error.UnknownObject"
    );
    let (foreign, _) = call(&client, "org.example.Other", "Nope", &()).unwrap_err();
    assert_eq!(foreign, "org.freedesktop.DBus.Error.AccessDenied", "the bus policy lets nothing else through");
    assert_eq!(helper.authority.asked(), []);
}

#[test]
fn properties_change_with_a_signal_and_only_when_they_change() {
    let helper = Helper::start();
    let client = helper.client();
    zruntime::block_on(async {
        let properties = PropertiesProxy::builder(&client.connection)
            .destination(names::BUS_NAME)
            .path(names::OBJECT_PATH)
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .unwrap();
        let mut signals = properties.receive_properties_changed().await.unwrap();
        assert_eq!(client.helper.clamps().await.unwrap(), [""; 0]);
        assert!(!client.helper.auto().await.unwrap());
        client.helper.clamp_on("wg0", HashMap::new()).await.unwrap();
        client.helper.clamp_on("wg0", HashMap::new()).await.unwrap();
        client.helper.clamp_on("", HashMap::new()).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let signal = signals.next().await.unwrap();
            let arguments = signal.args().unwrap();
            assert_eq!(arguments.interface_name.as_str(), names::INTERFACE);
            let mut changed: Vec<_> =
                arguments.changed_properties.iter().map(|(name, value)| format!("{name} {value}")).collect();
            changed.sort();
            seen.push(changed.join(", "));
        }
        assert_eq!(seen, ["Clamps [\"wg0\"]", "Auto true, Clamps [\"wg0\", \"wg1\"]"]);
        assert_eq!(client.helper.clamps().await.unwrap(), ["wg0", "wg1"]);
        assert!(client.helper.auto().await.unwrap());
        assert_eq!(client.helper.version().await.unwrap(), env!("CARGO_PKG_VERSION"));
    });
}

#[test]
fn only_the_helpers_user_may_own_the_bus_name() {
    let policy = std::fs::read_to_string(repository().join("dbus/org.airpods.Helper1.conf")).unwrap();
    let document = parsed(&policy);
    let owners: Vec<_> = document.descendants().filter(|node| node.has_attribute("own")).collect();
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].parent().unwrap().attribute("user"), Some(names::HELPER_USER));
    let bus = PrivateBus::start();
    let daemon = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
    let request = [&["--address=ADDRESS", "call"], &daemon[..], &["RequestName", "su", names::BUS_NAME, "0"]].concat();
    let (was_given, text) = bus.program_as(NOBODY, "busctl", &request);
    assert!(!was_given && text.contains("Access denied"), "{text}");
}

fn parsed(xml: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    roxmltree::Document::parse_with_options(xml, options).unwrap()
}

#[test]
fn the_served_introspection_is_the_committed_one() {
    let helper = Helper::start();
    let client = helper.client();
    let served = zruntime::block_on(async {
        let proxy = IntrospectableProxy::builder(&client.connection)
            .destination(names::BUS_NAME)
            .path(names::OBJECT_PATH)
            .build()
            .await
            .unwrap();
        proxy.introspect().await.unwrap()
    });
    let committed = std::fs::read_to_string(repository().join("dbus/org.airpods.Helper1.xml")).unwrap();
    assert_eq!(served, committed);
}

#[test]
fn a_walk_from_the_root_leads_to_the_object() {
    let helper = Helper::start();
    let (found, text) = helper.bus.program_as(NOBODY, "busctl", &["--address=ADDRESS", "tree", names::BUS_NAME]);
    assert!(found && text.contains(names::OBJECT_PATH), "{text}");
    let introspect = ["--address=ADDRESS", "introspect", names::BUS_NAME, names::OBJECT_PATH];
    let (found, text) = helper.bus.program_as(NOBODY, "busctl", &introspect);
    assert!(found && text.contains(".ClampOn"), "{text}");
    assert!(text.contains(".Version") && text.contains(&format!("\"{}\"", env!("CARGO_PKG_VERSION"))), "{text}");
}

#[test]
fn a_file_descriptor_is_not_passed_on() {
    let helper = Helper::start();
    let client = helper.client();
    let descriptor = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let body = ("wg0", zbus::OwnedFd::from(descriptor));
    let (name, text) = call(&client, names::INTERFACE, "ClampOff", &body).unwrap_err();
    // The bus daemon answers this itself: the helper accepts no descriptors.
    assert_eq!(name, "org.freedesktop.DBus.Error.NotSupported", "{text}");
    assert_eq!(client.on_link("wg0"), Ok(true), "the connection has not suffered");
}
