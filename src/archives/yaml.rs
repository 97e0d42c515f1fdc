//! YAML as Helm reads it: the first document of a file, by the rules of Go's yaml.v2. A key that
//! stands twice counts as it stands last, `<<` merges, and what a plain scalar means is
//! [`scalar`](super::scalar)'s part. serde_yaml isn't used for this because it doesn't tell whether
//! a scalar was quoted. Pure; what hostile input costs is bounded by [`MAX_NODES`] and [`MAX_DEPTH`].

use super::scalar::{resolve, spell, spell_key};
use base64::Engine;
use libyaml_safer::{Event, EventData, Parser};
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
    Null,
    Flag(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Rc<Node>>),
    Map(BTreeMap<String, Rc<Node>>),
}

impl Node {
    /// A scalar as Helm writes it where a string is wanted.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Node::Flag(flag) => Some(flag.to_string()),
            Node::Integer(value) => Some(value.to_string()),
            Node::Float(value) => Some(spell(*value)),
            Node::Text(text) => Some(text.clone()),
            Node::Null | Node::List(_) | Node::Map(_) => None,
        }
    }

    fn key(&self) -> Option<String> {
        match self {
            Node::Float(value) => Some(spell_key(*value)),
            other => other.text(),
        }
    }
}

/// The first document of `bytes`; an empty file holds a null.
///
/// Errors with the reason when Helm wouldn't read it, or when it's beyond a bound of ours.
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
            // What follows the document isn't read, but it has to be whole.
            events.next()?;
            Ok(node)
        }
        _ => Ok(Rc::new(Node::Null)),
    }
}

/// What a byte order mark says is UTF-16, as editors on Windows write it, in UTF-8.
fn from_utf16(bytes: &[u8]) -> Option<Vec<u8>> {
    let unit = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let units = bytes[2..]
        .chunks_exact(2)
        .map(|pair| unit([pair[0], pair[1]]));
    let text = char::decode_utf16(units).collect::<Result<String, _>>();
    text.ok().map(String::into_bytes)
}

struct Events<'a> {
    parser: Parser<&'a [u8]>,
    /// What an alias stands for; nothing as long as the node that bears the anchor isn't complete.
    anchors: HashMap<String, Option<Rc<Node>>>,
    nodes_left: usize,
}

impl Events<'_> {
    fn next(&mut self) -> Result<EventData, String> {
        let event: Event = self.parser.parse().map_err(|error| error.to_string())?;
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
            } => (anchor, scalar(tag.as_deref(), value, plain_implicit)?),
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
            let key = key.key().ok_or("has a key that is no string")?;
            map.insert(key, value);
        }
    }

    /// Merged keys take the place of those that stand before them, as in yaml.v2, and of several
    /// maps the first counts.
    fn merge(&mut self, from: &Node, map: &mut BTreeMap<String, Rc<Node>>) -> Result<(), String> {
        match from {
            Node::Map(merged) => {
                self.spend(merged.len())?;
                map.extend(
                    merged
                        .iter()
                        .map(|(key, value)| (key.clone(), value.clone())),
                );
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
    let EventData::Scalar {
        tag,
        value,
        plain_implicit,
        ..
    } = event
    else {
        return false;
    };
    let tagged = tag.as_deref().and_then(|tag| tag.strip_prefix(YAML_TAG)) == Some("merge");
    value == "<<" && (*plain_implicit || tagged)
}

/// What a scalar means by its tag, or without one (yaml.v2, resolve.go). Tags of others say nothing.
fn scalar(tag: Option<&str>, text: String, plain_implicit: bool) -> Result<Node, String> {
    let kind = match tag {
        None if plain_implicit => return Ok(resolve(&text)),
        tag => tag.and_then(|tag| tag.strip_prefix(YAML_TAG)),
    };
    match (kind, resolve(&text)) {
        (Some("int"), node @ Node::Integer(_))
        | (Some("float"), node @ (Node::Float(_) | Node::Integer(_)))
        | (Some("bool"), node @ Node::Flag(_))
        | (Some("null"), node @ Node::Null) => Ok(node),
        (Some(kind @ ("int" | "float" | "bool" | "null")), _) => {
            Err(format!("{text:?} is tagged !!{kind}"))
        }
        (Some("binary"), _) => {
            let bytes = base64::prelude::BASE64_STANDARD.decode(&text);
            let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            text.map(Node::Text).ok_or("!!binary is no text".into())
        }
        _ => Ok(Node::Text(text)),
    }
}
