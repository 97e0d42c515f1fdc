//! Config blobs by choice: proper ones, as Helm itself would push them but with every string a
//! trap, and odd ones, which may be anything.

use serde_json::{Map, Value, json};

use super::Choices;
use super::traps::{awkward_characters, scalars};

/// Deepest junk. serde_json refuses what is nested deeper than 128, and so it should.
const DEEPEST: usize = 140;

/// A config blob of Helm's own making: each field has the type it should, none is empty, no key is
/// longer than every Helm can read. Its index entry holds the same.
pub fn proper_config(choices: &mut Choices) -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("apiVersion".into(), json!(choices.one(&["v2", "v1"])));
    config.insert("name".into(), name(choices).into());
    config.insert("version".into(), version(choices).into());
    for field in [
        "appVersion",
        "description",
        "kubeVersion",
        "home",
        "icon",
        "condition",
        "tags",
    ] {
        if choices.chance(40) {
            config.insert(field.into(), full(choices).into());
        }
    }
    let mut maybe =
        |field: &str, percent, make: &dyn Fn(&mut Choices) -> Value, choices: &mut Choices| {
            if choices.chance(percent) {
                config.insert(field.into(), make(choices));
            }
        };
    maybe(
        "type",
        30,
        &|choices| json!(choices.one(&["application", "library"])),
        choices,
    );
    maybe("deprecated", 20, &|_| json!(true), choices);
    maybe(
        "sources",
        30,
        &|choices| list(choices, |choices| text(choices).into()),
        choices,
    );
    maybe(
        "keywords",
        30,
        &|choices| list(choices, |choices| text(choices).into()),
        choices,
    );
    maybe("annotations", 50, &text_map, choices);
    maybe(
        "maintainers",
        30,
        &|choices| list(choices, maintainer),
        choices,
    );
    maybe(
        "dependencies",
        30,
        &|choices| list(choices, dependency),
        choices,
    );
    config
}

fn maintainer(choices: &mut Choices) -> Value {
    let fields = ["name", "email", "url"].map(|field| (field.to_owned(), full(choices).into()));
    Value::Object(fields.into_iter().take(1 + choices.below(3)).collect())
}

fn dependency(choices: &mut Choices) -> Value {
    let mut map = Map::from_iter([
        ("name".to_owned(), full(choices).into()),
        ("repository".to_owned(), text(choices).into()),
    ]);
    for field in ["version", "condition"] {
        if choices.chance(50) {
            map.insert(field.into(), full(choices).into());
        }
    }
    if choices.chance(20) {
        map.insert(
            "alias".into(),
            json!(choices.one(&["on", "1_000", "0x_f", "a-b", "NO"])),
        );
        map.insert("enabled".into(), true.into());
        map.insert("tags".into(), list(choices, |choices| text(choices).into()));
    }
    if choices.chance(30) {
        let one = |choices: &mut Choices| {
            if choices.chance(50) {
                text_map(choices)
            } else {
                text(choices).into()
            }
        };
        map.insert("import-values".into(), list(choices, one));
    }
    Value::Object(map)
}

fn list(choices: &mut Choices, one: fn(&mut Choices) -> Value) -> Value {
    (0..1 + choices.below(3)).map(|_| one(choices)).collect()
}

fn text_map(choices: &mut Choices) -> Value {
    let pair = |choices: &mut Choices| (key(choices), text(choices).into());
    Value::Object((0..1 + choices.below(4)).map(|_| pair(choices)).collect())
}

fn name(choices: &mut Choices) -> String {
    let held = |c: &char| !matches!(c, '/' | '\\') && !c.is_control();
    let name: String = text(choices).chars().filter(held).take(20).collect();
    // Two dots would be a way upwards, and something of it has to be seen.
    if choices.chance(60) {
        format!("{name}chart")
    } else {
        format!("c{name}")
    }
}

fn version(choices: &mut Choices) -> String {
    let odd = [
        "1",
        "1.2",
        "v1.2.3",
        "01.0.0",
        "20210101",
        "1.0.0-0x1",
        "1.0.0-rc.1+build.5",
        "0",
        "1.0.0-y",
        "v1",
    ];
    match choices.chance(40) {
        true => (*choices.one(&odd)).to_owned(),
        false => format!(
            "{}.{}.{}",
            choices.below(3),
            choices.below(30),
            choices.byte()
        ),
    }
}

/// A key that every Helm can read: at most 1,000 bytes in JSON, whatever has to be escaped.
fn key(choices: &mut Choices) -> String {
    match choices.chance(8) {
        true => full(choices)
            .chars()
            .take(1)
            .cycle()
            .take(100 + choices.below(60))
            .collect(),
        false => text(choices),
    }
}

/// Text that isn't empty.
fn full(choices: &mut Choices) -> String {
    let text = text(choices);
    if text.is_empty() { "full".into() } else { text }
}

/// A trap, some awkward characters, or both.
fn text(choices: &mut Choices) -> String {
    let awkward = |choices: &mut Choices| *choices.one(awkward_characters());
    match choices.below(8) {
        0 => "ordinary".into(),
        1..=3 => choices.one(scalars()).clone(),
        4 => (0..choices.below(6)).map(|_| awkward(choices)).collect(),
        5 => format!("{}{}", choices.one(scalars()), awkward(choices)),
        6 => format!(
            "{}{}{}",
            awkward(choices),
            choices.one(scalars()),
            choices.one(scalars())
        ),
        _ => (0..choices.below(12))
            .map(|_| any_character(choices))
            .collect(),
    }
}

fn any_character(choices: &mut Choices) -> char {
    let code = match choices.below(3) {
        0 => u32::from(choices.byte()),
        1 => choices.below(0x1_0000) as u32,
        _ => (choices.below(17) << 16 | choices.below(0x1_0000)) as u32,
    };
    char::from_u32(code).unwrap_or('\u{fffd}')
}

/// A config blob that may be anything, most often one whose fields have gone wrong here and there.
pub fn config(choices: &mut Choices) -> Vec<u8> {
    let mut config = proper_config(choices);
    for _ in 0..choices.below(4) {
        spoil(&mut config, choices);
    }
    let mut bytes = Value::Object(config).to_string().into_bytes();
    if choices.chance(12) {
        spoil_bytes(&mut bytes, choices);
    }
    bytes
}

const FIELDS: [&str; 27] = [
    "apiVersion",
    "name",
    "version",
    "appVersion",
    "description",
    "type",
    "deprecated",
    "kubeVersion",
    "home",
    "icon",
    "sources",
    "keywords",
    "maintainers",
    "annotations",
    "dependencies",
    "condition",
    "tags",
    // Helm's, but not the config's to say.
    "urls",
    "created",
    "removed",
    "digest",
    "url",
    "engine",
    "checksum",
    "tillerVersion",
    // Nobody's.
    "NAME",
    "<<",
];

fn spoil(config: &mut Map<String, Value>, choices: &mut Choices) {
    let field = *choices.one(&FIELDS);
    match choices.below(6) {
        0 => drop(config.remove(field)),
        1 => drop(config.insert(text(choices), anything(choices, 3))),
        2 => drop(config.insert(field.to_uppercase(), anything(choices, 2))),
        3 => drop(config.insert(field.into(), nested(choices))),
        _ => drop(config.insert(field.into(), anything(choices, 3))),
    }
}

fn anything(choices: &mut Choices, depth: usize) -> Value {
    let kinds = if depth == 0 { 5 } else { 8 };
    match choices.below(kinds) {
        0 => text(choices).into(),
        1 => Value::Null,
        2 => choices.chance(50).into(),
        3 => json!(i64::from(choices.byte()) << (8 * choices.below(7))),
        4 => json!(f64::from(choices.byte()) / 16.0 * 10f64.powi(choices.below(600) as i32 - 300)),
        5 => (0..choices.below(4))
            .map(|_| anything(choices, depth - 1))
            .collect(),
        6 => {
            json!({ *choices.one(&FIELDS): anything(choices, depth - 1), text(choices): anything(choices, depth - 1) })
        }
        _ => {
            json!({ "k".repeat(900 + choices.below(200)): text(choices), text(choices).repeat(100): "v" })
        }
    }
}

fn nested(choices: &mut Choices) -> Value {
    let list = choices.chance(50);
    let wrap = |inner: Value| {
        if list {
            json!([inner])
        } else {
            json!({ "a": inner })
        }
    };
    (0..choices.below(DEEPEST)).fold(Value::Null, |inner, _| wrap(inner))
}

/// Bytes that aren't what a JSON writer would have written.
fn spoil_bytes(bytes: &mut Vec<u8>, choices: &mut Choices) {
    let at = choices.below(bytes.len().min(65_536));
    match choices.below(6) {
        0 => bytes.truncate(at),
        1 => bytes[at] = choices.byte(),
        2 => drop(bytes.splice(0..0, *b"\xef\xbb\xbf")),
        3 => drop(bytes.splice(1..1, *br#""name":"first","name":"second","#)),
        4 => drop(bytes.splice(1..1, *br#""version":1e999999,"#)),
        _ => drop(bytes.splice(1..1, *br#""description":"\ud83d\ude00\ud800","#)),
    }
}
