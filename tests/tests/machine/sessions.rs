//! Users who log in and get a password prompt in their terminal, with the real logind, polkit and
//! text agent.

use std::process::Stdio;

use airpods_lab::machine::{Login, Session};
use airpods_lab::{Machine, Place, Suite, terminal};

use crate::host::{eventually, is_in_force, wireguard};
use crate::on_both;

/// The error for a user who needs a password while there is no agent to ask for it.
const NO_AGENT: &str = "this needs an administrator's password, and there is no authentication agent";

/// A machine on which polkit already runs, as on one that is in use. Other tests cover a slow start
/// of polkit.
fn with_polkit_running(suite: Suite) -> Machine {
    let machine = Machine::installed(suite).unwrap();
    let bob = machine.as_user("bob");
    eventually("polkit judges", || called_without_a_terminal(&bob, "wg0").contains(NO_AGENT));
    machine
}

/// The screen of a user who clamps a link and types these keys at the password prompt.
fn clamp_in_a_terminal(session: &Session, link: &str, keys: &str) -> String {
    terminal::in_a_terminal(session, &clamp_on(link), keys).unwrap()
}

fn clamp_on(link: &str) -> String {
    format!("airpods net clamp on {link}; echo code=$?")
}

/// logind's properties of a command's session.
fn described(session: &Session) -> String {
    let show = "loginctl show-session -p Seat -p Active -p Name \"$XDG_SESSION_ID\" | sort | tr '\\n' ' '";
    session.sh(show).unwrap()
}

/// The output of two calls over one connection in this session. Only the first allows a prompt.
fn two_calls(session: &Session) -> String {
    terminal::in_a_terminal(session, "python3 /usr/local/lib/twice.py", "password\n").unwrap()
}

/// Calls the helper as a program without a terminal, and returns the error's name, or an empty
/// text.
fn called_without_a_terminal(place: &dyn Place, link: &str) -> String {
    let call = "call org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1 ClampOn sa{sv}";
    let mut command = place.command("busctl");
    command.arg("--timeout=100").args(call.split(' ')).args([link, "0"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

on_both! {
    fn a_password_is_remembered_at_the_machine_only_and_only_for_the_program_that_was_asked(suite: Suite) {
        let machine = with_polkit_running(suite);
        machine.write_file("/usr/local/lib/twice.py", include_str!("twice.py")).unwrap();
        for (login, session, second) in [
            (Login::Console(1), "Active=yes Name=alice Seat=seat0", "second: served"),
            (Login::Console(7), "Active=no Name=alice Seat=seat0", "second: InteractiveAuthorizationRequired"),
            (Login::Remote, "Active=yes Name=alice Seat=", "second: InteractiveAuthorizationRequired"),
        ] {
            let alice = machine.login("alice", login);
            assert_eq!(described(&alice), session);
            let screen = two_calls(&alice);
            assert!(screen.contains("first: served") && screen.contains(second), "{login:?}: {screen}");
            machine.sh("airpods net clamp reset").unwrap();
        }
        let again = called_without_a_terminal(&machine.login("alice", Login::Console(1)), "wg0");
        assert!(again.contains(NO_AGENT), "another program has to be allowed anew: {again}");
        assert!(!is_in_force(&machine, "wg0"));
    }

    fn logged_in_users_are_served_only_with_an_administrators_password(suite: Suite) {
        let machine = with_polkit_running(suite);
        wireguard(&machine, "wg0", 1380);
        wireguard(&machine, "wg1", 1380);
        let alice = machine.login("alice", Login::Remote);

        let screen = clamp_in_a_terminal(&alice, "wg0", "not this\n");
        assert!(screen.contains("(AccessDenied)") && screen.contains("code=4"), "{screen}");
        assert!(!is_in_force(&machine, "wg0"));

        let screen = clamp_in_a_terminal(&alice, "wg0", "password\n");
        assert!(screen.contains("code=0"), "{screen}");
        assert!(is_in_force(&machine, "wg0"));

        // An administrator on a console in the background must authenticate too.
        let screen = clamp_in_a_terminal(&machine.login("admin", Login::Console(7)), "wg1", "password\n");
        assert!(screen.contains("code=0"), "{screen}");
        assert!(is_in_force(&machine, "wg1"));

        // A service has no agent for a prompt.
        let bob = machine.as_user("bob");
        let output = bob.command("airpods").args(["net", "clamp", "on", "wg2"]).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("(InteractiveAuthorizationRequired)"), "{told}");
        assert_eq!(output.status.code(), Some(4));
        assert!(!is_in_force(&machine, "wg2"));
    }

    fn a_user_with_a_prompt_open_gets_no_second_one_wherever_they_are_logged_in(suite: Suite) {
        let machine = with_polkit_running(suite);
        wireguard(&machine, "wg0", 1380);
        let mut meanwhile = Vec::new();
        let screen = terminal::at_the_prompt(&machine.login("alice", Login::Remote), &clamp_on("wg0"), || {
            let at_the_machine = machine.login("alice", Login::Console(1));
            meanwhile = vec![
                called_without_a_terminal(&at_the_machine, "wg0"),
                called_without_a_terminal(&machine.login("bob", Login::Remote), "wg0"),
            ];
            "password\n".to_owned()
        });
        let screen = screen.unwrap();
        assert!(meanwhile[0].contains("you are being asked for a password already"), "{meanwhile:?}");
        assert!(meanwhile[1].contains(NO_AGENT), "others are judged meanwhile: {meanwhile:?}");
        assert!(screen.contains("code=0"), "the open prompt is still good: {screen}");
    }
}
