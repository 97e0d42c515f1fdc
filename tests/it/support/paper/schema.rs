//! What an index may hold (Helm's pkg/repo/v1/index.go and pkg/chart/v2), field by field: a field
//! that Helm doesn't know or a value of another type makes it refuse the whole index, and an entry
//! that fails `Metadata.Validate` is dropped. Nulls are refused everywhere: Helm takes some for
//! nothing, and panics at others.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

/// Helm's Go types, as far as an index has them.
enum Type {
    Text,
    Flag,
    Date,
    Texts,
    TextMap,
    /// Strings, or maps of strings: Go has `interface{}`, but Helm's code knows no other.
    ImportValues,
    Objects(&'static [Field]),
}

type Field = (&'static str, Type);

const ENTRY: &[Field] = &[
    ("apiVersion", Type::Text),
    ("name", Type::Text),
    ("version", Type::Text),
    ("appVersion", Type::Text),
    ("description", Type::Text),
    ("type", Type::Text),
    ("deprecated", Type::Flag),
    ("kubeVersion", Type::Text),
    ("home", Type::Text),
    ("icon", Type::Text),
    ("sources", Type::Texts),
    ("keywords", Type::Texts),
    ("maintainers", Type::Objects(MAINTAINER)),
    ("annotations", Type::TextMap),
    ("dependencies", Type::Objects(DEPENDENCY)),
    ("condition", Type::Text),
    ("tags", Type::Text),
    ("urls", Type::Texts),
    ("created", Type::Date),
    ("digest", Type::Text),
];

const MAINTAINER: &[Field] = &[
    ("name", Type::Text),
    ("email", Type::Text),
    ("url", Type::Text),
];

const DEPENDENCY: &[Field] = &[
    ("name", Type::Text),
    ("version", Type::Text),
    ("repository", Type::Text),
    ("condition", Type::Text),
    ("tags", Type::Texts),
    ("enabled", Type::Flag),
    ("import-values", Type::ImportValues),
    ("alias", Type::Text),
];

/// Whether a map of an index that isn't content (names, annotations) may have this key.
pub fn is_field(key: &str) -> bool {
    let has = |fields: &[Field]| fields.iter().any(|(name, _)| *name == key);
    ["entries", "generated"].contains(&key) || [ENTRY, MAINTAINER, DEPENDENCY].into_iter().any(has)
}

/// Errors with why Helm would refuse the index or drop one of its entries.
pub fn check(index: &Value) -> Result<(), String> {
    let index = index.as_object().ok_or("the index is no object")?;
    if index.get("apiVersion").and_then(Value::as_str) != Some("v1") {
        return Err("the index has no apiVersion v1".into());
    }
    for (key, value) in index {
        match key.as_str() {
            "apiVersion" => {}
            "generated" => Type::Date.check(value)?,
            "entries" => entries(value)?,
            _ => return Err(format!("the field {key:?} is unknown")),
        }
    }
    Ok(())
}

fn entries(value: &Value) -> Result<(), String> {
    for (name, versions) in value.as_object().ok_or("entries is no object")? {
        let versions = versions
            .as_array()
            .ok_or_else(|| format!("{name:?}: no list"))?;
        for entry in versions {
            let fields = object(entry, ENTRY).map_err(|why| format!("{name:?}: {why}"))?;
            validate(fields).map_err(|why| format!("{name:?} is dropped: {why}"))?;
        }
    }
    Ok(())
}

fn object<'a>(value: &'a Value, fields: &[Field]) -> Result<&'a Map<String, Value>, String> {
    let map = value
        .as_object()
        .ok_or_else(|| format!("{value} is no object"))?;
    for (key, value) in map {
        let (_, kind) = fields
            .iter()
            .find(|(name, _)| name == key)
            .ok_or_else(|| format!("the field {key:?} is unknown"))?;
        kind.check(value).map_err(|why| format!("{key}: {why}"))?;
    }
    Ok(map)
}

impl Type {
    fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match self {
            Type::Text => value.is_string(),
            Type::Flag => value.is_boolean(),
            Type::Date => value.as_str().is_some_and(is_rfc_3339),
            Type::Texts => value
                .as_array()
                .is_some_and(|list| list.iter().all(Value::is_string)),
            Type::TextMap => is_text_map(value),
            Type::ImportValues => {
                let known = |value: &Value| value.is_string() || is_text_map(value);
                value.as_array().is_some_and(|list| list.iter().all(known))
            }
            Type::Objects(fields) => {
                let list = value
                    .as_array()
                    .ok_or_else(|| format!("{value} is no list"))?;
                return list
                    .iter()
                    .try_for_each(|value| object(value, fields).map(drop));
            }
        };
        if fits {
            Ok(())
        } else {
            Err(format!("{value} is of another type"))
        }
    }
}

fn is_text_map(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|map| map.values().all(Value::is_string))
}

/// As Go's `time.Time` reads it from JSON.
fn is_rfc_3339(text: &str) -> bool {
    static DATE: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\
             T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]+)?(Z|[-+]([01][0-9]|2[0-3]):[0-5][0-9])$",
        )
    });
    let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().unwrap_or_default();
    DATE.is_match(text) && number(8..10) <= days(number(0..4), number(5..7))
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Helm's `Metadata.Validate`, but for what an index is excused from (a dependency named twice),
/// and the digest, which Helm 4 decodes.
fn validate(entry: &Map<String, Value>) -> Result<(), String> {
    static ALIAS: LazyLock<Regex> = LazyLock::new(|| regex("^[a-zA-Z0-9_-]+$"));
    static DIGEST: LazyLock<Regex> = LazyLock::new(|| regex("^[0-9a-f]{64}$"));
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    let name = sanitize(text("name"));
    if name.is_empty() || name.contains('/') {
        return Err(format!("its name is {name:?}"));
    }
    if !is_version(text("version")) {
        return Err(format!("its version is {:?}", text("version")));
    }
    if !matches!(text("type"), "" | "application" | "library") {
        return Err(format!("its type is {:?}", text("type")));
    }
    for dependency in entry
        .get("dependencies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let alias = dependency["alias"].as_str().unwrap_or_default();
        if !alias.is_empty() && !ALIAS.is_match(alias) {
            return Err(format!("it has the alias {alias:?}"));
        }
    }
    if entry.contains_key("digest") && !DIGEST.is_match(text("digest")) {
        return Err(format!("its digest is {:?}", text("digest")));
    }
    if entry
        .get("urls")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        return Err("it has no URL".into());
    }
    Ok(())
}

/// Helm's `sanitizeString`: what doesn't print is taken out, white space becomes a blank.
pub fn sanitize(text: &str) -> String {
    static PRINTS: LazyLock<Regex> = LazyLock::new(|| regex(r"^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$"));
    let clean = |c: char| match c {
        ' '..='~' => Some(c),
        _ if c.is_whitespace() => Some(' '),
        _ if PRINTS.is_match(c.encode_utf8(&mut [0; 4])) => Some(c),
        _ => None,
    };
    text.chars().filter_map(clean).collect()
}

/// Masterminds/semver's `NewVersion`.
fn is_version(text: &str) -> bool {
    static VERSION: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"^v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$",
        )
    });
    let Some(parts) = VERSION.captures(text) else {
        return false;
    };
    let fits = |at| {
        parts
            .get(at)
            .is_none_or(|number| number.as_str().parse::<u64>().is_ok())
    };
    let leads_with_zero = |part: &str| {
        part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit())
    };
    let prerelease = parts.get(4).map_or("", |part| part.as_str());
    (1..=3).all(fits) && !prerelease.split('.').any(leads_with_zero)
}

fn regex(expression: &str) -> Regex {
    Regex::new(expression).expect("the expression is one")
}
