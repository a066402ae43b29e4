//! The clamps that others have installed, in words and in JSON.

use airpods_dbus::{Foreign, ForeignClamp, Legacy, Mode, Status};
use serde_json::{Value, json};

/// What to say to somebody who has just added a clamp: one sentence, if there are others.
pub(super) fn remark(status: &Status) -> Option<String> {
    let foreign = status.foreign.as_ref()?;
    let first = foreign.clamps.first()?;
    let place = match foreign.count() - 1 {
        0 => table(first),
        1 => format!("{}, and in one more place", table(first)),
        more => format!("{}, and in {more} more places", table(first)),
    };
    Some(format!(
        "somebody else clamps too, in {place}; that does no harm, the smaller size wins (see `airpods net clamp status`)"
    ))
}

/// The part of the status for a person.
pub(super) fn list(status: &Status) -> Vec<String> {
    let Some(foreign) = &status.foreign else {
        return vec!["whether others clamp too is not known: their rules could not be read".to_owned()];
    };
    let mut lines = Vec::new();
    if !foreign.clamps.is_empty() {
        lines.push("clamps that others have installed:".to_owned());
        lines.extend(foreign.clamps.iter().map(|clamp| format!("  {}", line(clamp))));
    }
    if foreign.more > 0 {
        lines.push(format!("  and {} more", foreign.more));
    }
    if !foreign.whole {
        lines.push(
            "others may have more clamps: there are too many rules, or they change too often, to read all".to_owned(),
        );
    }
    let root = "`iptables-legacy-save` and `ip6tables-legacy-save` show root whether it does (look for TCPMSS)";
    match foreign.iptables_legacy {
        Legacy::None => {}
        Legacy::Possible => lines.push(format!("iptables-legacy probably clamps too, here or in a container; {root}")),
        Legacy::Unknown => lines.push(format!("whether iptables-legacy clamps too is not known; {root}")),
    }
    lines
}

fn table(clamp: &ForeignClamp) -> String {
    format!("table `{} {}` ({})", clamp.family, clamp.table, clamp.by)
}

fn line(clamp: &ForeignClamp) -> String {
    let link =
        |word: &str, link: &Option<String>| link.as_ref().map(|link| format!(", {word} `{link}`")).unwrap_or_default();
    let size = match (clamp.mode, clamp.mss) {
        (Mode::Route, _) => "the route's MTU".to_owned(),
        (Mode::Fixed, Some(mss)) => format!("an MSS of {mss}"),
        (Mode::Fixed, None) => "an MSS that depends on the packet".to_owned(),
    };
    let (out, into) = (link("what leaves through", &clamp.out_link), link("what arrives through", &clamp.in_link));
    format!("{}, chain `{}`{out}{into}: to {size}", table(clamp), clamp.chain)
}

/// The part of the status for a program.
pub(super) fn json(foreign: &Foreign) -> Value {
    let clamp = |clamp: &ForeignClamp| {
        json!({
            "by": clamp.by.as_str(), "family": clamp.family, "table": clamp.table, "chain": clamp.chain,
            "out-link": clamp.out_link, "in-link": clamp.in_link, "mode": clamp.mode.as_str(), "mss": clamp.mss,
        })
    };
    json!({
        "clamps": foreign.clamps.iter().map(clamp).collect::<Vec<_>>(),
        "more": foreign.more,
        "whole": foreign.whole,
        "iptables-legacy": foreign.iptables_legacy.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use airpods_dbus::{ClampOptions, Target, Technique};

    use super::super::{Change, outcome};
    use super::*;

    fn forward() -> ForeignClamp {
        ForeignClamp {
            by: Technique::IptablesNft,
            family: "ip".to_owned(),
            table: "mangle".to_owned(),
            chain: "FORWARD".to_owned(),
            out_link: Some("wg0".to_owned()),
            in_link: None,
            mode: Mode::Route,
            mss: None,
        }
    }

    fn with(clamps: Vec<ForeignClamp>) -> Foreign {
        Foreign { clamps, whole: true, iptables_legacy: Legacy::None, ..Foreign::default() }
    }

    fn status(foreign: Foreign) -> Status {
        Status { foreign: Some(foreign), ..Status::default() }
    }

    #[test]
    fn each_clamp_of_somebody_else_is_a_line() {
        let fixed = ForeignClamp {
            by: Technique::Nftables,
            in_link: Some("tun*".to_owned()),
            out_link: None,
            mode: Mode::Fixed,
            mss: Some(1300),
            ..forward()
        };
        let mapped = ForeignClamp { mss: None, in_link: None, ..fixed.clone() };
        let foreign = Foreign { more: 3, ..with(vec![forward(), fixed, mapped]) };
        assert_eq!(
            list(&status(foreign)),
            [
                "clamps that others have installed:",
                "  table `ip mangle` (iptables-nft), chain `FORWARD`, what leaves through `wg0`: to the route's MTU",
                "  table `ip mangle` (nftables), chain `FORWARD`, what arrives through `tun*`: to an MSS of 1300",
                "  table `ip mangle` (nftables), chain `FORWARD`: to an MSS that depends on the packet",
                "  and 3 more",
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_not_reported_as_nothing() {
        assert_eq!(list(&status(with(Vec::new()))), [""; 0]);
        assert!(list(&Status::default())[0].contains("not known"));
        assert!(list(&status(Foreign { whole: false, ..with(Vec::new()) }))[0].contains("may have more"));
        for (legacy, word) in [(Legacy::Unknown, "not known"), (Legacy::Possible, "probably")] {
            let lines = list(&status(Foreign { iptables_legacy: legacy, ..with(Vec::new()) }));
            assert!(lines[0].contains(word) && lines[0].contains("iptables-legacy-save"), "{lines:?}");
        }
    }

    #[test]
    fn who_adds_a_second_clamp_is_told_in_one_sentence() {
        let change = Change::On(Target::Auto, ClampOptions::default());
        let said = |foreign: Foreign| {
            let lines = outcome(&change, true, &status(foreign));
            lines.into_iter().filter(|line| line.starts_with("somebody else")).collect::<Vec<_>>()
        };
        assert_eq!(said(with(Vec::new())), [""; 0]);
        let tail = "; that does no harm, the smaller size wins (see `airpods net clamp status`)";
        let one = "somebody else clamps too, in table `ip mangle` (iptables-nft)";
        assert_eq!(said(with(vec![forward()])), [format!("{one}{tail}")]);
        assert_eq!(said(with(vec![forward(); 2])), [format!("{one}, and in one more place{tail}")]);
        let many = Foreign { more: 3, ..with(vec![forward(); 2]) };
        assert_eq!(said(many), [format!("{one}, and in 4 more places{tail}")]);
    }
}
