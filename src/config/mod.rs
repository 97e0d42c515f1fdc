//! From what was typed to what is meant: where a user's mistake is found, and named by its flag or
//! variable.

mod address;
mod quantity;

use crate::args::{Args, Command, Mistake};
use crate::credentials::SecretFile;
use crate::inventory::{Filter, NameRule};
use crate::mirror::MirrorOptions;
use crate::observe::log::level;
use crate::oci::RepositoryName;
use crate::refresh::Options;
use crate::registry::{RegistryOptions, Scheme, Tls, TlsFiles};
use crate::server::ServerOptions;
use crate::snapshot::{ArchiveUrls, IndexFormat, IndexStyle};
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

/// Flags that mean nothing with another storage than this.
const OF_STORAGE: [(&str, &str); 13] = [
    ("registry", "--storage-registry-repo"),
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

/// All settings, checked.
pub struct Config {
    /// What to do.
    pub command: Command,
    /// Where the charts are.
    pub storage: StorageChoice,
    /// What to scan, and how the index is written.
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
    /// What is logged of the environment.
    pub warnings: Vec<String>,
}

impl Config {
    /// Makes sense of `args`. Reads the files that they name.
    pub fn new(args: &Args) -> Result<Config, Mistake> {
        Config::read(args).map_err(|mistake| args.blame_variable(mistake))
    }

    fn read(args: &Args) -> Result<Config, Mistake> {
        let concurrency = parsed(args, "--concurrency")?.unwrap_or(8);
        if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            return Err(format!(
                "--concurrency {concurrency}: not between 1 and {MAX_CONCURRENCY}"
            ));
        }
        let refresh_interval = time(args, "--refresh-interval", MAX_AGE)?;
        if refresh_interval.is_some_and(|interval| interval < MIN_INTERVAL) {
            return Err("--refresh-interval: under 1s".into());
        }
        let kinds = [("registry", 0), ("layout", 1), ("local", 2)];
        let storage = match one_of(args, "--storage", &kinds)? {
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
        };
        // A directory doesn't mind being asked at each request whether it has changed.
        let stale = match storage {
            StorageChoice::Registry(..) => STALE_REGISTRY,
            StorageChoice::Layout(_) | StorageChoice::Local(_) => Duration::ZERO,
        };
        Ok(Config {
            command: args.command,
            scan: scan(args, concurrency, &storage)?,
            storage,
            refresh_interval: refresh_interval.unwrap_or(Duration::from_secs(300)),
            max_stale: time(args, "--max-stale", MAX_AGE)?.unwrap_or(stale),
            max_wait: time(args, "--max-wait", MAX_WAIT)?.unwrap_or(Duration::from_secs(2)),
            server: server(args)?,
            shutdown_grace: time(args, "--shutdown-grace", MAX_GRACE)?
                .unwrap_or(Duration::from_secs(10)),
            log_level: read(args, "--log-level", level)?.unwrap_or(Level::Info),
            warnings: args.ignored.clone(),
        })
    }
}

fn mistake(flag: &str, value: &str, why: impl Display) -> Mistake {
    format!("{flag} {value:?}: {why}")
}

/// What a flag says, as `read` understands its value; `None` if it wasn't given.
fn read<T, E: Display>(
    args: &Args,
    flag: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Mistake> {
    let read = |text| read(text).map_err(|why| mistake(flag, text, why));
    args.value(flag).map(read).transpose()
}

fn parsed<T: FromStr<Err: Display>>(args: &Args, flag: &str) -> Result<Option<T>, Mistake> {
    read(args, flag, str::parse)
}

/// The same of a flag that may be given more than once.
fn all_parsed<T: FromStr<Err: Display>>(args: &Args, flag: &str) -> Result<Vec<T>, Mistake> {
    let parse = |text: &String| text.parse().map_err(|why| mistake(flag, text, why));
    args.values(flag).iter().map(parse).collect()
}

/// A time of at most `longest`.
fn time(args: &Args, flag: &str, longest: Duration) -> Result<Option<Duration>, Mistake> {
    read(args, flag, |text| match duration(text)? {
        time if time > longest => Err(format!("longer than {}", typed(longest))),
        time => Ok(time),
    })
}

/// What the given word stands for; the first one without it.
fn one_of<T: Copy>(args: &Args, flag: &str, words: &[(&str, T)]) -> Result<T, Mistake> {
    let meaning = |given: &str| words.iter().find(|(word, _)| *word == given);
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let why = format!("not one of: {}", names.join(", "));
    let given = read(args, flag, |text| meaning(text).ok_or(&why))?;
    Ok(given.unwrap_or(&words[0]).1)
}

fn scan(args: &Args, concurrency: usize, storage: &StorageChoice) -> Result<Options, Mistake> {
    let formats = [("yaml", IndexFormat::Yaml), ("json", IndexFormat::Json)];
    Ok(Options {
        concurrency,
        filter: Filter {
            include: all_parsed(args, "--include")?,
            exclude: all_parsed(args, "--exclude")?,
            all_tags: args.has("--all-tags"),
            names: match storage {
                StorageChoice::Local(_) => NameRule::Any,
                _ if args.has("--any-name") => NameRule::OfAnyRepository,
                _ => NameRule::OfRepository,
            },
            max_versions: parsed(args, "--max-versions")?,
        },
        style: IndexStyle {
            format: one_of(args, "--index-format", &formats)?,
            urls: archive_urls(args.value("--chart-url"), storage)?,
        },
    })
}

fn server(args: &Args) -> Result<ServerOptions, Mistake> {
    let host = args.value("--listen-host").filter(|host| !host.is_empty());
    Ok(ServerOptions {
        listen_host: host.map(str::to_owned),
        port: parsed(args, "--port")?.unwrap_or(8080),
        context_path: read(args, "--context-path", context_path)?.unwrap_or_default(),
        idle_timeout: match time(args, "--idle-timeout", MAX_IDLE)? {
            Some(time) if time < MIN_IDLE => return Err("--idle-timeout: under 1s".into()),
            given => given.unwrap_or(IDLE),
        },
        chart_cache_size: read(args, "--chart-cache-size", size)?.unwrap_or(32 << 20),
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
            StorageChoice::Registry(options, _) => {
                Ok(ArchiveUrls::Registry(options.authority.clone()))
            }
            _ => Err("--chart-url=oci goes with --storage=registry".into()),
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

fn registry(args: &Args, connections: usize) -> Result<RegistryOptions, Mistake> {
    only_flags_of("registry", args)?;
    let flag = "--storage-registry-repo";
    let repo = args.value(flag).unwrap_or("localhost:5000");
    if repo.contains('@') {
        // Not quoted: what stands before the @ is a secret.
        return Err(format!(
            "{flag}: credentials belong into --storage-registry-config"
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
        credentials: Arc::new(credentials(args.value("--storage-registry-config"))?),
        connections,
    })
}

fn tls(args: &Args) -> Result<Tls, Mistake> {
    let path = |flag| args.value(flag).map(PathBuf::from);
    let named = TlsFiles {
        authorities: path("--storage-registry-ca-file"),
        certificate: match (path(CERT_FILE), path(KEY_FILE)) {
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
    names.sort();
    names.dedup();
    Ok(names)
}

/// A file that was named must be there; at the default place it needn't.
fn credentials(file: Option<&str>) -> Result<SecretFile, Mistake> {
    let required = file.is_some();
    let path = PathBuf::from(file.unwrap_or(DEFAULT_CONFIG));
    SecretFile::open(path, required).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter;

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
            let words = line.split_whitespace().map(OsString::from);
            let args = Args::parse(words, iter::empty()).unwrap();
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
        assert_eq!(
            error("--storage-registry-repo https://h/a --storage-registry-scheme HTTP"),
            "--storage-registry-repo \"https://h/a\": contradicts --storage-registry-scheme=http"
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
