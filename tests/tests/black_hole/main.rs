//! The table of docs/black-hole.md, row by row: the transfers that hang behind each VPN, and the
//! cures.
//!
//! Each row is a world of its own, with a real tunnel. Every cell is four transfers of 1 MB over
//! HTTPS with checksums: download and upload, IPv4 and IPv6. The rows that a clamp does not cure
//! prove that it cured the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod column;
mod cure;

use airpods_lab::tunnel::{Direction, PROBE};
use airpods_lab::{BlackHole, Family, Place, Transfer, World, WorldPlan};

use column::Column;
use cure::Cure;

/// The content of one cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All transfers complete.
    Works,
    /// None does.
    Hangs,
}
use Outcome::{Hangs, Works};

const DIRECTIONS: [Direction; 2] = [Direction::Download, Direction::Upload];
const NARROW: BlackHole = BlackHole::NarrowPath { mtu: 1300 };

/// One transfer of a cell.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    column: Column,
    expected: Outcome,
    family: Family,
    direction: Direction,
}

impl Attempt {
    /// Makes the transfer, with a limit in seconds without progress. For an expected hang it is
    /// many times the duration of a normal transfer. For an expected success it is longer, because
    /// the machine may be busy.
    fn make(self, world: &World, place: &dyn Place) -> Transfer {
        let seconds = if self.expected == Hangs { "3" } else { "20" };
        let (verb, path) = match self.direction {
            Direction::Download => ("get", "/download"),
            Direction::Upload => ("put", "/upload"),
        };
        let url = world.url(self.family, path);
        Transfer::of(place.command(PROBE).args([verb, &url, "--timeout", seconds])).unwrap()
    }
}

/// Builds the row's world, applies the cure, and makes all transfers of the row at once.
#[track_caller]
fn assert_row(hole: BlackHole, cure: Cure, expected: &[(Column, Outcome)]) {
    let world = World::new(WorldPlan::with_hole(hole)).unwrap();
    let cells: Vec<_> = expected.iter().map(|&(column, expected)| (column, expected, column.create(&world))).collect();
    cure.apply(&world);
    let ended: Vec<(Attempt, Transfer)> = std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (column, expected, place) in &cells {
            for (family, direction) in column.families().iter().flat_map(|family| DIRECTIONS.map(|way| (family, way))) {
                let attempt = Attempt { column: *column, expected: *expected, family: *family, direction };
                let world = &world;
                running.push(scope.spawn(move || (attempt, attempt.make(world, place))));
            }
        }
        running.into_iter().map(|attempt| attempt.join().unwrap()).collect()
    });
    let surprises: Vec<String> = ended
        .iter()
        .filter(|(attempt, ended)| ended.completed() != (attempt.expected == Works))
        .map(|(attempt, ended)| {
            let Attempt { column, expected, family, direction } = attempt;
            format!("{column:?}, {direction:?} over {family:?}: {ended:?}, but {expected:?} was expected")
        })
        .collect();
    assert!(surprises.is_empty(), "{hole:?} with {cure:?}:\n{}", surprises.join("\n"));
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
    assert_row(BlackHole::None, Cure::Nothing, &row(Works, Works, Works, Works));
}

#[test]
fn in_a_without_a_clamp_what_is_behind_a_bridge_hangs() {
    assert_row(BlackHole::A, Cure::Nothing, &row(Works, Hangs, Works, Works));
}

#[test]
fn in_a_the_usual_egress_only_clamp_cures() {
    assert_row(BlackHole::A, Cure::EgressOnly, &row(Works, Works, Works, Works));
}

#[test]
fn in_a_our_clamp_cures() {
    assert_row(BlackHole::A, Cure::Airpods { mtu: None }, &row(Works, Works, Works, Works));
}

#[test]
fn in_ab_without_a_clamp_what_is_behind_a_bridge_hangs() {
    assert_row(BlackHole::AB, Cure::Nothing, &row(Works, Hangs, Works, Works));
}

#[test]
fn in_ab_the_usual_egress_only_clamp_does_not_cure() {
    assert_row(BlackHole::AB, Cure::EgressOnly, &row(Works, Hangs, Works, Works));
}

#[test]
fn in_ab_our_clamp_in_both_directions_cures() {
    assert_row(BlackHole::AB, Cure::Airpods { mtu: None }, &row(Works, Works, Works, Works));
}

#[test]
fn on_a_narrower_path_everything_hangs() {
    assert_row(NARROW, Cure::Nothing, &row(Hangs, Hangs, Hangs, Hangs));
}

#[test]
fn on_a_narrower_path_the_routes_mtu_cures_nothing_in_any_hook() {
    assert_row(NARROW, Cure::RouteMtuEverywhere, &row(Hangs, Hangs, Hangs, Hangs));
}

#[test]
fn on_a_narrower_path_a_fixed_value_on_egress_only_cures_nothing() {
    assert_row(NARROW, Cure::FixedEgressOnly { mtu: 1300 }, &row(Hangs, Hangs, Hangs, Hangs));
}

#[test]
fn on_a_narrower_path_our_fixed_value_in_both_directions_cures_all() {
    assert_row(NARROW, Cure::Airpods { mtu: Some(1300) }, &row(Works, Works, Works, Works));
}

/// The same places as real containers, with podman's own NAT and firewall rules in the path.
const fn podman_row(bridge: Outcome, narrow_bridge: Outcome, rootless: Outcome) -> [(Column, Outcome); 4] {
    [
        (Column::Podman, bridge),
        (Column::NarrowPodman, narrow_bridge),
        (Column::RootlessPodman, rootless),
        (Column::RootlessPodmanBridge, rootless),
    ]
}

#[test]
fn in_a_without_a_clamp_rootful_containers_hang() {
    assert_row(BlackHole::A, Cure::Nothing, &podman_row(Hangs, Works, Works));
}

#[test]
fn in_a_our_clamp_cures_containers() {
    assert_row(BlackHole::A, Cure::Airpods { mtu: None }, &podman_row(Works, Works, Works));
}

#[test]
fn in_ab_the_usual_egress_only_clamp_does_not_cure_rootful_containers() {
    assert_row(BlackHole::AB, Cure::EgressOnly, &podman_row(Hangs, Works, Works));
}

#[test]
fn in_ab_our_clamp_in_both_directions_cures_containers() {
    assert_row(BlackHole::AB, Cure::Airpods { mtu: None }, &podman_row(Works, Works, Works));
}

#[test]
fn on_a_narrower_path_our_fixed_value_in_both_directions_cures_containers() {
    assert_row(NARROW, Cure::Airpods { mtu: Some(1300) }, &podman_row(Works, Works, Works));
}
