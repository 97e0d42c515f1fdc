//! A certificate authority and a server certificate for 127.0.0.1 that it signed, by openssl. A
//! lone self-signed certificate won't do: rustls refuses an authority as a server (and a
//! certificate without alternative names).

use std::path::{Path, PathBuf};

use super::process::{Scratch, run_ok};

pub struct Certificates(Scratch);

impl Certificates {
    pub fn new() -> Certificates {
        let scratch = Scratch::new("certificates");
        let path = |name: &str| scratch.join(name).display().to_string();
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
        scratch.file("names", names);
        let (ca, ca_key) = (path("ca.pem"), path("ca.key"));
        let (key, request) = (path("server.key"), path("server.csr"));
        let new_key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];
        let authority = [
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=charts test authority",
        ];
        openssl(&[&authority[..], &new_key, &["-keyout", &ca_key, "-out", &ca]].concat());
        let server = ["req", "-subj", "/CN=charts test registry"];
        openssl(&[&server[..], &new_key, &["-keyout", &key, "-out", &request]].concat());
        openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-extfile",
            &path("names"),
            "-out",
            &path("server.pem"),
        ]);
        Certificates(scratch)
    }

    /// What a client must trust.
    pub fn authority(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    pub fn certificate(&self) -> PathBuf {
        self.0.join("server.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.0.join("server.key")
    }
}

pub fn openssl(arguments: &[&str]) {
    run_ok(Path::new("openssl"), arguments, &[]);
}
