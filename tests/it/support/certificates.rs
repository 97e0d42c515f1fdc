//! Certificates by openssl: of an authority, of a server at 127.0.0.1 that it signed, and of a client.

use std::path::{Path, PathBuf};

use super::process::{Scratch, run_ok};

const NAMES: &str = "IP:127.0.0.1,DNS:localhost";
const P256: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
];

pub struct Certificates(Scratch);

/// How a server's certificate is made.
pub struct Recipe {
    /// The curve of its authority's key, and the digest that is signed.
    pub authority: (&'static str, &'static str),
    /// Whom it is valid for.
    pub names: &'static str,
    /// Whether it is its own authority.
    pub is_alone: bool,
    /// Whether it was valid in January of 2020, and never again.
    pub is_expired: bool,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe {
            authority: ("prime256v1", "sha256"),
            names: NAMES,
            is_alone: false,
            is_expired: false,
        }
    }
}

impl Certificates {
    pub fn new() -> Certificates {
        Certificates::by(&Recipe::default())
    }

    pub fn by(recipe: &Recipe) -> Certificates {
        let made = Certificates(Scratch::new("certificates"));
        let (curve, digest) = recipe.authority;
        let curve = format!("ec_paramgen_curve:{curve}");
        let key = ["-newkey", "ec", "-pkeyopt", &curve, "-nodes"];
        let authority = ["req", "-x509", "-days", "2", "-subj", "/CN=test authority"];
        let (file, key_file) = (made.path("ca.pem"), made.path("ca.key"));
        let into = ["-keyout", &key_file, "-out", &file];
        openssl(&[&authority[..], &key, &into].concat());
        made.request("server");
        let is_authority = if recipe.is_alone { "TRUE" } else { "FALSE" };
        let extensions = format!(
            "subjectAltName={}\nbasicConstraints=CA:{is_authority}\n",
            recipe.names
        );
        made.sign("server", &extensions, digest, recipe);
        made
    }

    /// One certificate for all, by the very command of distribution's documentation
    /// (<https://distribution.github.io/distribution/about/insecure/>).
    pub fn by_the_documentation() -> Certificates {
        let made = Certificates(Scratch::new("certificates"));
        let names = format!("subjectAltName = {NAMES}");
        let (key, file) = (made.path("server.key"), made.path("server.pem"));
        let new = [
            "req", "-newkey", "rsa:4096", "-nodes", "-sha256", "-keyout", &key,
        ];
        let subject = ["-subj", "/CN=registry", "-addext", &names];
        openssl(
            &[
                &new[..],
                &subject,
                &["-x509", "-days", "365", "-out", &file],
            ]
            .concat(),
        );
        made
    }

    /// The certificate and the key of a client, signed by the authority of this server.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        self.request("client");
        let extensions = "extendedKeyUsage=clientAuth\n";
        self.sign("client", extensions, "sha256", &Recipe::default());
        (self.0.join("client.pem"), self.0.join("client.key"))
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

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn request(&self, name: &str) {
        let (key, request) = (
            self.path(&format!("{name}.key")),
            self.path(&format!("{name}.csr")),
        );
        let subject = ["req", "-subj", "/CN=charts test"];
        openssl(&[&subject[..], &P256, &["-keyout", &key, "-out", &request]].concat());
    }

    fn sign(&self, name: &str, extensions: &str, digest: &str, recipe: &Recipe) {
        let directory = self.0.path().display();
        let settings = format!(
            "[ca]\ndefault_ca=c\n[c]\ndatabase={directory}/issued\nnew_certs_dir={directory}\n\
             rand_serial=yes\nunique_subject=no\npolicy=p\n[p]\ncommonName=supplied\n"
        );
        self.0.file("issued", "");
        self.0.file("ca.conf", settings);
        self.0.file("extensions", extensions);
        let file = |ending: &str| self.path(&format!("{name}.{ending}"));
        let (request, certificate, own_key) = (file("csr"), file("pem"), file("key"));
        let (conf, extensions) = (self.path("ca.conf"), self.path("extensions"));
        let (ca, ca_key) = (self.path("ca.pem"), self.path("ca.key"));
        let signer = match recipe.is_alone {
            true => vec!["-selfsign", "-keyfile", &own_key],
            false => vec!["-cert", &ca, "-keyfile", &ca_key],
        };
        let dates = match recipe.is_expired {
            true => vec![
                "-startdate",
                "20200101000000Z",
                "-enddate",
                "20200201000000Z",
            ],
            false => vec!["-days", "2"],
        };
        let command = ["ca", "-batch", "-notext", "-config", &conf, "-md", digest];
        let files = [
            "-extfile",
            &extensions,
            "-in",
            &request,
            "-out",
            &certificate,
        ];
        openssl(&[&command[..], &signer, &dates, &files].concat());
    }
}

pub fn openssl(arguments: &[&str]) {
    run_ok(Path::new("openssl"), arguments, &[]);
}
