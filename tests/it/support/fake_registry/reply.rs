//! One answer: what it says, and how it will be brought to the client.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

#[derive(Clone, Default)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Arc<Vec<u8>>,
    pub(super) delivery: Delivery,
}

/// The ways an answer can go wrong after it was decided.
#[derive(Clone, Default)]
pub(super) struct Delivery {
    pub wait: Duration,
    pub reset: bool,
    pub cut_after: Option<usize>,
    pub drip: Option<(usize, Duration)>,
    pub chunked: bool,
    /// No `Content-Length`: the body ends when the connection does.
    pub no_length: bool,
}

impl Reply {
    pub fn new(status: u16) -> Reply {
        Reply {
            status,
            ..Reply::default()
        }
    }

    pub fn json(status: u16, body: &Value) -> Reply {
        Reply::new(status)
            .header("Content-Type", "application/json; charset=utf-8")
            .body(format!("{body}\n"))
    }

    /// An error as the distribution spec words it (v1.1, "Error Codes").
    pub fn error(status: u16, code: &str, message: &str) -> Reply {
        let error = json!({ "code": code, "message": message });
        Reply::json(status, &json!({ "errors": [error] }))
    }

    pub fn redirect(status: u16, location: &str) -> Reply {
        Reply::new(status).header("Location", location)
    }

    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Reply {
        self.body = Arc::new(body.into());
        self
    }

    pub(super) fn shared_body(mut self, body: &Arc<Vec<u8>>) -> Reply {
        self.body = Arc::clone(body);
        self
    }

    /// The header that tells where the body ends; `None`: with the connection.
    pub(super) fn framing(&self) -> Option<String> {
        let own_length = self
            .headers
            .iter()
            .any(|(name, _)| name == "Content-Length");
        match &self.delivery {
            Delivery { chunked: true, .. } => Some("Transfer-Encoding: chunked\r\n".to_owned()),
            _ if own_length => Some(String::new()),
            Delivery {
                no_length: true, ..
            } => None,
            _ => Some(format!("Content-Length: {}\r\n", self.body.len())),
        }
    }

    pub(super) fn without_header(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.delivery.no_length |= name.eq_ignore_ascii_case("Content-Length");
    }
}
