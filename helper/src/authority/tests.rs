//! Decisions for every answer of the authority.
#![allow(clippy::unwrap_used)]

use super::*;
use airpods_dbus::{ClampOptions, Target};

fn question(uid: u32, interaction: bool) -> Question {
    let request = Request::ClampOn(Target::parse("wg0").unwrap(), ClampOptions::default());
    Question { interaction, ..Question::about(caller(uid), request, false, interaction) }
}

fn caller(uid: u32) -> Caller {
    Caller { name: ":1.7".try_into().unwrap(), uid }
}

/// The judgement of an answer of polkit.
fn judged(question: &Question, answer: Result<(), Denial>) -> Result<(), Error> {
    let authority = crate::doubles::Recording::answering(answer);
    zruntime::block_on(authorise(&authority, question, PromptMode::Forbidden, |_| ())).map(drop)
}

fn denial(uid: u32, interaction: bool, answer: Result<(), Denial>) -> Option<ErrorKind> {
    judged(&question(uid, interaction), answer).err().map(|error| error.kind())
}

#[test]
fn only_an_authorized_subject_is_served() {
    for interaction in [false, true] {
        for uid in [0, 1000] {
            assert_eq!(denial(uid, interaction, Denial::unless(true, false, false)), None);
            assert_eq!(denial(uid, interaction, Denial::unless(true, true, false)), None);
            assert_eq!(denial(uid, interaction, Denial::unless(false, false, false)), Some(ErrorKind::AccessDenied));
            let challenged = Some(ErrorKind::InteractiveAuthorizationRequired);
            assert_eq!(denial(uid, interaction, Denial::unless(false, true, false)), challenged);
        }
    }
}

#[test]
fn a_challenge_shows_whether_consent_or_an_agent_is_missing() {
    let sentence = |interaction| judged(&question(1000, interaction), Err(Denial::Challenge)).unwrap_err().to_string();
    assert!(sentence(false).contains("the call does not allow to ask"), "{}", sentence(false));
    assert!(sentence(true).contains("there is no authentication agent"), "{}", sentence(true));
}

#[test]
fn a_dismissed_prompt_has_its_own_name() {
    for is_challenge in [false, true] {
        let dismissed = Denial::unless(false, is_challenge, true);
        assert_eq!(denial(1000, true, dismissed), Some(ErrorKind::AuthDismissed));
    }
}

#[test]
fn a_caller_unknown_to_polkit_is_denied_even_if_it_was_root() {
    for uid in [0, 1000] {
        assert_eq!(denial(uid, false, Err(Denial::CallerGone)), Some(ErrorKind::AccessDenied));
    }
}

#[test]
fn without_polkit_only_root_is_served_and_others_get_the_reason() {
    for (none, why) in [
        (Denial::Absent("no such name".to_owned()), "polkit is not there: no such name"),
        (Denial::Silent(2), "polkit is running, and has not answered for 2 s"),
        (Denial::Ended, "polkit ended before it answered"),
    ] {
        let silence = Err(none);
        assert_eq!(denial(0, false, silence.clone()), None);
        assert_eq!(denial(1, true, silence.clone()), Some(ErrorKind::AuthUnavailable));
        let error = judged(&question(u32::MAX, false), silence).unwrap_err();
        assert_eq!((error.kind(), error.message().starts_with(why)), (ErrorKind::AuthUnavailable, true), "{error}");
    }
}

#[test]
fn the_request_is_in_polkits_details_and_a_link_that_is_no_vpn_has_its_own_action() {
    let mtu = Some(airpods_dbus::PathMtu::new(1300).unwrap());
    let on = |options| Request::ClampOn(Target::parse("wg0").unwrap(), options);
    let (plain, all) = (ClampOptions::default(), ClampOptions { mtu, persist: true, any_link: true });
    for (request, kept_now, action, details) in [
        (on(plain), false, names::ACTION_CLAMP_ON, "wg0 clamp-on route no no"),
        (on(plain), true, names::ACTION_CLAMP_ON, "wg0 clamp-on route no yes"),
        (on(all), false, names::ACTION_CLAMP_ANY_LINK, "wg0 clamp-any-link 1300 yes no"),
        (Request::ClampOff(Target::Auto), true, names::ACTION_CLAMP_OFF, "every VPN link clamp-off yes"),
        (Request::Reset, false, names::ACTION_RESET, "every link reset no"),
    ] {
        let question = Question::about(caller(1000), request, kept_now, false);
        let values: Vec<_> = question.details().into_iter().map(|(_, value)| value).collect();
        assert_eq!((Action::of(&question.request).id(), values.join(" ").as_str()), (action, details));
    }
}

#[test]
fn only_a_challenge_to_an_interactive_caller_leads_to_a_prompt() {
    use crate::doubles::Recording;
    for (answered, interaction, is_left) in [
        (Denial::unless(false, true, false), true, true),
        (Denial::unless(false, true, false), false, false),
        (Denial::unless(false, false, false), true, false),
        (Denial::unless(true, true, false), true, false),
        (Err(Denial::Silent(2)), true, false),
        (Err(Denial::Failed("the action is not registered".to_owned())), true, false),
    ] {
        let authority = Recording::answering(answered.clone());
        let question = question(1000, interaction);
        let judged = zruntime::block_on(authorise(&authority, &question, PromptMode::Forbidden, |_| ()));
        assert_eq!(question.needs_prompt(&judged), is_left, "{answered:?}");
        assert_eq!(authority.prompts(), 0);
    }
}

#[test]
fn root_is_never_prompted_for_a_password() {
    let may_be_asked = |uid| Question::about(caller(uid), Request::Reset, false, true).interaction;
    assert!(!may_be_asked(0) && may_be_asked(1000));
}

#[test]
fn an_error_from_polkit_denies_even_root() {
    let failure = Err(Denial::Failed("action is not registered".to_owned()));
    for uid in [0, 1000] {
        assert_eq!(denial(uid, true, failure.clone()), Some(ErrorKind::AccessDenied));
    }
}

#[test]
fn the_subject_is_the_callers_unique_name() {
    let question = Question::about(caller(1000), Request::Reset, false, true);
    assert_eq!(question.subject(), ("system-bus-name", HashMap::from([("name", Variant::from(":1.7"))])));
}
