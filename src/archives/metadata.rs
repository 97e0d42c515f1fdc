//! From the Chart.yaml of an archive, and the requirements.yaml of an old one, to the config blob that
//! `helm push` would make of them: the fields of Helm's `chart.Metadata`, typed and cleaned as Helm
//! loads them (pkg/chart/v2/loader/load.go, pkg/chart/v2/metadata.go), refused where Helm refuses
//! the chart. Pure.

use super::scalar::Scalar;
use super::yaml::{Node, first_document};
use crate::helm::chart::MAX_CONFIG;
use crate::helm::index::parse_created;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

/// Roughly the bytes that a value takes besides its text.
const VALUE_COST: usize = 8;

/// The type of a field in Helm.
enum YamlFieldType {
    Text,
    /// Text that `sanitizeString` cleans.
    CleanText,
    Flag,
    List(&'static YamlFieldType),
    Struct(StructFields),
    TextMap,
    Any,
}

use YamlFieldType::{Any, CleanText, Flag, List, Struct, Text, TextMap};

type StructFields = &'static [(&'static str, YamlFieldType)];

const METADATA: StructFields = &[
    ("apiVersion", Text),
    ("name", CleanText),
    ("version", Text),
    ("appVersion", CleanText),
    ("description", CleanText),
    ("type", Text),
    ("deprecated", Flag),
    ("kubeVersion", CleanText),
    ("home", CleanText),
    ("icon", CleanText),
    ("sources", List(&CleanText)),
    ("keywords", List(&CleanText)),
    ("maintainers", List(&Struct(MAINTAINER))),
    ("annotations", TextMap),
    ("dependencies", List(&Struct(DEPENDENCY))),
    ("condition", CleanText),
    ("tags", CleanText),
];
const MAINTAINER: StructFields = &[
    ("name", CleanText),
    ("email", CleanText),
    ("url", CleanText),
];
const DEPENDENCY: StructFields = &[
    ("name", CleanText),
    ("version", CleanText),
    ("repository", CleanText),
    ("condition", CleanText),
    ("tags", List(&CleanText)),
    ("enabled", Flag),
    ("import-values", List(&Any)),
    ("alias", Text),
];
/// Helm's `chart.Lock`.
const LOCK: StructFields = &[
    ("generated", Text),
    ("digest", Text),
    ("dependencies", List(&Struct(DEPENDENCY))),
];

/// A chart's metadata while its files are read. Helm reads each of them into the same struct.
#[derive(Default)]
pub(super) struct MetadataFiles(Map<String, Value>);

impl MetadataFiles {
    /// Reads a Chart.yaml over what was read before.
    pub(super) fn read_chart(&mut self, bytes: &[u8]) -> Result<(), String> {
        read(bytes, METADATA, &mut self.0).map_err(|why| format!("Chart.yaml {why}"))?;
        let version = self.0.get("apiVersion").and_then(Value::as_str);
        if version.unwrap_or_default().is_empty() {
            self.0.insert("apiVersion".into(), "v1".into());
        }
        Ok(())
    }

    /// Reads a requirements.yaml over what was read before, whatever the `apiVersion`, as Helm does.
    pub(super) fn read_requirements(&mut self, bytes: &[u8]) -> Result<(), String> {
        read(bytes, METADATA, &mut self.0).map_err(|why| format!("requirements.yaml {why}"))
    }

    /// The config blob.
    pub(super) fn into_config(mut self) -> Result<Vec<u8>, String> {
        settle(METADATA, &mut self.0)?;
        let dependencies = self.0.get("dependencies").and_then(Value::as_array);
        let mut names = HashSet::new();
        for dependency in dependencies.into_iter().flatten() {
            let text = |field| dependency[field].as_str().filter(|text| !text.is_empty());
            let name = text("alias").or(text("name")).unwrap_or_default();
            if !names.insert(name) {
                return Err(format!("Chart.yaml has two dependencies named {name:?}"));
            }
        }
        Ok(Value::Object(self.0).to_string().into_bytes())
    }
}

/// Checks that Helm can read a Chart.lock or requirements.lock. The index holds nothing of it.
pub(super) fn check_lock(bytes: &[u8]) -> Result<(), String> {
    let mut lock = Map::new();
    read(bytes, LOCK, &mut lock)?;
    match lock.get("generated").and_then(Value::as_str) {
        Some(date) if parse_created(date).is_none() => Err("generated is no date".into()),
        _ => Ok(()),
    }
}

/// Reads a file over what was read before.
fn read(bytes: &[u8], fields: StructFields, into: &mut Map<String, Value>) -> Result<(), String> {
    let mut fitting = Fitting {
        bytes_left: MAX_CONFIG as usize,
    };
    match &*first_document(bytes)? {
        Node::Scalar(Scalar::Null) => Ok(()),
        Node::Map(map) => fitting.fields(map, fields, into),
        _ => Err("is no map".into()),
    }
}

/// Makes JSON of Helm's types out of YAML. Its size is bounded, because aliases repeat values.
struct Fitting {
    bytes_left: usize,
}

impl Fitting {
    /// Reads a map into a struct as encoding/json does: field names match in any case, keys count in the
    /// order of their bytes, and unknown ones are ignored.
    fn fields(
        &mut self,
        map: &BTreeMap<String, Rc<Node>>,
        fields: StructFields,
        into: &mut Map<String, Value>,
    ) -> Result<(), String> {
        for (key, node) in map {
            // No two fields of a struct differ in case alone.
            let field = fields
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(key));
            if let Some((name, kind)) = field {
                let value = self.fit(node, kind).map_err(|why| format!("{name} {why}"));
                overlay(into.entry(*name).or_insert(Value::Null), value?);
            }
        }
        Ok(())
    }

    fn fit(&mut self, node: &Node, kind: &YamlFieldType) -> Result<Value, String> {
        self.spend(VALUE_COST)?;
        match (kind, node) {
            (_, Node::Scalar(Scalar::Null)) => Ok(Value::Null),
            (Text, Node::Scalar(scalar)) => self.text(scalar.text().unwrap_or_default()),
            (CleanText, Node::Scalar(scalar)) => {
                self.text(clean(&scalar.text().unwrap_or_default()))
            }
            (Flag, Node::Scalar(Scalar::Flag(flag))) => Ok((*flag).into()),
            (Any, Node::Scalar(scalar)) => self.any(scalar),
            (List(kind), Node::List(list)) => list.iter().map(|one| self.fit(one, kind)).collect(),
            (Any, Node::List(list)) => list.iter().map(|one| self.fit(one, &Any)).collect(),
            (Struct(fields), Node::Map(map)) => {
                let mut object = Map::new();
                self.fields(map, fields, &mut object)?;
                Ok(object.into())
            }
            (TextMap, Node::Map(map)) => {
                let mut object = self.map(map, &Text)?;
                object.values_mut().for_each(null_to_empty);
                Ok(object.into())
            }
            (Any, Node::Map(map)) => Ok(self.map(map, &Any)?.into()),
            (Text | CleanText, _) => Err("is no string".into()),
            (Flag, _) => Err("is neither true nor false".into()),
            (List(_), _) => Err("is no list".into()),
            (Struct(_) | TextMap, _) => Err("is no map".into()),
        }
    }

    fn any(&mut self, scalar: &Scalar) -> Result<Value, String> {
        match scalar {
            Scalar::Null => Ok(Value::Null),
            Scalar::Flag(flag) => Ok((*flag).into()),
            // It is within an i64 or a u64.
            Scalar::Integer(value) => {
                Ok(i64::try_from(*value).map_or((*value as u64).into(), Value::from))
            }
            Scalar::Float(value) if value.is_finite() => Ok((*value).into()),
            Scalar::Float(_) => Err("holds a number that JSON has not".into()),
            Scalar::Text(text) => self.text(text.clone()),
        }
    }

    fn map(
        &mut self,
        map: &BTreeMap<String, Rc<Node>>,
        kind: &YamlFieldType,
    ) -> Result<Map<String, Value>, String> {
        let mut object = Map::new();
        for (key, one) in map {
            self.spend(key.len())?;
            object.insert(key.clone(), self.fit(one, kind)?);
        }
        Ok(object)
    }

    fn text(&mut self, text: String) -> Result<Value, String> {
        self.spend(text.len())?;
        Ok(text.into())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| format!("unfolds to over {MAX_CONFIG} bytes"))?;
        Ok(())
    }
}

/// Reads `new` over `old` as encoding/json reads into a struct that isn't empty: structs and maps are
/// merged, also those at the same place of a list, and a null removes only lists and maps.
fn overlay(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                overlay(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            old.resize(new.len(), Value::Null);
            old.iter_mut()
                .zip(new)
                .for_each(|(old, new)| overlay(old, new));
        }
        (old @ (Value::Array(_) | Value::Object(_)), Value::Null) => *old = Value::Null,
        (_, Value::Null) => {}
        (old, new) => *old = new,
    }
}

/// Replaces the nulls that are left: a field is removed, a string becomes empty, and Helm refuses a
/// null struct in a list.
fn settle(fields: StructFields, object: &mut Map<String, Value>) -> Result<(), String> {
    object.retain(|_, value| !value.is_null());
    for (name, kind) in fields {
        let list = object.get_mut(*name).and_then(Value::as_array_mut);
        for one in list.into_iter().flatten() {
            match (kind, one) {
                (List(CleanText), one) => null_to_empty(one),
                (List(Struct(fields)), Value::Object(object)) => settle(fields, object)?,
                (List(Struct(_)), _) => {
                    return Err(format!("Chart.yaml {name} holds an empty node"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn null_to_empty(value: &mut Value) {
    if value.is_null() {
        *value = "".into();
    }
}

/// Helm's `sanitizeString`: white space becomes a blank, and characters that don't print are removed.
fn clean(text: &str) -> String {
    let blank = |c: char| if c.is_whitespace() { ' ' } else { c };
    text.chars().map(blank).filter(|c| prints(*c)).collect()
}

/// Go's `unicode.IsPrint`. Rust escapes the other characters, and a combining one if it stands alone.
fn prints(c: char) -> bool {
    let pair: String = ['a', c].iter().collect();
    c.is_ascii_graphic() || c == ' ' || pair.escape_debug().nth(1) == Some(c)
}
