//! From a request's target to what it names. Pure.

use crate::oci::RepositoryName;

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
    /// `[/PREFIX]/charts/NAME-VERSION.tgz`, or with `.prov`, by the archive's file name.
    File(Base, (FileKind, String)),
    /// `/api/…`
    Api(Api),
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
    /// Anything else.
    Unknown,
}

/// A file of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Archive,
    Provenance,
}

/// What the API has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `/api/charts`
    Charts,
    /// `/api/charts/NAME`
    Chart(String),
    /// `/api/charts/NAME/VERSION`
    ChartVersion(String, String),
    /// `/api/skipped`
    Skipped,
}

/// Why a target is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadTarget(pub(super) &'static str);

/// Reads a request target (RFC 9112 §3.2): origin-form, or absolute-form as proxies send it. The
/// query is ignored, because Helm copies the query of the repository's URL onto everything.
/// Percent-encoding is decoded once; a `+` is a plus.
///
/// The end of a path decides first, because any prefix may precede it: a repository's name may hold a
/// component `charts`, `index.yaml` or `livez`.
pub(super) fn route(target: &str) -> Result<Route, BadTarget> {
    let encoded = path_of(target);
    let path = decode(encoded)?;
    Ok(match path.as_str() {
        // No name of ours holds a slash, and a proxy may have let an encoded one pass unnoticed.
        _ if encoded
            .as_bytes()
            .windows(3)
            .any(|code| code.eq_ignore_ascii_case(b"%2f")) =>
        {
            Route::Unknown
        }
        "/" => Route::Home,
        "/livez" => Route::Live,
        "/readyz" => Route::Ready,
        path => file(path)
            .or_else(|| api(path).map(Route::Api))
            .unwrap_or(Route::Unknown),
    })
}

/// ChartMuseum's paths, and one of ours. They come after the files: a repository may be named
/// `api/charts`, but hardly a chart `index.yaml`, or a version `web-1.0.0.tgz`.
fn api(path: &str) -> Option<Api> {
    let parts: Vec<&str> = path.strip_prefix("/api/")?.split('/').collect();
    match parts[..] {
        ["skipped"] => Some(Api::Skipped),
        ["charts"] => Some(Api::Charts),
        ["charts", name] if !name.is_empty() => Some(Api::Chart(name.to_owned())),
        ["charts", name, version] if !name.is_empty() && !version.is_empty() => {
            Some(Api::ChartVersion(name.to_owned(), version.to_owned()))
        }
        _ => None,
    }
}

/// A chart repository's file.
fn file(path: &str) -> Option<Route> {
    let (before, last) = path.rsplit_once('/')?;
    match last {
        "index.yaml" => return Some(Route::Index(base(before)?)),
        "index.json" => return Some(Route::IndexJson(base(before)?)),
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

/// `/PREFIX`, or nothing.
fn base(path: &str) -> Option<Base> {
    if path.is_empty() {
        return Some(None);
    }
    path.strip_prefix('/')?.parse().ok().map(Some)
}

fn path_of(target: &str) -> &str {
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
    let path = String::from_utf8(bytes).map_err(|_| BadTarget("the path is not UTF-8"))?;
    if path.contains(char::is_control) {
        return Err(BadTarget("the path holds control characters"));
    }
    if path.split('/').any(|segment| segment == "..") {
        return Err(BadTarget("the path leads upwards"));
    }
    Ok(path)
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
            assert_eq!(route(target), Ok(expected), "{target}");
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
                    route(&format!("/{prefix}/{file}")),
                    Ok(expected),
                    "/{prefix}/{file}"
                );
            }
        }
        assert_eq!(route("/te%61m/index.yaml"), Ok(Route::Index(base("team"))));
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
            assert_eq!(route(target), Ok(expected), "{target}");
        }
    }

    #[test]
    fn the_api_has_its_paths_unless_they_are_files_of_a_chart_repository() {
        let version =
            |name: &str, version: &str| Route::Api(Api::ChartVersion(name.into(), version.into()));
        for (target, expected) in [
            ("/api/skipped", Route::Api(Api::Skipped)),
            ("/api/charts?limit=1", Route::Api(Api::Charts)),
            ("/api/charts/web", Route::Api(Api::Chart("web".into()))),
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
            assert_eq!(route(target), Ok(expected), "{target}");
        }
    }

    #[test]
    fn any_other_path_is_unknown() {
        for target in [
            "",
            "*",
            "/charts",
            "/charts/",
            "/charts/a",
            "/charts/a.prov",
            "/charts/x%2Fa.tgz",
            "/charts/.tgz",
            "/api",
            "/api/",
            "/api/skipped/",
            "/api/skipped/x",
            "/api/charts/",
            "/api/charts//1.0.0",
            "/api/charts/web/",
            "/api/charts/web/1.0.0/values",
            "/api/charts/a%2Fb",
            "/API/charts",
            "/charts/.tgz.prov",
            "/charts/x/a.tgz",
            "/index.yaml/",
            "//",
            "/Index.yaml",
            "//index.yaml",
            "/team//index.yaml",
            "/team/./index.yaml",
            "/Team/index.yaml",
            "/team/a%2Fb/index.yaml",
            "/team%2findex.yaml",
            "/team/-a/index.yaml",
            "/team/a b/index.yaml",
            "/team/a%2520b/index.yaml",
            "/team/index.yaml/",
            "/team//charts/a-1.tgz",
            "/teamcharts/a-1.tgz",
            "/team/charts",
            "team/index.yaml",
        ] {
            assert_eq!(route(target), Ok(Route::Unknown), "{target}");
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
            assert!(route(target).is_err(), "{target}");
        }
    }
}
