//! The servers that a check contacts: the registries of the services' images, or what the user
//! names. Never a third party.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hyper::Uri;
use tokio::net::lookup_host;

use crate::config::ImageName;

/// A server with an HTTPS port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The port of HTTPS (RFC 9110, section 4.2.2).
const HTTPS: u16 = 443;

/// The registry that `docker.io` stands for (`distribution/reference`).
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A text is no [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an HTTPS address such as https://registry.example.org or https://10.0.0.7:8443 is needed")]
pub struct InvalidUrl;

impl FromStr for Target {
    type Err = InvalidUrl;

    /// Reads `https://HOST[:PORT]`; a path is allowed and means nothing.
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidUrl)?;
        let authority = uri.authority().ok_or(InvalidUrl)?;
        let has_credentials = authority.as_str().contains('@');
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        // `port_u16` gives `None` for an empty port, too, as for a missing one.
        let port = if authority.as_str().ends_with(':') { None } else { Some(authority.port_u16().unwrap_or(HTTPS)) };
        let has_port_text =
            authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, after)| after).contains(':');
        match port {
            Some(port)
                if uri.scheme_str() == Some("https")
                    && !has_credentials
                    && !host.is_empty()
                    && port != 0
                    && (!has_port_text || authority.port_u16().is_some()) =>
            {
                Ok(Self { host: host.to_owned(), port })
            }
            _ => Err(InvalidUrl),
        }
    }
}

impl Target {
    /// The registry of an image; `None` if the image is only on this machine.
    #[must_use]
    pub fn of_image(image: &ImageName) -> Option<Self> {
        let registry = image.as_str().split('/').next()?;
        let (host, port) = match registry.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (registry, HTTPS),
        };
        let host = if host == DOCKER.0 { DOCKER.1 } else { host };
        (host != "localhost").then(|| Self { host: host.to_owned(), port })
    }

    /// The server name for a hello; an address is not allowed there (RFC 6066, section 3).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.host.parse::<IpAddr>().is_err().then_some(self.host.as_str())
    }

    /// Resolves the name with the host's resolver.
    ///
    /// # Errors
    /// The resolver's.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Unresolved> {
        Ok(lookup_host((self.host.as_str(), self.port)).await?.collect())
    }

    /// The URL that names it.
    fn url(&self) -> String {
        let Self { host, port } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if *port == HTTPS { format!("https://{host}") } else { format!("https://{host}:{port}") }
    }
}

/// A name has no address: the resolver reports an error.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve: {0}")]
pub struct Unresolved(#[from] io::Error);

/// The registries of images, each once, in order.
#[must_use]
pub fn of_images<'a>(images: impl Iterator<Item = &'a ImageName>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for target in images.filter_map(Target::of_image) {
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}

/// The proxy through which programs reach a server, by the variables that Go's `net/http/httpproxy`
/// and curl(1) use. `variable` reads one.
#[must_use]
pub fn proxy(target: &Target, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
    let proxy = first(["https_proxy", "HTTPS_PROXY"])?;
    let exempt = first(["no_proxy", "NO_PROXY"]).unwrap_or_default();
    let spared = |rule: &str| {
        let rule = rule.split_once(':').map_or(rule, |(host, _)| host).trim_start_matches('.');
        rule == "*" || !rule.is_empty() && (target.host == rule || target.host.ends_with(&format!(".{rule}")))
    };
    (!exempt.split(',').map(str::trim).any(spared)).then_some(proxy)
}

/// Programs reach every server through a proxy, so the direct path shows nothing about them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`https_proxy` is set, so programs reach the registries through `{proxy}`: they do not use the direct path, which could be measured"
)]
pub struct OnlyByProxy {
    proxy: String,
    server: Target,
}

impl OnlyByProxy {
    /// The command that measures the direct path regardless.
    #[must_use]
    pub fn cure(&self) -> String {
        format!("airpods net check --url {}", self.server.url())
    }
}

/// Why nothing is measured if all servers are reached through a proxy; `None` if one is reached
/// directly.
#[must_use]
pub fn only_by_proxy(targets: &[Target], variable: impl Fn(&str) -> Option<String>) -> Option<OnlyByProxy> {
    let proxies = targets.iter().map(|target| proxy(target, &variable)).collect::<Option<Vec<_>>>()?;
    // The proxy's URL may hold a password before the `@`.
    let proxy =
        proxies.first()?.rsplit('@').next()?.trim_start_matches("https://").trim_start_matches("http://").to_owned();
    Some(OnlyByProxy { proxy, server: targets.first()?.clone() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn target(host: &str, port: u16) -> Target {
        Target { host: host.to_owned(), port }
    }

    #[test]
    fn a_url_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("https://ghcr.io", "ghcr.io", 443),
            ("https://10.0.0.7:8443", "10.0.0.7", 8443),
            ("https://[2001:db8::1]:444/", "2001:db8::1", 444),
            ("https://[2001:db8::1]", "2001:db8::1", 443),
            ("https://ghcr.io/v2/", "ghcr.io", 443),
        ] {
            assert_eq!(text.parse(), Ok(target(host, port)), "{text}");
            assert_eq!(target(host, port).url().parse(), Ok(target(host, port)), "{text}");
        }
    }

    #[test]
    fn an_address_without_https_is_refused() {
        for text in [
            "",
            "ghcr.io",
            "http://ghcr.io",
            "https://",
            "https://a b",
            "https://u:p@ghcr.io",
            "https://ghcr.io:0",
            "https://ghcr.io:",
            "https://ghcr.io:99999",
            "/v2",
            "https:///x",
            "ftp://ghcr.io",
        ] {
            assert_eq!(text.parse::<Target>(), Err(InvalidUrl), "{text}");
        }
    }

    #[test]
    fn the_registries_of_images_are_asked_each_once_and_never_this_machine() {
        let images: Vec<ImageName> = [
            "docker.io/ollama/ollama:latest",
            "ghcr.io/open-webui/open-webui:latest",
            "docker.io/yanwk/comfyui-boot:x",
            "localhost/mine",
            "localhost:5000/mine",
            "registry.example.org:8443/a/b",
        ]
        .iter()
        .map(|image| image.parse().unwrap())
        .collect();
        let expected =
            [target("registry-1.docker.io", 443), target("ghcr.io", 443), target("registry.example.org", 8443)];
        assert_eq!(of_images(images.iter()), expected);
        assert_eq!(target("10.0.0.7", 443).name(), None);
        assert_eq!(target("ghcr.io", 443).name(), Some("ghcr.io"));
    }

    /// The environment of these variables.
    fn of<'a>(variables: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn servers_that_programs_reach_through_a_proxy_are_not_measured_and_the_reason_holds_no_password() {
        let docker = target("registry-1.docker.io", 443);
        for variable in ["https_proxy", "HTTPS_PROXY"] {
            let proxied =
                only_by_proxy(std::slice::from_ref(&docker), of(&[(variable, "http://me:secret@proxy.example:3128")]))
                    .unwrap();
            assert_eq!(proxied.cure(), "airpods net check --url https://registry-1.docker.io");
            let why = proxied.to_string();
            assert!(why.contains("`proxy.example:3128`") && !why.contains("secret"), "{why}");
        }
        for (exempt, is_reached_directly) in [
            ("docker.io", true),
            (".docker.io:443", true),
            ("ghcr.io, docker.io", true),
            ("*", true),
            ("cker.io", false),
            ("", false),
        ] {
            let variables = [("https_proxy", "http://proxy.example"), ("NO_PROXY", exempt)];
            assert_eq!(
                only_by_proxy(std::slice::from_ref(&docker), of(&variables)).is_none(),
                is_reached_directly,
                "{exempt}"
            );
        }
        assert_eq!(only_by_proxy(&[docker], of(&[("https_proxy", "")])), None);
    }
}
