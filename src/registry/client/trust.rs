//! Which servers are trusted over TLS, and what we show of ourselves: the bundled roots, the CA file, our
//! own certificate. The files are read again when they change. A certificate of ours is shown to the
//! registry alone, never to a host that a redirect or a realm leads to. Nothing else relaxes the checks but
//! the flag that says so.

use crate::credentials::{NamedFile, WatchedFiles};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

const CA_FILE: &str = "--storage-registry-ca-file";
const CERT_FILE: &str = "--storage-registry-cert-file";
const KEY_FILE: &str = "--storage-registry-key-file";

/// The files that flags name for TLS.
#[derive(Default)]
pub struct TlsFiles {
    /// Certificates that are trusted besides the bundled roots.
    pub authorities: Option<PathBuf>,
    /// Our own certificate, with those between it and its authority, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// The settings of TLS connections, as the files have them now.
pub struct Tls {
    /// Whether any certificate is accepted.
    pub is_insecure: bool,
    files: WatchedFiles<Trust>,
}

/// The settings for the registry, and those for all other hosts.
#[derive(Clone)]
struct Trust {
    registry: Settings,
    others: Settings,
}

/// How a session with one server is begun, and what its failure has to do with flags.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) config: Arc<ClientConfig>,
    pub(super) given: Given,
}

/// What the flags have given.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// How many certificates the CA file holds, and which it is.
    pub(super) authorities: Option<(usize, NamedFile)>,
    /// The file of the certificate that we show.
    pub(super) certificate: Option<NamedFile>,
}

impl Tls {
    /// Reads the files for the first time.
    ///
    /// Errors with a text that names the file and its flag, because otherwise a file that can't be used
    /// would only show in handshakes that fail.
    pub fn open(named: TlsFiles, is_insecure: bool) -> io::Result<Tls> {
        let (certificate, key) = named.certificate.unzip();
        let named = [
            (CA_FILE, named.authorities),
            (CERT_FILE, certificate),
            (KEY_FILE, key),
        ];
        let files = named
            .into_iter()
            .filter_map(|(flag, path)| path.map(|path| NamedFile { flag, path }));
        let trust = move |files: &[(&NamedFile, Vec<u8>)]| Trust::new(files, is_insecure);
        Ok(Tls {
            is_insecure,
            files: WatchedFiles::open(files.collect(), None, trust)?,
        })
    }

    /// The settings for a connection that begins now.
    pub(super) fn settings(&self, is_registry: bool) -> Settings {
        let (trust, _, problem) = self.files.current();
        if let Some(problem) = problem {
            log::warn!("keeping the last good certificates: {problem}");
        }
        match is_registry {
            true => trust.registry,
            false => trust.others,
        }
    }
}

impl Trust {
    fn new(files: &[(&NamedFile, Vec<u8>)], is_insecure: bool) -> Result<Trust, String> {
        let file = |flag| files.iter().find(|(file, _)| file.flag == flag);
        let mut given = Given::default();
        let mut pinned = Vec::new();
        if let Some((name, pem)) = file(CA_FILE) {
            pinned = certificates(pem).map_err(|why| format!("{name}: {why}"))?;
            given.authorities = Some((pinned.len(), (*name).clone()));
        }
        let verifier = Verifier::new(pinned, is_insecure)?;
        let provider = verifier.provider.clone();
        let verifier = Arc::new(verifier);
        let config = || {
            let config = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .expect("ring has ciphers of both versions");
            let dangerous = config.dangerous();
            dangerous.with_custom_certificate_verifier(verifier.clone())
        };
        let others = Settings {
            config: Arc::new(config().with_no_client_auth()),
            given: given.clone(),
        };
        let (Some((name, pem)), Some((key_name, key))) = (file(CERT_FILE), file(KEY_FILE)) else {
            let registry = others.clone();
            return Ok(Trust { registry, others });
        };
        let chain = chain(pem).map_err(|why| format!("{name}: {why}"))?;
        let key = private_key(key).map_err(|why| format!("{key_name}: {why}"))?;
        let config = config().with_client_auth_cert(chain, key);
        let config = config.map_err(|why| format!("{name}, {key_name}: {}", pair_error(&why)))?;
        given.certificate = Some((*name).clone());
        let registry = Settings {
            config: Arc::new(config),
            given,
        };
        Ok(Trust { registry, others })
    }
}

/// The certificates in a CA file.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    for section in sections(pem) {
        let (SectionKind::Certificate, der) = section? else {
            return Err("holds more than certificates".into());
        };
        found.push(CertificateDer::from(der));
    }
    // One that can't be decoded would only show in handshakes that fail.
    let mut roots = RootCertStore::empty();
    match found.iter().position(|der| roots.add(der.clone()).is_err()) {
        Some(at) => Err(format!("its certificate {} can't be decoded", at + 1)),
        None if found.is_empty() => Err("holds no certificate".into()),
        None => Ok(found),
    }
}

/// Our own certificate and those that lead to its authority; its key may stand beside them.
fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut chain = Vec::new();
    for section in sections(pem) {
        if let (SectionKind::Certificate, der) = section? {
            chain.push(CertificateDer::from(der));
        }
    }
    match chain.is_empty() {
        true => Err("holds no certificate".into()),
        false => Ok(chain),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    for section in sections(pem) {
        let (kind, der) = section?;
        if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
            return Ok(key);
        }
    }
    let is_encrypted = pem.windows(9).any(|word| word == b"ENCRYPTED");
    Err(match is_encrypted {
        true => "holds an encrypted key, which can't be opened without a password",
        false => "holds no private key",
    }
    .into())
}

/// The sections of a PEM file that are of use, or what is wrong with it, in words that quote nothing.
fn sections(pem: &[u8]) -> impl Iterator<Item = Result<(SectionKind, Vec<u8>), String>> {
    // In DER all begins with a SEQUENCE, whose length takes two bytes or three.
    let is_der = matches!(pem, [0x30, 0x81..=0x83, ..]);
    let der = is_der.then(|| {
        Err("is DER, but PEM is needed (openssl x509 -inform DER makes it of a certificate)".into())
    });
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    let sections = sections.map(|section| section.map_err(|error| pem_error(&error)));
    der.into_iter().chain(sections)
}

fn pem_error(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "breaks off: a BEGIN line has no END line after it, each on a line of its own"
        }
        pem::Error::IllegalSectionStart { .. } => {
            "has a BEGIN line with something else on it: in PEM it is a line of its own"
        }
        pem::Error::Base64Decode(_) => "is damaged: what stands between BEGIN and END is no base64",
        _ => "is no PEM",
    }
    .into()
}

fn pair_error(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            "the key is not the certificate's, of which the first in the file is ours".into()
        }
        error => format!("not a certificate and a key that can be used: {error}"),
    }
}

/// webpki's checks, and one exception: the server may show a certificate that the CA file itself holds.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    pinned: Vec<CertificateDer<'static>>,
    is_insecure: bool,
}

impl Verifier {
    fn new(pinned: Vec<CertificateDer<'static>>, is_insecure: bool) -> Result<Verifier, String> {
        let mut roots = RootCertStore::empty();
        let bundled = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        roots.add_parsable_certificates(bundled.chain(pinned.iter().cloned()));
        let provider = Arc::new(ring::default_provider());
        let webpki =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Verifier {
            webpki: webpki.map_err(|error| error.to_string())?,
            provider,
            pinned,
            is_insecure,
        })
    }
}

/// Whether the error is about what makes others trust a certificate, which one that is itself in the CA
/// file doesn't need: who signed it, by which algorithm, and that an authority signed it. webpki checks
/// the dates before any of that.
fn is_about_signers(error: &CertificateError) -> bool {
    match error {
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => true,
        // webpki's own, for which rustls has no other word than this.
        CertificateError::Other(other) => other.to_string().contains("CaUsedAsEndEntity"),
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    /// The recipe in distribution's documentation (`openssl req -x509`) makes one certificate that is the
    /// server's and its own authority, which webpki refuses (`CaUsedAsEndEntity`) and curl and Go don't;
    /// nor do they refuse a server's certificate whose authority isn't in the file.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.is_insecure {
            return Ok(ServerCertVerified::assertion());
        }
        let (webpki, name) = (&self.webpki, server_name);
        match webpki.verify_server_cert(end_entity, intermediates, name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(why))
                if self.pinned.iter().any(|own| own == end_entity) && is_about_signers(&why) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.is_insecure {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => self.webpki.verify_tls12_signature(message, cert, dss),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.is_insecure {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => self.webpki.verify_tls13_signature(message, cert, dss),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.webpki.supported_verify_schemes();
        if self.is_insecure {
            use SignatureScheme::{ECDSA_NISTP521_SHA512, ED448, RSA_PKCS1_SHA1};
            schemes.extend([ECDSA_NISTP521_SHA512, ED448, RSA_PKCS1_SHA1]);
        }
        schemes
    }
}
