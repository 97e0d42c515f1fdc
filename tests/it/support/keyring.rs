//! A fresh OpenPGP key, as the two old-style keyring files that helm signs with and verifies by.

use std::path::{Path, PathBuf};

use super::helm::argument;
use super::process::run_ok;

pub struct Keyring(PathBuf);

impl Keyring {
    /// A key of that name, without a passphrase, kept in that directory.
    pub fn new(directory: PathBuf, name: &str) -> Keyring {
        let keyring = Keyring(directory);
        let home = argument(&keyring.0);
        // gpg wants its home to be nobody else's business.
        run_ok(Path::new("mkdir"), &["-m", "700", home], &[]);
        let always = ["--homedir", home, "--batch", "--quiet", "--passphrase", ""];
        let gpg = |what: &[&str]| {
            let arguments = [&always, &["--pinentry-mode", "loopback"][..], what].concat();
            run_ok(Path::new("gpg"), &arguments, &[])
        };
        let user = format!("{name} <{name}@charts.test>");
        gpg(&["--quick-generate-key", &user, "rsa2048", "sign", "never"]);
        gpg(&["--output", argument(&keyring.public()), "--export"]);
        gpg(&[
            "--output",
            argument(&keyring.secret()),
            "--export-secret-keys",
        ]);
        // gpg leaves an agent behind, which would outlive the directory.
        let end_agent = ["--homedir", home, "--kill", "gpg-agent"];
        run_ok(Path::new("gpgconf"), &end_agent, &[]);
        keyring
    }

    pub fn public(&self) -> PathBuf {
        self.0.join("public.gpg")
    }

    pub fn secret(&self) -> PathBuf {
        self.0.join("secret.gpg")
    }
}
