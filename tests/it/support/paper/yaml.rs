//! From YAML to JSON's values, strictly: one document, no key twice, no anchors, aliases or tags,
//! no merge keys, and no number, for an index has none.

use libyaml_safer::{Event, EventData, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::scalars::Meaning;

/// The rules that say what a plain scalar means.
type Resolver = fn(&str) -> Meaning;

/// Reads `bytes` by `resolver`.
pub fn load(bytes: &[u8], resolver: Resolver) -> Result<Value, String> {
    let mut events = Events {
        parser: Parser::new(),
        resolver,
        path: Vec::new(),
    };
    events.parser.set_input(bytes);
    let start = [events.next()?, events.next()?];
    if !matches!(
        start,
        [
            EventData::StreamStart { .. },
            EventData::DocumentStart { .. }
        ]
    ) {
        return Err("there is no document".into());
    }
    let first = events.next()?;
    let value = events.value(first)?;
    match [events.next()?, events.next()?] {
        [EventData::DocumentEnd { .. }, EventData::StreamEnd] => Ok(value),
        [_, other] => Err(format!("after the document: {other:?}")),
    }
}

struct Events<'a> {
    parser: Parser<&'a [u8]>,
    resolver: Resolver,
    /// The keys that lead to where we are; a list's place in it counts as an empty one.
    path: Vec<String>,
}

impl Events<'_> {
    fn next(&mut self) -> Result<EventData, String> {
        let event: Event = self
            .parser
            .parse()
            .map_err(|error| format!("not YAML: {error}"))?;
        Ok(event.data)
    }

    /// The value that `event` opens.
    fn value(&mut self, event: EventData) -> Result<Value, String> {
        match event {
            EventData::Scalar {
                anchor: None,
                tag: None,
                value,
                style,
                ..
            } => self.scalar(value, style),
            EventData::SequenceStart {
                anchor: None,
                tag: None,
                ..
            } => self.list(),
            EventData::MappingStart {
                anchor: None,
                tag: None,
                ..
            } => self.map(),
            other => Err(format!("{:?}: an index has no {other:?}", self.path)),
        }
    }

    fn list(&mut self) -> Result<Value, String> {
        let mut list = Vec::new();
        self.path.push(String::new());
        loop {
            match self.next()? {
                EventData::SequenceEnd => break,
                event => list.push(self.value(event)?),
            }
        }
        self.path.pop();
        Ok(Value::Array(list))
    }

    fn map(&mut self) -> Result<Value, String> {
        let mut map = Map::new();
        loop {
            let event = match self.next()? {
                EventData::MappingEnd => return Ok(Value::Object(map)),
                event => event,
            };
            let Value::String(key) = self.value(event)? else {
                return Err(format!("{:?}: a key is no string", self.path));
            };
            self.path.push(key);
            let event = self.next()?;
            let value = self.value(event)?;
            let key = self.path.pop().unwrap_or_default();
            if map.insert(key.clone(), value).is_some() {
                return Err(format!("{:?}: the key {key:?} is there twice", self.path));
            }
        }
    }

    fn scalar(&self, text: String, style: ScalarStyle) -> Result<Value, String> {
        let meaning = if style == ScalarStyle::Plain {
            (self.resolver)(&text)
        } else {
            Meaning::Text
        };
        match meaning {
            Meaning::Text => Ok(Value::String(text)),
            Meaning::Null => Ok(Value::Null),
            Meaning::True => Ok(true.into()),
            Meaning::False => Ok(false.into()),
            Meaning::Number | Meaning::Timestamp | Meaning::Merge => {
                Err(format!("{:?}: {text:?} is read as {meaning:?}", self.path))
            }
        }
    }
}
