//! HTTPS servers of several makes, and some endpoints that are no HTTPS servers.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;

use crate::capture::Family;
use crate::error::{Doing, Result};
use crate::place::run;
use crate::programs::target_folder;

/// The servers on port 443 of the internet. Each has an address of its own in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// OpenSSL with a chain of RSA certificates: its first flight has about 3 kB.
    Rsa,
    /// OpenSSL with a chain of ECDSA certificates: 2 kB.
    Ecdsa,
    /// OpenSSL with one self-signed certificate: less than 0.8 kB, which one packet holds.
    Tiny,
    /// OpenSSL up to TLS 1.2, with RSA.
    Tls12,
    /// It accepts connections and never sends data.
    Silent,
    /// OpenSSL with RSA, and an MSS of 1360 (IPv6: 1340) announced.
    CappedMss,
    /// nginx with HTTP/2 and RSA.
    Nginx,
    /// haproxy in TCP mode, which waits for the whole hello before it connects to
    /// [`Server::Ecdsa`].
    Inspector,
    /// Plain HTTP that redirects every page to a login, like a captive portal.
    Http,
    /// rustls with one large certificate.
    Rustls,
    /// smoltcp: a TCP that is not Linux's.
    UserTcp,
    /// Nothing listens: the kernel refuses.
    Nobody,
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Rsa,
        Self::Ecdsa,
        Self::Tiny,
        Self::Tls12,
        Self::Silent,
        Self::CappedMss,
        Self::Nginx,
        Self::Inspector,
        Self::Http,
        Self::Rustls,
        Self::UserTcp,
        Self::Nobody,
    ];

    /// Its address in a family.
    #[must_use]
    pub fn address(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4().into(),
            Family::V6 => self.v6().into(),
        }
    }

    pub(super) fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self as u8 + 1)
    }

    pub(super) fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, self as u16 + 1)
    }

    /// Its host name, with both addresses.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}.registry.example").to_lowercase()
    }

    /// A host name with the address of one family only.
    #[must_use]
    pub fn name_in(self, family: Family) -> String {
        format!("{family:?}-{self:?}.registry.example").to_lowercase()
    }
}

/// Lines for /etc/hosts with the names of all servers.
pub(super) fn hosts() -> String {
    Server::ALL.iter().fold("127.0.0.1 localhost\n".to_owned(), |text, server| {
        let (name, v4, v6) = (server.name(), server.v4(), server.v6());
        let (only_v4, only_v6) = (server.name_in(Family::V4), server.name_in(Family::V6));
        format!("{text}{v4} {name} {only_v4}\n{v6} {name} {only_v6}\n")
    })
}

/// The folder of the certificates in the sandbox.
pub(super) const CERTIFICATES: &str = "/etc/lab";

/// haproxy's configuration: most of the TLS servers, and those without TLS.
pub(super) fn haproxy() -> String {
    const DEFAULTS: &str = "global\n maxconn 400\n tune.ssl.default-dh-param 2048\ndefaults\n \
        timeout connect 5s\n timeout client 60s\n timeout server 60s\n";
    const OK: &str = " mode http\n http-request return status 200 content-type text/plain string ok\n";
    let inspector = " mode tcp\n tcp-request inspect-delay 10s\n \
        tcp-request content accept if { req.ssl_hello_type 1 }\n default_backend ecdsa\n";
    // haproxy waits a full minute and ignores all data meanwhile.
    let silent = " mode tcp\n tcp-request inspect-delay 60s\n \
        tcp-request content accept if WAIT_END\n default_backend ecdsa\n";
    let portal = " mode http\n http-request redirect location http://login.network.example/ code 302\n";
    let tls = |file: &str, options: &str| format!(" ssl crt {CERTIFICATES}/{file}.pem alpn http/1.1 {options}");
    let fronts = [
        (Server::Rsa, tls("rsa", ""), "", OK),
        (Server::Ecdsa, tls("ecdsa", ""), "", OK),
        (Server::Tiny, tls("tiny", ""), "", OK),
        (Server::Tls12, tls("rsa", "ssl-max-ver TLSv1.2"), "", OK),
        (Server::CappedMss, tls("rsa", ""), "mss", OK),
        (Server::Inspector, String::new(), "", inspector),
        (Server::Silent, String::new(), "", silent),
        (Server::Http, String::new(), "", portal),
    ];
    let backend = format!("backend ecdsa\n mode tcp\n server own {}:443\n", Server::Ecdsa.v4());
    fronts.into_iter().fold(format!("{DEFAULTS}{backend}"), |text, (server, options, mss, rest)| {
        let cap = |bytes: u16| if mss.is_empty() { String::new() } else { format!(" mss {bytes}") };
        let (v4, v6) = (server.v4(), server.v6());
        let binds = format!(" bind {v4}:443{options}{}\n bind [{v6}]:443{options}{}\n", cap(1360), cap(1340));
        format!("{text}frontend {server:?}\n{binds}{rest}")
    })
}

/// nginx's configuration.
pub(super) fn nginx() -> String {
    let (v4, v6) = (Server::Nginx.v4(), Server::Nginx.v6());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("{kind}_temp_path /tmp/nginx-{kind}; ")).concat();
    format!(
        "worker_processes 1; pid /run/nginx.pid; error_log /var/log/lab/nginx.log warn;
         events {{ worker_connections 256; }}
         http {{ access_log off; {temporary}
           server {{ listen {v4}:443 ssl http2; listen [{v6}]:443 ssl http2;
             ssl_certificate {CERTIFICATES}/rsa.pem; ssl_certificate_key {CERTIFICATES}/rsa.pem; ssl_protocols TLSv1.2 TLSv1.3;
             location / {{ return 200 ok; }} }} }}"
    )
}

/// The folder of the certificates, made once and kept in `target/certificates`.
pub(super) fn certificates() -> Result<PathBuf> {
    const SCRIPT: &str = include_str!("certificates.sh");
    let cache = target_folder()?.join("certificates");
    fs::create_dir_all(&cache).doing(|| format!("make `{}`", cache.display()))?;
    let lock = File::create(cache.join("lock")).doing(|| "make the lock of the certificates".into())?;
    lock.lock().doing(|| "wait for whoever is making the certificates".into())?;
    let mut hasher = DefaultHasher::new();
    SCRIPT.hash(&mut hasher);
    let folder = cache.join(format!("{:016x}", hasher.finish()));
    if !folder.is_dir() {
        let unfinished = folder.with_extension("unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished).doing(|| format!("make `{}`", unfinished.display()))?;
        run(Command::new("sh").args(["-c", SCRIPT, "certificates.sh"]).arg(&unfinished))?;
        fs::rename(&unfinished, &folder).doing(|| format!("name `{}`", folder.display()))?;
    }
    Ok(folder)
}
