//! A fresh OpenPGP key, as the two old-style keyring files that helm signs with and verifies by.

use std::path::{Path, PathBuf};

use super::helm::argument;
use super::process::{Scratch, run, run_ok};

pub struct Keyring(Scratch);

impl Keyring {
    /// A key of that name, without a passphrase.
    pub fn new(name: &str) -> Keyring {
        let scratch = Scratch::new("gpg");
        let user = format!("{name} <{name}@charts.test>");
        let gpg = |what: &[&str]| {
            let home = argument(scratch.path());
            let always = ["--homedir", home, "--batch", "--quiet", "--passphrase", ""];
            run_ok(
                Path::new("gpg"),
                &[&always[..], &["--pinentry-mode", "loopback"], what].concat(),
                &[],
            )
        };
        // gpg wants its home to be nobody else's business.
        run_ok(Path::new("chmod"), &["700", argument(scratch.path())], &[]);
        gpg(&["--quick-generate-key", &user, "rsa2048", "sign", "never"]);
        gpg(&[
            "--output",
            argument(&scratch.join("public.gpg")),
            "--export",
        ]);
        gpg(&[
            "--output",
            argument(&scratch.join("secret.gpg")),
            "--export-secret-keys",
        ]);
        Keyring(scratch)
    }

    pub fn public(&self) -> PathBuf {
        self.0.join("public.gpg")
    }

    pub fn secret(&self) -> PathBuf {
        self.0.join("secret.gpg")
    }
}

impl Drop for Keyring {
    /// gpg leaves an agent behind, which holds the directory.
    fn drop(&mut self) {
        let home = ["--homedir", argument(self.0.path()), "--kill", "gpg-agent"];
        run(Path::new("gpgconf"), &home, &[]);
    }
}
