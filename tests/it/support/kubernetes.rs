//! Kubernetes objects in YAML files: read as Kubernetes reads them (YAML 1.1), and held against the JSON
//! schemas of several versions of Kubernetes and of some custom resources, in which unknown fields are mistakes.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

use super::helm::argument;
use super::process::{Scratch, run_ok};
use super::tools::{custom_resource_schemas, kubernetes_schemas, python_path};

const VERSIONS: [&str; 3] = ["1.27", "1.32", "1.37"];
static SCHEMAS: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| {
    let read = |path| -> Value {
        let text = fs::read(path).expect("the schemas can be read");
        serde_json::from_slice(&text).expect("JSON")
    };
    let custom = read(custom_resource_schemas());
    let with_custom = |version| {
        let mut schemas = read(kubernetes_schemas(version));
        let all = schemas["$defs"].as_object_mut().expect("definitions");
        all.extend(custom.as_object().expect("definitions").clone());
        (version, schemas)
    };
    VERSIONS.map(with_custom).into()
});

/// `default=str`: a date in a field that takes none is for the schema to refuse.
const PYTHON: &str = r#"
import json, sys, yaml
documents = [one for one in yaml.safe_load_all(open(sys.argv[1], "rb")) if one is not None]
print(json.dumps(documents, default=str))
"#;

/// All documents of a YAML file.
pub fn documents(text: &str) -> Vec<Value> {
    let scratch = Scratch::new("documents");
    let file = scratch.file("documents.yaml", text);
    let packages = python_path();
    let json = run_ok(
        Path::new("python3"),
        &["-c", PYTHON, argument(&file)],
        &[("PYTHONPATH", argument(&packages))],
    );
    serde_json::from_str(&json).expect("python3 writes JSON")
}

/// Rancher's kinds, whose schemas no package carries.
const WITHOUT_SCHEMA: &str = "catalog.cattle.io";

/// Fails for an object that one of the versions of Kubernetes would refuse.
pub fn assert_valid(objects: &[Value]) {
    for (version, schemas) in SCHEMAS.iter() {
        for object in objects {
            let (api, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
            if api.starts_with(WITHOUT_SCHEMA) {
                continue;
            }
            let schema = schema_of(schemas, api, kind)
                .unwrap_or_else(|| panic!("Kubernetes {version} knows no {api} {kind}"));
            let mut mistakes = Vec::new();
            check(schemas, schema, object, kind.to_owned(), &mut mistakes);
            assert!(
                mistakes.is_empty(),
                "Kubernetes {version}: {mistakes:#?} in {object:#}"
            );
        }
    }
}

fn schema_of<'a>(schemas: &'a Value, api: &str, kind: &str) -> Option<&'a Value> {
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    let is_it = |known: &Value| {
        known["group"] == group && known["version"] == version && known["kind"] == kind
    };
    let mut schemas = schemas["$defs"].as_object().expect("definitions").values();
    schemas.find(|schema| {
        let names = schema["x-kubernetes-group-version-kind"].as_array();
        names.is_some_and(|names| names.iter().any(is_it))
    })
}

/// What of JSON schema those of Kubernetes use.
fn check(
    schemas: &Value,
    schema: &Value,
    value: &Value,
    place: String,
    mistakes: &mut Vec<String>,
) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        let schema = schemas.pointer(pointer).expect("a definition");
        return check(schemas, schema, value, place, mistakes);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice| {
            let mut found = Vec::new();
            check(schemas, choice, value, place.clone(), &mut found);
            found.is_empty()
        };
        if !choices.iter().any(fits) {
            mistakes.push(format!("{place}: {value} is none of {choices:?}"));
        }
        return;
    }
    if !has_type(&schema["type"], value) {
        mistakes.push(format!("{place}: {value} is no {}", schema["type"]));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        mistakes.push(format!("{place}: {value} is none of {words:?}"));
    }
    for (index, one) in value.as_array().into_iter().flatten().enumerate() {
        let place = format!("{place}[{index}]");
        check(schemas, &schema["items"], one, place, mistakes);
    }
    let Some(fields) = value.as_object() else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(text(name)) {
            mistakes.push(format!("{place}: has no {name}"));
        }
    }
    for (name, one) in fields {
        let place = format!("{place}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => mistakes.push(format!("{place}: no such field")),
            (Value::Null, Value::Object(_)) => {
                let schema = &schema["additionalProperties"];
                check(schemas, schema, one, place, mistakes);
            }
            (Value::Null, _) => {}
            (schema, _) => check(schemas, schema, one, place, mistakes),
        }
    }
}

fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match text(name) {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("no JSON schema has the type {other:?}"),
    };
    match types {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn an_unknown_field_or_a_wrong_type_is_a_mistake() {
    use serde_json::json;
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 1}]}});
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "spec": {"parentRefs": [{"name": "public"}]}});
    assert_valid(&[service.clone(), route.clone()]);
    for (_, schemas) in SCHEMAS.iter() {
        for (object, wrong) in [
            (&service, json!({"prots": []})),
            (&service, json!({"ports": [{"port": "1"}]})),
            (&service, json!({"ports": [{"name": "http"}]})),
            (&route, json!({"parentRef": []})),
            (&route, json!({"parentRefs": [{"name": 1}]})),
            (&route, json!({"parentRefs": [{"kind": "Gateway"}]})),
            (
                &route,
                json!({"rules": [{"filters": [{"type": "URLRewritten"}]}]}),
            ),
        ] {
            let mut object = object.clone();
            let schema = schema_of(schemas, text(&object["apiVersion"]), text(&object["kind"]));
            object["spec"] = wrong;
            let mut mistakes = Vec::new();
            let schema = schema.expect("a schema");
            check(schemas, schema, &object, String::new(), &mut mistakes);
            assert_eq!(mistakes.len(), 1, "{object}: {mistakes:?}");
        }
    }
}
