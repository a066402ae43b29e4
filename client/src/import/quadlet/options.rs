//! `PodmanArgs=` of a unit: options of `podman run` for which the unit has no key.

use super::super::draft::Service;
use super::container::{self, Place};
use super::value;
use crate::podman::{OPTION_ROWS, OptionShape};

impl Place<'_> {
    /// Carries over what has a key of ours; the rest is noted, each option by its name.
    pub(super) fn podman_args(&mut self, draft: &mut Service) {
        let Some(words) = value::texts(&self.line.value) else { return self.note_specifier() };
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let (flag, inline) = word.split_once('=').map_or((word.as_str(), None), |(flag, text)| (flag, Some(text)));
            let row = OPTION_ROWS.iter().find(|row| row.flag == flag);
            if let Some(row) = row.filter(|row| row.shape == OptionShape::Switch) {
                draft.set(row.key, inline.is_none_or(value::is_yes));
                continue;
            }
            let mut text = || {
                let next = || words.next_if(|word| !word.starts_with('-'));
                inline.map(ToOwned::to_owned).or_else(next).unwrap_or_default()
            };
            match (row, flag) {
                (Some(row), _) if row.shape == OptionShape::List => draft.push(row.key, text()),
                (Some(row), _) => draft.set(row.key, text()),
                (None, "--memory" | "-m") => draft.set_in("resources", "memory", text()),
                (None, "--cpus") => draft.set_in("resources", "cpus", text()),
                (None, "--device") => container::device(draft, &text()),
                (None, "--gpus") => match text().as_str() {
                    "all" => draft.gpu([]),
                    other => self.note(&format!("`--gpus {other}` is not carried over: see `gpu.device`")),
                },
                (None, "--add-host") => draft.push("extra_hosts", text()),
                (None, "--entrypoint") => container::entrypoint(draft, &text()),
                (None, "--pids-limit") => self.count(draft, &text()),
                (None, "--network-alias") => draft.push("network_aliases", text()),
                (None, flag) if flag.starts_with('-') => self.note(&format!("`{flag}` is not carried over")),
                // The value of an option that was noted.
                _ => {}
            }
        }
    }
}
