//! A chart's metadata, as its config blob has it.
//!
//! A config blob is JSON that any client may have pushed, and one field of a wrong type in an index
//! makes every Helm refuse the *whole* index. So no field is copied unread: each field that Helm knows
//! (pkg/chart/v2/metadata.go, the same from 3.4 to 4.3) is read with the type that Helm gives it. A
//! number or boolean where Helm wants a string becomes its text; a field that can't be converted is
//! left out; a chart that Helm's own validation would drop is refused with the reason.

use super::chart::{NotAChart, refuse};
use super::json;
use super::version::Version;
use crate::oci::json::{MAX_VALUES, holds_over};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest chart name, in bytes: what Helm's own `create` allows, and short enough for a file name.
const MAX_NAME: usize = 250;
/// Longest annotation key, in bytes as JSON spells it. A YAML parser accepts no key of more than 1,024
/// characters, quotes included, and refuses the whole index for it.
const MAX_KEY: usize = 1000;

/// A chart's metadata, field by field as Helm's `chart.Metadata` has it. Empty fields are not written,
/// as with Go's `omitempty`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the names are Helm's
pub struct ChartMetadata {
    pub api_version: String,
    pub name: String,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kube_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub maintainers: Vec<Maintainer>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
}

/// A maintainer, as Helm's `chart.Maintainer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Maintainer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A dependency, as Helm's `chart.Dependency`; `name` and `repository` are always written there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Dependency {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub repository: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enabled: bool,
    #[serde(rename = "import-values", skip_serializing_if = "Vec::is_empty")]
    pub import_values: Vec<ImportValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// One of a dependency's `import-values`: Helm accepts a string, or a map of strings (`child`,
/// `parent`).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum ImportValue {
    Path(String),
    Mapping(BTreeMap<String, String>),
}

impl ChartMetadata {
    /// Reads a config blob of at most [`MAX_CONFIG`](super::chart::MAX_CONFIG) bytes.
    ///
    /// Errors when it is not a JSON object, when it holds too many values, or when Helm's
    /// `Metadata.Validate` would drop the chart.
    pub fn parse(config: &[u8]) -> Result<ChartMetadata, NotAChart> {
        if holds_over(MAX_VALUES, config) {
            return refuse(format!("config blob holds over {MAX_VALUES} values"));
        }
        let fields = match serde_json::from_slice(config) {
            Ok(Value::Object(map)) => Fields(map),
            Ok(_) => return refuse("config blob is not a JSON object"),
            Err(error) => return refuse(format!("config blob is not JSON: {error}")),
        };
        let metadata = ChartMetadata {
            // Helm reads a missing one as v1 (pkg/repo/v1/index.go, loadIndex).
            api_version: fields.text("apiVersion").unwrap_or_else(|| "v1".into()),
            name: fields.text("name").unwrap_or_default(),
            version: fields.text("version").unwrap_or_default(),
            app_version: fields.text("appVersion"),
            description: fields.text("description"),
            kind: fields.text("type"),
            deprecated: fields.flag("deprecated"),
            kube_version: fields.text("kubeVersion"),
            home: fields.text("home"),
            icon: fields.text("icon"),
            sources: fields.texts("sources"),
            keywords: fields.texts("keywords"),
            maintainers: fields.objects("maintainers", Maintainer::read),
            annotations: fields.get("annotations").map(text_map).unwrap_or_default(),
            dependencies: fields.objects("dependencies", Dependency::read),
            condition: fields.text("condition"),
            tags: fields.text("tags"),
        };
        metadata.validate()?;
        Ok(metadata)
    }

    /// Helm's `Metadata.Validate`; the name must also be possible as a file name.
    fn validate(&self) -> Result<(), NotAChart> {
        if self.name.is_empty() {
            return refuse("config blob has no chart name");
        }
        if self.version.is_empty() {
            return refuse("config blob has no chart version");
        }
        let no_file_name = |c: char| matches!(c, '/' | '\\') || c.is_control();
        if self.name == "."
            || self.name == ".."
            || self.name.contains(no_file_name)
            || !prints(&self.name)
            || self.name.len() > MAX_NAME
        {
            return refuse(format!("chart name {:?} can't be a file name", self.name));
        }
        if Version::parse(&self.version).is_none() {
            return refuse(format!("chart version {:?} is not semver", self.version));
        }
        if !matches!(self.kind.as_deref(), None | Some("application" | "library")) {
            return refuse(format!(
                "chart type {:?} is not application or library",
                self.kind.as_deref().unwrap_or("")
            ));
        }
        for dependency in &self.dependencies {
            dependency.validate()?;
        }
        Ok(())
    }
}

impl Maintainer {
    fn read(fields: &Fields) -> Maintainer {
        Maintainer {
            name: fields.text("name"),
            email: fields.text("email"),
            url: fields.text("url"),
        }
    }
}

impl Dependency {
    fn read(fields: &Fields) -> Dependency {
        Dependency {
            name: fields.text("name").unwrap_or_default(),
            version: fields.text("version"),
            repository: fields.text("repository").unwrap_or_default(),
            condition: fields.text("condition"),
            tags: fields.texts("tags"),
            enabled: fields.flag("enabled"),
            import_values: fields
                .list("import-values")
                .filter_map(ImportValue::read)
                .collect(),
            alias: fields.text("alias"),
        }
    }

    /// Helm's `Dependency.Validate`: `^[a-zA-Z0-9_-]+$`.
    fn validate(&self) -> Result<(), NotAChart> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        match &self.alias {
            Some(alias) if !alias.bytes().all(letter) => refuse(format!(
                "dependency {:?} has the alias {alias:?}, which Helm refuses",
                self.name
            )),
            _ => Ok(()),
        }
    }
}

impl ImportValue {
    fn read(value: &Value) -> Option<ImportValue> {
        match value {
            Value::String(path) => Some(ImportValue::Path(path.clone())),
            Value::Object(_) => Some(ImportValue::Mapping(text_map(value))),
            _ => None,
        }
    }
}

/// A JSON object, read as Go reads it into a struct, except that a value of a wrong type is no error.
struct Fields(Map<String, Value>);

impl Fields {
    /// Go matches keys exactly first, then in any case.
    fn get(&self, key: &str) -> Option<&Value> {
        let in_any_case = || {
            self.0
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(key))
        };
        self.0
            .get(key)
            .or_else(|| in_any_case().map(|(_, value)| value))
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(text).filter(|text| !text.is_empty())
    }

    fn flag(&self, key: &str) -> bool {
        match self.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(word)) => word == "true",
            _ => false,
        }
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.list(key).filter_map(text).collect()
    }

    /// The objects of a list. All else is left out: a null in it makes Helm 3.5 to 3.9 panic.
    fn objects<T>(&self, key: &str, read: fn(&Fields) -> T) -> Vec<T> {
        let objects = self.list(key).filter_map(Value::as_object);
        objects.map(|map| read(&Fields(map.clone()))).collect()
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
        ChartMetadata::parse(config.as_bytes())
            .unwrap_err()
            .to_string()
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
