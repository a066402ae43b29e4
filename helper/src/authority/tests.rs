//! What each answer means.
#![allow(clippy::unwrap_used)]

use super::*;
use airpods_dbus::{ClampOptions, Target};

fn question(uid: u32, interaction: bool) -> Question {
    let request = Request::ClampOn(Target::parse("wg0").unwrap(), ClampOptions::default());
    Question { interaction, ..Question::about(caller(uid), &request, interaction).unwrap() }
}

fn caller(uid: u32) -> Caller {
    Caller { name: ":1.7".try_into().unwrap(), uid }
}

#[allow(clippy::unnecessary_wraps, reason = "it stands for what an authority returns")]
fn answer(is_authorized: bool, is_challenge: bool, is_dismissed: bool) -> Result<Answer, NoAnswer> {
    Ok(Answer { is_authorized, is_challenge, is_dismissed })
}

fn denial(uid: u32, interaction: bool, answer: &Result<Answer, NoAnswer>) -> Option<ErrorKind> {
    judge(&question(uid, interaction), answer).err().map(|error| error.kind())
}

#[test]
fn only_an_authorized_subject_is_served() {
    for interaction in [false, true] {
        for uid in [0, 1000] {
            assert_eq!(denial(uid, interaction, &answer(true, false, false)), None);
            assert_eq!(denial(uid, interaction, &answer(true, true, false)), None);
            assert_eq!(denial(uid, interaction, &answer(false, false, false)), Some(ErrorKind::AccessDenied));
            let challenged = Some(ErrorKind::InteractiveAuthorizationRequired);
            assert_eq!(denial(uid, interaction, &answer(false, true, false)), challenged);
        }
    }
}

#[test]
fn a_challenge_tells_whether_the_calls_consent_or_an_agent_is_missing() {
    let sentence =
        |interaction| judge(&question(1000, interaction), &answer(false, true, false)).unwrap_err().to_string();
    assert!(sentence(false).contains("the call does not allow to ask"), "{}", sentence(false));
    assert!(sentence(true).contains("there is no authentication agent"), "{}", sentence(true));
}

#[test]
fn a_dismissed_prompt_has_its_own_name() {
    for is_challenge in [false, true] {
        let dismissed = answer(false, is_challenge, true);
        assert_eq!(denial(1000, true, &dismissed), Some(ErrorKind::AuthDismissed));
    }
}

#[test]
fn a_caller_whom_polkit_does_not_find_is_denied_whoever_it_was() {
    for uid in [0, 1000] {
        assert_eq!(denial(uid, false, &Err(NoAnswer::CallerGone)), Some(ErrorKind::AccessDenied));
    }
}

#[test]
fn without_polkit_only_root_is_served() {
    let silence = Err(NoAnswer::Unreachable("no such name".to_owned()));
    assert_eq!(denial(0, false, &silence), None);
    assert_eq!(denial(1, true, &silence), Some(ErrorKind::AuthUnavailable));
    assert_eq!(denial(u32::MAX, false, &silence), Some(ErrorKind::AuthUnavailable));
}

#[test]
fn only_a_challenge_to_somebody_who_may_be_asked_is_left_to_a_password() {
    use super::recording::Recording;
    for (answered, interaction, is_left) in [
        (answer(false, true, false), true, true),
        (answer(false, true, false), false, false),
        (answer(false, false, false), true, false),
        (answer(true, true, false), true, false),
        (Err(NoAnswer::Unreachable("silence".to_owned())), true, false),
        (Err(NoAnswer::Failed("the action is not registered".to_owned())), true, false),
    ] {
        let authority = Recording::saying(answered.clone());
        let judged = zruntime::block_on(authorise(&authority, &question(1000, interaction), |_| ()));
        assert_eq!(matches!(judged, Ok(None)), is_left, "{answered:?}");
        assert_eq!(authority.prompts(), 0);
    }
}

#[test]
fn nobody_asks_root_for_a_password() {
    let may_be_asked = |uid| Question::about(caller(uid), &Request::Reset, true).unwrap().interaction;
    assert!(!may_be_asked(0) && may_be_asked(1000));
}

#[test]
fn an_error_from_polkit_denies_even_root() {
    let failure = Err(NoAnswer::Failed("action is not registered".to_owned()));
    for uid in [0, 1000] {
        assert_eq!(denial(uid, true, &failure), Some(ErrorKind::AccessDenied));
    }
}

#[test]
fn the_subject_is_the_callers_unique_name() {
    let subject = Question::about(caller(1000), &Request::Reset, true).unwrap().subject;
    assert_eq!(subject.kind(), "system-bus-name");
}

#[test]
fn a_permit_serves_no_other_action_and_no_other_link() {
    let off = |link: &str| Request::ClampOff(Target::parse(link).unwrap());
    let permit = || Permit { action: Action::ClampOff, interface: "wg0".to_owned() };
    for other in [Request::Reset, off("wg1"), off("")] {
        assert_eq!(permit().spend_on(&other).unwrap_err().kind(), ErrorKind::AccessDenied, "{other:?}");
    }
    assert!(permit().spend_on(&off("wg0")).is_ok());
}
