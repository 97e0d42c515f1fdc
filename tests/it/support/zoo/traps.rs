//! Charts whose strings and names YAML 1.1 reads as booleans, numbers, dates or merges unless they are
//! quoted. Charts with characters that must be escaped for older helms are here too.

use serde_json::{Map, Value, json};

use super::specimen::{Specimen, chart};

pub fn specimens() -> Vec<Specimen> {
    [names(), values(), collections(), characters()]
        .into_iter()
        .flatten()
        .collect()
}

/// What one YAML 1.1 reader or another takes for something else than a string.
#[rustfmt::skip]
pub const WORDS: &[&str] = &[
    // Go's booleans, in every helm.
    "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF",
    "y", "Y", "n", "N",
    // Go's numbers: it strikes out every `_` first.
    "1_000", "1__0", "1_", "0_", "0_1", "0__1", "-_1", "1._1", "1_0.5", "1_000.5", "0x_1", "0x_f",
    "0b1_0", "0o1_7", "69_00E5", "95_20483", "+_0", ".7_7", "2e_6", "-75E-_9", "064_",
    // Others', PyYAML among them: octals, base sixty, dates, merges, the default value.
    "012", "0777", "12:30", "190:20:30", "12:30:45.5", "2021-01-01", "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59:43", "2026-11-23T20:00:00Z", "=", "<<", "+12:30", "-012",
];

/// Valid repository names and chart names, all of them.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "on", "off", "yes", "no", "y", "n", "true", "false", "null", "1_000", "1__0", "0_1", "012",
    "0777", "2021-01-01", "1e3", "0x1f", "0b1", "0o7", "1.5", "nan", "123", "0b1_0", "0x1_f",
];

fn names() -> Vec<Specimen> {
    let one = |name: &&str| chart(name, "1.0.0", json!({"description": "named to be misread"}));
    NAMES.iter().map(one).collect()
}

/// Every string field at once holds the same word, for the worst words, and as a version.
fn values() -> Vec<Specimen> {
    let everywhere = |word: &str| {
        json!({
            "description": word, "appVersion": word, "home": word, "icon": word, "tags": word,
            "condition": word, "sources": [word], "keywords": [word, word],
            "maintainers": [{"name": word, "email": word, "url": word}],
            "annotations": {"word": word},
            "dependencies": [{
                "name": "part", "version": "1.0.0", "repository": word, "condition": word,
                "tags": [word], "import-values": [word, {"child": word, "parent": word}],
            }],
        })
    };
    let words = [
        "yes",
        "n",
        "OFF",
        "1_000",
        "012",
        "12:30",
        "2021-01-01",
        "<<",
        "=",
        "0x_f",
    ];
    let numbered = words.iter().enumerate();
    let mut charts: Vec<_> = numbered
        .map(|(number, word)| chart(&format!("words-{number}"), "1.0.0", everywhere(word)))
        .collect();
    charts.extend(
        ["012", "2021-01-01", "0777.1"]
            .map(|version| chart("misread-version", version, json!({"appVersion": version}))),
    );
    charts
}

/// All the words at once: as a list, as a map's values, as a map's keys.
fn collections() -> Vec<Specimen> {
    let values = WORDS.iter().enumerate();
    let values: Map<_, _> = values
        .map(|(n, word)| (format!("word-{n}"), json!(word)))
        .collect();
    // helm's own YAML writer leaves the merge key plain, so that its own reader fails.
    let keys = WORDS.iter().filter(|word| **word != "<<");
    let keys: Map<_, _> = keys.map(|word| ((*word).to_owned(), json!("x"))).collect();
    let dated = json!({"annotations": {
        "org.opencontainers.image.created": "2020-02-03T04:05:06.789+02:00",
    }});
    let ordinary = json!({"annotations": {"a": "x", "b": "y"}});
    vec![
        chart("listed-words", "1.0.0", json!({"keywords": WORDS})),
        chart("annotated-words", "1.0.0", json!({"annotations": values})),
        chart("key-words", "1.0.0", json!({"annotations": keys})),
        chart("key-merge", "1.0.0", json!({"annotations": {"<<": "x"}})).tarred(),
        chart("dated-by-hand", "1.0.0", dated),
        chart("no-words", "1.0.0", ordinary),
    ]
}

/// Characters that older helms' YAML readers refuse or fold when JSON holds them as they are.
fn characters() -> Vec<Specimen> {
    let codes = (0x00..0x20)
        .chain(0x7f..0xa1)
        .chain([0xad, 0x2028, 0x2029, 0xfeff, 0xfffd]);
    let codes = codes.chain([0xfffe, 0xffff, 0xfdd0, 0xfdef, 0x1f600, 0x1fffe, 0x10ffff]);
    let characters: Vec<char> = codes.filter_map(char::from_u32).collect();
    let within = |character: &char| {
        let code = format!("u{:x}", u32::from(*character));
        (code, Value::from(format!("a{character}b {character} ")))
    };
    let values: Map<_, _> = characters.iter().map(within).collect();
    let keys: Map<_, _> = characters
        .iter()
        .map(|character| (format!("a{character}b"), Value::from("x")))
        .collect();
    let all: String = characters.iter().collect();
    vec![
        chart("characters", "1.0.0", json!({"annotations": values})).tarred(),
        chart("key-characters", "1.0.0", json!({"annotations": keys})).tarred(),
        chart("described-characters", "1.0.0", json!({"description": all})).tarred(),
    ]
}
