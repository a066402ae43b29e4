//! What holds for any bytes that claim to come from podman. See [`crate::fuzzing`].
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]

use serde::de::DeserializeOwned;

use super::{ContainerAnswer, DetailAnswer, Frames, InfoAnswer, Lines, NetworkAnswer, PodAnswer, VolumeAnswer, report};
use crate::podman::{Container, HostFacts, LogLine, Network, Pod};

/// Any answer is read or refused, and what is read makes sense.
pub fn podman_answer(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    match kind % 7 {
        0 => drop(read::<InfoAnswer>(body).map(HostFacts::from)),
        1 => drop(read::<Vec<NetworkAnswer>>(body).map(|all| all.into_iter().map(Network::from).collect::<Vec<_>>())),
        2 => {
            for pod in read::<Vec<PodAnswer>>(body).unwrap_or_default().into_iter().map(Pod::from) {
                assert!(pod.containers.len() <= body.len());
            }
        }
        3 => {
            for answer in read::<Vec<ContainerAnswer>>(body).unwrap_or_default() {
                let container = Container::from(answer);
                assert_ne!(container.pod.as_deref(), Some(""));
                assert!(container.started_at.is_none_or(|moment| moment > 0));
            }
        }
        4 => {
            let Some(answer) = read::<DetailAnswer>(body) else { return };
            let names = answer.names();
            let servers = names.dns_servers.clone();
            let detail = answer.into_detail(names);
            assert_eq!(detail.dns_servers, servers);
            assert!(detail.ports.is_sorted() && detail.pid != Some(0) && !detail.restart.is_empty());
        }
        5 => drop(read::<Vec<VolumeAnswer>>(body)),
        _ => drop(report(body, &mut |_| {})),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// A log comes to the same lines however it is cut into pieces, and no byte of its text is lost.
pub fn log_frames(bytes: &[u8]) {
    let Some((size, stream)) = bytes.split_first() else { return };
    let size = usize::from(*size).max(1);
    let mut whole = Frames::default();
    let lines = [whole.push(stream), whole.rest()].concat();
    let mut cut = Frames::default();
    let in_pieces: Vec<LogLine> = stream.chunks(size).flat_map(|piece| cut.push(piece)).collect();
    assert_eq!([in_pieces, cut.rest()].concat(), lines);
    assert!(lines.iter().all(|line| !line.text.contains(&b'\n')));
    assert!(lines.iter().map(|line| line.text.len()).sum::<usize>() <= stream.len());

    let mut cut = Lines::default();
    let mut joined: Vec<u8> = Vec::new();
    for line in stream.chunks(size).flat_map(|piece| cut.push(piece)) {
        joined.extend(line);
        joined.push(b'\n');
    }
    joined.extend(cut.rest().unwrap_or_default());
    assert_eq!(joined, stream);
}
