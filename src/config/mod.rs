//! From what was typed to what is meant: where a user's mistake is found, and named by its flag.

mod address;
mod quantity;

use crate::args::{Args, Mistake};
use crate::credentials::Source;
use crate::observe::log::level;
use crate::oci::RepositoryName;
use crate::registry::Tls;
use crate::snapshot::{self, IndexFormat};
use address::Address;
use log::Level;
use quantity::{duration, size, typed};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
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

/// Where the charts are.
pub enum StorageChoice {
    /// In a registry.
    Registry(crate::registry::Options),
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
    pub walk: snapshot::Options,
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
    pub fn new(args: Args) -> Result<Config, Mistake> {
        let concurrency = parse_or("--concurrency", args.concurrency.as_deref(), 8)?;
        if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            return Err(format!(
                "--concurrency {concurrency}: not between 1 and {MAX_CONCURRENCY}"
            ));
        }
        let storage = match args.storage.as_deref().unwrap_or("registry") {
            "registry" => StorageChoice::Registry(registry(&args, concurrency)?),
            "layout" => StorageChoice::Layout(layout(&args)?),
            "local" => StorageChoice::Local(local(&args)?),
            other => {
                let why = "not one of: registry, local, layout";
                return Err(mistake("--storage", other, why));
            }
        };
        let walk = walk(&args, concurrency)?;
        Ok(Config {
            index_only: args.index_only,
            port: parse_or("--port", args.port.as_deref(), 8080)?,
            listen_host: args.listen_host.filter(|host| !host.is_empty()),
            refresh_interval: match time("--refresh-interval", args.refresh_interval, MAX_AGE)? {
                Some(interval) if interval < MIN_INTERVAL => {
                    return Err("--refresh-interval: under 1s".into());
                }
                given => given.unwrap_or(Duration::from_secs(300)),
            },
            // A directory doesn't mind being asked at each request whether it has changed.
            max_stale: time("--max-stale", args.max_stale, MAX_AGE)?.unwrap_or(match storage {
                StorageChoice::Registry(_) => STALE_REGISTRY,
                StorageChoice::Layout(_) | StorageChoice::Local(_) => Duration::ZERO,
            }),
            max_wait: time("--max-wait", args.max_wait, MAX_WAIT)?
                .unwrap_or(Duration::from_secs(2)),
            storage,
            walk,
            chart_cache_size: match args.chart_cache_size {
                None => 32 << 20,
                Some(text) => size(&text).ok_or_else(|| {
                    mistake(
                        "--chart-cache-size",
                        &text,
                        "not a size such as 500KiB, 32MiB or 1GiB",
                    )
                })?,
            },
            shutdown_grace: time("--shutdown-grace", args.shutdown_grace, MAX_GRACE)?
                .unwrap_or(Duration::from_secs(10)),
            log_level: match args.log_level.as_deref() {
                None => Level::Info,
                Some(text) => level(text).map_err(|why| mistake("--log-level", text, why))?,
            },
        })
    }
}

fn mistake(flag: &str, value: &str, why: impl Display) -> Mistake {
    format!("{flag} {value:?}: {why}")
}

fn parse_or<T: FromStr<Err: Display>>(
    flag: &str,
    value: Option<&str>,
    default: T,
) -> Result<T, Mistake> {
    match value {
        None => Ok(default),
        Some(text) => text.parse().map_err(|why| mistake(flag, text, why)),
    }
}

/// What a flag says, if it was given: a time of at most `longest`.
fn time(flag: &str, value: Option<String>, longest: Duration) -> Result<Option<Duration>, Mistake> {
    let Some(text) = value else { return Ok(None) };
    match duration(&text) {
        Some(time) if time <= longest => Ok(Some(time)),
        Some(_) => Err(mistake(
            flag,
            &text,
            format!("longer than {}", typed(longest)),
        )),
        None => Err(mistake(
            flag,
            &text,
            "not a duration such as 300ms, 10s or 5m",
        )),
    }
}

fn walk(args: &Args, concurrency: usize) -> Result<snapshot::Options, Mistake> {
    let patterns = |flag, texts: &[String]| -> Result<Vec<snapshot::Pattern>, Mistake> {
        texts
            .iter()
            .map(|text| text.parse().map_err(|why| mistake(flag, text, why)))
            .collect()
    };
    let filter = snapshot::Filter {
        include: patterns("--include", &args.include)?,
        exclude: patterns("--exclude", &args.exclude)?,
        all_tags: args.all_tags,
        max_versions: match args.max_versions.as_deref() {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|why| mistake("--max-versions", text, why))?,
            ),
        },
    };
    let format = match args.index_format.as_deref().unwrap_or("yaml") {
        "yaml" => IndexFormat::Yaml,
        "json" => IndexFormat::Json,
        other => return Err(mistake("--index-format", other, "not one of: yaml, json")),
    };
    Ok(snapshot::Options {
        concurrency,
        filter,
        format,
    })
}

fn registry(args: &Args, connections: usize) -> Result<crate::registry::Options, Mistake> {
    only_of_directory(args, "")?;
    let repo = args.registry_repo.as_deref().unwrap_or("localhost:5000");
    if repo.contains('@') {
        // Not quoted: what stands before the @ is a secret.
        return Err(
            "--storage-registry-repo: credentials belong into --storage-registry-config".into(),
        );
    }
    let address =
        Address::parse(repo).map_err(|why| mistake("--storage-registry-repo", repo, why))?;
    let scheme = match args.registry_scheme.as_deref().unwrap_or_default() {
        "" => address.scheme,
        text => Some(
            text.parse()
                .map_err(|why| mistake("--storage-registry-scheme", text, why))?,
        ),
    };
    Ok(crate::registry::Options {
        scheme,
        repositories: repositories(&args.repositories, address.prefix.as_ref())?,
        authority: address.authority,
        prefix: address.prefix,
        tls: Tls {
            authorities: authorities(args.registry_ca_file.as_deref())?,
            insecure: args.registry_insecure,
        },
        credentials: Arc::new(credentials(args.registry_config.as_deref())?),
        connections,
    })
}

fn layout(args: &Args) -> Result<PathBuf, Mistake> {
    only_of_registry(args)?;
    only_of_directory(args, "--storage-layout-dir")?;
    let (directory, names) = directory("layout", "--storage-layout-dir", &args.layout_dir)?;
    let is_archive = |name: &PathBuf| name.extension().is_some_and(|ending| ending == "tgz");
    if !is_layout(&names) && names.iter().any(is_archive) {
        let advice = "holds .tgz files: --storage=local --storage-local-rootdir serves those";
        return Err(mistake("--storage-layout-dir", &directory, advice));
    }
    Ok(directory.into())
}

fn local(args: &Args) -> Result<PathBuf, Mistake> {
    only_of_registry(args)?;
    only_of_directory(args, "--storage-local-rootdir")?;
    let (directory, names) = directory("local", "--storage-local-rootdir", &args.local_rootdir)?;
    if is_layout(&names) {
        let advice = "is an OCI image layout: --storage=layout --storage-layout-dir serves it";
        return Err(mistake("--storage-local-rootdir", &directory, advice));
    }
    Ok(directory.into())
}

fn is_layout(names: &[PathBuf]) -> bool {
    names.iter().any(|name| name == Path::new("oci-layout"))
}

/// The directory that `flag` names, and what is in it.
fn directory(
    storage: &str,
    flag: &str,
    value: &Option<String>,
) -> Result<(String, Vec<PathBuf>), Mistake> {
    let directory = value
        .clone()
        .ok_or_else(|| format!("--storage={storage} needs {flag}"))?;
    let listed = fs::read_dir(&directory).map_err(|error| mistake(flag, &directory, error))?;
    let names = listed.flatten().map(|entry| entry.file_name().into());
    Ok((directory, names.collect()))
}

/// Refuses the flags of the directories that aren't served.
fn only_of_directory(args: &Args, own: &str) -> Result<(), Mistake> {
    let others = [
        ("--storage-layout-dir", "layout", &args.layout_dir),
        ("--storage-local-rootdir", "local", &args.local_rootdir),
    ];
    let other = others
        .iter()
        .find(|(flag, _, value)| *flag != own && value.is_some());
    other.map_or(Ok(()), |(flag, storage, _)| {
        Err(format!("{flag} goes with --storage={storage}"))
    })
}

fn only_of_registry(args: &Args) -> Result<(), Mistake> {
    let of_registry = [
        ("--storage-registry-repo", args.registry_repo.is_some()),
        ("--storage-registry-scheme", args.registry_scheme.is_some()),
        ("--storage-registry-config", args.registry_config.is_some()),
        (
            "--storage-registry-ca-file",
            args.registry_ca_file.is_some(),
        ),
        (
            "--storage-registry-insecure-skip-tls-verify",
            args.registry_insecure,
        ),
        ("--repository", !args.repositories.is_empty()),
    ];
    let given = of_registry.iter().find(|(_, given)| *given);
    given.map_or(Ok(()), |(flag, _)| {
        Err(format!("{flag} goes with --storage=registry"))
    })
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
fn credentials(file: Option<&str>) -> Result<Source, Mistake> {
    let required = file.is_some();
    let path = PathBuf::from(file.unwrap_or(DEFAULT_CONFIG));
    Source::open(path, required).map_err(|error| format!("--storage-registry-config: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_names_its_flag() {
        let error = |args: Args| Config::new(args).err().unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            error(Args {
                storage: text("minio"),
                ..Args::default()
            }),
            "--storage \"minio\": not one of: registry, local, layout"
        );
        assert_eq!(
            error(Args {
                concurrency: text("0"),
                ..Args::default()
            }),
            "--concurrency 0: not between 1 and 64"
        );
        let secret = error(Args {
            registry_repo: text("http://u:hunter2@host"),
            ..Args::default()
        });
        assert!(
            secret.starts_with("--storage-registry-repo") && !secret.contains("hunter2"),
            "{secret}"
        );
        assert!(
            error(Args {
                port: text("http"),
                ..Args::default()
            })
            .starts_with("--port \"http\": ")
        );
        let outside = Args {
            registry_repo: text("h/team"),
            repositories: vec!["web".into()],
            ..Args::default()
        };
        assert_eq!(
            error(outside),
            "--repository \"web\": not below the prefix in --storage-registry-repo; is it team/web?"
        );
    }
}
