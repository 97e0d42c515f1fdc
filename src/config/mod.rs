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
use crate::server::ServerOptions;
use crate::snapshot::{ArchiveUrls, IndexFormat, IndexStyle};
use address::Address;
use log::Level;
use quantity::{duration, size, typed};
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
/// Longest grace: past an hour, no one waits for an orderly end.
const MAX_GRACE: Duration = Duration::from_secs(3600);
/// Shortest interval: the tags of a registry are looked at one by one.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Longest interval, and oldest index: past a day, a chart that was deleted is still offered.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Longest wait for an index: clients and proxies give up after a minute.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long a connection may be idle: longer than the 60 s for which AWS's load balancers keep theirs,
/// so that it's never us who close one that they are about to use; nginx has the same.
const IDLE: Duration = Duration::from_secs(75);
/// Shortest time: an ingress sends its next request within it.
const MIN_IDLE: Duration = Duration::from_secs(1);
/// Longest time: a proxy that wants more doesn't exist.
const MAX_IDLE: Duration = Duration::from_secs(3600);
/// A registry is listed again when the last listing is longer ago than a `helm push` and the
/// `helm repo update` after it take between them.
const STALE_REGISTRY: Duration = Duration::from_secs(5);

/// Flags that mean nothing without a registry.
const OF_REGISTRY: [&str; 6] = [
    "--storage-registry-repo",
    "--storage-registry-scheme",
    "--storage-registry-config",
    "--storage-registry-ca-file",
    "--storage-registry-insecure-skip-tls-verify",
    "--repository",
];

/// Where the charts are.
pub enum StorageChoice {
    /// In a registry.
    Registry(crate::registry::RegistryOptions),
    /// In this directory.
    Layout(PathBuf),
}

/// All settings, checked.
pub struct Config {
    /// Whether only an index is to be written, once.
    pub index_only: bool,
    /// Where the charts are.
    pub storage: StorageChoice,
    /// What is looked at, and what is made of it.
    pub scan: Options,
    /// How often known tags are checked, and everything is listed without a request for the index.
    pub refresh_interval: Duration,
    /// An index older than this is refreshed when it's asked for.
    pub max_stale: Duration,
    /// The longest that a request waits for that.
    pub max_wait: Duration,
    /// How charts are served.
    pub server: ServerOptions,
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
            other => return Err(mistake("--storage", other, "not one of: registry, layout")),
        };
        let scan = Options {
            concurrency,
            filter: filter(args)?,
            style: IndexStyle {
                format: format(args)?,
                urls: archive_urls(args.value("--chart-url"), &storage)?,
            },
        };
        Ok(Config {
            index_only: args.index_only,
            refresh_interval: match time(args, "--refresh-interval", MAX_AGE)? {
                Some(interval) if interval < MIN_INTERVAL => {
                    return Err("--refresh-interval: under 1s".into());
                }
                given => given.unwrap_or(Duration::from_secs(300)),
            },
            // A directory doesn't mind being asked at each request whether it has changed.
            max_stale: time(args, "--max-stale", MAX_AGE)?.unwrap_or(match storage {
                StorageChoice::Registry(_) => STALE_REGISTRY,
                StorageChoice::Layout(_) => Duration::ZERO,
            }),
            max_wait: time(args, "--max-wait", MAX_WAIT)?.unwrap_or(Duration::from_secs(2)),
            storage,
            scan,
            server: server(args)?,
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

fn server(args: &Args) -> Result<ServerOptions, Mistake> {
    Ok(ServerOptions {
        listen_host: args
            .value("--listen-host")
            .filter(|host| !host.is_empty())
            .map(str::to_owned),
        port: parse_or(args, "--port", 8080)?,
        context_path: match args.value("--context-path") {
            None => String::new(),
            Some(text) => context_path(text).map_err(|why| mistake("--context-path", text, why))?,
        },
        idle_timeout: match time(args, "--idle-timeout", MAX_IDLE)? {
            Some(time) if time < MIN_IDLE => return Err("--idle-timeout: under 1s".into()),
            given => given.unwrap_or(IDLE),
        },
        chart_cache_size: match args.value("--chart-cache-size") {
            None => 32 << 20,
            Some(text) => size(text).ok_or_else(|| {
                let why = "not a size such as 500KiB, 32MiB or 1GiB";
                mistake("--chart-cache-size", text, why)
            })?,
        },
    })
}

/// `/helm`, with or without the slashes around it; nothing for `/`.
fn context_path(text: &str) -> Result<String, &'static str> {
    let path = text.trim_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
    match path {
        "" => Ok(String::new()),
        path if path.split('/').all(is_segment) => Ok(format!("/{path}")),
        _ => Err("not a path such as /helm, of letters, digits, -, ., _ and ~"),
    }
}

fn filter(args: &Args) -> Result<Filter, Mistake> {
    let patterns = |flag| -> Result<Vec<Pattern>, Mistake> {
        let texts = args.values(flag).iter();
        texts
            .map(|text| text.parse().map_err(|why| mistake(flag, text, why)))
            .collect()
    };
    Ok(Filter {
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
    })
}

fn format(args: &Args) -> Result<IndexFormat, Mistake> {
    match args.value("--index-format").unwrap_or("yaml") {
        "yaml" => Ok(IndexFormat::Yaml),
        "json" => Ok(IndexFormat::Json),
        other => Err(mistake("--index-format", other, "not one of: yaml, json")),
    }
}

/// What `--chart-url` says: a URL, or `oci` for the registry's own, or `oci://HOST` where clients know it
/// by another name.
fn archive_urls(text: Option<&str>, storage: &StorageChoice) -> Result<ArchiveUrls, Mistake> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(ArchiveUrls::Relative);
    };
    if text.contains('@') {
        // Not quoted: what stands before the @ is a secret.
        return Err("--chart-url: an index is no place for credentials".into());
    }
    if text == "oci" {
        return match storage {
            StorageChoice::Registry(options) => {
                Ok(ArchiveUrls::Registry(options.authority.clone()))
            }
            StorageChoice::Layout(_) => Err("--chart-url=oci goes with --storage=registry".into()),
        };
    }
    let url = text.trim_end_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]%+".contains(&byte);
    let rest = url.split_once("://").filter(|(_, rest)| {
        !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(is_plain)
    });
    match rest {
        Some(("http" | "https", _)) => Ok(ArchiveUrls::Below(url.to_owned())),
        Some(("oci", host)) => Ok(ArchiveUrls::Registry(host.to_owned())),
        _ => Err(mistake(
            "--chart-url",
            text,
            "not a URL such as https://charts.example/helm, nor oci",
        )),
    }
}

fn registry(args: &Args, connections: usize) -> Result<crate::registry::RegistryOptions, Mistake> {
    if args.has("--storage-layout-dir") {
        return Err("--storage-layout-dir goes with --storage=layout".into());
    }
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
    if let Some(flag) = OF_REGISTRY.iter().find(|flag| args.has(flag)) {
        return Err(format!("{flag} goes with --storage=registry"));
    }
    let Some(directory) = args.value("--storage-layout-dir") else {
        return Err("--storage=layout needs --storage-layout-dir".into());
    };
    match fs::read_dir(directory) {
        Ok(_) => Ok(directory.into()),
        Err(error) => Err(mistake("--storage-layout-dir", directory, error)),
    }
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
    fn a_context_path_is_plain_and_its_slashes_are_put_right() {
        for (text, expected) in [
            ("/helm", "/helm"),
            ("a/b_1/", "/a/b_1"),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(context_path(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["/a//b", "/..", "/a b", "/%61", "http://h/helm", "/a?b"] {
            assert!(context_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_chart_url_is_a_url_or_oci() {
        let parse = |text: &str| archive_urls(Some(text), &StorageChoice::Layout(PathBuf::new()));
        assert!(
            matches!(parse("https://h:1/a/"), Ok(ArchiveUrls::Below(url)) if url == "https://h:1/a")
        );
        assert!(matches!(parse("oci://h/a"), Ok(ArchiveUrls::Registry(host)) if host == "h/a"));
        assert!(matches!(parse(""), Ok(ArchiveUrls::Relative)));
        for bad in [
            "oci",
            "h",
            "/a",
            "http://",
            "https:///a",
            "ftp://h",
            "http://h/\"",
            "http://h/a?b",
        ] {
            let mistake = parse(bad).unwrap_err();
            assert!(mistake.starts_with("--chart-url"), "{mistake}");
        }
        let secret = parse("https://u:hunter2@h").unwrap_err();
        assert!(!secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn a_mistake_names_its_flag() {
        let error = |line: &str| {
            let args = Args::parse(line.split_whitespace().map(OsString::from)).unwrap();
            Config::new(&args).err().unwrap()
        };
        assert_eq!(
            error("--storage minio"),
            "--storage \"minio\": not one of: registry, layout"
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
