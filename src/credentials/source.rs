//! The dockerconfigjson that a flag names, as it is now, and what it says about a refusal.

use super::auths::{Auths, canonical_host};
use super::watched::{NamedFile, WatchedFiles};
use std::io;
use std::path::PathBuf;

/// The flag that names the file.
const FLAG: &str = "--storage-registry-config";
/// Most registries named in a message: a developer's own file may list dozens.
const MAX_SHOWN: usize = 5;

/// A dockerconfigjson on disk, which may appear, change and disappear while we run.
pub struct SecretFile {
    file: NamedFile,
    auths: WatchedFiles<Auths>,
}

impl SecretFile {
    /// Reads the file for the first time. A missing one means no credentials, unless it's `required`.
    ///
    /// Errors with a text that names the file when it can't be read, or is no dockerconfigjson.
    pub fn open(path: PathBuf, required: bool) -> io::Result<SecretFile> {
        let file = NamedFile { flag: FLAG, path };
        let if_missing = (!required).then(Auths::default);
        let auths = WatchedFiles::open(vec![file.clone()], if_missing, |files| {
            let (file, bytes) = &files[0];
            Auths::parse(bytes).map_err(|why| format!("{file}: not a dockerconfigjson: {why}"))
        })?;
        Ok(SecretFile { file, auths })
    }

    /// The credentials in the file now, and a number that changes whenever they do. When the file has
    /// become unreadable, the last good credentials stay in force, and the reason is returned once.
    pub fn current(&self) -> (Auths, u64, Option<io::Error>) {
        self.auths.current()
    }

    /// Sentences about entries that can't be used, and about registries that are left to a helper program.
    pub fn complaints(&self) -> Vec<String> {
        let (auths, ..) = self.current();
        let unusable = auths.unusable.iter();
        let unusable = unusable.map(|(host, why)| format!("its entry for {host} {why}"));
        let helper = auths.needs_helper.then(|| {
            "it leaves credentials to a helper program, which can't be run here: only those in the file \
             itself are used"
                .to_owned()
        });
        let complaints = unusable.chain(helper);
        complaints
            .map(|complaint| format!("{}: {complaint}", self.file))
            .collect()
    }

    /// Why `host[:port]` may have refused a request, as far as the file shows: for the log, and without a
    /// secret.
    pub fn explain_refusal(&self, host: &str) -> String {
        let file = &self.file;
        let Some(auths) = self.auths.last() else {
            return format!("there is no file with credentials ({file})");
        };
        let (hosts, canonical) = (auths.hosts(), canonical_host(host));
        if hosts.contains(canonical.as_str()) {
            let odd = auths.credential(host, None).and_then(|one| one.oddity());
            let odd = odd.map_or_else(String::new, |odd| format!(" ({odd})"));
            return format!("what {file} holds for {host} was refused, or lacks the right{odd}");
        }
        if let Some(why) = auths.unusable.get(&canonical) {
            return format!("the entry of {file} for {host} {why}");
        }
        let shown: Vec<&str> = hosts.iter().copied().take(MAX_SHOWN).collect();
        match shown.join(", ") {
            none if none.is_empty() => format!("{file} holds no credentials"),
            others => format!("{file} has no entry for {host}, but for {others}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credential;
    use std::fs;

    fn username(source: &SecretFile) -> Option<String> {
        match source.current().0.credential("h", None) {
            Some(Credential::Password { username, .. }) => Some(username.clone()),
            _ => None,
        }
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_a_broken_one_keeps_the_last_credentials() {
        let path =
            std::env::temp_dir().join(format!("oci-chartrepo-{}-credentials", std::process::id()));
        let source = SecretFile::open(path.clone(), false).unwrap();
        assert_eq!(username(&source), None);
        for (text, name, generation, complaint) in [
            (r#"{"auths":{"h":{"username":"a"}}}"#, "a", 1, false),
            (r#"{"auths":{"h":{"username":"bb"}}}"#, "bb", 2, false),
            ("{", "bb", 2, true),
        ] {
            fs::write(&path, text).unwrap();
            let (_, now, problem) = source.current();
            assert_eq!((now, problem.is_some()), (generation, complaint), "{text}");
            assert_eq!(username(&source).as_deref(), Some(name));
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(username(&source).as_deref(), Some("bb"));
        assert!(SecretFile::open(path, true).is_err());
    }

    #[test]
    fn a_refusal_is_explained_by_the_file_and_without_a_secret() {
        let path =
            std::env::temp_dir().join(format!("oci-chartrepo-{}-refusal", std::process::id()));
        let source = SecretFile::open(path.clone(), false).unwrap();
        let file = format!("--storage-registry-config {}", path.display());
        let lacking = format!("there is no file with credentials ({file})");
        assert_eq!(source.explain_refusal("reg:5000"), lacking);
        let other = r#"{"auths":{"reg":{"auth":"dTpw"},"reg/team":{"auth":"dTpw"},"docker.io":{"auth":"dTpw"}}}"#;
        let own =
            r#"{"auths":{"https://REG:5000/v1/":{"username":"hunter","password":"hunter2"}}}"#;
        let refused = format!("what {file} holds for reg:5000 was refused, or lacks the right");
        for (text, expected) in [
            ("{}", format!("{file} holds no credentials")),
            (
                other,
                format!("{file} has no entry for reg:5000, but for index.docker.io, reg"),
            ),
            (own, refused.clone()),
            (
                r#"{"auths":{"reg:5000":{"username":"hunter","passwd":"hunter2"}}}"#,
                format!("{refused} (its password is empty)"),
            ),
            (
                r#"{"auths":{"reg:5000":{"username":"hunter","password":"hunter2\n"}}}"#,
                format!("{refused} (its password ends with a line break or blank)"),
            ),
            (
                r#"{"auths":{"reg:5000":{"auth":"hunter2"}}}"#,
                format!(
                    "the entry of {file} for reg:5000 has an auth that is not base64 of NAME:PASSWORD"
                ),
            ),
        ] {
            fs::write(&path, text).unwrap();
            source.current();
            assert_eq!(source.explain_refusal("reg:5000"), expected, "{text}");
        }
        fs::remove_file(&path).unwrap();
    }
}
