//! From what was measured in each place to one verdict. Pure.

use std::time::Instant;

use super::report::{Confidence, Direction, PathReport, PlaceReport, Report};
use super::targets::Target;
use super::verdict::{Code, Weight, Words, words};

/// The verdict on all of it: the worst of the places, the host's first.
pub(super) fn conclude(places: Vec<PlaceReport>, begun: Instant) -> Report {
    let last = |place: &PlaceReport, path: &PathReport| {
        place.paths.iter().rfind(|other| other.family == path.family).is_some_and(|other| std::ptr::eq(other, path))
    };
    let all = places
        .iter()
        .flat_map(|place| place.paths.iter().filter(|path| last(place, path)).map(move |path| (place, path)));
    // `max_by_key` would take the last of equals.
    let worst = all.rev().max_by_key(|(_, path)| path.verdict.weight());
    let connections = places.iter().flat_map(|place| &place.paths).map(|path| path.connections).sum();
    let (verdict, (sentence, not_to_blame, cure), confidence) = if let Some((place, path)) = worst {
        (path.verdict, words(path.verdict, &about(place, path)), confidence(path))
    } else {
        let said = words(Code::NotMeasured, &Words::default());
        (Code::NotMeasured, said, Confidence::NotMeasured)
    };
    Report {
        verdict,
        sentence,
        not_to_blame: not_to_blame.map(str::to_owned),
        cure,
        confidence,
        connections,
        places,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

/// The sentence about a path.
fn about(place: &PlaceReport, path: &PathReport) -> Words {
    let least = [path.up.proven, path.down.proven].into_iter().flatten().min();
    let narrow = |direction: &Direction| direction.failed.is_some();
    let udp = path.udp.filter(|_| path.verdict == Code::UdpNarrow).and_then(|udp| udp.proven);
    Words {
        place: if place.place == "host" { "the host".to_owned() } else { format!("the network `{}`", place.place) },
        server: path.server.clone(),
        link: place.link.as_ref().map(|link| link.name.clone()),
        vpn: place.link.as_ref().is_some_and(|link| link.vpn),
        link_mtu: place.link.as_ref().map(|link| link.mtu),
        own_mtu: place.own_mtu,
        service: place.services.first().cloned(),
        direction: match (narrow(&path.up), narrow(&path.down)) {
            (true, false) => "up",
            (false, true) => "down",
            _ => "in both directions",
        },
        passes: udp.or(path.narrow_to).or(least),
    }
}

/// How sure the verdict on a path is.
fn confidence(path: &PathReport) -> Confidence {
    let sizes = path.up.proven.is_some() || path.down.proven.is_some();
    if !sizes && path.verdict.weight() == Weight::Broken {
        return Confidence::Sure;
    }
    let relevant = |direction: &&Direction| path.narrow_to.is_none() || direction.failed.is_some();
    let directions = [&path.up, &path.down];
    directions.into_iter().filter(relevant).map(|direction| direction.confidence).min().unwrap_or_default()
}

/// No name has an address.
pub(super) fn nameless(target: Option<&Target>, code: Code, why: &str, begun: Instant) -> Report {
    let about = Words { server: target.map(|target| target.host.clone()).unwrap_or_default(), ..Words::default() };
    let (sentence, not_to_blame, cure) = words(code, &about);
    Report {
        verdict: code,
        sentence: if target.is_some() { sentence } else { why.to_owned() },
        not_to_blame: not_to_blame.map(str::to_owned),
        cure,
        confidence: if target.is_some() { Confidence::Sure } else { Confidence::NotMeasured },
        places: Vec::new(),
        seconds: begun.elapsed().as_secs_f64(),
        connections: 0,
    }
}
