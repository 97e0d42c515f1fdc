//! From what was typed to what is meant: where a user's mistake is found, and named by its flag.

mod address;
mod quantity;

use crate::args::{Args, Mistake};
use crate::credentials::SecretFile;
use crate::inventory::{Filter, Pattern};
use crate::observe::log::level;
use crate::oci::RepositoryName;
use crate::refresh::Options;
use crate::registry::Tls;
use crate::snapshot::IndexFormat;
use address::Address;
use log::Level;
use quantity::{duration, size, typed};
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Where the original looked for credentials, and where deployments mount them.
const DEFAULT_CONFIG: &str = "/etc/secret/dockerconfigjson";
/// Most requests at a time: more would be an attack on the registry.
const MAX_CONCURRENCY: usize = 64;
/// Longest grace: past an hour, nobody is waiting for an orderly end any more.
const MAX_GRACE: Duration = Duration::from_secs(3600);
/// Shortest interval: the tags of a registry are looked at one by one.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Longest interval, and oldest index: past a day, a chart that was deleted is still offered.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Longest wait for an index: clients and proxies give up after a minute.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// A registry is listed again when the last listing is longer ago than a `helm push` and the
/// `helm repo update` after it take between them.
const STALE_REGISTRY: Duration = Duration::from_secs(5);

/// Flags that mean nothing with another storage than this.
const OF_STORAGE: [(&str, &str); 8] = [
    ("registry", "--storage-registry-repo"),
    ("registry", "--storage-registry-scheme"),
    ("registry", "--storage-registry-config"),
    ("registry", "--storage-registry-ca-file"),
    ("registry", "--storage-registry-insecure-skip-tls-verify"),
    ("registry", "--repository"),
    ("layout", LAYOUT_DIR),
    ("local", LOCAL_ROOTDIR),
];
const LAYOUT_DIR: &str = "--storage-layout-dir";
const LOCAL_ROOTDIR: &str = "--storage-local-rootdir";

/// Where the charts are.
pub enum StorageChoice {
    /// In a registry.
    Registry(crate::registry::RegistryOptions),
    /// In OCI image layouts in this directory.
    Layout(PathBuf),
    /// In chart archives in this directory.
    Local(PathBuf),
}

/// All settings, checked.
pub struct Config {
    /// Whether only an index is to be written, once.
    pub index_only: bool,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Address to listen on; none means all.
    pub listen_host: Option<String>,
    /// Where the charts are.
    pub storage: StorageChoice,
    /// What is looked at, and what is made of it.
    pub scan: Options,
    /// How often known tags are looked at again, and all is listed if nobody asks.
    pub refresh_interval: Duration,
    /// An index older than this is refreshed when it's asked for.
    pub max_stale: Duration,
    /// The longest that a request waits for that.
    pub max_wait: Duration,
    /// How many bytes of archives are kept in memory.
    pub chart_cache_size: usize,
    /// How long a shutdown waits for running downloads.
    pub shutdown_grace: Duration,
    /// The least grave events that are logged.
    pub log_level: Level,
}

impl Config {
    /// Makes sense of `args`. Reads the files that they name.
    pub fn new(args: &Args) -> Result<Config, Mistake> {
        let concurrency = parse_or(args, "--concurrency", 8)?;
        if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            return Err(format!(
                "--concurrency {concurrency}: not between 1 and {MAX_CONCURRENCY}"
            ));
        }
        let storage = match args.value("--storage").unwrap_or("registry") {
            "registry" => StorageChoice::Registry(registry(args, concurrency)?),
            "layout" => StorageChoice::Layout(layout(args)?),
            "local" => StorageChoice::Local(local(args)?),
            other => {
                let why = "not one of: registry, layout, local";
                return Err(mistake("--storage", other, why));
            }
        };
        let scan = scan(args, concurrency)?;
        Ok(Config {
            index_only: args.index_only,
            port: parse_or(args, "--port", 8080)?,
            listen_host: args
                .value("--listen-host")
                .filter(|host| !host.is_empty())
                .map(str::to_owned),
            refresh_interval: match time(args, "--refresh-interval", MAX_AGE)? {
                Some(interval) if interval < MIN_INTERVAL => {
                    return Err("--refresh-interval: under 1s".into());
                }
                given => given.unwrap_or(Duration::from_secs(300)),
            },
            // A directory doesn't mind being asked at each request whether it has changed.
            max_stale: time(args, "--max-stale", MAX_AGE)?.unwrap_or(match storage {
                StorageChoice::Registry(_) => STALE_REGISTRY,
                StorageChoice::Layout(_) | StorageChoice::Local(_) => Duration::ZERO,
            }),
            max_wait: time(args, "--max-wait", MAX_WAIT)?.unwrap_or(Duration::from_secs(2)),
            storage,
            scan,
            chart_cache_size: match args.value("--chart-cache-size") {
                None => 32 << 20,
                Some(text) => size(text).ok_or_else(|| {
                    let why = "not a size such as 500KiB, 32MiB or 1GiB";
                    mistake("--chart-cache-size", text, why)
                })?,
            },
            shutdown_grace: time(args, "--shutdown-grace", MAX_GRACE)?
                .unwrap_or(Duration::from_secs(10)),
            log_level: match args.value("--log-level") {
                None => Level::Info,
                Some(text) => level(text).map_err(|why| mistake("--log-level", text, why))?,
            },
        })
    }
}

fn mistake(flag: &str, value: &str, why: impl Display) -> Mistake {
    format!("{flag} {value:?}: {why}")
}

fn parse_or<T: FromStr<Err: Display>>(args: &Args, flag: &str, default: T) -> Result<T, Mistake> {
    match args.value(flag) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|why| mistake(flag, text, why)),
    }
}

/// What a flag says, if it was given: a time of at most `longest`.
fn time(args: &Args, flag: &str, longest: Duration) -> Result<Option<Duration>, Mistake> {
    let Some(text) = args.value(flag) else {
        return Ok(None);
    };
    match duration(text) {
        Some(time) if time <= longest => Ok(Some(time)),
        Some(_) => Err(mistake(
            flag,
            text,
            format!("longer than {}", typed(longest)),
        )),
        None => Err(mistake(
            flag,
            text,
            "not a duration such as 300ms, 10s or 5m",
        )),
    }
}

fn scan(args: &Args, concurrency: usize) -> Result<Options, Mistake> {
    let patterns = |flag| -> Result<Vec<Pattern>, Mistake> {
        let texts = args.values(flag).iter();
        texts
            .map(|text| text.parse().map_err(|why| mistake(flag, text, why)))
            .collect()
    };
    let filter = Filter {
        include: patterns("--include")?,
        exclude: patterns("--exclude")?,
        all_tags: args.has("--all-tags"),
        max_versions: match args.value("--max-versions") {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|why| mistake("--max-versions", text, why))?,
            ),
        },
    };
    let format = match args.value("--index-format").unwrap_or("yaml") {
        "yaml" => IndexFormat::Yaml,
        "json" => IndexFormat::Json,
        other => return Err(mistake("--index-format", other, "not one of: yaml, json")),
    };
    Ok(Options {
        concurrency,
        filter,
        format,
    })
}

fn registry(args: &Args, connections: usize) -> Result<crate::registry::RegistryOptions, Mistake> {
    only_flags_of("registry", args)?;
    let repo = args
        .value("--storage-registry-repo")
        .unwrap_or("localhost:5000");
    if repo.contains('@') {
        // Not quoted: what stands before the @ is a secret.
        return Err(
            "--storage-registry-repo: credentials belong into --storage-registry-config".into(),
        );
    }
    let address =
        Address::parse(repo).map_err(|why| mistake("--storage-registry-repo", repo, why))?;
    let scheme = match args.value("--storage-registry-scheme").unwrap_or_default() {
        "" => address.scheme,
        text => Some(
            text.parse()
                .map_err(|why| mistake("--storage-registry-scheme", text, why))?,
        ),
    };
    Ok(crate::registry::RegistryOptions {
        scheme,
        repositories: repositories(args.values("--repository"), address.prefix.as_ref())?,
        authority: address.authority,
        prefix: address.prefix,
        tls: Tls {
            authorities: authorities(args.value("--storage-registry-ca-file"))?,
            insecure: args.has("--storage-registry-insecure-skip-tls-verify"),
        },
        credentials: Arc::new(credentials(args.value("--storage-registry-config"))?),
        connections,
    })
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
    let listed = fs::read_dir(directory).map_err(|error| mistake(flag, directory, error))?;
    let names = listed.flatten().map(|entry| entry.file_name());
    Ok((directory, names.collect()))
}

fn repositories(
    names: &[String],
    prefix: Option<&RepositoryName>,
) -> Result<Vec<RepositoryName>, Mistake> {
    let mut repositories = Vec::with_capacity(names.len());
    for text in names {
        let name: RepositoryName = text
            .parse()
            .map_err(|why| mistake("--repository", text, why))?;
        if let Some(prefix) = prefix.filter(|prefix| !name.is_below(prefix)) {
            let why =
                format!("not below the prefix in --storage-registry-repo; is it {prefix}/{name}?");
            return Err(mistake("--repository", text, why));
        }
        repositories.push(name);
    }
    repositories.sort();
    repositories.dedup();
    Ok(repositories)
}

fn authorities(file: Option<&str>) -> Result<Vec<Vec<u8>>, Mistake> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let pem = fs::read(file).map_err(|error| mistake("--storage-registry-ca-file", file, error))?;
    crate::registry::certificates(&pem)
        .map_err(|why| mistake("--storage-registry-ca-file", file, why))
}

/// A file that was named must be there; at the default place it needn't.
fn credentials(file: Option<&str>) -> Result<SecretFile, Mistake> {
    let required = file.is_some();
    let path = PathBuf::from(file.unwrap_or(DEFAULT_CONFIG));
    SecretFile::open(path, required).map_err(|error| format!("--storage-registry-config: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn a_mistake_names_its_flag() {
        let error = |line: &str| {
            let args = Args::parse(line.split_whitespace().map(OsString::from)).unwrap();
            Config::new(&args).err().unwrap()
        };
        assert_eq!(
            error("--storage minio"),
            "--storage \"minio\": not one of: registry, layout, local"
        );
        assert_eq!(
            error("--concurrency 0"),
            "--concurrency 0: not between 1 and 64"
        );
        let secret = error("--storage-registry-repo http://u:hunter2@host");
        assert!(
            secret.starts_with("--storage-registry-repo") && !secret.contains("hunter2"),
            "{secret}"
        );
        assert!(error("--port http").starts_with("--port \"http\": "));
        assert_eq!(
            error("--storage-registry-repo h/team --repository web"),
            "--repository \"web\": not below the prefix in --storage-registry-repo; is it team/web?"
        );
        assert_eq!(
            error("--storage layout --repository web"),
            "--repository goes with --storage=registry"
        );
    }
}
