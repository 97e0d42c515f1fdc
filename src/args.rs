//! Flags exactly as given: no I/O and no meaning. `--flag value` and `--flag=value`, and with one dash
//! too, as Go programs take them and as the original did; and each flag's variable of the environment,
//! which the caller hands in.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Each flag that was given, and its values.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// What to do.
    pub command: Command,
    /// Variables that were ignored, and why: to be logged.
    pub ignored: Vec<String>,
    given: BTreeMap<&'static str, Vec<String>>,
    /// Those of the given flags that were given by their variables.
    by_variable: Vec<&'static str>,
}

/// What precedes a flag's name in that of its variable.
const VARIABLES: &str = "OCI_CHARTREPO_";
/// Flags that have no variable: an image's `OCI_CHARTREPO_VERSION` is no wish to print it.
const WITHOUT_VARIABLE: [&str; 2] = ["--help", "--version"];
/// What Kubernetes puts into `OCI_CHARTREPO_PORT` beside a Service `oci-chartrepo` begins so.
const OF_KUBERNETES: &str = "tcp://";
/// What the program does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Command {
    /// It serves until it's stopped.
    #[default]
    Serve,
    /// It scans once, and writes the index: `index`.
    Index,
    /// It scans once, and fetches everything to a directory: `mirror`.
    Mirror,
}

/// Least letters of a flag that are enough to guess it by.
const SHORTEST_PART: usize = 4;

/// The text of `--help`, and the one list of flags: the parser reads their names from it, which of them
/// take a value (in capitals behind the name) and which may be given more than once (`(repeatable)`).
pub const HELP: &str = "\
oci-chartrepo: serves the Helm charts of an OCI registry as a classic chart repository

Usage: oci-chartrepo [flags]          serves until it's stopped
       oci-chartrepo index [flags]    scans once and writes the index to stdout
       oci-chartrepo mirror [flags]   scans once and copies all charts to --mirror-dir

  --port PORT                        port to listen on [8080]
  --listen-host HOST                 address to listen on [all, IPv4 and IPv6]
  --context-path PATH                what precedes all paths but /livez, /readyz, /health and
                                     /metrics, as in /helm, if the proxy in front leaves it [none]
  --chart-url URL                    the index names archives by URLs below this one, and not by
                                     relative ones; oci: by the registry's own (Helm from 3.8 on)
  --external-url URL                 where clients reach this program, with the path before
                                     /index.yaml, as the page shows it [as it was called]
  --trust-forwarded                  believe X-Forwarded-Host, -Proto and -Prefix, and Forwarded: a
                                     proxy in front sets them
  --artifacthub-repo-file FILE       what /artifacthub-repo.yml and that of each prefix hold, for
                                     Artifact Hub; read again on change [what the tag artifacthub.io
                                     has in the prefix's repository, or in the only one below]
  --cors-allow-origin ORIGIN         pages of this origin, as in https://ui.example, may read what
                                     is served; *: those of any [none]
  --idle-timeout DURATION            how long a connection may be idle; longer than a load balancer
                                     in front keeps its own [75s]
  --storage KIND                     where the charts are: registry, layout or local [registry]
  --storage-registry-repo ADDRESS    the registry, host[:port][/prefix] or a URL; a prefix
                                     selects the repositories below it [localhost:5000]
  --storage-registry-scheme SCHEME   HTTP or HTTPS [from the URL, else probed]
  --storage-registry-config FILE     credentials, a dockerconfigjson
                                     [/etc/secret/dockerconfigjson, if it's there]
  --storage-registry-ca-file FILE    certificates (PEM) to trust besides the bundled ones, of
                                     authorities or of the registry itself; read again on change
  --storage-registry-cert-file FILE  our own certificate (PEM), for a registry that wants one
  --storage-registry-key-file FILE   its private key (PEM)
  --storage-registry-insecure-skip-tls-verify
                                     accept any certificate
  --storage-local-rootdir DIR        with --storage=local: a folder of .tgz files, as helm package
                                     and helm pull write them; subfolders are prefixes
  --storage-layout-dir DIR           with --storage=layout: an OCI image layout, or a folder
                                     that holds some
  --repository NAME                  serve this repository instead of the catalog's (repeatable)
  --include PATTERN                  leave out repositories that match none of these: * stands for
                                     a part of one component, ** for any part (repeatable)
  --exclude PATTERN                  leave out repositories that match (repeatable)
  --all-tags                         also read tags that are no versions, such as latest
  --any-name                         also list a chart whose name is not the last component of its
                                     repository, as helm push makes it
  --max-versions N                   list only the newest N versions of each chart, and its newest
                                     release [all]
  --refresh-interval DURATION        how often known tags are checked, and everything is listed
                                     without a request for the index [5m]
  --max-stale DURATION               an index older than this is refreshed when it's asked for
                                     [5s; of a directory: 0s]
  --max-wait DURATION                the longest that a request waits for that; then it gets the
                                     last good index [2s]
  --concurrency N                    requests to the registry at a time during a scan [8]
  --chart-cache-size SIZE            archives kept in memory, as in 500KiB, 32MiB or 1GiB; 0 keeps
                                     none [32MiB]
  --mirror-dir DIR                   with --storage=registry: what is read is kept in this folder,
                                     as OCI image layouts, and served while the registry is away
  --mirror WHAT                      on-demand: archives are kept as they are downloaded; all: all
                                     that are listed are fetched [on-demand]
  --mirror-size SIZE                 most bytes of archives kept there [all that are listed]
  --index-format FORMAT              what /index.yaml holds: yaml, or json, which is YAML too and
                                     read faster by Helm from 3.14 on [yaml]
  --shutdown-grace DURATION          how long SIGTERM waits for running downloads [10s]
  --log-level LEVEL                  error, warn, info, debug or trace [info]
  --log-format FORMAT                text, or json: an object on each line with time, level, message
                                     and what the message tells, such as repository, tag, status,
                                     or duration in seconds [text]
  --log-requests                     log each request that isn't a probe's, at level info: peer,
                                     method, path, status, bytes, duration, user_agent, request_id
  --help                             print this text
  --version                          print the version

A flag may also be given by a variable of the environment, OCI_CHARTREPO_ and its name in capitals
with _ for -, as in OCI_CHARTREPO_LOG_LEVEL=debug. The flag wins over its variable, and an empty
variable counts as none. A flag without a value is true or false; repeatable ones take a list with
commas.
";

/// A flag, as `--help` describes it.
struct Flag {
    name: &'static str,
    takes_value: bool,
    is_repeatable: bool,
}

fn flags() -> impl Iterator<Item = Flag> {
    const START: &str = "\n  --";
    HELP.match_indices(START).map(|(at, _)| {
        let described = &HELP[at + START.len() - "--".len()..];
        let described = described.split(START).next().unwrap_or_default();
        let mut words = described.split(' ');
        Flag {
            name: words.next().unwrap_or_default().trim_end(),
            takes_value: words
                .next()
                .is_some_and(|word| word.starts_with(char::is_uppercase)),
            is_repeatable: described.contains("(repeatable)"),
        }
    })
}

/// Why what was typed can't be read; names the flag.
pub type Mistake = String;

impl Args {
    /// Reads the arguments behind the program's name, and of the environment the variables of those
    /// flags that are not among them.
    pub fn parse(
        arguments: impl Iterator<Item = OsString>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Args, Mistake> {
        let mut args = Args::typed(arguments)?;
        for (name, value) in environment {
            if let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLES)) {
                args.take_variable(name, &value)?;
            }
        }
        Ok(args)
    }

    fn typed(arguments: impl Iterator<Item = OsString>) -> Result<Args, Mistake> {
        let arguments = arguments.enumerate().flat_map(canonical).collect();
        let mut typed = pico_args::Arguments::from_vec(arguments);
        let command = typed.subcommand().map_err(|error| error.to_string())?;
        let command = match command.as_deref() {
            None => Command::Serve,
            Some("index") => Command::Index,
            Some("mirror") => Command::Mirror,
            Some(other) => return Err(left_over(other)),
        };
        let mut given = BTreeMap::new();
        for flag in flags() {
            let values = match flag.takes_value {
                true => values(&mut typed, &flag)?,
                false if typed.contains(flag.name) => vec![String::new()],
                false => continue,
            };
            if !values.is_empty() {
                given.insert(flag.name, values);
            }
        }
        match typed.finish().first() {
            None => Ok(Args {
                command,
                given,
                ..Args::default()
            }),
            Some(rest) => Err(left_over(&rest.to_string_lossy())),
        }
    }

    fn take_variable(&mut self, name: &str, value: &OsStr) -> Result<(), Mistake> {
        let Some(flag) = flags().find(|flag| variable(flag.name) == name) else {
            self.ignored.extend(unknown_variable(name));
            return Ok(());
        };
        if value.is_empty() || WITHOUT_VARIABLE.contains(&flag.name) || self.has(flag.name) {
            return Ok(());
        }
        let value = value.to_str().ok_or(format!("{name} is not UTF-8"))?;
        if value.starts_with(OF_KUBERNETES) {
            self.ignored.push(format!(
                "{name}={value} is ignored: Kubernetes sets it for a Service; use {}",
                flag.name
            ));
            return Ok(());
        }
        let values = match (flag.takes_value, value) {
            (true, list) if flag.is_repeatable => list.split(',').map(str::to_owned).collect(),
            (true, value) => vec![value.to_owned()],
            (false, "true") => vec![String::new()],
            (false, "false") => return Ok(()),
            (false, _) => return Err(format!("{name} {value:?}: not true or false")),
        };
        self.given.insert(flag.name, values);
        self.by_variable.push(flag.name);
        Ok(())
    }

    /// The mistake, which begins with the flag that it is about, with the flag's variable in its place if
    /// that is where it was made.
    pub fn blame_variable(&self, mistake: Mistake) -> Mistake {
        let end = mistake.find([' ', '=', ':']).unwrap_or(mistake.len());
        let (flag, rest) = mistake.split_at(end);
        match self.by_variable.contains(&flag) {
            true => variable(flag) + rest,
            false => mistake,
        }
    }

    /// Whether a flag was given.
    pub fn has(&self, flag: &str) -> bool {
        debug_assert!(flags().any(|known| known.name == flag), "{flag}");
        self.given.contains_key(flag)
    }

    /// The value of a flag, if it was given.
    pub fn value(&self, flag: &str) -> Option<&str> {
        self.values(flag).first().map(String::as_str)
    }

    /// All values of a flag that may be given more than once.
    pub fn values(&self, flag: &str) -> &[String] {
        match self.has(flag) {
            true => &self.given[flag],
            false => &[],
        }
    }
}

fn values(typed: &mut pico_args::Arguments, flag: &Flag) -> Result<Vec<String>, Mistake> {
    let values = typed
        .values_from_str(flag.name)
        .map_err(|error| match error {
            pico_args::Error::OptionWithoutAValue(_) => format!("{} needs a value", flag.name),
            error => format!("{}: {error}", flag.name),
        });
    match values {
        Ok(values) if values.len() > 1 && !flag.is_repeatable => {
            Err(format!("{} is given more than once", flag.name))
        }
        values => values,
    }
}

/// `-port` is `--port`; `-h` is `--help` and `-V` is `--version`, and so are `help` and `version` in the
/// first place; and `--flag=` has a value, the empty one, as a template with a blank to fill writes it.
fn canonical((place, argument): (usize, OsString)) -> Vec<OsString> {
    let Some(text) = argument.to_str() else {
        return vec![argument];
    };
    let is_letter = text.split('=').next().is_some_and(|name| name.len() == 2);
    let (dash, text) = match text {
        "-h" => ("", "--help"),
        "-V" => ("", "--version"),
        "help" | "version" if place == 0 => ("--", text),
        _ if text.starts_with("--") || !text.starts_with('-') || is_letter => ("", text),
        _ => ("-", text),
    };
    if !text.starts_with('-') && dash.is_empty() {
        return vec![argument];
    }
    match text.strip_suffix('=') {
        Some(flag) => vec![format!("{dash}{flag}").into(), OsString::new()],
        None => vec![format!("{dash}{text}").into()],
    }
}

fn left_over(argument: &str) -> Mistake {
    let name = argument.split('=').next().unwrap_or_default();
    if !name.starts_with('-') {
        return match argument {
            "index" | "mirror" => format!("{argument} must stand before all flags"),
            _ if distance(argument, "mirror") <= 2 => {
                format!("unexpected argument {argument:?}: did you mean mirror?")
            }
            _ => format!("unexpected argument {argument:?}: flags begin with --, see --help"),
        };
    }
    match flags().find(|flag| flag.name == name) {
        Some(_) if name != argument => format!("{name} takes no value"),
        Some(_) => format!("{name} is given more than once"),
        None => match nearest(name) {
            Some(flag) => format!("unknown flag {name}: did you mean {flag}?"),
            None => format!("unknown flag {name}, see --help"),
        },
    }
}

/// The variable of a flag.
fn variable(flag: &str) -> String {
    let name = flag.trim_start_matches('-').replace('-', "_");
    VARIABLES.to_owned() + &name.to_ascii_uppercase()
}

/// What is logged of a variable that is no flag's, if it was most likely meant to be one. Kubernetes sets
/// many more for a Service, such as `OCI_CHARTREPO_SERVICE_HOST`, and those mean nothing.
fn unknown_variable(name: &str) -> Option<String> {
    let flag = name.strip_prefix(VARIABLES)?.to_ascii_lowercase();
    let meant = variable(nearest(&format!("--{}", flag.replace('_', "-")))?);
    Some(format!("{name} is ignored: did you mean {meant}?"))
}

/// Names of other programs' flags, and the flags of this one that do what is wanted.
const MEANT: [(&str, &str); 5] = [
    ("ca", "--storage-registry-ca-file"),
    ("user", "--storage-registry-config"),
    ("username", "--storage-registry-config"),
    ("password", "--storage-registry-config"),
    ("mirror-directory", "--mirror-dir"),
];

/// The flag that was most likely meant: one that holds each word that was typed, or differs in a third of it at
/// most (in two letters of a short one, which is one swapped pair).
fn nearest(name: &str) -> Option<&'static str> {
    let bare = name.trim_start_matches('-');
    if let Some((_, flag)) = MEANT.iter().find(|(other, _)| *other == bare) {
        return Some(flag);
    }
    let is_part = |flag: &&str| {
        let mut words = bare.split('-');
        bare.len() >= SHORTEST_PART && words.all(|word| flag.contains(word))
    };
    let is_like = |flag: &&str| distance(name, flag) <= (bare.len() / 3).max(2);
    // `--repo` is rather the end of one than the beginning of another.
    let nearest = |flag: &&str| (!flag.ends_with(bare), distance(name, flag));
    let names = || flags().map(|flag| flag.name);
    let part = names().filter(is_part).min_by_key(nearest);
    part.or_else(|| names().filter(is_like).min_by_key(nearest))
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
        parse_in(line, &[])
    }

    fn parse_in(line: &str, environment: &[(&str, &str)]) -> Result<Args, Mistake> {
        let variables = environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Args::parse(line.split_whitespace().map(OsString::from), variables)
    }

    #[test]
    fn the_originals_spelling_works() {
        for line in [
            "--storage=registry --storage-registry-repo=reg:5000 --storage-registry-scheme=HTTPS --port=8080",
            "--storage registry --storage-registry-repo reg:5000 --storage-registry-scheme HTTPS --port 8080",
            "-storage=registry -storage-registry-repo reg:5000 -storage-registry-scheme=HTTPS -port=8080",
        ] {
            let args = parse(line).unwrap();
            assert_eq!(args.value("--port"), Some("8080"), "{line}");
            assert_eq!(args.value("--storage"), Some("registry"), "{line}");
            assert_eq!(
                args.value("--storage-registry-repo"),
                Some("reg:5000"),
                "{line}"
            );
            assert_eq!(
                args.value("--storage-registry-scheme"),
                Some("HTTPS"),
                "{line}"
            );
            assert_eq!(args.given.len(), 4, "{line}");
        }
    }

    #[test]
    fn the_list_of_flags_is_read_from_the_help() {
        let flag = |name: &str| flags().find(|flag| flag.name == name).unwrap();
        assert!(flag("--port").takes_value && !flag("--port").is_repeatable);
        assert!(flag("--include").takes_value && flag("--include").is_repeatable);
        assert!(!flag("--storage-registry-insecure-skip-tls-verify").takes_value);
        assert!(!flag("--help").takes_value);
        assert!(flags().count() >= 24);
        for flag in flags() {
            assert!(
                !parse(flag.name).is_ok_and(|_| flag.takes_value),
                "{}",
                flag.name
            );
        }
    }

    #[test]
    fn a_value_may_be_empty_and_help_may_be_short() {
        let args = parse("--storage-registry-scheme= --port= -h").unwrap();
        assert_eq!(args.value("--storage-registry-scheme"), Some(""));
        assert!(args.has("--help") && !args.has("--version"));
        assert!(parse("help").unwrap().has("--help"));
        assert!(parse("version").unwrap().has("--version"));
        assert!(parse("index version").is_err());
    }

    #[test]
    fn a_repository_may_be_named_often() {
        let args = parse("--repository a --repository=b/c").unwrap();
        assert_eq!(args.values("--repository"), ["a", "b/c"]);
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
                "--storage-repo=a",
                "unknown flag --storage-repo: did you mean --storage-registry-repo?",
            ),
            (
                "--ca-file=a",
                "unknown flag --ca-file: did you mean --storage-registry-ca-file?",
            ),
            ("-x", "unknown flag -x, see --help"),
            ("--colour=never", "unknown flag --colour, see --help"),
            (
                "--username",
                "unknown flag --username: did you mean --storage-registry-config?",
            ),
            (
                "--ca=x",
                "unknown flag --ca: did you mean --storage-registry-ca-file?",
            ),
            (
                "mirors",
                "unexpected argument \"mirors\": did you mean mirror?",
            ),
            ("--port", "--port needs a value"),
            ("--port 1 --port 2", "--port is given more than once"),
            ("--help=yes", "--help takes no value"),
            ("--all-tags=true", "--all-tags takes no value"),
            (
                "--all-tags --all-tags",
                "--all-tags is given more than once",
            ),
            (
                "indices",
                "unexpected argument \"indices\": flags begin with --, see --help",
            ),
            ("--port 1 index", "index must stand before all flags"),
            (
                "index foo",
                "unexpected argument \"foo\": flags begin with --, see --help",
            ),
            ("-x=1", "unknown flag -x, see --help"),
        ] {
            assert_eq!(parse(line), Err(text.into()), "{line}");
        }
    }

    #[test]
    fn every_flag_has_a_variable_and_wins_over_it() {
        for flag in flags().filter(|flag| !WITHOUT_VARIABLE.contains(&flag.name)) {
            let (name, value) = match flag.takes_value {
                true => (variable(flag.name), "x"),
                false => (variable(flag.name), "true"),
            };
            let args = parse_in("", &[(&name, value)]).unwrap();
            assert!(args.has(flag.name), "{name}");
            let typed = match flag.takes_value {
                true => format!("{}=y", flag.name),
                false => flag.name.to_owned(),
            };
            let both = parse_in(&typed, &[(&name, "tcp://x")]).unwrap();
            assert_eq!(both, parse(&typed).unwrap(), "{name}");
        }
        assert_eq!(variable("--log-level"), "OCI_CHARTREPO_LOG_LEVEL");
    }

    #[test]
    fn a_variable_may_hold_a_list_a_truth_or_nothing() {
        let args = |name: &str, value: &str| {
            let name = format!("{VARIABLES}{name}");
            parse_in("", &[(&name, value), ("PORT", "1"), ("OCI_CHARTREPO", "1")])
        };
        let list = args("REPOSITORY", "a,b/c").unwrap();
        assert_eq!(list.values("--repository"), ["a", "b/c"]);
        for (name, value) in [
            ("ALL_TAGS", "false"),
            ("PORT", ""),
            ("HELP", "true"),
            ("VERSION", "1.2.3"),
        ] {
            assert_eq!(args(name, value), Ok(Args::default()), "{name}={value}");
        }
        let mistake = "OCI_CHARTREPO_ALL_TAGS \"yes\": not true or false";
        assert_eq!(args("ALL_TAGS", "yes"), Err(mistake.into()));
    }

    #[test]
    fn a_mistake_in_a_variable_names_the_variable() {
        let args = parse_in("--port 1", &[("OCI_CHARTREPO_STORAGE", "layout")]).unwrap();
        let blamed = |mistake: &str| args.blame_variable(mistake.to_owned());
        assert_eq!(
            blamed("--storage=layout needs --storage-layout-dir"),
            "OCI_CHARTREPO_STORAGE=layout needs --storage-layout-dir"
        );
        for other in ["--storage-layout-dir: x", "--port \"1\": x", ""] {
            assert_eq!(blamed(other), other);
        }
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_of_our_name_is_ignored() {
        let service = [
            ("OCI_CHARTREPO_PORT", "tcp://10.0.0.1:8080"),
            ("OCI_CHARTREPO_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("OCI_CHARTREPO_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("OCI_CHARTREPO_PORT_8080_TCP_PORT", "8080"),
            ("OCI_CHARTREPO_PORT_8080_TCP_PROTO", "tcp"),
            ("OCI_CHARTREPO_SERVICE_HOST", "10.0.0.1"),
            ("OCI_CHARTREPO_SERVICE_PORT", "8080"),
            ("OCI_CHARTREPO_SERVICE_PORT_HTTP", "8080"),
        ];
        let args = parse_in("", &service).unwrap();
        let why = "OCI_CHARTREPO_PORT=tcp://10.0.0.1:8080 is ignored: \
                   Kubernetes sets it for a Service; use --port";
        assert_eq!(args.ignored, [why]);
        assert!(!args.has("--port"));
    }

    #[test]
    fn a_mistyped_variable_is_told() {
        let args = parse_in("", &[("OCI_CHARTREPO_LOGLEVEL", "debug")]).unwrap();
        let why = "OCI_CHARTREPO_LOGLEVEL is ignored: did you mean OCI_CHARTREPO_LOG_LEVEL?";
        assert_eq!(args.ignored, [why]);
    }
}
