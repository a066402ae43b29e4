//! The size of the images that a plan pulls.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Action, Plan};
use crate::podman::Blobs;
use crate::terminal::readable_size;

/// The size of a plan's pulls, as far as the registries reported it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PullSize {
    /// The images to pull.
    pub images: usize,
    /// Those of known size.
    pub of_known_size: usize,
    /// The bytes to download for those of known size. podman skips the layers that it has, so it
    /// may be less.
    pub bytes_at_most: u64,
}

impl Plan {
    /// The images to pull.
    pub fn pulled_images(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Pull(image) => Some(image.as_str()),
            _ => None,
        })
    }

    /// The size of the pulls. A layer that several images share counts once.
    #[must_use]
    pub fn pull_size(&self) -> PullSize {
        let known: Vec<&Blobs> = self.pulled_images().filter_map(|image| self.blobs.get(image)).collect();
        let blobs: BTreeMap<&String, u64> =
            known.iter().flat_map(|blobs| blobs.iter()).map(|(digest, size)| (digest, *size)).collect();
        PullSize {
            images: self.pulled_images().count(),
            of_known_size: known.len(),
            bytes_at_most: blobs.values().fold(0, |sum, size| sum.saturating_add(*size)),
        }
    }
}

impl fmt::Display for PullSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = if self.images == 1 { "image" } else { "images" };
        write!(f, "{} {images} to pull, ", self.images)?;
        let size = readable_size(self.bytes_at_most);
        match self.images.saturating_sub(self.of_known_size) {
            0 => write!(f, "a download of at most {size}"),
            _ if self.of_known_size == 0 => f.write_str("of unknown size"),
            unknown => write!(f, "a download of at most {size} plus {unknown} of unknown size"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Step;

    /// A plan that pulls these images, of which some have blobs.
    fn plan(images: &[(&str, &[(&str, u64)])]) -> Plan {
        let pull = |image: &str| Step { action: Action::Pull(image.into()), service: None, after: Vec::new() };
        let blobs = images.iter().filter(|(_, blobs)| !blobs.is_empty());
        let named = |blobs: &[(&str, u64)]| blobs.iter().map(|(digest, size)| ((*digest).to_owned(), *size)).collect();
        Plan {
            steps: images.iter().map(|(image, _)| pull(image)).collect(),
            blobs: blobs.map(|(image, blobs)| ((*image).to_owned(), named(blobs))).collect(),
            ..Plan::default()
        }
    }

    #[test]
    fn a_layer_that_images_share_counts_once() {
        let plan = plan(&[("a", &[("base", 1000), ("a", 20)]), ("b", &[("base", 1000), ("b", 4)])]);
        assert_eq!(plan.pull_size(), PullSize { images: 2, of_known_size: 2, bytes_at_most: 1024 });
    }

    #[test]
    fn the_size_says_how_much_of_it_is_unknown() {
        let shown = |images: &[(&str, &[(&str, u64)])]| plan(images).pull_size().to_string();
        assert_eq!(shown(&[("a", &[])]), "1 image to pull, of unknown size");
        assert_eq!(shown(&[("a", &[("x", 2048)])]), "1 image to pull, a download of at most 2.00 KiB");
        assert_eq!(
            shown(&[("a", &[("x", 2048)]), ("b", &[]), ("c", &[])]),
            "3 images to pull, a download of at most 2.00 KiB plus 2 of unknown size"
        );
    }

    #[test]
    fn an_absurd_size_does_not_overflow() {
        assert_eq!(plan(&[("a", &[("x", u64::MAX), ("y", 1)])]).pull_size().bytes_at_most, u64::MAX);
    }
}
