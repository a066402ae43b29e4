//! TLS whose handshakes have the sizes of the real internet's. The server's certificate fills more
//! than one segment, as certificate chains do. So does the client's hello, as with post-quantum key
//! shares (1551 bytes from OpenSSL 3.5). The sizes decide whether a handshake survives a black
//! hole.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Result;

/// A certificate authority for one run, with one certificate.
pub(crate) struct Authority {
    root: Certificate,
    certificate: Certificate,
    key: KeyPair,
}

/// The number of extra names. They make a certificate of about 3 kB, like a content network's.
const PADDING_NAMES: usize = 40;

impl Authority {
    /// A certificate for `names`, host names and addresses alike.
    pub(crate) fn new(names: Vec<String>) -> Result<Self> {
        let mut own = CertificateParams::new(Vec::new())?;
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own.distinguished_name.push(DnType::CommonName, "laboratory");
        let own_key = KeyPair::generate()?;
        let root = own.self_signed(&own_key)?;
        let padding = (0..PADDING_NAMES).map(|number| format!("edge-{number:04}.content.network.example"));
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(names.into_iter().chain(padding).collect::<Vec<_>>())?;
        let certificate = params.signed_by(&key, &Issuer::new(own, own_key))?;
        Ok(Self { root, certificate, key })
    }

    /// The authority's certificate, for clients.
    pub(crate) fn pem(&self) -> String {
        self.root.pem()
    }

    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.der().clone()], key)?;
        Ok(Arc::new(config))
    }
}

/// The size of the client's hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Hello {
    /// More than one segment.
    Big,
    /// A few hundred bytes, as before post-quantum key exchange.
    Small,
}

/// A client that trusts the authority in the file `ca`.
pub(crate) fn client_config(ca: &Path, hello: Hello) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if hello == Hello::Big {
        // Pads the hello with ALPN protocols, the one part whose length an application can choose.
        config.alpn_protocols = (b'a'..b'g').map(|letter| vec![letter; 240]).collect();
    }
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
