//! How others read an index: helm through its own reader and writer, Python through PyYAML. Both
//! answer JSON, which can be compared.

use std::path::Path;

use serde_json::Value;

use super::helm::{Helm, argument};
use super::process::{Scratch, run_ok};
use super::tools::python_path;

/// Refuses what JSON would hide: a key that is no string, and a value of a type that JSON does not
/// have, such as a date.
const PYTHON: &str = r#"
import json, sys, yaml
def strict(value):
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str: raise TypeError(f"the key {key!r} is no string")
        return {key: strict(one) for key, one in value.items()}
    if isinstance(value, list): return [strict(one) for one in value]
    if value is None or type(value) in (str, bool): return value
    raise TypeError(f"{value!r} is a {type(value).__name__}")
print(json.dumps(strict(yaml.safe_load(open(sys.argv[1], "rb")))))
"#;

/// An index as PyYAML reads it, in the order it was written. An index holds only strings and
/// booleans, so a value of another type is a misreading and fails.
pub fn by_pyyaml(index: &[u8]) -> Value {
    let scratch = Scratch::new("pyyaml");
    let file = scratch.file("index.yaml", index);
    let packages = python_path();
    let environment = [("PYTHONPATH", argument(&packages))];
    let json = run_ok(
        Path::new("python3"),
        &["-c", PYTHON, argument(&file)],
        &environment,
    );
    serde_json::from_str(&json).expect("python3 writes JSON")
}

/// An index as helm reads it: merged into that of an empty directory, and written as JSON. The
/// merge takes `1.2` for any `1.2.3` already there and forgets build metadata: see the caller.
pub fn by_helm(helm: &Helm, index: &[u8]) -> Value {
    let scratch = Scratch::new("merge");
    let file = scratch.file("read.yaml", index);
    let empty = scratch.join("empty");
    std::fs::create_dir(&empty).expect("mkdir");
    helm.run(&[
        "repo",
        "index",
        argument(&empty),
        "--merge",
        argument(&file),
        "--json",
    ]);
    written_index(&empty)
}

/// What helm itself says of a directory of archives.
pub fn index_of(helm: &Helm, archives: &Path) -> Value {
    let scratch = Scratch::new("gold");
    for archive in std::fs::read_dir(archives).expect("the archives") {
        let archive = archive.expect("an archive");
        std::fs::copy(archive.path(), scratch.path().join(archive.file_name())).expect("copy");
    }
    helm.run(&[
        "repo",
        "index",
        argument(scratch.path()),
        "--url",
        "charts",
        "--json",
    ]);
    written_index(scratch.path())
}

fn written_index(directory: &Path) -> Value {
    let bytes = std::fs::read(directory.join("index.yaml")).expect("helm wrote an index");
    serde_json::from_slice(&bytes).expect("helm writes JSON when told to")
}
