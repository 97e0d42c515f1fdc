//! From a request's target to what is asked for. Pure.

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/`
    Home,
    /// `/index.yaml`
    Index,
    /// `/index.json`
    IndexJson,
    /// `/charts/NAME-VERSION.tgz`, by file name.
    Archive(String),
    /// `/charts/NAME-VERSION.tgz.prov`, by the archive's file name.
    Provenance(String),
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
    /// Nothing of ours.
    Unknown,
}

/// Why a target isn't looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadTarget(pub(super) &'static str);

/// Reads a request target (RFC 9112 §3.2): origin-form, or absolute-form as proxies send it. The
/// query is ignored, because Helm copies the query of the repository's URL onto everything.
/// Percent-encoding is decoded once; a `+` is a plus.
pub(super) fn route(target: &str) -> Result<Route, BadTarget> {
    let path = decode(path_of(target))?;
    Ok(match path.as_str() {
        "/" => Route::Home,
        "/index.yaml" => Route::Index,
        "/index.json" => Route::IndexJson,
        "/livez" => Route::Live,
        "/readyz" => Route::Ready,
        path => match path.strip_prefix("/charts/") {
            Some(name) => file(name),
            None => Route::Unknown,
        },
    })
}

fn file(name: &str) -> Route {
    match name.strip_suffix(".prov") {
        _ if name.contains('/') => Route::Unknown,
        Some(archive) if archive.ends_with(".tgz") => Route::Provenance(archive.to_owned()),
        None if name.ends_with(".tgz") => Route::Archive(name.to_owned()),
        _ => Route::Unknown,
    }
}

fn path_of(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let absolute = ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
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
            return Err(BadTarget("a % in the path isn't followed by two hex digits"));
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

    #[test]
    fn every_path_has_its_route() {
        let archive = |name: &str| Route::Archive(name.into());
        for (target, expected) in [
            ("/", Route::Home),
            ("/index.yaml", Route::Index),
            ("/index.yaml?token=x", Route::Index),
            ("/index.json", Route::IndexJson),
            ("http://charts.example/index.yaml", Route::Index),
            ("HTTP://charts.example", Route::Home),
            ("http://charts.example?/index.yaml", Route::Home),
            ("/livez", Route::Live),
            ("/readyz", Route::Ready),
            ("/charts/a-1.0.0+b.tgz", archive("a-1.0.0+b.tgz")),
            ("/charts/a-1.0.0%2Bb.tgz?x", archive("a-1.0.0+b.tgz")),
            ("/charts/my%20chart-1%2525.tgz", archive("my chart-1%25.tgz")),
            ("/charts/a-1.0.0.tgz.prov", Route::Provenance("a-1.0.0.tgz".into())),
        ] {
            assert_eq!(route(target), Ok(expected), "{target}");
        }
    }

    #[test]
    fn what_is_not_ours_is_unknown() {
        for target in [
            "",
            "*",
            "/charts",
            "/charts/",
            "/charts/a",
            "/charts/a.prov",
            "/charts/x%2Fa.tgz",
            "/index.yaml/",
            "//",
            "/Index.yaml",
        ] {
            assert_eq!(route(target), Ok(Route::Unknown), "{target}");
        }
    }

    #[test]
    fn a_target_that_plays_tricks_is_refused() {
        for target in [
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "/a%00",
            "/a%0d%0ab",
            "/charts/../index.yaml",
            "/charts/%2e%2e/x",
            "/..",
        ] {
            assert!(route(target).is_err(), "{target}");
        }
    }
}
