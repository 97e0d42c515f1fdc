//! From what was typed to what is meant: where a user's mistake is found, and named by its flag or
//! variable.

mod address;
mod quantity;
mod reading;
mod storage;

pub use storage::StorageChoice;

use crate::args::{Args, Command, Mistake};
use crate::credentials::{NamedFile, WatchedFiles};
use crate::inventory::{Filter, NameRule};
use crate::observe::log::{LogFormat, level};
use crate::refresh::Options;
use crate::server::{Addressing, MAX_METADATA_FILE, MetadataFile, ServerOptions};
use crate::snapshot::{ArchiveUrls, IndexFormat, IndexStyle};
use log::Level;
use quantity::size;
use reading::{all_parsed, file, mistake, number, one_of, read, time};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Most requests at a time: more would be an attack on the registry.
const MAX_CONCURRENCY: usize = 64;
const MAX_PORT: usize = u16::MAX as usize;
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
    /// How they are written.
    pub log_format: LogFormat,
    /// What is logged of the flags and the environment before all else.
    pub warnings: Vec<String>,
}

impl Config {
    /// Makes sense of `args`. Reads the files that they name.
    pub fn new(args: &Args) -> Result<Config, Mistake> {
        Config::read(args).map_err(|mistake| args.blame_variable(mistake))
    }

    fn read(args: &Args) -> Result<Config, Mistake> {
        let concurrency = number(args, "--concurrency", 1..=MAX_CONCURRENCY)?.unwrap_or(8);
        let refresh_interval = time(args, "--refresh-interval", MAX_AGE)?;
        if refresh_interval.is_some_and(|interval| interval < MIN_INTERVAL) {
            return Err("--refresh-interval: under 1s".into());
        }
        let storage = storage::choice(args, concurrency)?;
        // A directory doesn't mind being asked at each request whether it has changed.
        let stale = match storage {
            StorageChoice::Registry(..) => STALE_REGISTRY,
            StorageChoice::Layout(_) | StorageChoice::Local(_) => Duration::ZERO,
        };
        let unsaid = storage::unsaid(args, &storage);
        let is_json = one_of(args, "--log-format", &[("text", false), ("json", true)])?;
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
            log_format: match is_json {
                false => LogFormat::Text,
                true => LogFormat::Json,
            },
            warnings: args.ignored.iter().cloned().chain(unsaid).collect(),
        })
    }
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
            max_versions: number(args, "--max-versions", 1..=usize::MAX)?
                .and_then(NonZeroUsize::new),
        },
        style: IndexStyle {
            format: one_of(args, "--index-format", &formats)?,
            urls: archive_urls(args.value("--chart-url"), storage)?,
        },
    })
}

fn server(args: &Args) -> Result<ServerOptions, Mistake> {
    let host = args.value("--listen-host").filter(|host| !host.is_empty());
    if let Some(host) = host.filter(|host| has_port(host)) {
        let why = "a host without its port, which is --port";
        return Err(mistake("--listen-host", host, why));
    }
    Ok(ServerOptions {
        listen_host: host.map(str::to_owned),
        port: match number(args, "--port", 0..=MAX_PORT)? {
            Some(port) => port as u16,
            None => 8080,
        },
        addressing: Addressing {
            external_url: external_url(args.value("--external-url"))?,
            trusts_forwarded: args.has("--trust-forwarded"),
            context_path: read(args, "--context-path", context_path)?.unwrap_or_default(),
        },
        idle_timeout: match time(args, "--idle-timeout", MAX_IDLE)? {
            Some(time) if time < MIN_IDLE => return Err("--idle-timeout: under 1s".into()),
            given => given.unwrap_or(IDLE),
        },
        chart_cache_size: read(args, "--chart-cache-size", size)?.unwrap_or(32 << 20),
        log_requests: args.has("--log-requests"),
        artifacthub_repo: artifacthub_repo(args)?,
        cors_allow_origin: read(args, "--cors-allow-origin", origin)?.flatten(),
    })
}

/// Whether a host is followed by a port; an IPv6 address has several colons.
fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(name, port)| {
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        is_number && (!name.contains(':') || name.ends_with(']'))
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

/// Reads a file that is read again when it has changed.
fn artifacthub_repo(args: &Args) -> Result<Option<Box<MetadataFile>>, Mistake> {
    const FLAG: &str = "--artifacthub-repo-file";
    let Some(path) = file(args, FLAG)? else {
        return Ok(None);
    };
    let whole = |files: &[(&NamedFile, Vec<u8>)]| match files {
        [(_, bytes)] if bytes.len() as u64 <= MAX_METADATA_FILE => Ok(bytes.clone()),
        _ => Err(format!("{FLAG}: over {MAX_METADATA_FILE} bytes")),
    };
    let files = WatchedFiles::open(vec![NamedFile { flag: FLAG, path }], None, whole);
    let files = files.map_err(|error| error.to_string())?;
    Ok(Some(Box::new(move || {
        let (bytes, _, problem) = files.current();
        if let Some(problem) = problem {
            log::warn!("keeping what it held before: {problem}");
        }
        bytes
    })))
}

/// An origin as browsers send it (RFC 6454 §6.2), or `*`; nothing for no text.
fn origin(text: &str) -> Result<Option<String>, &'static str> {
    let origin = text.to_ascii_lowercase();
    let schemes = ["http://", "https://"];
    let host = schemes
        .iter()
        .find_map(|scheme| origin.strip_prefix(scheme));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    match host {
        None if matches!(text, "" | "*") => Ok(Some(origin).filter(|text| !text.is_empty())),
        Some(host) if !host.is_empty() && host.bytes().all(is_plain) => Ok(Some(origin)),
        _ => Err("not * or an origin such as https://ui.example:8443"),
    }
}

/// What `--chart-url` says: a URL, or `oci` for the registry's own, or `oci://HOST` where clients know it
/// by another name.
fn archive_urls(text: Option<&str>, storage: &StorageChoice) -> Result<ArchiveUrls, Mistake> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(ArchiveUrls::Relative);
    };
    if text == "oci" {
        return match storage {
            StorageChoice::Registry(options, _) => {
                Ok(ArchiveUrls::Registry(options.authority.clone()))
            }
            _ => Err("--chart-url=oci goes with --storage=registry".into()),
        };
    }
    match plain_url("--chart-url", text)? {
        Some(("http" | "https", _)) => {
            Ok(ArchiveUrls::Below(text.trim_end_matches('/').to_owned()))
        }
        Some(("oci", host)) => Ok(ArchiveUrls::Registry(host.to_owned())),
        _ => Err(mistake(
            "--chart-url",
            text,
            "not a URL such as https://charts.example/helm, nor oci",
        )),
    }
}

/// What `--external-url` says.
fn external_url(text: Option<&str>) -> Result<Option<String>, Mistake> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match plain_url("--external-url", text)? {
        Some(("http" | "https", rest)) if !rest.ends_with("/index.yaml") => {
            Ok(Some(text.trim_end_matches('/').to_owned()))
        }
        _ => {
            let why = "not an http or https URL such as https://charts.example/helm, without a query and index.yaml";
            Err(mistake("--external-url", text, why))
        }
    }
}

/// The scheme of a URL that paths are put behind, and the rest of it without a `/` at its end; nothing if it
/// isn't plain.
fn plain_url<'t>(flag: &str, text: &'t str) -> Result<Option<(&'t str, &'t str)>, Mistake> {
    if text.contains('@') {
        // Not quoted: what stands before the @ is a secret.
        return Err(format!(
            "{flag}: others read it, so it's no place for credentials"
        ));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]%+".contains(&byte);
    let parts = text.trim_end_matches('/').split_once("://");
    Ok(parts.filter(|(_, rest)| {
        !rest.is_empty() && !rest.starts_with(['/', ':']) && rest.bytes().all(is_plain)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::iter;
    use std::path::PathBuf;

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
    fn an_origin_is_as_browsers_send_it_or_any() {
        for (text, expected) in [
            ("*", Some("*")),
            ("", None),
            ("https://UI.example:8443", Some("https://ui.example:8443")),
            ("http://[::1]:80", Some("http://[::1]:80")),
        ] {
            assert_eq!(origin(text).unwrap().as_deref(), expected, "{text}");
        }
        for bad in [
            "ui.example",
            "https://",
            "https://h/",
            "https://h/a",
            "null",
            "ftp://h",
            "https://a,https://b",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
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
    fn an_external_url_is_an_http_url_without_credentials_or_a_query() {
        let parse = |text| external_url(Some(text));
        let whole = Ok(Some("https://h:1/a".to_owned()));
        assert_eq!((parse("https://h:1/a/"), parse("")), (whole, Ok(None)));
        for bad in [
            "h",
            "/a",
            "http://",
            "https:///a",
            "http://:80",
            "ftp://h",
            "oci",
            "oci://h",
            "http://h?b",
            "http://h/a?b",
            "http://h/#b",
            "http://h/\"",
            "http://h/a b",
            "http://h/a/index.yaml",
        ] {
            let mistake = parse(bad).unwrap_err();
            assert!(mistake.starts_with("--external-url \""), "{mistake}");
        }
        let secret = parse("https://u:hunter2@h").unwrap_err();
        assert!(secret.starts_with("--external-url: "), "{secret}");
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
            "--concurrency \"0\": not a whole number from 1 to 64"
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
