//! Flags: the original program's spelling works to the letter, a mistake names its flag and exits
//! with 2, and what the world refuses exits with 1.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{Chart, FakeRegistry, Fault};
use crate::support::process::{Scratch, run, text};
use crate::support::story::{Index, wait_for_charts};

/// All flags, as the program lists them, and whether they take a value.
fn flags() -> Vec<(String, bool)> {
    let help = text(&run_with(&["--help"]).stdout);
    let flag = |line: &str| {
        let mut words = line.strip_prefix("  --")?.split(' ');
        let name = format!("--{}", words.next()?);
        let takes_value = words
            .next()
            .is_some_and(|word| word.starts_with(char::is_uppercase));
        Some((name, takes_value))
    };
    let flags: Vec<_> = help.lines().filter_map(flag).collect();
    assert!(flags.len() > 30, "{help}");
    flags
}

fn run_with(arguments: &[&str]) -> Output {
    run_in(arguments, &[])
}

fn run_in(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let program = Path::new(program());
    run(program, arguments, environment)
}

/// It ends with 2; the one complaint, on stderr, holds these words.
fn assert_mistake(arguments: &[&str], words: &[&str]) {
    let output = run_with(arguments);
    let complaint = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    for word in words {
        assert!(
            complaint.contains(word),
            "{arguments:?}: {word} in {complaint}"
        );
    }
    assert!(!complaint.contains("panicked"), "{complaint}");
}

#[test]
fn a_value_that_makes_no_sense_names_its_flag() {
    for (flag, values) in [
        ("--port", &["", "x", "-1", "65536", "80 80"][..]),
        ("--context-path", &["/a//b", "/../x", "http://h/x", "/a b"]),
        (
            "--chart-url",
            &["charts.example", "ftp://h", "http://", "http://u:p@h"],
        ),
        (
            "--external-url",
            &[
                "charts.example",
                "oci",
                "ftp://h",
                "http://",
                "http://u:p@h",
                "http://h/?a",
                "http://h/#a",
            ],
        ),
        ("--idle-timeout", &["", "75", "0", "500ms", "2h"]),
        ("--storage", &["", "s3", "Registry "]),
        (
            "--storage-registry-repo",
            &[
                "",
                "http://",
                "ftp://host",
                "host:port",
                "host:99999",
                "http://u:p@host",
                "ho st",
                "host/UPPER",
            ],
        ),
        ("--storage-registry-scheme", &["ftp", "http://", "HTTP "]),
        (
            "--repository",
            &["", "UPPER", "a//b", "../x", "a b", "a:1.0.0"],
        ),
        ("--concurrency", &["", "0", "-1", "many", "1.5"]),
        (
            "--chart-cache-size",
            &["", "x", "-1", "1.5MiB", "32 MiB", "99999999999GiB"][..],
        ),
        ("--index-format", &["", "YAML", "xml"]),
        ("--shutdown-grace", &["", "x", "-1s", "10 parsecs"]),
        ("--log-level", &["", "loud"]),
    ] {
        assert_mistake(&[flag, values[0]], &[flag]);
        for value in values {
            assert_mistake(&[&format!("{flag}={value}")], &[flag]);
        }
    }
}

#[test]
fn a_flag_without_its_value_or_with_one_too_many_is_named() {
    for (flag, takes_value) in flags() {
        match takes_value {
            true => assert_mistake(&[&flag], &[&flag, "needs a value"]),
            false => assert_mistake(&[&format!("{flag}=true")], &[&flag, "takes no value"]),
        }
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_told_in_words_of_the_flag() {
    for (typed, told) in [
        (
            "--port=80800",
            "--port \"80800\": not a whole number from 0 to 65535",
        ),
        (
            "--max-versions=0",
            "--max-versions \"0\": not a whole number from 1 on",
        ),
        (
            "--concurrency=many",
            "--concurrency \"many\": not a whole number from 1 to 64",
        ),
        (
            "--storage-registry-config=",
            "--storage-registry-config names no file",
        ),
        (
            "--storage-registry-ca-file=",
            "--storage-registry-ca-file names no file",
        ),
    ] {
        assert_mistake(&[typed], &[&format!("oci-chartrepo: {told}\n")]);
    }
}

#[test]
fn a_start_without_an_address_names_the_flag() {
    let flag = " WARN the registry is localhost:5000: --storage-registry-repo names another\n";
    let daemon = Daemon::start(&[]);
    assert!(daemon.log().contains(flag), "{}", daemon.log());
    let daemon = Daemon::start(&["--storage-registry-repo=localhost:1"]);
    assert!(!daemon.log().contains("names another"), "{}", daemon.log());
}

#[test]
fn a_file_in_another_form_than_the_one_needed_says_which_it_is() {
    let scratch = Scratch::new("forms");
    let certificate =
        "-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n";
    let path = scratch.file("ca.pem", certificate).display().to_string();
    assert_mistake(
        &[&format!("--storage-registry-ca-file={path}")],
        &["TRUSTED CERTIFICATE"],
    );
    let path = scratch
        .file("secret", "eyJhdXRocyI6e319\n")
        .display()
        .to_string();
    assert_mistake(&[&format!("--storage-registry-config={path}")], &["base64"]);
}

#[test]
fn an_unknown_flag_names_the_nearest() {
    for (typed, nearest) in [
        ("--prot=8080", "--port"),
        (
            "--storage-registry-rep=localhost:5000",
            "--storage-registry-repo",
        ),
        ("--storage-registry-confg=/x", "--storage-registry-config"),
        (
            "--storage_registry_repo=localhost:5000",
            "--storage-registry-repo",
        ),
        (
            "--insecure-skip-tls-verify",
            "--storage-registry-insecure-skip-tls-verify",
        ),
        ("--repositories=a", "--repository"),
        ("--username=u", "--storage-registry-config"),
        ("--mirror-directory=m", "--mirror-dir"),
        ("--loglevel=debug", "--log-level"),
    ] {
        let name = typed.split('=').next().expect("a name");
        assert_mistake(&[typed], &[name, nearest]);
    }
    for far in ["--quite-another-thing", "--colour=never", "-x"] {
        let output = run_with(&[far]);
        let name = far.split('=').next().expect("a name");
        assert_eq!(
            text(&output.stderr),
            format!("oci-chartrepo: unknown flag {name}, see --help\n")
        );
        assert_eq!(output.status.code(), Some(2));
    }
    assert_mistake(&["serve"], &["serve"]);
    assert_mistake(&["--port=8080", "extra"], &["extra"]);
}

#[test]
fn a_secret_typed_into_the_wrong_place_is_not_repeated() {
    let output = run_with(&["--storage-registry-repo=http://user:pa55word@host"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        !text(&output.stderr).contains("pa55word"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn files_that_are_named_must_be_there_and_be_what_they_should_be() {
    let scratch = Scratch::new("flags");
    let missing = scratch.join("missing").display().to_string();
    let directory = scratch.path().display().to_string();
    let broken = scratch
        .file("broken.json", r#"{"auths":{"host":{"auth":"c2VjcmV0"#)
        .display()
        .to_string();
    let list = scratch.file("list.json", "[1]").display().to_string();
    let no_pem = scratch
        .file("ca.pem", "not a certificate")
        .display()
        .to_string();
    let empty = scratch.file("empty.pem", "").display().to_string();
    let config = "--storage-registry-config";
    for (path, word) in [
        (&missing, &*missing),
        (&directory, &directory),
        (&broken, "dockerconfigjson"),
        (&list, "dockerconfigjson"),
    ] {
        assert_mistake(&[&format!("{config}={path}")], &[config, word]);
    }
    let output = run_with(&[&format!("{config}={broken}")]);
    assert!(!text(&output.stderr).contains("c2VjcmV0"));
    let authority = "--storage-registry-ca-file";
    for path in [&missing, &directory, &no_pem, &empty] {
        assert_mistake(&[&format!("{authority}={path}")], &[authority, path]);
    }
}

#[test]
fn the_readmes_table_names_only_flags_that_exist() {
    let known: Vec<String> = flags().into_iter().map(|(name, _)| name).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("README");
    assert!(
        readme.lines().count() <= 200,
        "README is to be read at once"
    );
    let ours = readme.lines().filter(|line| line.starts_with("| `--"));
    let words = ours.flat_map(|line| line.split(['`', ' ', '=', ',']));
    let named: Vec<&str> = words.filter(|word| word.starts_with("--")).collect();
    assert!(named.len() > 8, "{named:?}");
    for flag in named {
        assert!(known.iter().any(|known| known == flag), "{flag}");
    }
}

#[test]
fn help_is_on_stdout_and_as_wide_as_a_terminal() {
    for flag in ["--help", "-h", "help"] {
        let output = run_with(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        let help = text(&output.stdout);
        let longest = help.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "a terminal shows it: {longest:?}");
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn version_is_the_crates() {
    let output = run_with(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    let version = concat!("oci-chartrepo ", env!("CARGO_PKG_VERSION"));
    assert!(
        text(&output.stdout).starts_with(version),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn the_original_programs_spelling_works_to_the_letter() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    let repo = format!("--storage-registry-repo={}", fake.host());
    let daemon = Daemon::start_ready(&[
        "--storage=registry",
        &repo,
        "--storage-registry-scheme=HTTP",
        "--port=0",
    ]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
}

#[test]
fn an_address_may_be_written_as_helm_writes_it_and_is_probed() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    fake.push(&Chart::new("other/db", "1.0.0"));
    let repo = format!("--storage-registry-repo=oci://{}/team", fake.host());
    let daemon = Daemon::start_ready(&[&repo]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    assert!(fake.tls_hellos() > 0, "HTTPS is tried first");
}

#[test]
fn a_time_that_is_too_long_is_told_in_the_units_that_flags_take() {
    for (flag, longest) in [
        ("--max-stale", "24h"),
        ("--shutdown-grace", "1h"),
        ("--max-wait", "1m"),
    ] {
        assert_mistake(&[flag, "25h"], &[flag, &format!("longer than {longest}\n")]);
    }
}

#[test]
fn one_dash_does_as_well_as_it_does_in_go() {
    assert_mistake(&["-port=x"], &["--port"]);
    assert_mistake(&["-prot=8080"], &["--port"]);
}

#[test]
fn a_flag_and_its_value_may_be_two_words() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    let host = fake.host();
    let daemon = Daemon::start_ready(&[
        "--storage",
        "registry",
        "--storage-registry-repo",
        &host,
        "--storage-registry-scheme",
        "http",
        "--repository",
        "team/web",
        "--concurrency",
        "2",
        "--shutdown-grace",
        "1s",
    ]);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
}

#[test]
fn concurrency_bounds_the_requests_at_a_time() {
    let fake = FakeRegistry::start();
    for number in 0..12 {
        fake.push(&Chart::new(&format!("c{number}"), "1.0.0"));
    }
    let slow = Fault::Wait(Duration::from_millis(30));
    fake.spoil("GET /v2/*").with(slow);
    let repo = fake.flag();
    let daemon = Daemon::start_ready(&[&repo, "--concurrency=3"]);
    assert_eq!(Index::of(&daemon).charts().len(), 12);
    assert!(
        (2..=3).contains(&fake.most_at_once()),
        "{}",
        fake.most_at_once()
    );
    let connections = fake.requests("* *").iter().map(|r| r.connection).max();
    assert!(
        connections <= Some(5),
        "connections are kept alive: {connections:?}"
    );
}

/// Answers whoever comes with a refusal, until the process ends, and tells what was asked first.
fn refusing_proxy() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut reader = BufReader::new(connection.expect("a connection"));
            let mut first = String::new();
            reader.read_line(&mut first).expect("a request");
            let mut line = String::from("…");
            while !line.trim_end().is_empty() {
                line.clear();
                reader.read_line(&mut line).expect("a header");
            }
            let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
            reader
                .get_mut()
                .write_all(refusal)
                .expect("somebody listens");
            if tell.send(first).is_err() {
                return;
            }
        }
    });
    (port, told)
}

#[test]
fn a_proxy_that_the_environment_names_is_gone_through_and_told_but_for_its_password() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    let flag = fake.flag();
    let index = |flag: &str, environment: &[(&str, &str)]| {
        let output = run_in(&["index", flag], environment);
        (output.status.code(), text(&output.stderr))
    };
    let (port, asked) = refusing_proxy();
    let address = format!("http://user:pa55word@127.0.0.1:{port}");
    let tls = format!("--storage-registry-repo=https://{}", fake.host());
    for (name, scheme) in [("HTTP_PROXY", "http"), ("https_proxy", "https")] {
        let flag = if scheme == "http" { &flag } else { &tls };
        let (code, told) = index(flag, &[(name, &address)]);
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains(&format!(
                " INFO using proxy 127.0.0.1:{port} for {scheme} URLs, except for hosts in NO_PROXY\n"
            )),
            "{told}"
        );
        assert!(told.contains("403"), "{told}");
        assert!(!told.contains("pa55word"), "{told}");
        // Squid as shipped refuses tunnels to other ports than 443, so plain HTTP goes through none.
        let first = match scheme {
            "http" => format!("GET {}/v2/_catalog?n=1000 HTTP/1.1\r\n", fake.url()),
            _ => format!("CONNECT {} HTTP/1.1\r\n", fake.host()),
        };
        assert_eq!(asked.recv().expect("it was asked"), first);
        assert_eq!(
            told.contains("name the host in NO_PROXY"),
            scheme == "https",
            "{told}"
        );
        while asked.try_recv().is_ok() {}
        for exempt in ["reg.example, 127.0.0.1", "127.0.0.0/8"] {
            let (_, told) = index(flag, &[(name, &address), ("NO_PROXY", exempt)]);
            assert!(asked.try_recv().is_err(), "{exempt}: {told}");
        }
    }
    let (code, told) = index(
        &flag,
        &[("ALL_PROXY", &format!("socks5://127.0.0.1:{port}"))],
    );
    assert_eq!(code, Some(0), "{told}");
    let ignored =
        format!(" WARN not using proxy 127.0.0.1:{port} of ALL_PROXY: SOCKS5 is not supported\n");
    assert!(told.contains(&ignored), "{told}");
}

#[test]
fn a_port_that_is_taken_is_the_worlds_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let output = run_with(&["--listen-host=127.0.0.1", &format!("--port={port}")]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        told.contains(&port.to_string()) && !told.contains("panicked"),
        "{told}"
    );
}

#[test]
fn a_flag_may_be_given_by_its_variable_and_wins_over_it() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    fake.push(&Chart::new("team/db", "1.0.0"));
    fake.push(&Chart::new("other/c", "1.0.0"));
    let host = fake.host();
    let environment = [
        ("OCI_CHARTREPO_STORAGE_REGISTRY_REPO", host.as_str()),
        ("OCI_CHARTREPO_STORAGE_REGISTRY_SCHEME", "HTTP"),
        ("OCI_CHARTREPO_REPOSITORY", "team/web,team/db"),
        ("OCI_CHARTREPO_INDEX_FORMAT", "json"),
        // What Kubernetes sets for a Service of this name: none of it is a flag's.
        ("OCI_CHARTREPO_PORT", "tcp://10.0.0.1:8080"),
        ("OCI_CHARTREPO_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("OCI_CHARTREPO_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("OCI_CHARTREPO_PORT_8080_TCP_PORT", "8080"),
        ("OCI_CHARTREPO_PORT_8080_TCP_PROTO", "tcp"),
        ("OCI_CHARTREPO_SERVICE_HOST", "10.0.0.1"),
        ("OCI_CHARTREPO_SERVICE_PORT", "8080"),
        ("OCI_CHARTREPO_SERVICE_PORT_HTTP", "8080"),
    ];
    let output = run_in(&["index"], &environment);
    let (index, log) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(index.starts_with('{'), "{index}");
    for (name, is_listed) in [("web", true), ("db", true), ("\"c\"", false)] {
        assert_eq!(index.contains(name), is_listed, "{name} in {index}");
    }
    let ignored = " WARN OCI_CHARTREPO_PORT=tcp://10.0.0.1:8080 is ignored: ";
    assert!(log.contains(ignored), "{log}");
    assert_eq!(log.matches("is ignored").count(), 1, "{log}");
    let output = run_in(
        &["index", "--index-format=yaml", "--repository=other/c"],
        &environment,
    );
    let index = text(&output.stdout);
    assert!(index.contains("\n  \"c\":\n"), "{index}");
    assert!(!index.contains("web"), "{index}");
}

#[test]
fn a_mistake_in_a_variable_names_it_and_not_the_flag() {
    for (variable, value) in [
        ("OCI_CHARTREPO_PORT", "http"),
        ("OCI_CHARTREPO_CONCURRENCY", "0"),
        ("OCI_CHARTREPO_REFRESH_INTERVAL", "1ms"),
        ("OCI_CHARTREPO_STORAGE", "minio"),
        ("OCI_CHARTREPO_STORAGE_REGISTRY_REPO", "http://u:pa55word@h"),
        ("OCI_CHARTREPO_STORAGE_LOCAL_ROOTDIR", "/charts"),
        ("OCI_CHARTREPO_ALL_TAGS", "yes"),
        ("OCI_CHARTREPO_CHART_URL", "http://u:pa55word@h"),
    ] {
        let output = run_in(&[], &[(variable, value)]);
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        let start = format!("oci-chartrepo: {variable}");
        assert!(complaint.starts_with(&start), "{complaint}");
        assert!(!complaint.contains("pa55word"), "{complaint}");
    }
    // A mistake is not looked for where the flag wins.
    let output = run_in(&["--port=x"], &[("OCI_CHARTREPO_PORT", "y")]);
    let complaint = text(&output.stderr);
    assert!(
        complaint.starts_with("oci-chartrepo: --port \"x\""),
        "{complaint}"
    );
}

/// The daemon waited in `open` for a writer, for ever and without a word: issue 17, 4.
#[test]
fn a_pipe_as_the_secret_is_refused_at_the_start_and_left_alone_later() {
    let scratch = Scratch::new("pipe");
    let path = scratch.join("dockerconfigjson");
    let flag = format!("--storage-registry-config={}", path.display());
    let pipe = || {
        drop(run(
            Path::new("mkfifo"),
            &[path.to_str().expect("UTF-8")],
            &[],
        ))
    };
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let registry = fake.flag();
    pipe();
    let words = ["--storage-registry-config", "a pipe"];
    assert_mistake(&[&registry, &flag], &words);

    std::fs::remove_file(&path).expect("rm");
    std::fs::write(&path, "{}").expect("write");
    let daemon = Daemon::start_ready(&[&registry, &flag, "--max-stale=0", "--max-wait=1m"]);
    std::fs::remove_file(&path).expect("rm");
    pipe();
    fake.push(&Chart::new("db", "1.0.0"));
    wait_for_charts(&daemon, &["db 1.0.0", "web 1.0.0"]);
    daemon.wait_for_complaint(&words);
}
