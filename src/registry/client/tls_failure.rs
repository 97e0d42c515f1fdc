//! Why a TLS session failed, in words that say which flag helps. Files are named for the log alone.

use super::trust::Given;
use crate::storage::{Error, ErrorKind};
use rustls::{AlertDescription, CertificateError};
use std::fmt;

/// What ring can check and agree on.
const SUPPORTED: &str = "TLS 1.2 and 1.3 are supported, with ECDSA (P-256 and P-384 with SHA-256 or SHA-384), \
                         Ed25519 and RSA from 2048 bits on";
/// Names of the algorithms that are met and not supported, by the end of their DER identifiers.
const ALGORITHMS: [(&[u8], &str); 4] = [
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x04", "ECDSA with SHA-512"),
    (b"\x2b\x81\x04\x00\x23", "ECDSA with P-521"),
    (b"\x2b\x65\x71", "Ed448"),
    (
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00",
        "RSA with SHA-1",
    ),
];
/// What webpki says of a certificate that is not of version 3: `openssl x509 -req` makes such ones.
const OLD_VERSION: &str = "UnsupportedCertVersion";
const SKIP: &str = "or skip the check with --storage-registry-insecure-skip-tls-verify";

/// A failure of TLS, with what the flags have given.
#[derive(Debug)]
pub(super) struct TlsFailure {
    pub(super) cause: rustls::Error,
    pub(super) given: Given,
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for TlsFailure {}

impl TlsFailure {
    /// The error that it is to a call, if another attempt would end in the same way.
    pub(super) fn explain(&self, what: &str) -> Option<Error> {
        use AlertDescription as Alert;
        use rustls::Error::{AlertReceived, InvalidCertificate, PeerIncompatible};
        Some(match &self.cause {
            InvalidCertificate(why) => self.not_accepted(what, why),
            AlertReceived(Alert::HandshakeFailure | Alert::ProtocolVersion)
            | AlertReceived(Alert::InsufficientSecurity)
            | PeerIncompatible(_) => {
                let error = refused(what, "no TLS session can be agreed on");
                error
                    .with_detail(format_args!(": {}", self.cause))
                    .advise(format!(
                        "{SUPPORTED}; if it wants a client certificate, that is \
                         --storage-registry-cert-file's"
                    ))
            }
            AlertReceived(alert) if is_about_our_certificate(*alert) => {
                self.not_accepted_of_us(what, *alert)
            }
            _ => return None,
        })
    }

    /// We don't accept the server's certificate.
    fn not_accepted(&self, what: &str, why: &CertificateError) -> Error {
        let detail = format_args!(": {}", words(why)).to_string();
        let error = refused(what, "the server's certificate is not accepted").with_detail(detail);
        let unknown = matches!(why, CertificateError::UnknownIssuer);
        let error = match &self.given.authorities {
            Some((count, file)) if unknown => error.with_detail(format_args!(
                "; none of the {count} certificates in {file} has signed it"
            )),
            _ => error,
        };
        error.advise(format!("{}, {SKIP}", advice(why)))
    }

    /// The server doesn't accept ours.
    fn not_accepted_of_us(&self, what: &str, alert: AlertDescription) -> Error {
        match &self.given.certificate {
            Some(file) => refused(what, "the server refuses our certificate")
                .with_detail(format_args!(" ({file}): {alert:?}"))
                .advise("--storage-registry-cert-file has to hold one that it trusts"),
            None => refused(what, "the server requires a client certificate")
                .with_detail(format_args!(": {alert:?}"))
                .advise(CLIENT_CERTIFICATE),
        }
    }
}

/// What helps when a server wants to see a certificate of ours.
pub(super) const CLIENT_CERTIFICATE: &str =
    "the registry is shown one with --storage-registry-cert-file and --storage-registry-key-file";

fn refused(what: &str, why: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("{what}: {why}")).with_public(why)
}

fn is_about_our_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// The reason, without the bytes that rustls shows with some.
fn words(error: &CertificateError) -> String {
    match error {
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id,
            ..
        } => unsupported(&[signature_algorithm_id]),
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            public_key_algorithm_id,
        } => unsupported(&[public_key_algorithm_id, signature_algorithm_id]),
        CertificateError::Other(other) if other.0.to_string() == OLD_VERSION => {
            "it is an X.509 certificate of version 1, which holds no names".into()
        }
        CertificateError::BadSignature => "a signature of its chain doesn't verify".into(),
        other => other.to_string(),
    }
}

fn unsupported(identifiers: &[&Vec<u8>]) -> String {
    let known = |id: &&Vec<u8>| ALGORITHMS.iter().find(|(end, _)| id.ends_with(end));
    let name = identifiers.iter().find_map(known);
    let name = name.map_or("an algorithm", |(_, name)| name);
    format!("it is signed by {name}, which is not supported")
}

fn advice(error: &CertificateError) -> &'static str {
    use CertificateError as Certificate;
    match error {
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "name the registry in --storage-registry-repo as its certificate does"
        }
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            "have the certificate renewed (or set this machine's clock)"
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "set the clock of this machine, or of the one that signed the certificate"
        }
        Certificate::UnknownIssuer => "trust its authority with --storage-registry-ca-file",
        Certificate::UnsupportedSignatureAlgorithmContext { .. }
        | Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
        | Certificate::BadSignature => {
            "have it signed by RSA from 2048 bits on, Ed25519, or ECDSA (P-256 or P-384) with SHA-256 or \
             SHA-384; or put it into the file of --storage-registry-ca-file itself"
        }
        Certificate::Other(_) => "have it issued anew with a subject alternative name",
        _ => {
            "have the certificate issued anew, or put it into the file of --storage-registry-ca-file"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::NamedFile;
    use rustls::OtherError;
    use std::io;
    use std::sync::Arc;

    fn told(cause: rustls::Error, given: Given) -> Error {
        TlsFailure { cause, given }.explain("GET x").unwrap()
    }

    fn certificate(error: CertificateError) -> Error {
        told(rustls::Error::InvalidCertificate(error), Given::default())
    }

    fn file(flag: &'static str) -> NamedFile {
        let path = "/etc/x.pem".into();
        NamedFile { flag, path }
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_with_what_helps_against_that() {
        for (error, advice) in [
            (
                CertificateError::UnknownIssuer,
                "trust its authority with --storage-registry-ca-file",
            ),
            (
                CertificateError::Other(OtherError(Arc::new(io::Error::other(OLD_VERSION)))),
                "have it issued anew with a subject alternative name",
            ),
            (
                CertificateError::NotValidForName,
                "name the registry in --storage-registry-repo as its certificate does",
            ),
            (
                CertificateError::Expired,
                "have the certificate renewed (or set this machine's clock)",
            ),
        ] {
            let error = certificate(error);
            let public = format!("the server's certificate is not accepted; {advice}, {SKIP}");
            assert_eq!(error.to_string(), public);
            assert!(format!("{error:#}").starts_with("GET x: the server's certificate"));
            assert!(format!("{error:#}").ends_with(&format!("; {advice}, {SKIP}")));
        }
    }

    #[test]
    fn an_authority_that_the_given_file_lacks_is_told_with_the_file_in_the_log_alone() {
        let given = Given {
            authorities: Some((2, file("--storage-registry-ca-file"))),
            certificate: None,
        };
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let error = told(unknown, given);
        let lacks =
            "none of the 2 certificates in --storage-registry-ca-file /etc/x.pem has signed it";
        assert!(format!("{error:#}").contains(lacks), "{error:#}");
        assert!(!error.to_string().contains("/etc"), "{error}");
    }

    #[test]
    fn an_algorithm_that_is_not_supported_is_named() {
        let error = certificate(CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04".to_vec(),
            supported_algorithms: Vec::new(),
        });
        let text = format!("{error:#}");
        let named = "it is signed by ECDSA with SHA-512, which is not supported";
        assert!(text.contains(named) && text.contains("SHA-384"), "{text}");
    }

    #[test]
    fn a_server_that_wants_a_client_certificate_is_told_with_the_flags() {
        let alert = || rustls::Error::AlertReceived(AlertDescription::BadCertificate);
        let error = told(alert(), Given::default());
        let expected = format!("the server requires a client certificate; {CLIENT_CERTIFICATE}");
        assert_eq!(error.to_string(), expected);
        let certificate = Some(file("--storage-registry-cert-file"));
        let given = Given {
            certificate,
            authorities: None,
        };
        let error = format!("{:#}", told(alert(), given));
        assert!(
            error.contains("refuses our certificate (--storage-registry-cert-file /etc/x.pem)"),
            "{error}"
        );
    }
}
