//! Flags exactly as typed: no I/O, no environment, no meaning. `--flag value` and `--flag=value`,
//! and with one dash too, as Go programs take them and as the original did.

use std::ffi::OsString;

/// What was typed. `None` means: not given.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the flags are described in HELP
pub struct Args {
    /// `index`, rather than to serve.
    pub index_only: bool,
    pub port: Option<String>,
    pub listen_host: Option<String>,
    pub storage: Option<String>,
    pub registry_repo: Option<String>,
    pub registry_scheme: Option<String>,
    pub registry_config: Option<String>,
    pub registry_ca_file: Option<String>,
    pub registry_insecure: bool,
    pub layout_dir: Option<String>,
    pub local_rootdir: Option<String>,
    pub repositories: Vec<String>,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    pub all_tags: bool,
    pub max_versions: Option<String>,
    pub refresh_interval: Option<String>,
    pub max_stale: Option<String>,
    pub max_wait: Option<String>,
    pub concurrency: Option<String>,
    pub chart_cache_size: Option<String>,
    pub index_format: Option<String>,
    pub shutdown_grace: Option<String>,
    pub log_level: Option<String>,
    pub help: bool,
    pub version: bool,
}

/// Every flag's name, for the nearest to a mistyped one.
const FLAGS: [&str; 25] = [
    "--port",
    "--listen-host",
    "--storage",
    "--storage-registry-repo",
    "--storage-registry-scheme",
    "--storage-registry-config",
    "--storage-registry-ca-file",
    "--storage-registry-insecure-skip-tls-verify",
    "--storage-layout-dir",
    "--storage-local-rootdir",
    "--repository",
    "--include",
    "--exclude",
    "--all-tags",
    "--max-versions",
    "--refresh-interval",
    "--max-stale",
    "--max-wait",
    "--concurrency",
    "--chart-cache-size",
    "--index-format",
    "--shutdown-grace",
    "--log-level",
    "--help",
    "--version",
];

/// Least letters of a flag that are enough to guess it by.
const SHORTEST_PART: usize = 4;

/// The text of `--help`.
pub const HELP: &str = "\
oci-chartrepo: serves the Helm charts of an OCI registry as a classic chart repository

Usage: oci-chartrepo [flags]          serves until it's stopped
       oci-chartrepo index [flags]    walks once and writes the index to stdout

  --port PORT                        port to listen on [8080]
  --listen-host HOST                 address to listen on [all, IPv4 and IPv6]
  --storage KIND                     where the charts are: registry, local or layout [registry]
  --storage-registry-repo ADDRESS    the registry, host[:port][/prefix] or a URL; a prefix
                                     narrows the walk to repositories below it [localhost:5000]
  --storage-registry-scheme SCHEME   HTTP or HTTPS [from the URL, else found out]
  --storage-registry-config FILE     credentials, a dockerconfigjson
                                     [/etc/secret/dockerconfigjson, if it's there]
  --storage-registry-ca-file FILE    certificates (PEM) to trust besides the bundled ones
  --storage-registry-insecure-skip-tls-verify
                                     accept any certificate
  --storage-local-rootdir DIR        with --storage=local: a folder of .tgz files, as helm package
                                     and helm pull leave them; subfolders are prefixes
  --storage-layout-dir DIR           with --storage=layout: an OCI image layout, or a folder
                                     that holds some
  --repository NAME                  walk this repository instead of the catalog (repeatable)
  --include PATTERN                  leave out repositories that match none of these: * stands for
                                     a part of one component, ** for any part (repeatable)
  --exclude PATTERN                  leave out repositories that match (repeatable)
  --all-tags                         also look at tags that are no versions, such as latest
  --max-versions N                   list only the newest N versions of each chart [all]
  --refresh-interval DURATION        how often known tags are looked at again, and everything is
                                     listed again if nobody asks for the index [5m]
  --max-stale DURATION               an index older than this is refreshed when it's asked for
                                     [5s; of a directory: 0s]
  --max-wait DURATION                the longest that a request waits for that; then it gets the
                                     last good index [2s]
  --concurrency N                    requests to the registry at a time during a walk [8]
  --chart-cache-size SIZE            archives kept in memory, as in 500KiB, 32MiB or 1GiB; 0 keeps
                                     none [32MiB]
  --index-format FORMAT              what /index.yaml holds: yaml, or json, which is YAML too and
                                     read faster by Helm from 3.14 on [yaml]
  --shutdown-grace DURATION          how long SIGTERM waits for running downloads [10s]
  --log-level LEVEL                  error, warn, info, debug or trace [info]
  --help, --version
";

/// Why what was typed can't be read; names the flag.
pub type Mistake = String;

impl Args {
    /// Reads the arguments behind the program's name.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Args, Mistake> {
        let mut typed = pico_args::Arguments::from_vec(arguments.flat_map(canonical).collect());
        let command = typed.subcommand().map_err(|error| error.to_string())?;
        if let Some(other) = command.as_deref().filter(|command| *command != "index") {
            return Err(left_over(other));
        }
        let args = Args {
            index_only: command.is_some(),
            help: typed.contains(["-h", "--help"]),
            version: typed.contains(["-V", "--version"]),
            port: value(&mut typed, "--port")?,
            listen_host: value(&mut typed, "--listen-host")?,
            storage: value(&mut typed, "--storage")?,
            registry_repo: value(&mut typed, "--storage-registry-repo")?,
            registry_scheme: value(&mut typed, "--storage-registry-scheme")?,
            registry_config: value(&mut typed, "--storage-registry-config")?,
            registry_ca_file: value(&mut typed, "--storage-registry-ca-file")?,
            registry_insecure: typed.contains("--storage-registry-insecure-skip-tls-verify"),
            layout_dir: value(&mut typed, "--storage-layout-dir")?,
            local_rootdir: value(&mut typed, "--storage-local-rootdir")?,
            repositories: typed
                .values_from_str("--repository")
                .map_err(|error| error.to_string())?,
            include: typed
                .values_from_str("--include")
                .map_err(|error| error.to_string())?,
            exclude: typed
                .values_from_str("--exclude")
                .map_err(|error| error.to_string())?,
            all_tags: typed.contains("--all-tags"),
            max_versions: value(&mut typed, "--max-versions")?,
            refresh_interval: value(&mut typed, "--refresh-interval")?,
            max_stale: value(&mut typed, "--max-stale")?,
            max_wait: value(&mut typed, "--max-wait")?,
            concurrency: value(&mut typed, "--concurrency")?,
            chart_cache_size: value(&mut typed, "--chart-cache-size")?,
            index_format: value(&mut typed, "--index-format")?,
            shutdown_grace: value(&mut typed, "--shutdown-grace")?,
            log_level: value(&mut typed, "--log-level")?,
        };
        match typed.finish().first() {
            None => Ok(args),
            Some(rest) => Err(left_over(&rest.to_string_lossy())),
        }
    }
}

fn value(typed: &mut pico_args::Arguments, flag: &'static str) -> Result<Option<String>, Mistake> {
    typed.opt_value_from_str(flag).map_err(|error| match error {
        pico_args::Error::OptionWithoutAValue(_) => format!("{flag} needs a value"),
        error => format!("{flag}: {error}"),
    })
}

/// `-port` is `--port`, but `-h` and `-V` are what they are; and `--flag=` has a value, the empty
/// one, as a template with a blank to fill writes it.
fn canonical(argument: OsString) -> Vec<OsString> {
    let Some(text) = argument.to_str().filter(|text| text.starts_with('-')) else {
        return vec![argument];
    };
    let dash = if text.starts_with("--") || text.len() == 2 {
        ""
    } else {
        "-"
    };
    match text.strip_suffix('=') {
        Some(flag) => vec![format!("{dash}{flag}").into(), OsString::new()],
        None => vec![format!("{dash}{text}").into()],
    }
}

fn left_over(argument: &str) -> Mistake {
    let (name, value) = argument
        .split_once('=')
        .map_or((argument, None), |(name, value)| (name, Some(value)));
    if !name.starts_with('-') {
        return format!(
            "unexpected argument {argument:?}: there are flags, and `index` before them, see --help"
        );
    }
    if !FLAGS.contains(&name) {
        return match nearest(name) {
            Some(flag) => format!("unknown flag {name}: did you mean {flag}?"),
            None => format!("unknown flag {name}, see --help"),
        };
    }
    match value {
        Some(_) if name == "--help" || name == "--version" || name.ends_with("-verify") => {
            format!("{name} takes no value")
        }
        _ => format!("{name} is given more than once"),
    }
}

/// The flag that was most likely meant: one that holds what was typed, or differs in a third of it at
/// most (in two letters of a short one, which is one swapped pair).
fn nearest(name: &str) -> Option<&'static str> {
    let bare = name.trim_start_matches('-');
    let is_part = |flag: &&&str| bare.len() >= SHORTEST_PART && flag.contains(bare);
    let is_like = |flag: &&&str| distance(name, flag) <= (bare.len() / 3).max(2);
    // `--repo` is rather the end of one than the beginning of another.
    let nearest = |flag: &&&str| (!flag.ends_with(bare), distance(name, flag));
    let part = FLAGS.iter().filter(is_part).min_by_key(nearest);
    part.or_else(|| FLAGS.iter().filter(is_like).min_by_key(nearest))
        .copied()
}

/// How many letters to insert, delete or replace to get from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, Mistake> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_originals_spelling_works() {
        let expected = Args {
            port: Some("8080".into()),
            storage: Some("registry".into()),
            registry_repo: Some("reg:5000".into()),
            registry_scheme: Some("HTTPS".into()),
            ..Args::default()
        };
        for line in [
            "--storage=registry --storage-registry-repo=reg:5000 --storage-registry-scheme=HTTPS --port=8080",
            "--storage registry --storage-registry-repo reg:5000 --storage-registry-scheme HTTPS --port 8080",
            "-storage=registry -storage-registry-repo reg:5000 -storage-registry-scheme=HTTPS -port=8080",
        ] {
            assert_eq!(parse(line).as_ref(), Ok(&expected), "{line}");
        }
    }

    #[test]
    fn a_value_may_be_empty() {
        assert_eq!(
            parse("--storage-registry-scheme= --port=")
                .unwrap()
                .registry_scheme,
            Some(String::new())
        );
    }

    #[test]
    fn a_repository_may_be_named_often() {
        assert_eq!(
            parse("--repository a --repository=b/c")
                .unwrap()
                .repositories,
            ["a", "b/c"]
        );
    }

    #[test]
    fn a_mistake_names_the_flag() {
        for (line, text) in [
            ("--prot 1", "unknown flag --prot: did you mean --port?"),
            (
                "--storage-registry-schema=HTTP",
                "unknown flag --storage-registry-schema: did you mean --storage-registry-scheme?",
            ),
            (
                "--repo=a",
                "unknown flag --repo: did you mean --storage-registry-repo?",
            ),
            (
                "--ca-file=a",
                "unknown flag --ca-file: did you mean --storage-registry-ca-file?",
            ),
            ("-x", "unknown flag -x, see --help"),
            ("--log-format=json", "unknown flag --log-format, see --help"),
            ("--username", "unknown flag --username, see --help"),
            ("--port", "--port needs a value"),
            ("--port 1 --port 2", "--port is given more than once"),
            ("--help=yes", "--help takes no value"),
            (
                "indices",
                "unexpected argument \"indices\": there are flags, and `index` before them, see --help",
            ),
            (
                "--port 1 index",
                "unexpected argument \"index\": there are flags, and `index` before them, see --help",
            ),
        ] {
            assert_eq!(parse(line), Err(text.into()), "{line}");
        }
    }

    #[test]
    fn help_knows_every_flag() {
        for flag in FLAGS {
            assert!(HELP.contains(flag), "{flag}");
        }
    }
}
