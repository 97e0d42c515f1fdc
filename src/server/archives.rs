//! Answers with a chart archive or its provenance file: known by the digest that the snapshot lists,
//! whole or in part, from wherever [`Downloads`](super::downloads::Downloads) has it. What the
//! snapshot doesn't list isn't served, be it in memory or not.

use super::chart_cache::Buffer;
use super::client::Client;
use super::downloads::{Refusal, Source, Wanted};
use super::head::Head;
use super::respond::{Answer, Body, Responder, is_known, not_ready};
use super::route::Base;
use crate::oci::Descriptor;
use crate::representation::{self, Part};
use crate::snapshot::Found;
use crate::storage::ErrorKind;
use std::sync::Arc;
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
    etag: String,
}

impl Responder {
    /// `NAME-VERSION.tgz`
    pub(super) fn archive(&self, head: &Head, client: Client, base: &Base, name: &str) -> Answer {
        self.of_chart(base, name, |chart| {
            self.file(
                head,
                client,
                &File::new(chart, &chart.layers.archive, name, "application/x-tar"),
            )
        })
    }

    /// `NAME-VERSION.tgz.prov`
    pub(super) fn provenance(
        &self,
        head: &Head,
        client: Client,
        base: &Base,
        archive_name: &str,
    ) -> Answer {
        self.of_chart(base, archive_name, |chart| match &chart.layers.provenance {
            None => Answer::text(404, "this chart version is not signed"),
            Some(blob) => {
                let name = format!("{archive_name}.prov");
                self.file(
                    head,
                    client,
                    &File::new(chart, blob, &name, "application/pgp-signature"),
                )
            }
        })
    }

    fn of_chart(
        &self,
        base: &Base,
        archive_name: &str,
        answer: impl FnOnce(&Found) -> Answer,
    ) -> Answer {
        match self.current.get() {
            None => not_ready(),
            Some(snapshot) => match snapshot.chart_below(base.as_ref(), archive_name) {
                None => Answer::text(404, "no such chart version here"),
                Some(chart) => answer(chart),
            },
        }
    }

    /// What the head says is in the snapshot: where that is all, the storage isn't asked.
    fn file(&self, head: &Head, client: Client, file: &File) -> Answer {
        if is_known(head, &file.etag) {
            return Answer::not_modified(&file.etag).with("Cache-Control", CACHE_CONTROL);
        }
        if head.method == Method::Head {
            return self.found(
                200,
                Body::Withheld {
                    length: file.blob.size,
                },
                file,
            );
        }
        let repository = &file.chart.repository;
        let wanted = Wanted {
            repository,
            blob: file.blob,
            file_name: file.name,
            client,
        };
        match self.downloads.obtain(&wanted) {
            Ok(Source::Memory(archive)) => self.part(head, archive, file),
            Ok(Source::Stream(source, slot)) => {
                let (length, name) = (file.blob.size, file.name.to_owned());
                self.found(
                    200,
                    Body::Stream {
                        source,
                        length,
                        name,
                        slot,
                    },
                    file,
                )
            }
            Err(refusal) => {
                // It's listed, so its tag may have moved.
                if let Refusal::Storage(ErrorKind::NotFound) = refusal {
                    self.current.doubt(file.chart);
                }
                refused(&refusal)
            }
        }
    }

    fn part(&self, head: &Head, archive: Arc<Buffer>, file: &File) -> Answer {
        let (range, if_range) = (head.range.as_deref(), head.if_range.as_deref());
        let length = archive.len();
        match representation::part(range, if_range, &file.etag, length) {
            Part::Whole => self.found(200, Body::Part(archive, 0..length), file),
            Part::Bytes(part) => {
                let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                self.found(206, Body::Part(archive, part), file)
                    .with("Content-Range", range)
            }
            Part::Unsatisfiable => {
                Answer::text(416, format!("the file has no more than {length} bytes"))
                    .with("Content-Range", format!("bytes */{length}"))
            }
        }
    }

    fn found(&self, status: u16, body: Body, file: &File) -> Answer {
        let answer = Answer {
            status,
            headers: vec![("Content-Type", file.content_type.into())],
            body,
        };
        let answer = answer
            .with("ETag", file.etag.clone())
            .with("Cache-Control", CACHE_CONTROL);
        match self.downloads.has_parts(file.blob) {
            true => answer.with("Accept-Ranges", "bytes"),
            false => answer,
        }
    }
}

impl<'a> File<'a> {
    fn new(
        chart: &'a Found,
        blob: &'a Descriptor,
        name: &'a str,
        content_type: &'static str,
    ) -> File<'a> {
        File {
            chart,
            blob,
            name,
            content_type,
            etag: representation::etag(&blob.digest),
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
        ErrorKind::NotFound => Answer::text(
            404,
            "this chart version is listed, but gone from where it was stored",
        ),
        ErrorKind::TimedOut => Answer::text(
            504,
            "the registry behind this chart repository did not answer in time",
        ),
        ErrorKind::Refused => Answer::text(
            502,
            "the registry behind this chart repository refused to hand it out",
        ),
        ErrorKind::Unavailable | ErrorKind::Paused => Answer::text(
            502,
            "the registry behind this chart repository can't be reached or fails",
        ),
        ErrorKind::Invalid => Answer::text(
            502,
            "the registry behind this chart repository gave an answer that makes no sense",
        ),
    }
}
