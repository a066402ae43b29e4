//! Names: of services, of podman's objects, of hosts on a network, and of container images.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text has no characters.
    #[error("a name cannot be empty")]
    Empty,
    /// podman's own rule, `define.NameRegex` in `libpod/define/config.go`.
    #[error("a name begins with a letter or a digit and has only letters, digits, `_`, `.` and `-`")]
    Podman,
    /// RFC 1035, section 2.3.4: 63 bytes for a label, 253 for the whole name.
    #[error("a name on a network has labels of 1 to 63 letters, digits, `-` and `_`, separated by `.`")]
    Dns,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                $check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name! {
    /// The key of a service in the configuration, such as `open-webui`.
    ServiceName, podman_name
}

name! {
    /// The name of a container, a pod, a network or a volume in podman.
    ObjectName, podman_name
}

name! {
    /// A name by which the other services of the network find a service.
    NetworkAlias, dns_name
}

impl ServiceName {
    /// The default name of a service's container: `NAME-0`, which users of the Python airpods know.
    #[must_use]
    pub fn default_container(&self) -> ObjectName {
        ObjectName(format!("{}-0", self.0))
    }
}

fn podman_name(text: &str) -> Result<(), InvalidName> {
    let mut bytes = text.bytes();
    let first = bytes.next().ok_or(InvalidName::Empty)?;
    let rest_fits = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first.is_ascii_alphanumeric() && rest_fits { Ok(()) } else { Err(InvalidName::Podman) }
}

fn dns_name(text: &str) -> Result<(), InvalidName> {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    match text {
        "" => Err(InvalidName::Empty),
        _ if text.len() <= 253 && text.split('.').all(label_fits) => Ok(()),
        _ => Err(InvalidName::Dns),
    }
}

/// An image with its registry, such as `docker.io/ollama/ollama:latest` or `localhost/mine`.
///
/// A name without a registry is completed at once with docker.io, as in compose. For podman a short
/// name depends on the machine's search list, which may lead to a foreign image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName(String);

/// Why a text is not an [`ImageName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImage {
    /// The grammar of `distribution/reference` is not met.
    #[error("`{0}` is not an image name such as `docker.io/library/debian:13`")]
    Malformed(String),
}

impl ImageName {
    /// The name as it was written, with its registry.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the image can only be on this machine: its registry is `localhost`.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.starts_with("localhost/")
    }
}

/// The tag of a name that has neither tag nor digest.
const DEFAULT_TAG: &str = "latest";

/// The parts of an image's name, completed as podman completes them. All spellings of a name have
/// the same parts, so that they can be compared.
///
/// Source: `distribution/reference` (`ParseDockerRef`, `TagNameOnly`), and podman 4.3.1 and 5.4.2,
/// which report `localhost/x` as `localhost/x:latest`, and `localhost/x:1@sha256:…` as
/// `localhost/x@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Registry and path.
    repository: Cow<'a, str>,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Splits a name into its parts. Any text can be split; [`ImageName`] decides whether it is a
    /// valid name.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        let (path, tag, digest) = split(text);
        let (registry, rest) = match path.split_once('/') {
            Some((registry, rest)) if is_registry(registry) => (registry, rest),
            _ => ("docker.io", path),
        };
        let repository = match registry {
            "docker.io" | "index.docker.io" if !rest.contains('/') => Cow::Owned(format!("docker.io/library/{rest}")),
            "docker.io" | "index.docker.io" => Cow::Owned(format!("docker.io/{rest}")),
            _ => Cow::Borrowed(path),
        };
        let tag = tag.or_else(|| digest.is_none().then_some(DEFAULT_TAG));
        Self { repository, tag, digest }
    }

    /// Whether the image is on Docker Hub.
    #[must_use]
    pub fn is_on_docker_hub(&self) -> bool {
        self.repository.starts_with("docker.io/")
    }

    /// The name of an image of the same repository by its digest.
    #[must_use]
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.repository)
    }

    /// Whether podman may report an image requested by this name under the other name.
    #[must_use]
    pub fn is_met_by(&self, found: &Self) -> bool {
        let same = match (self.digest, found.digest) {
            (Some(wanted), Some(found)) => wanted == found,
            (None, Some(_)) => false,
            // podman found an image of this digest in its storage and names it by a tag.
            (Some(_), None) => self.tag.is_none_or(|tag| found.tag == Some(tag)),
            (None, None) => self.tag == found.tag,
        };
        same && self.repository == found.repository
    }
}

impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// Path, tag and digest.
fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag), digest),
        _ => (name, None, digest),
    }
}

impl FromStr for ImageName {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        let malformed = || InvalidImage::Malformed(text.to_owned());
        let (path, tag, digest) = split(text);
        if !digest.is_none_or(is_digest) || !tag.is_none_or(is_tag) || path.is_empty() {
            return Err(malformed());
        }
        let (repository, whole) = match path.split_once('/') {
            Some((registry, repository)) if is_registry(registry) => (repository, text.to_owned()),
            _ => (path, Reference::of(text).to_string()),
        };
        if repository.split('/').all(is_component) { Ok(Self(whole)) } else { Err(malformed()) }
    }
}

/// The first part is a registry if it cannot be a folder: it has a dot or a port, or is `localhost`
/// (`distribution/reference`, `splitDockerDomain`).
fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let host_fits = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    host_fits && port_fits && (host.contains('.') || port.is_some() || host == "localhost")
}

fn is_component(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
}

fn is_tag(text: &str) -> bool {
    let first_fits = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first_fits && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for ImageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn images_with_a_registry_are_accepted() {
        for image in [
            "docker.io/ollama/ollama:latest",
            "ghcr.io/open-webui/open-webui:latest",
            "localhost/mine",
            "localhost:5000/a/b__c:v1.2",
            "quay.io/x/y@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(image.parse::<ImageName>().unwrap().as_str(), image);
        }
        assert!("localhost/mine".parse::<ImageName>().unwrap().is_local());
    }

    #[test]
    fn every_spelling_that_podman_gives_back_is_the_image_that_was_asked_for() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        let other = format!("sha256:{}", "f0".repeat(32));
        let met = |wanted: &str, found: &str| Reference::of(wanted).is_met_by(&Reference::of(found));
        for (wanted, found) in [
            ("localhost/probe".to_owned(), "localhost/probe:latest".to_owned()),
            ("docker.io/debian:13".to_owned(), "docker.io/library/debian:13".to_owned()),
            ("index.docker.io/a/b".to_owned(), "docker.io/a/b:latest".to_owned()),
            (format!("localhost:5000/a@{digest}"), format!("localhost:5000/a@{digest}")),
            (format!("quay.io/a/b:1@{digest}"), format!("quay.io/a/b@{digest}")),
            (format!("quay.io/a/b:1@{digest}"), format!("quay.io/a/b:1@{digest}")),
            (format!("quay.io/a/b:1@{digest}"), "quay.io/a/b:1".to_owned()),
        ] {
            assert!(met(&wanted, &found), "{wanted} is {found}");
        }
        for (wanted, found) in [
            ("localhost/probe".to_owned(), "localhost/probe:1".to_owned()),
            ("quay.io/a/b:1".to_owned(), "ghcr.io/a/b:1".to_owned()),
            ("quay.io/a/b:1".to_owned(), format!("quay.io/a/b@{digest}")),
            (format!("quay.io/a/b:1@{digest}"), format!("quay.io/a/b@{other}")),
            (format!("quay.io/a/b:1@{digest}"), "quay.io/a/b:2".to_owned()),
            ("localhost:5000/a".to_owned(), "localhost/a".to_owned()),
        ] {
            assert!(!met(&wanted, &found), "{wanted} is not {found}");
        }
    }

    #[test]
    fn an_image_without_a_registry_is_docker_ios() {
        for (image, whole) in [
            ("debian", "docker.io/library/debian:latest"),
            ("ollama/ollama:0.5", "docker.io/ollama/ollama:0.5"),
            ("library/debian", "docker.io/library/debian:latest"),
        ] {
            assert_eq!(image.parse::<ImageName>().unwrap().as_str(), whole);
        }
    }

    #[test]
    fn an_invalid_image_name_is_refused() {
        for image in
            ["", "docker.io/", "docker.io/Upper", "docker.io/a b", "docker.io/a:", "docker.io/a@sha256:12", "-x"]
        {
            assert_eq!(image.parse::<ImageName>(), Err(InvalidImage::Malformed(image.to_owned())), "{image}");
        }
    }
}
