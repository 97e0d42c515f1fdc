//! The flags that say where the charts are, each storage with its own.

use super::address::Address;
use super::quantity::size;
use super::reading::{all_parsed, file, mistake, one_of, read};
use crate::args::{Args, Command, Mistake};
use crate::credentials::SecretFile;
use crate::mirror::MirrorOptions;
use crate::oci::RepositoryName;
use crate::registry::{RegistryOptions, Scheme, Tls, TlsFiles};
use crate::sorting;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// The flag that names the registry, and what it is by default, as in the program that this one replaces.
const REPO: &str = "--storage-registry-repo";
const DEFAULT_REPO: &str = "localhost:5000";
/// Where that one looked for credentials, and where deployments mount them.
const DEFAULT_CONFIG: &str = "/etc/secret/dockerconfigjson";
/// Flags that mean nothing with another storage than this.
const OF_STORAGE: [(&str, &str); 13] = [
    ("registry", REPO),
    ("registry", "--storage-registry-scheme"),
    ("registry", "--storage-registry-config"),
    ("registry", "--storage-registry-ca-file"),
    ("registry", CERT_FILE),
    ("registry", KEY_FILE),
    ("registry", "--storage-registry-insecure-skip-tls-verify"),
    ("registry", "--repository"),
    ("registry", MIRROR_DIR),
    ("registry", "--mirror"),
    ("registry", "--mirror-size"),
    ("layout", LAYOUT_DIR),
    ("local", LOCAL_ROOTDIR),
];
const CERT_FILE: &str = "--storage-registry-cert-file";
const KEY_FILE: &str = "--storage-registry-key-file";
const MIRROR_DIR: &str = "--mirror-dir";
const LAYOUT_DIR: &str = "--storage-layout-dir";
const LOCAL_ROOTDIR: &str = "--storage-local-rootdir";

/// Where the charts are.
pub enum StorageChoice {
    /// In a registry, of which something may be kept on disk.
    Registry(Box<RegistryOptions>, Option<MirrorOptions>),
    /// In OCI image layouts in this directory.
    Layout(PathBuf),
    /// In chart archives in this directory.
    Local(PathBuf),
}

/// What `--storage` and the flags of that storage say; `concurrency` connections to a registry.
pub(super) fn choice(args: &Args, concurrency: usize) -> Result<StorageChoice, Mistake> {
    let kinds = [("registry", 0), ("layout", 1), ("local", 2)];
    Ok(match one_of(args, "--storage", &kinds)? {
        0 => {
            let registry = registry(args, concurrency)?;
            let mirror = mirror(args, &registry)?;
            StorageChoice::Registry(Box::new(registry), mirror)
        }
        _ if args.command == Command::Mirror => {
            return Err("mirror goes with --storage=registry".into());
        }
        1 => StorageChoice::Layout(layout(args)?),
        _ => StorageChoice::Local(local(args)?),
    })
}

/// What is logged because nothing was typed about it: a program that is started without flags fails for
/// an address that its user has never seen.
pub(super) fn unsaid(args: &Args, storage: &StorageChoice) -> Option<String> {
    let is_unsaid = matches!(storage, StorageChoice::Registry(..)) && !args.has(REPO);
    is_unsaid.then(|| format!("the registry is {DEFAULT_REPO}: {REPO} names another"))
}

fn registry(args: &Args, connections: usize) -> Result<RegistryOptions, Mistake> {
    only_flags_of("registry", args)?;
    let flag = REPO;
    let repo = args.value(flag).unwrap_or(DEFAULT_REPO);
    if repo.contains('@') {
        // Not quoted: what stands before the @ is a secret.
        return Err(format!(
            "{flag}: credentials belong in --storage-registry-config"
        ));
    }
    let address = Address::parse(repo).map_err(|why| mistake(flag, repo, why))?;
    let scheme = read(args, "--storage-registry-scheme", |text| match text {
        "" => Ok(None),
        text => text.parse::<Scheme>().map(Some),
    })?;
    let scheme = scheme.flatten();
    if let (Some(given), Some(of_url)) = (scheme, address.scheme)
        && given != of_url
    {
        let why = format!("contradicts --storage-registry-scheme={given}");
        return Err(mistake(flag, repo, why));
    }
    Ok(RegistryOptions {
        scheme: scheme.or(address.scheme),
        repositories: repositories(args, address.prefix.as_ref())?,
        authority: address.authority,
        prefix: address.prefix,
        tls: Arc::new(tls(args)?),
        credentials: Arc::new(credentials(file(args, "--storage-registry-config")?)?),
        connections,
    })
}

fn tls(args: &Args) -> Result<Tls, Mistake> {
    let named = TlsFiles {
        authorities: file(args, "--storage-registry-ca-file")?,
        certificate: match (file(args, CERT_FILE)?, file(args, KEY_FILE)?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(format!("{CERT_FILE} needs {KEY_FILE}")),
            (None, Some(_)) => return Err(format!("{KEY_FILE} needs {CERT_FILE}")),
        },
    };
    let is_insecure = args.has("--storage-registry-insecure-skip-tls-verify");
    Tls::open(named, is_insecure).map_err(|error| error.to_string())
}

/// What is kept on disk, if anything is.
fn mirror(args: &Args, registry: &RegistryOptions) -> Result<Option<MirrorOptions>, Mistake> {
    let all = one_of(args, "--mirror", &[("on-demand", false), ("all", true)])?;
    let most = read(args, "--mirror-size", size)?;
    let is_command = args.command == Command::Mirror;
    let Some(directory) = args.value(MIRROR_DIR).filter(|path| !path.is_empty()) else {
        let needs = match is_command {
            true => Some("mirror"),
            false => ["--mirror", "--mirror-size"]
                .into_iter()
                .find(|flag| args.has(flag)),
        };
        return needs.map_or(Ok(None), |needs| Err(format!("{needs} needs {MIRROR_DIR}")));
    };
    Ok(Some(MirrorOptions {
        directory: directory.into(),
        all: all || is_command,
        most: most.map(|most| most as u64),
        registry: registry.authority.clone(),
        prefix: registry.prefix.clone(),
        repositories: registry.repositories.clone(),
        concurrency: registry.connections,
    }))
}

fn layout(args: &Args) -> Result<PathBuf, Mistake> {
    only_flags_of("layout", args)?;
    let (directory, names) = directory(args, "layout", LAYOUT_DIR)?;
    let is_archive = |name: &OsString| name.as_encoded_bytes().ends_with(b".tgz");
    if !is_layout(&names) && names.iter().any(is_archive) {
        let why = format!("holds .tgz files: --storage=local {LOCAL_ROOTDIR} serves those");
        return Err(mistake(LAYOUT_DIR, directory, why));
    }
    Ok(directory.into())
}

fn local(args: &Args) -> Result<PathBuf, Mistake> {
    only_flags_of("local", args)?;
    let (directory, names) = directory(args, "local", LOCAL_ROOTDIR)?;
    if is_layout(&names) {
        let why = format!("is an OCI image layout: --storage=layout {LAYOUT_DIR} serves it");
        return Err(mistake(LOCAL_ROOTDIR, directory, why));
    }
    Ok(directory.into())
}

fn only_flags_of(storage: &str, args: &Args) -> Result<(), Mistake> {
    let mut others = OF_STORAGE.iter().filter(|(other, _)| *other != storage);
    match others.find(|(_, flag)| args.has(flag)) {
        Some((other, flag)) => Err(format!("{flag} goes with --storage={other}")),
        None => Ok(()),
    }
}

fn is_layout(names: &[OsString]) -> bool {
    names.iter().any(|name| name == "oci-layout")
}

/// The directory that `flag` names, and the names in it.
fn directory<'a>(
    args: &'a Args,
    storage: &str,
    flag: &str,
) -> Result<(&'a str, Vec<OsString>), Mistake> {
    let directory = args.value(flag);
    let directory = directory.ok_or_else(|| format!("--storage={storage} needs {flag}"))?;
    if directory.is_empty() {
        return Err(format!("{flag} is empty; it names a directory"));
    }
    let listed = fs::read_dir(directory).map_err(|error| mistake(flag, directory, error))?;
    let names = listed.flatten().map(|entry| entry.file_name());
    Ok((directory, names.collect()))
}

fn repositories(
    args: &Args,
    prefix: Option<&RepositoryName>,
) -> Result<Vec<RepositoryName>, Mistake> {
    let flag = "--repository";
    let mut names: Vec<RepositoryName> = all_parsed(args, flag)?;
    for name in &names {
        if let Some(prefix) = prefix.filter(|prefix| !name.is_below(prefix)) {
            let why = "not below the prefix in --storage-registry-repo";
            let why = format!("{why}; is it {prefix}/{name}?");
            return Err(mistake(flag, name.as_str(), why));
        }
    }
    sorting::ascending(&mut names);
    names.dedup();
    Ok(names)
}

/// A file that was named must be there; at the default place it needn't.
fn credentials(file: Option<PathBuf>) -> Result<SecretFile, Mistake> {
    let required = file.is_some();
    let path = file.unwrap_or_else(|| DEFAULT_CONFIG.into());
    SecretFile::open(path, required).map_err(|error| error.to_string())
}
