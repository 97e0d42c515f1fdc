//! Block-style YAML in which every string is double-quoted, made from JSON as it passes.
//!
//! Helm reads an index with Go's YAML, other clients with PyYAML, Ruby's Psych, SnakeYAML or js-yaml.
//! Some of them read a plain `yes` as a boolean, `1_000` as a number, `12:30` as 750, `2021-01-01` as a
//! date and `<<` as a merge key, and one such value makes every Helm refuse the whole index. All of them
//! read a double-quoted string as a string, and the escapes of [`json`](super::json) mean the same in
//! YAML. So scalars are copied as they are, and only the brackets become lines. Nothing here may decide
//! by what a string looks like. (One exception is left: Psych merges a quoted `<<` too when its value is
//! a list or a map. No chart that is listed has that name, and no other key has such values.)

use super::json;
use std::io::{self, Write};

/// What an item is indented by.
const BLANKS: [u8; 16] = [b' '; 16];
/// The field names of an index. No YAML reader takes one of them for anything but a string, so they
/// stand without quotes; every other key has them.
#[rustfmt::skip]
const FIELDS: [&str; 28] = [
    "alias", "annotations", "apiVersion", "appVersion", "condition", "created", "dependencies", "deprecated",
    "description", "digest", "email", "enabled", "entries", "generated", "home", "icon", "import-values",
    "keywords", "kubeVersion", "maintainers", "name", "repository", "sources", "tags", "type", "url", "urls",
    "version",
];

/// Turns JSON into YAML.
pub(super) struct BlockYaml<'o> {
    out: &'o mut dyn Write,
    /// The lists and maps that are open, outermost first.
    open: Vec<Block>,
    /// Whether the innermost of them has no item yet.
    is_empty: bool,
    /// Whether a key was written last.
    after_key: bool,
}

/// A list or a map.
struct Block {
    is_list: bool,
    /// How many blanks stand before each of its items.
    indent: usize,
    /// Whether it is the value of a key: then its first item starts a line, else it continues one.
    has_key: bool,
}

impl<'o> BlockYaml<'o> {
    /// Writes to `out`, which is buffered.
    pub(super) fn new(out: &'o mut dyn Write) -> BlockYaml<'o> {
        BlockYaml {
            out,
            open: Vec::new(),
            is_empty: false,
            after_key: false,
        }
    }

    /// Takes the next piece of one JSON document: whole tokens, without white space between them.
    pub(super) fn push(&mut self, json: &str) -> io::Result<()> {
        let mut rest = json;
        while let Some(first) = rest.bytes().next() {
            let (token, after) = rest.split_at(token_length(rest, first));
            match first {
                b'{' | b'[' => self.open(first == b'[')?,
                b'}' | b']' => self.close()?,
                b':' => self.after_key = true,
                b',' => {}
                _ => self.scalar(token)?,
            }
            rest = after;
        }
        Ok(())
    }

    /// Ends the document.
    pub(super) fn finish(self) -> io::Result<()> {
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    fn open(&mut self, is_list: bool) -> io::Result<()> {
        let has_key = self.start_item()?;
        let indent = match self.open.last() {
            None => 0,
            // A list stands below its key, not to the right of it, as Helm writes it.
            Some(parent) if is_list && has_key => parent.indent,
            Some(parent) => parent.indent + 2,
        };
        self.open.push(Block {
            is_list,
            indent,
            has_key,
        });
        self.is_empty = true;
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(block) = self.open.pop() else {
            return Ok(());
        };
        match (std::mem::take(&mut self.is_empty), block.has_key) {
            (true, true) => self.out.write_all(b" ")?,
            (true, false) => {}
            (false, _) => return Ok(()),
        }
        let empty: &[u8] = if block.is_list { b"[]" } else { b"{}" };
        self.out.write_all(empty)
    }

    fn scalar(&mut self, token: &str) -> io::Result<()> {
        let bare = token.trim_matches('"');
        if self.start_item()? {
            self.out.write_all(b" ")?;
            json::write(self.out, token)
        } else if self.open.last().is_some_and(|block| !block.is_list) {
            let is_field = FIELDS.binary_search(&bare).is_ok();
            json::write(self.out, if is_field { bare } else { token })?;
            self.out.write_all(b":")
        } else {
            json::write(self.out, token)
        }
    }

    /// Begins an item of the innermost block, unless the value of a key follows, which it tells.
    fn start_item(&mut self) -> io::Result<bool> {
        if std::mem::take(&mut self.after_key) {
            return Ok(true);
        }
        let is_first = std::mem::take(&mut self.is_empty);
        if let Some(block) = self.open.last() {
            if block.has_key || !is_first {
                self.out.write_all(b"\n")?;
                let mut left = block.indent;
                while left > 0 {
                    let count = left.min(BLANKS.len());
                    self.out.write_all(&BLANKS[..count])?;
                    left -= count;
                }
            }
            self.out
                .write_all(if block.is_list { b"- " } else { b"" })?;
        }
        Ok(false)
    }
}

/// How many bytes an entry of an index takes as YAML whose JSON is `json`.
pub(super) fn entry_length(json: &str) -> usize {
    let mut length = Length(0);
    let mut yaml = BlockYaml::new(&mut length);
    let pieces = [r#"{"entries":{"":["#, json, "]}}"];
    let written = pieces.iter().try_for_each(|piece| yaml.push(piece));
    written.expect("counting can't fail");
    length.0
}

/// Counts what is written to it.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The length of the token that `json` begins with, whose first byte is `first`.
fn token_length(json: &str, first: u8) -> usize {
    let mut escaped = false;
    let ends_string = |byte: u8| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    };
    let rest = || json.bytes().skip(1);
    match first {
        b'{' | b'}' | b'[' | b']' | b':' | b',' => 1,
        b'"' => rest().position(ends_string).map_or(json.len(), |at| at + 2),
        _ => {
            let ends_word = |byte| matches!(byte, b',' | b'}' | b']');
            rest().position(ends_word).map_or(json.len(), |at| at + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml_of(json: &str) -> String {
        let mut text = Vec::new();
        let mut yaml = BlockYaml::new(&mut text);
        yaml.push(json).unwrap();
        yaml.finish().unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn lists_and_maps_become_blocks() {
        let json = r#"{"apiVersion":"v1","deprecated":true,"dependencies":[{"name":"a","import-values":["v",{"child":"c","b":"d"}],"tags":[]},{}],"annotations":{"on":"y"}}"#;
        let yaml = r#"apiVersion: "v1"
deprecated: true
dependencies:
- name: "a"
  import-values:
  - "v"
  - "child": "c"
    "b": "d"
  tags: []
- {}
annotations:
  "on": "y"
"#;
        assert_eq!(yaml_of(json), yaml);
    }

    #[test]
    fn empty_and_nested_blocks_stay_what_they_are() {
        for (json, yaml) in [
            ("{}", "{}\n"),
            ("[]", "[]\n"),
            (
                r#"{"a":{},"b":[[],[1,2]]}"#,
                "\"a\": {}\n\"b\":\n- []\n- - 1\n  - 2\n",
            ),
            (
                r#"[[{"a":[{"b":{"c":1}}]}]]"#,
                "- - \"a\":\n    - \"b\":\n        \"c\": 1\n",
            ),
        ] {
            assert_eq!(yaml_of(json), yaml);
            let read: serde_json::Value = serde_yaml::from_str(yaml).unwrap();
            assert_eq!(read.to_string(), json);
        }
    }

    #[test]
    fn strings_are_copied_whatever_they_hold() {
        let texts = [
            "",
            "yes",
            "a: b",
            "[{,}]",
            "\"",
            "\\",
            "\\\"",
            "a\"b\\",
            " # ",
            "\n\t",
            "é\u{1f600}",
        ];
        for text in texts {
            let json = super::super::json::to_string(&text);
            let yaml = yaml_of(&format!("{{{json}:[{json}]}}"));
            assert_eq!(yaml, format!("{json}:\n- {json}\n"));
        }
    }

    #[test]
    fn pieces_give_the_same_text_as_the_whole() {
        let mut text = Vec::new();
        let mut yaml = BlockYaml::new(&mut text);
        for piece in [
            "{",
            "\"a\"",
            ":",
            "[",
            "",
            r#"{"b":1"#,
            "}",
            ",",
            "2",
            "]",
            "}",
        ] {
            yaml.push(piece).unwrap();
        }
        yaml.finish().unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            yaml_of(r#"{"a":[{"b":1},2]}"#)
        );
    }

    #[test]
    fn field_names_are_sorted_for_the_search() {
        assert!(FIELDS.is_sorted());
    }

    #[test]
    fn only_keys_of_content_are_quoted() {
        let config = r#"{"apiVersion":"v2","name":"web","version":"1.0.0","appVersion":"1","description":"d","type":"library",
            "deprecated":true,"kubeVersion":">= 1","home":"h","icon":"i","sources":["s"],"keywords":["k"],
            "maintainers":[{"name":"n","email":"e","url":"u"}],"annotations":{"quoted":"b"},"condition":"c","tags":"t",
            "dependencies":[{"name":"d","version":"1","repository":"r","condition":"c","tags":["t"],"enabled":true,
                "import-values":[{"quoted":"c"}],"alias":"x"}]}"#;
        let metadata = crate::helm::PackedMetadata::parse(config.as_bytes()).unwrap();
        let yaml = yaml_of(&metadata.json());
        let keys = yaml.lines().filter_map(|line| line.split_once(": "));
        let quoted: Vec<_> = keys.filter(|(key, _)| key.ends_with('"')).collect();
        assert_eq!(
            quoted,
            [("  \"quoted\"", "\"b\""), ("  - \"quoted\"", "\"c\"")]
        );
    }
}
