//! Whether a link is clamped, and by whom. Pure; start, status and doctor judge by it.

use airpods_dbus::{ClampState, ForeignClamp, Status};

/// Who clamps a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// The helper.
    Clamped,
    /// A rule of somebody else's, on what leaves by it.
    ByOthers {
        /// The rule.
        rule: &'a ForeignClamp,
        /// Another takes what arrives by it, so that uploads are helped as well.
        both_ways: bool,
    },
    /// Nobody, as far as is known.
    Open,
}

/// Reads it off what the helper reports. A clamp that somebody keeps removing counts: to set it again changes nothing.
#[must_use]
pub fn standing<'a>(status: &'a Status, link: &str) -> Standing<'a> {
    if status.clamps.iter().any(|clamp| clamp.link == link && clamp.state != ClampState::Waiting) {
        return Standing::Clamped;
    }
    let foreign = status.foreign.as_ref().map_or([].as_slice(), |foreign| &foreign.clamps);
    let leaves = |rule: &&ForeignClamp| takes(rule.out_link.as_deref(), rule.in_link.as_deref(), link);
    let arrives = |rule: &ForeignClamp| takes(rule.in_link.as_deref(), rule.out_link.as_deref(), link);
    match foreign.iter().find(leaves) {
        Some(rule) => Standing::ByOthers { rule, both_ways: foreign.iter().any(arrives) },
        None => Standing::Open,
    }
}

/// Whether a rule that names `this` for one side of a packet's way, and `other` for the other, takes all that passes the link on this
/// side. `*` at the end of a name stands for anything.
fn takes(this: Option<&str>, other: Option<&str>, link: &str) -> bool {
    match this {
        Some(name) => name.strip_suffix('*').map_or(name == link, |beginning| link.starts_with(beginning)),
        None => other.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use airpods_dbus::{ClampStatus, Foreign, Mode, Origin, Technique};

    use super::*;

    fn clamped(state: ClampState) -> Status {
        let clamp = ClampStatus {
            link: "wg0".to_owned(),
            state,
            mode: Mode::Route,
            origin: Origin::Auto,
            persist: false,
            mtu: None,
            link_mtu: None,
            link_kind: None,
        };
        Status { clamps: vec![clamp], ..Status::default() }
    }

    /// Rules of somebody else's, each with the links that it names: out, in.
    fn foreign(rules: &[(Option<&str>, Option<&str>)]) -> Status {
        let rule = |&(out_link, in_link): &(Option<&str>, Option<&str>)| ForeignClamp {
            by: Technique::IptablesNft,
            family: "ip".to_owned(),
            table: "mangle".to_owned(),
            chain: "FORWARD".to_owned(),
            out_link: out_link.map(str::to_owned),
            in_link: in_link.map(str::to_owned),
            mode: Mode::Route,
            mss: None,
        };
        let clamps = rules.iter().map(rule).collect();
        Status { foreign: Some(Foreign { clamps, ..Foreign::default() }), ..Status::default() }
    }

    #[test]
    fn a_clamp_of_the_helpers_counts_for_its_link_while_that_is_there() {
        assert_eq!(standing(&clamped(ClampState::Active), "wg0"), Standing::Clamped);
        assert_eq!(standing(&clamped(ClampState::Contested), "wg0"), Standing::Clamped);
        assert_eq!(standing(&clamped(ClampState::Active), "wg1"), Standing::Open);
        assert_eq!(standing(&clamped(ClampState::Waiting), "wg0"), Standing::Open);
        assert_eq!(standing(&Status::default(), "wg0"), Standing::Open);
    }

    #[test]
    fn a_rule_of_somebody_elses_counts_for_what_leaves_by_the_link_and_is_known_to_be_half_of_it() {
        let ways = |rules: &[_]| match standing(&foreign(rules), "wg0") {
            Standing::ByOthers { both_ways, .. } => Some(both_ways),
            Standing::Clamped | Standing::Open => None,
        };
        assert_eq!(ways(&[(Some("wg0"), None)]), Some(false));
        assert_eq!(ways(&[(Some("wg*"), None)]), Some(false));
        assert_eq!(ways(&[(Some("wg0"), None), (None, Some("wg0"))]), Some(true));
        assert_eq!(ways(&[(None, None)]), Some(true), "it names no link, so it takes all");
        assert_eq!(ways(&[(Some("wg01"), None)]), None);
        assert_eq!(ways(&[(Some("tun*"), None)]), None);
        assert_eq!(ways(&[(None, Some("wg0"))]), None);
    }
}
