//! Answers with a chart archive or its provenance file: known by the digest that the snapshot lists,
//! whole or in part, from wherever [`Downloads`](super::downloads::Downloads) has it. What the
//! snapshot doesn't list isn't served, be it in memory or not.

use super::downloads::{Refusal, Source, Wanted};
use super::head::Head;
use super::respond::{Answer, Body, Responder, is_known, not_ready};
use crate::oci::Descriptor;
use crate::representation::{self, Part};
use crate::snapshot::Found;
use crate::storage::ErrorKind;
use std::net::IpAddr;
use tiny_http::Method;

/// How long a cache may hand out an archive without asking (RFC 9111 §5.2.2.1). Its bytes never change
/// under its ETag, but a version that is pushed again changes them under its URL, beside an index with
/// the new digest, under which Helm 4 would keep the old bytes for good. So it's a minute and not a
/// year; within it, `immutable` (RFC 8246) saves asking even when a page is reloaded. Not `public`:
/// that would let shared caches hand out what an ingress asked a password for.
const CACHE_CONTROL: &str = "max-age=60, immutable";

/// One of a chart's files.
struct File<'a> {
    chart: &'a Found,
    blob: &'a Descriptor,
    name: &'a str,
    content_type: &'static str,
}

impl Responder {
    /// `NAME-VERSION.tgz`
    pub(super) fn archive(&self, head: &Head, peer: IpAddr, name: &str) -> Answer {
        self.of_chart(name, |chart| {
            let blob = &chart.layers.archive;
            self.file(head, peer, &File { chart, blob, name, content_type: "application/x-tar" })
        })
    }

    /// `NAME-VERSION.tgz.prov`
    pub(super) fn provenance(&self, head: &Head, peer: IpAddr, archive_name: &str) -> Answer {
        self.of_chart(archive_name, |chart| {
            let Some(blob) = &chart.layers.provenance else {
                return Answer::text(404, "this chart version is not signed");
            };
            let name = &format!("{archive_name}.prov");
            self.file(head, peer, &File { chart, blob, name, content_type: "application/pgp-signature" })
        })
    }

    fn of_chart(&self, archive_name: &str, answer: impl FnOnce(&Found) -> Answer) -> Answer {
        match self.current.get() {
            None => not_ready(),
            Some(snapshot) => match snapshot.chart(archive_name) {
                None => Answer::text(404, "no such chart version here"),
                Some(chart) => answer(chart),
            },
        }
    }

    /// The head is in the snapshot: for it alone, the storage isn't asked.
    fn file(&self, head: &Head, peer: IpAddr, file: &File) -> Answer {
        let etag = representation::etag(&file.blob.digest);
        let answer = if is_known(head, &etag) {
            Answer::not_modified(&etag)
        } else if head.method == Method::Head {
            self.found(200, Body::Withheld { length: file.blob.size }, file).with("ETag", etag)
        } else {
            match self.bytes(head, peer, file, &etag) {
                Ok(answer) => answer.with("ETag", etag),
                Err(refusal) => {
                    // It's listed, so its tag may have moved.
                    if let Refusal::Storage(ErrorKind::NotFound) = refusal {
                        self.current.doubt(&file.chart.repository);
                    }
                    return refused(&refusal);
                }
            }
        };
        answer.with("Cache-Control", CACHE_CONTROL)
    }

    fn bytes(&self, head: &Head, peer: IpAddr, file: &File, etag: &str) -> Result<Answer, Refusal> {
        let File { chart, blob, name, .. } = *file;
        let wanted = Wanted { repository: &chart.repository, blob, file_name: name, peer };
        let archive = match self.downloads.obtain(&wanted)? {
            Source::Memory(archive) => archive,
            Source::Stream(source, slot) => {
                let body = Body::Stream { source, length: blob.size, name: name.to_owned(), slot };
                return Ok(self.found(200, body, file));
            }
        };
        let length = archive.len();
        Ok(match representation::part(head.range.as_deref(), head.if_range.as_deref(), etag, length) {
            Part::Whole => self.found(200, Body::Part(archive, 0..length), file),
            Part::Bytes(part) => {
                let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                self.found(206, Body::Part(archive, part), file).with("Content-Range", range)
            }
            Part::Unsatisfiable => Answer::text(416, format!("the file has no more than {length} bytes"))
                .with("Content-Range", format!("bytes */{length}")),
        })
    }

    fn found(&self, status: u16, body: Body, file: &File) -> Answer {
        let headers = vec![("Content-Type", file.content_type.into())];
        let answer = Answer { status, headers, body };
        match self.downloads.has_parts(file.blob) {
            true => answer.with("Accept-Ranges", "bytes"),
            false => answer,
        }
    }
}

/// The registry's failure in our words; its own text went to the log, not to a client who may not be
/// meant to know where the charts come from.
fn refused(refusal: &Refusal) -> Answer {
    let kind = match refusal {
        Refusal::Crowded => return Answer::text(503, "too many downloads at once").retry(),
        Refusal::Storage(kind) => kind,
    };
    match kind {
        ErrorKind::NotFound => {
            Answer::text(404, "this chart version is listed, but gone from where it was stored")
        }
        ErrorKind::TimedOut => {
            Answer::text(504, "the registry behind this chart repository did not answer in time")
        }
        ErrorKind::Refused => {
            Answer::text(502, "the registry behind this chart repository refused to hand it out")
        }
        ErrorKind::Unavailable => {
            Answer::text(502, "the registry behind this chart repository can't be reached or fails")
        }
        ErrorKind::Invalid => {
            Answer::text(502, "the registry behind this chart repository gave an answer that makes no sense")
        }
    }
}
