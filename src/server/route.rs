//! From a request's target to what it names. Pure.

use crate::oci::RepositoryName;
use crate::snapshot::{ApiShape, ChartsAsked, ChartsQuery};

/// What precedes a project's name in Harbor's old paths.
const HARBOR: &str = "/chartrepo/";

/// A chart repository: of all charts, or of those at or below a prefix.
pub(super) type Base = Option<RepositoryName>;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/`
    Home,
    /// `[/PREFIX]/index.yaml`
    Index(Base),
    /// `[/PREFIX]/index.json`
    IndexJson(Base),
    /// `[/PREFIX]/artifacthub-repo.yml`
    ArtifactHub(Base),
    /// `[/PREFIX]/charts/NAME-VERSION.tgz`, or with `.prov`, by the archive's file name.
    File(Base, (FileKind, String)),
    /// `[/PREFIX]/charts/NAME`: a chart's page, or the base URL of a chart repository.
    Chart(Base, String),
    /// `/api/…`
    Api(Api),
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/health`, as ChartMuseum has it
    Health,
    /// `/info`, as ChartMuseum has it
    Info,
    /// `/PREFIX` or `/PREFIX/`: the base URL of a chart repository, if charts lie below the prefix.
    Base(RepositoryName),
    /// A path with empty segments, such as `//index.yaml`, and the same without them, relative to it.
    Slashes(String),
    /// Anything else.
    Unknown,
}

impl Route {
    /// What it's counted as; nothing of the request is in it.
    pub(super) fn template(&self) -> &'static str {
        match self {
            Route::Home => "/",
            Route::Base(_) => "/PREFIX",
            Route::Index(_) => "/index.yaml",
            Route::IndexJson(_) => "/index.json",
            Route::ArtifactHub(_) => "/artifacthub-repo.yml",
            Route::File(..) => "/charts/ARCHIVE",
            Route::Chart(..) => "/charts/NAME",
            Route::Api(_) => "/api",
            Route::Live => "/livez",
            Route::Ready => "/readyz",
            Route::Metrics => "/metrics",
            Route::Health => "/health",
            Route::Info => "/info",
            Route::Slashes(_) | Route::Unknown => UNKNOWN,
        }
    }
}

/// Whether a path with this template is asked for by what watches the program, and not by its clients.
pub(super) fn is_probe(template: &str) -> bool {
    matches!(template, "/livez" | "/readyz" | "/metrics" | "/health")
}

/// What a request is counted as that names nothing here.
pub(super) const UNKNOWN: &str = "other";

/// A file of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Archive,
    Provenance,
}

/// What the API has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `/api[/PREFIX]/charts[/NAME[/VERSION]]`
    Charts(ChartsQuery),
    /// `/api/skipped`
    Skipped,
}

/// Why a target is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadTarget(pub(super) &'static str);

/// Reads a request target (RFC 9112 §3.2): origin-form, or absolute-form as proxies send it. The
/// query is ignored, because Helm copies the query of the repository's URL onto everything.
/// Percent-encoding is decoded once; a `+` is a plus. All paths but the probes' are below `context`.
pub(super) fn route(target: &str, context: &str) -> Result<Route, BadTarget> {
    let encoded = path_of(target);
    let path = decode(encoded)?;
    // No name of ours holds a slash, and a proxy may have let an encoded one pass unnoticed.
    let mut codes = encoded.as_bytes().windows(3);
    if codes.any(|code| code.eq_ignore_ascii_case(b"%2f")) {
        return Ok(Route::Unknown);
    }
    if !path.contains("//") {
        return Ok(named(&path, context));
    }
    // A header field is made of this target, so it must be as plain as one. It can't lead to another
    // host, for it begins with `../` and has no empty segment.
    let is_plain = target.bytes().all(|byte| byte.is_ascii_graphic());
    let named = named(&single_slashes(&path), context);
    let is_known = is_plain && !matches!(named, Route::Unknown | Route::Base(_) | Route::Chart(..));
    let query = target.find('?').map_or("", |at| &target[at..]);
    Ok(match is_known {
        true => Route::Slashes(up_and_down(encoded) + query),
        false => Route::Unknown,
    })
}

/// What a path without empty segments names. Its end decides first, because any prefix may precede it:
/// a repository's name may hold a component `charts`, `index.yaml` or `livez`.
fn named(path: &str, context: &str) -> Route {
    match (path, path.strip_prefix(context)) {
        ("/livez", _) | (_, Some("/livez")) => Route::Live,
        ("/readyz", _) | (_, Some("/readyz")) => Route::Ready,
        ("/metrics", _) | (_, Some("/metrics")) => Route::Metrics,
        ("/health", _) | (_, Some("/health")) => Route::Health,
        (_, Some("/info")) => Route::Info,
        (_, Some("/")) => Route::Home,
        (_, Some("")) if !context.is_empty() => Route::Home,
        (_, Some(path)) => file(path)
            .or_else(|| api(path).map(Route::Api))
            .or_else(|| chart(path))
            .or_else(|| base(path.strip_suffix('/').unwrap_or(path))?.map(Route::Base))
            .unwrap_or(Route::Unknown),
        (_, None) => Route::Unknown,
    }
}

fn single_slashes(path: &str) -> String {
    let mut single = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !single.ends_with('/') {
            single.push(c);
        }
    }
    single
}

/// The way from a path with empty segments to the one without them (RFC 3986 §5.2.4): up to the first
/// empty segment, and down again.
fn up_and_down(path: &str) -> String {
    let mut segments = path.split('/').skip(1);
    let before = segments
        .by_ref()
        .take_while(|segment| !segment.is_empty())
        .count();
    let ups = path.matches('/').count() - 1 - before;
    let rest: Vec<&str> = segments.collect();
    let rest = format!("/{}", rest.join("/"));
    "../".repeat(ups) + &single_slashes(&rest)[1..]
}

/// ChartMuseum's paths, and one of ours. They come after the files: a repository may be named
/// `api/charts`, but hardly a chart `index.yaml`, or a version `web-1.0.0.tgz`. Below `chartrepo/` they are
/// Harbor's, whatever repositories there are: what a response looks like doesn't depend on a push.
fn api(path: &str) -> Option<Api> {
    let rest = path.strip_prefix("/api")?;
    if rest == "/skipped" {
        return Some(Api::Skipped);
    }
    // Of several components `charts`, the first with a name and a version behind it at most.
    let query = |(at, charts): (usize, &str)| {
        let (before, behind) = (&rest[..at], &rest[at + charts.len()..]);
        Some(ChartsQuery {
            shape: match before.starts_with(HARBOR) {
                true => ApiShape::Harbor,
                false => ApiShape::ChartMuseum,
            },
            prefix: base(before)?,
            what: charts_asked(behind)?,
        })
    };
    rest.match_indices("/charts")
        .find_map(query)
        .map(Api::Charts)
}

/// What follows `charts`: nothing, or a name, or a name and a version.
fn charts_asked(rest: &str) -> Option<ChartsAsked> {
    let parts: Vec<&str> = rest.split('/').collect();
    if parts[1..].contains(&"") {
        return None;
    }
    match parts[..] {
        [""] => Some(ChartsAsked::All {
            offset: 0,
            limit: usize::MAX,
        }),
        ["", name] => Some(ChartsAsked::Chart(name.to_owned())),
        ["", name, version] => Some(ChartsAsked::Version(name.to_owned(), version.to_owned())),
        _ => None,
    }
}

/// A chart repository's file.
fn file(path: &str) -> Option<Route> {
    let (before, last) = path.rsplit_once('/')?;
    match last {
        "index.yaml" => return Some(Route::Index(base(before)?)),
        "index.json" => return Some(Route::IndexJson(base(before)?)),
        "artifacthub-repo.yml" => return Some(Route::ArtifactHub(base(before)?)),
        _ => {}
    }
    let archive = last.strip_suffix(".prov").unwrap_or(last);
    archive
        .strip_suffix(".tgz")
        .filter(|chart| !chart.is_empty())?;
    let base = base(before.strip_suffix("/charts")?)?;
    let kind = match archive == last {
        true => FileKind::Archive,
        false => FileKind::Provenance,
    };
    Some(Route::File(base, (kind, archive.to_owned())))
}

/// A chart's page.
fn chart(path: &str) -> Option<Route> {
    let (before, name) = path.rsplit_once('/')?;
    let base = base(before.strip_suffix("/charts")?)?;
    has_page(name).then(|| Route::Chart(base, name.to_owned()))
}

/// Whether the path of a chart's page is not that of a file.
pub(super) fn has_page(name: &str) -> bool {
    let is_file = |end: &&str| name.ends_with(*end);
    let files = [".tgz", ".tgz.prov", "index.yaml", "index.json"];
    !name.is_empty() && !files.iter().any(is_file)
}

/// `/PREFIX`, or nothing.
fn base(path: &str) -> Option<Base> {
    if path.is_empty() {
        return Some(None);
    }
    path.strip_prefix('/')?.parse().ok().map(Some)
}

/// The path of a target in origin-form or absolute-form; of any other it's all but the query.
pub(super) fn path_of(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let absolute = ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &target[scheme.len()..])
    });
    match absolute {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    }
}

fn decode(path: &str) -> Result<String, BadTarget> {
    let path = percent_decoded(path)?;
    if path.contains(char::is_control) {
        return Err(BadTarget("the path holds control characters"));
    }
    if path.split('/').any(|segment| segment == "..") {
        return Err(BadTarget("the path leads upwards"));
    }
    Ok(path)
}

/// Decodes percent-encoding once (RFC 3986 §2.1).
pub(super) fn percent_decoded(path: &str) -> Result<String, BadTarget> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| (byte as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(BadTarget(
                "a % in the path isn't followed by two hex digits",
            ));
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| BadTarget("the path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(prefix: &str) -> Base {
        (!prefix.is_empty()).then(|| prefix.parse().unwrap())
    }

    #[test]
    fn every_path_has_its_route() {
        let archive = |name: &str| Route::File(None, (FileKind::Archive, name.into()));
        for (target, expected) in [
            ("/", Route::Home),
            ("/index.yaml", Route::Index(None)),
            ("/index.yaml?token=x", Route::Index(None)),
            ("/index.json", Route::IndexJson(None)),
            ("http://charts.example/index.yaml", Route::Index(None)),
            ("HTTP://charts.example", Route::Home),
            ("http://charts.example?/index.yaml", Route::Home),
            ("/livez", Route::Live),
            ("/readyz", Route::Ready),
            ("/charts/my%20Chart", Route::Chart(None, "my Chart".into())),
            ("/a/b/charts/web?x", Route::Chart(base("a/b"), "web".into())),
            ("/charts/web/", Route::Base("charts/web".parse().unwrap())),
            ("/health", Route::Health),
            ("/info", Route::Info),
            ("/health/index.yaml", Route::Index(base("health"))),
            ("/artifacthub-repo.yml", Route::ArtifactHub(None)),
            ("/a/artifacthub-repo.yml", Route::ArtifactHub(base("a"))),
            ("/charts/a-1.0.0+b.tgz", archive("a-1.0.0+b.tgz")),
            ("/charts/a-1.0.0%2Bb.tgz?x", archive("a-1.0.0+b.tgz")),
            (
                "/charts/my%20chart-1%2525.tgz",
                archive("my chart-1%25.tgz"),
            ),
            (
                "/charts/a-1.0.0.tgz.prov",
                Route::File(None, (FileKind::Provenance, "a-1.0.0.tgz".into())),
            ),
        ] {
            assert_eq!(route(target, ""), Ok(expected), "{target}");
        }
    }

    #[test]
    fn any_prefix_may_precede_the_files_of_a_chart_repository() {
        let name = "a-1.0.0+b.tgz".to_owned();
        for prefix in ["team", "team/a", "a.b_c__d--e/0"] {
            for (file, expected) in [
                ("index.yaml", Route::Index(base(prefix))),
                ("index.json", Route::IndexJson(base(prefix))),
                ("index.yaml?x=/charts/y.tgz", Route::Index(base(prefix))),
                (
                    "charts/a-1.0.0+b.tgz",
                    Route::File(base(prefix), (FileKind::Archive, name.clone())),
                ),
                (
                    "charts/a-1.0.0%2Bb.tgz",
                    Route::File(base(prefix), (FileKind::Archive, name.clone())),
                ),
                (
                    "charts/a-1.0.0+b.tgz.prov",
                    Route::File(base(prefix), (FileKind::Provenance, name.clone())),
                ),
            ] {
                assert_eq!(
                    route(&format!("/{prefix}/{file}"), ""),
                    Ok(expected),
                    "/{prefix}/{file}"
                );
            }
        }
        assert_eq!(
            route("/te%61m/index.yaml", ""),
            Ok(Route::Index(base("team")))
        );
    }

    #[test]
    fn the_end_of_a_path_decides_and_the_rest_is_a_prefix() {
        let archive =
            |prefix, name: &str| Route::File(base(prefix), (FileKind::Archive, name.into()));
        for (target, expected) in [
            ("/charts/index.yaml", Route::Index(base("charts"))),
            ("/index.yaml/index.yaml", Route::Index(base("index.yaml"))),
            (
                "/index.json/charts/index.json",
                Route::IndexJson(base("index.json/charts")),
            ),
            ("/charts/charts/a-1.tgz", archive("charts", "a-1.tgz")),
            (
                "/charts/a-1.tgz/charts/b-1.tgz",
                archive("charts/a-1.tgz", "b-1.tgz"),
            ),
            (
                "/charts/a-1.tgz/index.yaml",
                Route::Index(base("charts/a-1.tgz")),
            ),
            ("/livez/index.yaml", Route::Index(base("livez"))),
            ("/v2/charts/a-1.tgz", archive("v2", "a-1.tgz")),
        ] {
            assert_eq!(route(target, ""), Ok(expected), "{target}");
        }
    }

    #[test]
    fn the_api_has_its_paths_unless_they_are_files_of_a_chart_repository() {
        let version = |name: &str, version: &str| charts("", version_of(name, version));
        for (target, expected) in [
            ("/api/skipped", Route::Api(Api::Skipped)),
            ("/api/charts?limit=1", charts("", ALL)),
            ("/api/charts/web", charts("", chart("web"))),
            ("/api/charts/web/1.0.0+b", version("web", "1.0.0+b")),
            ("/api/charts/web/1.0.0%2Bb", version("web", "1.0.0+b")),
            (
                "/api/charts/my%20chart/latest",
                version("my chart", "latest"),
            ),
            ("/api/index.yaml", Route::Index(base("api"))),
            ("/api/charts/index.yaml", Route::Index(base("api/charts"))),
            (
                "/api/skipped/index.json",
                Route::IndexJson(base("api/skipped")),
            ),
            (
                "/api/charts/web-1.0.0.tgz",
                Route::File(base("api"), (FileKind::Archive, "web-1.0.0.tgz".into())),
            ),
            (
                "/api/charts/charts/a-1.tgz",
                Route::File(base("api/charts"), (FileKind::Archive, "a-1.tgz".into())),
            ),
            (
                "/api/charts/web/index.yaml",
                Route::Index(base("api/charts/web")),
            ),
        ] {
            assert_eq!(route(target, ""), Ok(expected), "{target}");
        }
    }

    const ALL: ChartsAsked = ChartsAsked::All {
        offset: 0,
        limit: usize::MAX,
    };

    fn chart(name: &str) -> ChartsAsked {
        ChartsAsked::Chart(name.into())
    }

    fn version_of(name: &str, version: &str) -> ChartsAsked {
        ChartsAsked::Version(name.into(), version.into())
    }

    fn charts(prefix: &str, what: ChartsAsked) -> Route {
        Route::Api(Api::Charts(ChartsQuery {
            shape: ApiShape::ChartMuseum,
            prefix: base(prefix),
            what,
        }))
    }

    #[test]
    fn any_prefix_may_stand_in_a_path_of_the_api() {
        for (target, expected) in [
            ("/api/team/charts", charts("team", ALL)),
            ("/api/team/a/charts?offset=1", charts("team/a", ALL)),
            ("/api/team/charts/web", charts("team", chart("web"))),
            (
                "/api/team/charts/web/1.0.0%2Bb",
                charts("team", version_of("web", "1.0.0+b")),
            ),
            ("/api/charts/charts", charts("", chart("charts"))),
            (
                "/api/a/charts/charts/1",
                charts("a", version_of("charts", "1")),
            ),
            (
                "/api/charts/charts/charts/b",
                charts("charts", version_of("charts", "b")),
            ),
            ("/api/chartsx/charts", charts("chartsx", ALL)),
            ("/api/chartrepo/charts", charts("chartrepo", ALL)),
            (
                "/api/team/charts/",
                Route::Base("api/team/charts".parse().unwrap()),
            ),
            ("/api/Team/charts", Route::Unknown),
        ] {
            assert_eq!(route(target, ""), Ok(expected), "{target}");
        }
        let Ok(Route::Api(Api::Charts(query))) = route("/api/chartrepo/a/b/charts/web", "") else {
            panic!("no query");
        };
        let expected = ChartsQuery {
            shape: ApiShape::Harbor,
            prefix: base("chartrepo/a/b"),
            what: chart("web"),
        };
        assert_eq!(query, expected);
    }

    #[test]
    fn a_repository_name_is_the_base_of_a_chart_repository() {
        for (target, prefix) in [
            ("/team", "team"),
            ("/team/a/", "team/a"),
            ("/charts", "charts"),
            ("/api/", "api"),
            ("/api/skipped/x", "api/skipped/x"),
            ("/index.yaml/", "index.yaml"),
            ("/teamcharts/a-1.tgz", "teamcharts/a-1.tgz"),
        ] {
            let expected = Route::Base(prefix.parse().unwrap());
            assert_eq!(route(target, ""), Ok(expected), "{target}");
        }
    }

    #[test]
    fn a_context_path_precedes_all_but_the_probes() {
        let below = |target| route(target, "/helm").unwrap();
        assert_eq!(below("/helm/index.yaml"), Route::Index(None));
        assert_eq!(below("/helm/team/index.yaml"), Route::Index(base("team")));
        assert_eq!(below("/helm/api/charts"), charts("", ALL));
        assert_eq!(
            (below("/helm"), below("/helm/")),
            (Route::Home, Route::Home)
        );
        assert_eq!(
            (below("/livez"), below("/helm/livez")),
            (Route::Live, Route::Live)
        );
        for outside in [
            "/",
            "/index.yaml",
            "/helmet/index.yaml",
            "/team/helm/index.yaml",
        ] {
            assert_eq!(below(outside), Route::Unknown, "{outside}");
        }
        let single = Route::Slashes("../../helm/index.yaml".to_owned());
        assert_eq!(below("//helm/index.yaml"), single);
    }

    /// Not served at once: a proxy that guards `/team-a/` by its path must not be passed by `//team-a/`.
    /// Relative, because the client may know the path below a prefix that a proxy has cut off.
    #[test]
    fn a_path_with_double_slashes_leads_to_the_one_with_single_slashes() {
        for (target, expected) in [
            ("//index.yaml", "../index.yaml"),
            ("///index.yaml?a=b//c", "../../index.yaml?a=b//c"),
            ("/team//index.yaml", "../index.yaml"),
            ("//team//index.yaml", "../../../team/index.yaml"),
            (
                "/team/a//charts//a-1.0.0%2Bb.tgz",
                "../../../charts/a-1.0.0%2Bb.tgz",
            ),
            ("//", "../"),
            ("/api//charts", "../charts"),
        ] {
            let expected = Route::Slashes(expected.to_owned());
            assert_eq!(route(target, ""), Ok(expected), "{target}");
        }
        for unknown in [
            "//evil.example/%2e",
            "/charts//x%2Fa.tgz",
            "//team/",
            "/team//",
            "//index.yaml?\u{e4}",
        ] {
            assert_eq!(route(unknown, ""), Ok(Route::Unknown), "{unknown}");
        }
    }

    #[test]
    fn any_other_path_is_unknown() {
        for target in [
            "",
            "*",
            "/charts/x%2Fa.tgz",
            "/api/charts/a%2Fb",
            "/API/charts",
            "/charts/.tgz.prov",
            "/Index.yaml",
            "/team/./index.yaml",
            "/Team/index.yaml",
            "/team/a%2Fb/index.yaml",
            "/team%2findex.yaml",
            "/team/-a/index.yaml",
            "/team/a b/index.yaml",
            "/team/a%2520b/index.yaml",
            "team/index.yaml",
        ] {
            assert_eq!(route(target, ""), Ok(Route::Unknown), "{target}");
        }
    }

    #[test]
    fn a_malformed_or_climbing_target_is_refused() {
        for target in [
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "/a%00",
            "/a%0d%0ab",
            "/charts/../index.yaml",
            "/team/../index.yaml",
            "/team/%2e%2e/index.yaml",
            "/team/%2E./charts/a-1.tgz",
            "/charts/%2e%2e/x",
            "/..",
        ] {
            assert!(route(target, "").is_err(), "{target}");
        }
    }
}
