//! From a request and the snapshot to an answer. An answer to a person is a sentence; a header
//! never holds bytes of the client's.

use super::chart_cache::Buffer;
use super::client::Client;
use super::downloads::Downloads;
use super::head::Head;
use super::route::{BadTarget, Route, route};
use super::slots::Slot;
use crate::representation::{self, Coding, Representation};
use crate::snapshot::{Current, NoPage, Snapshot};
use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use tiny_http::Method;

/// When to ask again while there's no index yet, in seconds: a first walk takes this order of time.
const RETRY_AFTER: &str = "2";
const NOT_READY: &str = "not ready: the first walk of the charts has not succeeded yet";
const TEXT: &str = "text/plain; charset=utf-8";
const YAML: &str = "application/x-yaml";
pub(super) const JSON: &str = "application/json";

/// What is sent back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, Cow<'static, str>)>,
    pub(super) body: Body,
}

/// The bytes behind a head. Their length is always known beforehand.
pub(super) enum Body {
    /// In memory.
    Bytes(Arc<Box<[u8]>>),
    /// A part of an archive in memory, or all of it.
    Part(Arc<Buffer>, Range<usize>),
    /// As they arrive; a read that fails means that the connection must be cut.
    Stream {
        source: Box<dyn Read + Send>,
        length: u64,
        name: String,
        slot: Slot,
    },
    /// Announced, but not sent: for `HEAD`.
    Withheld { length: u64 },
    /// Not even announced: for 304 (RFC 9110 §15.4.5). With a length, some clients wait for it.
    Absent,
}

impl Answer {
    /// A sentence for a person.
    pub(super) fn text(status: u16, text: impl AsRef<str>) -> Answer {
        Answer::line(status, TEXT, text.as_ref())
    }

    /// One line.
    pub(super) fn line(status: u16, content_type: &'static str, line: &str) -> Answer {
        let bytes = format!("{line}\n").into_bytes();
        Answer {
            status,
            headers: vec![("Content-Type", content_type.into())],
            body: Body::Bytes(Arc::new(bytes.into())),
        }
    }

    pub(super) fn with(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// With the advice to come again.
    pub(super) fn retry(self) -> Answer {
        self.with("Retry-After", RETRY_AFTER)
    }

    /// 304: the client has it already.
    pub(super) fn not_modified(etag: &str) -> Answer {
        Answer {
            status: 304,
            headers: Vec::new(),
            body: Body::Absent,
        }
        .with("ETag", etag.to_owned())
    }

    /// The head alone (RFC 9110 §9.3.2).
    fn withhold(mut self) -> Answer {
        let length = match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Part(_, part) => part.len() as u64,
            Body::Stream { length, .. } | Body::Withheld { length } => *length,
            Body::Absent => return self,
        };
        self.body = Body::Withheld { length };
        self
    }
}

/// Answers requests from what is there.
pub(super) struct Responder {
    pub(super) current: Arc<Current>,
    pub(super) downloads: Downloads,
}

impl Responder {
    /// The answer to one request.
    pub(super) fn answer(&self, head: &Head, client: Client) -> Answer {
        let answer = match route(&head.target) {
            Ok(route) => self.at(head, client, route),
            Err(BadTarget(why)) => Answer::text(400, why),
        };
        if head.method == Method::Head {
            answer.withhold()
        } else {
            answer
        }
    }

    fn at(&self, head: &Head, client: Client, route: Route) -> Answer {
        match (&head.method, &route) {
            (Method::Get | Method::Head, _) | (_, Route::Unknown) => self.get(head, client, route),
            (Method::NonStandard(_), _) => Answer::text(501, "the method is unknown here"),
            _ => {
                let advice = self.downloads.how_to_add();
                let text = format!("only GET and HEAD are answered; to add a chart, {advice}");
                Answer::text(405, text).with("Allow", "GET, HEAD")
            }
        }
    }

    fn get(&self, head: &Head, client: Client, route: Route) -> Answer {
        match route {
            Route::Home => self.home(head),
            Route::Live => Answer::text(200, "alive"),
            Route::Ready => match self.current.get() {
                Some(snapshot) => self.ready(&snapshot),
                None => self.not_ready_yet(),
            },
            Route::Index(base) => {
                self.of_fresh(|snapshot| index(snapshot.index_below(base.as_ref()), YAML, head))
            }
            Route::IndexJson(base) => self
                .of_fresh(|snapshot| index(snapshot.index_json_below(base.as_ref()), JSON, head)),
            Route::Api(api) => self.api(head, &api),
            Route::Archive(base, name) => self.archive(head, client, &base, &name),
            Route::Provenance(base, name) => self.provenance(head, client, &base, &name),
            Route::Unknown => Answer::text(
                404,
                "not found: there are /index.yaml and /charts/NAME-VERSION.tgz",
            ),
        }
    }

    /// With what was tried, and what may help.
    fn not_ready_yet(&self) -> Answer {
        match self.current.failing() {
            Some(failing) => Answer::text(503, format!("{NOT_READY}: {}", failing.why)).retry(),
            None => not_ready(),
        }
    }

    /// With since when the index can't be refreshed, if so, and why; it's served all the same.
    fn ready(&self, snapshot: &Snapshot) -> Answer {
        let failing = self.current.failing().map_or_else(String::new, |failing| {
            format!(
                "; refreshes have failed for {} s: {}",
                failing.since.elapsed().as_secs(),
                failing.why
            )
        });
        Answer::text(200, format!("ready: {}{failing}", snapshot.counts))
    }

    /// The answer that a fresh snapshot gives.
    pub(super) fn of_fresh(&self, answer: impl FnOnce(&Snapshot) -> Answer) -> Answer {
        self.current
            .fresh()
            .map_or_else(not_ready, |snapshot| answer(&snapshot))
    }

    /// What this is, and how to use it. The address is the one the person came by, if it's plain.
    fn home(&self, head: &Head) -> Answer {
        let plain = |host: &&str| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b))
        };
        let host = head.host.as_deref().filter(plain).unwrap_or("THIS-ADDRESS");
        let state = match self.current.get() {
            Some(snapshot) => snapshot.counts.to_string(),
            None => NOT_READY.to_owned(),
        };
        Answer::text(
            200,
            format!(
                "oci-chartrepo {}: the Helm charts of an OCI registry, as a classic chart repository.\n\n  \
                 helm repo add charts http://{host}\n  helm search repo charts\n\n{state}\nindex: /index.yaml",
                env!("CARGO_PKG_VERSION")
            ),
        )
    }
}

/// The index of what lies below a path, if anything does.
fn index(
    found: Result<Arc<Representation>, NoPage>,
    content_type: &'static str,
    head: &Head,
) -> Answer {
    match found {
        Ok(index) => represent(&index, content_type, head),
        Err(NoPage::NotListed(why)) => Answer::text(404, format!("not found: {why}")),
        Err(NoPage::Crowded) => crowded(),
    }
}

pub(super) fn crowded() -> Answer {
    Answer::text(503, "too many wait for answers that are still to be made").retry()
}

/// What is asked for, in the coding that is asked for. A cache may keep it, but must ask each time.
pub(super) fn represent(
    representation: &Representation,
    content_type: &'static str,
    head: &Head,
) -> Answer {
    let coded = representation.select(head.accept_encoding.as_deref());
    let answer = if is_known(head, &coded.etag) {
        Answer::not_modified(&coded.etag)
    } else {
        let headers = vec![
            ("Content-Type", content_type.into()),
            ("ETag", coded.etag.clone().into()),
        ];
        let answer = Answer {
            status: 200,
            headers,
            body: Body::Bytes(coded.bytes.clone()),
        };
        match coded.coding {
            Coding::Identity => answer,
            Coding::Gzip => answer.with("Content-Encoding", "gzip"),
        }
    };
    answer
        .with("Cache-Control", "no-cache")
        .with("Vary", "Accept-Encoding")
}

pub(super) fn is_known(head: &Head, etag: &str) -> bool {
    head.if_none_match
        .as_deref()
        .is_some_and(|tags| representation::matches(tags, etag))
}

pub(super) fn not_ready() -> Answer {
    Answer::text(503, NOT_READY).retry()
}
