//! A chart's metadata, as its config blob has it.
//!
//! A config blob is JSON that any client may have pushed, and one field of a wrong type in an index
//! makes every Helm refuse the *whole* index. So no field is copied unread: each field that Helm knows
//! (pkg/chart/v2/metadata.go, the same from 3.4 to 4.3) is read with the type that Helm gives it. A
//! number or boolean where Helm wants a string becomes its text; a field that can't be converted is
//! left out; a chart that Helm's own validation would drop is refused with the reason.

use super::json;
use super::version::Version;
use crate::oci::json::{MAX_VALUES, holds_over};
use FieldType::{Flag, ImportValues, Objects, Required, Text, TextMap, Texts};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest chart name and longest version, in bytes: what Helm's own `create` allows of a name, and short
/// enough for a file name.
const MAX_NAME: usize = 250;
/// Longest annotation key, in bytes as JSON spells it. A YAML parser accepts no key of more than 1,024
/// characters, quotes included, and refuses the whole index for it.
const MAX_KEY: usize = 1000;

/// The type that Helm gives to a field. An empty one is not written, as with Go's `omitempty`.
enum FieldType {
    /// A string that is always written, and what an absent one is written as.
    Required(&'static str),
    Text,
    Flag,
    Texts,
    TextMap,
    /// A dependency's `import-values`: each a string, or a map of strings (`child`, `parent`).
    ImportValues,
    Objects(&'static [(&'static str, FieldType)]),
}

/// Helm's `chart.Metadata`, in the order in which Helm writes it.
const METADATA: &[(&str, FieldType)] = &[
    // Helm reads a missing one as v1 (pkg/repo/v1/index.go, loadIndex).
    ("apiVersion", Required("v1")),
    ("name", Required("")),
    ("version", Required("")),
    ("appVersion", Text),
    ("description", Text),
    ("type", Text),
    ("deprecated", Flag),
    ("kubeVersion", Text),
    ("home", Text),
    ("icon", Text),
    ("sources", Texts),
    ("keywords", Texts),
    ("maintainers", Objects(MAINTAINER)),
    ("annotations", TextMap),
    ("dependencies", Objects(DEPENDENCY)),
    ("condition", Text),
    ("tags", Text),
];

/// Helm's `chart.Maintainer`.
const MAINTAINER: &[(&str, FieldType)] = &[("name", Text), ("email", Text), ("url", Text)];

/// Helm's `chart.Dependency`.
const DEPENDENCY: &[(&str, FieldType)] = &[
    ("name", Required("")),
    ("version", Text),
    ("repository", Required("")),
    ("condition", Text),
    ("tags", Texts),
    ("enabled", Flag),
    ("import-values", ImportValues),
    ("alias", Text),
];

/// A chart's metadata, with the fields that Helm knows in Helm's order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ChartMetadata(Fields);

/// The fields of an object, in the order of their table.
#[derive(Clone, Debug, PartialEq)]
struct Fields(Vec<(&'static str, FieldValue)>);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum FieldValue {
    Text(String),
    Flag(bool),
    List(Vec<FieldValue>),
    TextMap(BTreeMap<String, String>),
    Object(Fields),
}

impl ChartMetadata {
    /// Reads a config blob of at most [`MAX_CONFIG`](super::chart::MAX_CONFIG) bytes.
    ///
    /// Errors with the reason when it is not a JSON object, when it holds too many values, or when
    /// Helm's `Metadata.Validate` would drop the chart.
    pub fn parse(config: &[u8]) -> Result<ChartMetadata, String> {
        if holds_over(MAX_VALUES, config) {
            return Err(format!("config blob holds over {MAX_VALUES} values"));
        }
        let object = match serde_json::from_slice(config) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err("config blob is not a JSON object".into()),
            Err(error) => return Err(format!("config blob is not JSON: {error}")),
        };
        let metadata = ChartMetadata(Fields::read(&object, METADATA));
        metadata.validate()?;
        Ok(metadata)
    }

    /// Its JSON in three parts: the fields that tell a version of a chart from others, those in which they
    /// are mostly the same, and the rest.
    pub(super) fn json_parts(&self) -> [String; 3] {
        let mut parts = [const { String::new() }; 3];
        for (key, value) in &self.0.0 {
            let part = match *key {
                "apiVersion" | "name" | "version" | "appVersion" => 0,
                "annotations" | "dependencies" | "condition" | "tags" => 2,
                _ => 1,
            };
            for piece in [",\"", key, "\":", &json::to_string(value)] {
                parts[part] += piece;
            }
        }
        let [before, common, behind] = parts;
        // The first field is always written, and has no comma before it.
        [format!("{{{}", &before[1..]), common, behind + "}"]
    }

    /// The chart's name.
    pub fn name(&self) -> &str {
        self.0.text("name")
    }

    /// The chart's version.
    pub fn version(&self) -> &str {
        self.0.text("version")
    }

    /// Helm's `Metadata.Validate`; the name must also be possible as a file name.
    fn validate(&self) -> Result<(), String> {
        let (name, version, kind) = (self.name(), self.version(), self.0.text("type"));
        if name.is_empty() {
            return Err("config blob has no chart name".into());
        }
        if version.is_empty() {
            return Err("config blob has no chart version".into());
        }
        let no_file_name = |c: char| matches!(c, '/' | '\\') || c.is_control();
        let is_no_file = matches!(name, "." | "..") || name.contains(no_file_name);
        if is_no_file || !prints(name) || name.len() > MAX_NAME {
            return Err(format!("chart name {name:?} can't be a file name"));
        }
        if Version::parse(version).is_none() {
            return Err(format!("chart version {version:?} is not semver"));
        }
        if version.len() > MAX_NAME {
            return Err(format!("chart version {version:?} can't be in a file name"));
        }
        if !matches!(kind, "" | "application" | "library") {
            return Err(format!("chart type {kind:?} is not application or library"));
        }
        // Helm's `Dependency.Validate`: `^[a-zA-Z0-9_-]+$`.
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        for dependency in self.0.objects("dependencies") {
            let (name, alias) = (dependency.text("name"), dependency.text("alias"));
            if !alias.bytes().all(is_letter) {
                let why = "which Helm refuses";
                return Err(format!(
                    "dependency {name:?} has the alias {alias:?}, {why}"
                ));
            }
        }
        Ok(())
    }
}

impl Fields {
    /// Reads an object as Go reads it into a struct, except that a value of a wrong type is no error: it
    /// is left out. Go matches keys exactly first, then in any case.
    fn read(object: &Map<String, Value>, table: &[(&'static str, FieldType)]) -> Fields {
        let read = |(key, kind): &(&'static str, FieldType)| {
            let is_alike = |(name, _): &(&String, &Value)| name.eq_ignore_ascii_case(key);
            let in_any_case = || Some(object.iter().find(is_alike)?.1);
            let value = object.get(*key).or_else(in_any_case);
            Some((*key, kind.read(value.unwrap_or(&Value::Null))?))
        };
        Fields(table.iter().filter_map(read).collect())
    }

    fn get(&self, key: &str) -> Option<&FieldValue> {
        let field = self.0.iter().find(|(name, _)| *name == key);
        field.map(|(_, value)| value)
    }

    /// The text of a field; empty if there is none.
    fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Some(FieldValue::Text(text)) => text,
            _ => "",
        }
    }

    fn objects(&self, key: &str) -> impl Iterator<Item = &Fields> {
        let list = match self.get(key) {
            Some(FieldValue::List(list)) => &list[..],
            _ => &[],
        };
        list.iter().filter_map(|one| match one {
            FieldValue::Object(fields) => Some(fields),
            _ => None,
        })
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl FieldType {
    /// Converts a value to this type; `None` if it can't be, or if it is empty.
    fn read(&self, value: &Value) -> Option<FieldValue> {
        let list = |read: &dyn Fn(&Value) -> Option<FieldValue>| {
            let read: Vec<_> = value.as_array()?.iter().filter_map(read).collect();
            (!read.is_empty()).then_some(FieldValue::List(read))
        };
        let given = text(value).filter(|text| !text.is_empty());
        match self {
            Required(absent) => {
                let text = given.unwrap_or_else(|| (*absent).to_owned());
                Some(FieldValue::Text(text))
            }
            Text => given.map(FieldValue::Text),
            Flag => (given? == "true").then_some(FieldValue::Flag(true)),
            Texts => list(&|one| text(one).map(FieldValue::Text)),
            TextMap => {
                let map = text_map(value);
                (!map.is_empty()).then_some(FieldValue::TextMap(map))
            }
            ImportValues => list(&|one| match one {
                Value::String(path) => Some(FieldValue::Text(path.clone())),
                Value::Object(_) => Some(FieldValue::TextMap(text_map(one))),
                _ => None,
            }),
            // All else is left out: a null in the list makes Helm 3.5 to 3.9 panic.
            Objects(table) => list(&|one| {
                let fields = Fields::read(one.as_object()?, table);
                Some(FieldValue::Object(fields))
            }),
        }
    }
}

/// Whether a character is left of a name after Helm has removed those that do not print.
fn prints(text: &str) -> bool {
    let shows = |c: char| c.is_whitespace() || c.is_ascii_graphic() || c.escape_debug().len() == 1;
    text.chars().any(shows)
}

/// A scalar as a string; `None` for null, lists and objects.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn text_map(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    let short = pairs.filter(|(key, _)| json::length(key) <= MAX_KEY);
    short
        .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(config: &str) -> String {
        ChartMetadata::parse(config.as_bytes()).unwrap_err()
    }

    fn parse(config: &str) -> Value {
        serde_json::to_value(ChartMetadata::parse(config.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_config_written_by_helm_keeps_all_its_fields() {
        let config = r#"{"annotations":{"a":"1","b":"yes"},"apiVersion":"v2","appVersion":"1.10","condition":"c","dependencies":[
            {"alias":"r","condition":"redis.enabled","enabled":true,"import-values":["x",{"child":"c","parent":"p"}],
             "name":"redis","repository":"","tags":["t"],"version":"~20"}],"deprecated":true,"description":"d","home":"h","icon":"i",
            "keywords":["k"],"kubeVersion":">=1.25","maintainers":[{"email":"e","name":"n","url":"u"}],"name":"foo","sources":["s"],
            "tags":"t","type":"library","version":"2.0.0+build.1"}"#;
        assert_eq!(
            parse(config),
            serde_json::from_str::<Value>(config).unwrap()
        );
    }

    #[test]
    fn fields_of_a_wrong_type_are_converted_or_left_out() {
        let config = r#"{"Name":"foo","version":1.5,"appVersion":true,"annotations":{"a":true,"b":null,"c":{}},"keywords":"k",
            "sources":[null,1,"s"],"maintainers":[null,{"name":7}],"dependencies":null,"deprecated":"true","home":{},
            "urls":["http://elsewhere"],"digest":"0","created":"junk","removed":true}"#;
        let wanted = r#"{"apiVersion":"v1","name":"foo","version":"1.5","appVersion":"true","annotations":{"a":"true"},
            "sources":["1","s"],"maintainers":[{"name":"7"}],"deprecated":true}"#;
        assert_eq!(
            parse(config),
            serde_json::from_str::<Value>(wanted).unwrap()
        );
    }

    #[test]
    fn a_config_of_very_many_values_is_not_parsed() {
        let config = |count| {
            format!(
                r#"{{"name":"a","version":"1","x":[{}0]}}"#,
                r#"{"":0},"#.repeat(count)
            )
        };
        assert_eq!(
            reason(&config(MAX_VALUES / 2)),
            "config blob holds over 8192 values"
        );
        assert!(ChartMetadata::parse(config(MAX_VALUES / 2 - 4).as_bytes()).is_ok());
    }

    #[test]
    fn an_annotation_key_too_long_for_yaml_is_left_out() {
        let config = format!(
            r#"{{"name":"a","version":"1","annotations":{{"{}":"v","{}":"w"}}}}"#,
            "k".repeat(1000),
            "k".repeat(1001)
        );
        assert_eq!(parse(&config)["annotations"].as_object().unwrap().len(), 1);
    }

    #[test]
    fn a_config_that_helm_would_drop_is_refused_with_the_reason() {
        for (config, expected) in [
            (
                "nonsense",
                "config blob is not JSON: expected ident at line 1 column 2",
            ),
            ("[]", "config blob is not a JSON object"),
            ("{}", "config blob has no chart name"),
            (r#"{"name":"a"}"#, "config blob has no chart version"),
            (
                r#"{"name":"a/b","version":"1.0.0"}"#,
                r#"chart name "a/b" can't be a file name"#,
            ),
            (
                r#"{"name":"a\nb","version":"1.0.0"}"#,
                r#"chart name "a\nb" can't be a file name"#,
            ),
            (
                r#"{"name":"..","version":"1.0.0"}"#,
                r#"chart name ".." can't be a file name"#,
            ),
            (
                "{\"name\":\"\u{200b}\u{2060}\",\"version\":\"1.0.0\"}",
                r#"chart name "\u{200b}\u{2060}" can't be a file name"#,
            ),
            (
                r#"{"name":"a","version":"latest"}"#,
                r#"chart version "latest" is not semver"#,
            ),
            (
                r#"{"name":"a","version":"1","type":"weird"}"#,
                r#"chart type "weird" is not application or library"#,
            ),
            (
                r#"{"name":"a","version":"1","dependencies":[{"name":"b","alias":"c d"}]}"#,
                r#"dependency "b" has the alias "c d", which Helm refuses"#,
            ),
        ] {
            assert_eq!(reason(config), expected);
        }
    }
}
