//! YAML as Helm reads it: the first document of a file, by the rules of Go's yaml.v2. The last of
//! several equal keys counts, and `<<` merges. serde_yaml isn't used for this, because it doesn't tell
//! whether a scalar was quoted. Pure; the cost of hostile input is bounded by [`MAX_NODES`] and
//! [`MAX_DEPTH`].

use super::scalar::Scalar;
use base64::Engine;
use libyaml_safer::{EventData, Parser};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Most nodes of a document, aliases and merged keys included: some 5 MB, and fifty times the largest
/// Chart.yaml in the wild.
const MAX_NODES: usize = 50_000;
/// Deepest nesting: lists and maps are read by recursion.
const MAX_DEPTH: usize = 250;
/// What the full names of YAML's own tags begin with.
const YAML_TAG: &str = "tag:yaml.org,2002:";

/// A value of a document. Aliases share it.
#[derive(Debug)]
pub(super) enum Node {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    Map(BTreeMap<String, Rc<Node>>),
}

/// The first document of `bytes`; that of an empty file is a null.
///
/// Errors with the reason when Helm would refuse it, and when it exceeds a bound.
pub(super) fn first_document(bytes: &[u8]) -> Result<Rc<Node>, String> {
    let utf8 = from_utf16(bytes);
    let mut events = Events {
        parser: Parser::new(),
        anchors: HashMap::new(),
        nodes_left: MAX_NODES,
    };
    events.parser.set_input(utf8.as_deref().unwrap_or(bytes));
    events.next()?;
    match events.next()? {
        EventData::DocumentStart {
            version_directive: Some(version),
            ..
        } if (version.major, version.minor) != (1, 1) => {
            Err(format!("YAML {}.{}", version.major, version.minor))
        }
        EventData::DocumentStart { .. } => {
            let first = events.next()?;
            let node = events.node(first, 0)?;
            // What follows is ignored, but the document's end has to parse.
            events.next()?;
            Ok(node)
        }
        _ => Ok(Rc::new(Node::Scalar(Scalar::Null))),
    }
}

/// A file that begins with the byte order mark of UTF-16, as editors on Windows write it, in UTF-8:
/// libyaml-safer 0.3 misreads UTF-16.
fn from_utf16(bytes: &[u8]) -> Option<Vec<u8>> {
    let unit = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let pairs = bytes[2..].chunks_exact(2);
    let units = pairs.map(|pair| unit([pair[0], pair[1]]));
    let text = char::decode_utf16(units).collect::<Result<String, _>>();
    text.ok().map(String::into_bytes)
}

struct Events<'a> {
    parser: Parser<&'a [u8]>,
    /// The node that an alias stands for; `None` until that node is complete.
    anchors: HashMap<String, Option<Rc<Node>>>,
    nodes_left: usize,
}

impl Events<'_> {
    fn next(&mut self) -> Result<EventData, String> {
        let event = self.parser.parse().map_err(|error| error.to_string())?;
        Ok(event.data)
    }

    fn spend(&mut self, nodes: usize) -> Result<(), String> {
        let left = self.nodes_left.checked_sub(nodes);
        self.nodes_left = left.ok_or_else(|| format!("holds over {MAX_NODES} values"))?;
        Ok(())
    }

    /// The node that `event` opens.
    fn node(&mut self, event: EventData, depth: usize) -> Result<Rc<Node>, String> {
        self.spend(1)?;
        if depth > MAX_DEPTH {
            return Err(format!("is nested more than {MAX_DEPTH} deep"));
        }
        let (anchor, node) = match event {
            EventData::Alias { anchor } => return self.aliased(&anchor),
            EventData::Scalar {
                anchor,
                tag,
                value,
                plain_implicit,
                ..
            } => {
                let scalar = scalar(tag.as_deref(), value, plain_implicit)?;
                (anchor, Node::Scalar(scalar))
            }
            EventData::SequenceStart { anchor, .. } => {
                self.open(&anchor);
                (anchor, self.list(depth)?)
            }
            EventData::MappingStart { anchor, .. } => {
                self.open(&anchor);
                (anchor, self.map(depth)?)
            }
            other => return Err(format!("has no value where {other:?} stands")),
        };
        let node = Rc::new(node);
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Some(node.clone()));
        }
        Ok(node)
    }

    fn aliased(&self, anchor: &str) -> Result<Rc<Node>, String> {
        match self.anchors.get(anchor) {
            Some(Some(node)) => Ok(node.clone()),
            Some(None) => Err(format!("anchor {anchor:?} contains itself")),
            None => Err(format!("anchor {anchor:?} is not defined")),
        }
    }

    fn open(&mut self, anchor: &Option<String>) {
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor.clone(), None);
        }
    }

    fn list(&mut self, depth: usize) -> Result<Node, String> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                EventData::SequenceEnd => return Ok(Node::List(list)),
                event => list.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, String> {
        let mut map = BTreeMap::new();
        loop {
            let event = match self.next()? {
                EventData::MappingEnd => return Ok(Node::Map(map)),
                event => event,
            };
            let merges = is_merge(&event);
            let key = self.node(event, depth + 1)?;
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if merges {
                self.merge(&value, &mut map)?;
                continue;
            }
            let key = match &*key {
                Node::Scalar(key) => key.key(),
                _ => None,
            };
            map.insert(key.ok_or("has a key that is no string")?, value);
        }
    }

    /// Merged keys replace those that precede them, as in yaml.v2, and of several maps the first wins.
    fn merge(&mut self, from: &Node, map: &mut BTreeMap<String, Rc<Node>>) -> Result<(), String> {
        match from {
            Node::Map(merged) => {
                self.spend(merged.len())?;
                map.extend(merged.clone());
                Ok(())
            }
            Node::List(maps) if maps.iter().all(|one| matches!(**one, Node::Map(_))) => {
                let mut maps = maps.iter().rev();
                maps.try_for_each(|one| self.merge(one, map))
            }
            _ => Err("merges what is no map".into()),
        }
    }
}

fn is_merge(event: &EventData) -> bool {
    match event {
        EventData::Scalar {
            tag,
            value,
            plain_implicit,
            ..
        } => value == "<<" && (*plain_implicit || yaml_tag(tag.as_deref()) == Some("merge")),
        _ => false,
    }
}

/// The name of one of YAML's own tags; other tags are ignored.
fn yaml_tag(tag: Option<&str>) -> Option<&str> {
    tag?.strip_prefix(YAML_TAG)
}

/// The meaning of a scalar by its tag, or without one (yaml.v2, resolve.go).
fn scalar(tag: Option<&str>, text: String, plain_implicit: bool) -> Result<Scalar, String> {
    if tag.is_none() && plain_implicit {
        return Ok(Scalar::of_plain(&text));
    }
    match (yaml_tag(tag), Scalar::of_plain(&text)) {
        (Some("int"), scalar @ Scalar::Integer(_))
        | (Some("float"), scalar @ (Scalar::Float(_) | Scalar::Integer(_)))
        | (Some("bool"), scalar @ Scalar::Flag(_))
        | (Some("null"), scalar @ Scalar::Null) => Ok(scalar),
        (Some(kind @ ("int" | "float" | "bool" | "null")), _) => {
            Err(format!("{text:?} is tagged !!{kind}"))
        }
        (Some("binary"), _) => {
            let bytes = base64::prelude::BASE64_STANDARD.decode(&text);
            let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            text.map(Scalar::Text).ok_or("!!binary is no text".into())
        }
        _ => Ok(Scalar::Text(text)),
    }
}
