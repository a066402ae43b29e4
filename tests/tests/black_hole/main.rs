//! The table of docs/black-hole.md, row by row: who hangs behind which VPN, and what cures it.
//!
//! Each row is a world of its own, with a real tunnel. Every cell is four transfers of 1 MB over HTTPS with checksums: download
//! and upload, IPv4 and IPv6. The rows that a clamp does not cure are what proves that the others were cured by it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod column;
mod cure;
mod real_podman;

use std::fmt;

use airpods_lab::{BlackHole, Family, Transfer, World, WorldPlan};

use column::Column;
use cure::Cure;

/// What one cell of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All transfers complete.
    Works,
    /// None does.
    Hangs,
}
use Outcome::{Hangs, Works};

const NARROW: BlackHole = BlackHole::NarrowPath { mtu: 1300 };

/// One transfer of a cell and how it ended.
#[derive(Debug)]
struct Attempt {
    column: Column,
    family: Family,
    upload: bool,
    ended: Transfer,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.upload { "upload" } else { "download" };
        write!(f, "{:?} {direction} {:?}: {:?}", self.column, self.family, self.ended)
    }
}

/// Builds the row's world, applies the cure, and makes all transfers of the row at once.
#[track_caller]
fn assert_row(hole: BlackHole, cure: Cure, expected: [(Column, Outcome); 5]) {
    let world = World::new(WorldPlan::with_hole(hole)).unwrap();
    let columns = expected.map(|(column, _)| (column, column.furnish(&world)));
    cure.apply(&world);
    let attempts: Vec<Attempt> = std::thread::scope(|scope| {
        let running: Vec<_> = columns
            .iter()
            .flat_map(|(column, place)| {
                column
                    .families()
                    .iter()
                    .flat_map(move |family| [false, true].map(|upload| (*column, place, *family, upload)))
            })
            .map(|(column, place, family, upload)| {
                let world = &world;
                scope.spawn(move || {
                    let transfer = if upload { World::upload } else { World::download };
                    Attempt { column, family, upload, ended: transfer(world, place, family).unwrap() }
                })
            })
            .collect();
        running.into_iter().map(|attempt| attempt.join().unwrap()).collect()
    });
    let wrong: Vec<String> = attempts
        .iter()
        .filter(|attempt| {
            let (_, wanted) = expected.iter().find(|(column, _)| *column == attempt.column).unwrap();
            attempt.ended.completed() != (*wanted == Works)
        })
        .map(ToString::to_string)
        .collect();
    assert!(wrong.is_empty(), "{hole:?}, {cure:?}: expected {expected:?}, but\n{}", wrong.join("\n"));
}

/// The columns of the table with the outcome of each.
const fn row(host: Outcome, bridge: Outcome, narrow_bridge: Outcome, rootless: Outcome) -> [(Column, Outcome); 5] {
    [
        (Column::HostNet, host),
        (Column::Bridge, bridge),
        (Column::NarrowBridge, narrow_bridge),
        (Column::Pasta, rootless),
        (Column::Slirp, rootless),
    ]
}

#[test]
fn without_a_hole_everything_works() {
    assert_row(BlackHole::None, Cure::Nothing, row(Works, Works, Works, Works));
}

#[test]
fn in_a_without_a_clamp_what_is_behind_a_bridge_hangs() {
    assert_row(BlackHole::A, Cure::Nothing, row(Works, Hangs, Works, Works));
}

#[test]
fn in_a_the_usual_egress_only_clamp_cures() {
    assert_row(BlackHole::A, Cure::EgressOnly, row(Works, Works, Works, Works));
}

#[test]
fn in_a_our_clamp_cures() {
    assert_row(BlackHole::A, Cure::Airpods { mtu: None }, row(Works, Works, Works, Works));
}

#[test]
fn in_ab_without_a_clamp_what_is_behind_a_bridge_hangs() {
    assert_row(BlackHole::AB, Cure::Nothing, row(Works, Hangs, Works, Works));
}

#[test]
fn in_ab_the_usual_egress_only_clamp_does_not_cure() {
    assert_row(BlackHole::AB, Cure::EgressOnly, row(Works, Hangs, Works, Works));
}

#[test]
fn in_ab_our_clamp_in_both_directions_cures() {
    assert_row(BlackHole::AB, Cure::Airpods { mtu: None }, row(Works, Works, Works, Works));
}

#[test]
fn on_a_narrower_path_everything_hangs() {
    assert_row(NARROW, Cure::Nothing, row(Hangs, Hangs, Hangs, Hangs));
}

#[test]
fn on_a_narrower_path_the_routes_mtu_cures_nothing_in_any_hook() {
    assert_row(NARROW, Cure::RouteMtuEverywhere, row(Hangs, Hangs, Hangs, Hangs));
}

#[test]
fn on_a_narrower_path_a_fixed_value_on_egress_only_cures_nothing() {
    assert_row(NARROW, Cure::FixedEgressOnly { mtu: 1300 }, row(Hangs, Hangs, Hangs, Hangs));
}

#[test]
fn on_a_narrower_path_our_fixed_value_in_both_directions_cures_all() {
    assert_row(NARROW, Cure::Airpods { mtu: Some(1300) }, row(Works, Works, Works, Works));
}
