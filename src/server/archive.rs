//! Responses with a chart archive or its provenance file: found by the digest that the snapshot
//! lists, whole or in part. A file that the snapshot doesn't list is not served, even from memory.

use super::client::Connection;
use super::downloads::{Refusal, Wanted};
use super::request::Request;
use super::respond::{Responder, not_ready};
use super::response::{Response, ResponseBody};
use super::route::{Base, FileKind};
use crate::inventory::StoredChart;
use crate::oci::Blob;
use crate::representation::{self, Part};
use crate::storage::ErrorKind;
use std::ops::Range;
use tiny_http::Method;

/// How long a cache may hand out an archive without asking (RFC 9111 §5.2.2.1). Its bytes never change
/// under its ETag, but a version that is pushed again changes them under its URL, beside an index with
/// the new digest, under which Helm 4 would keep the old bytes forever. So it's a minute and not a
/// year; within it, `immutable` (RFC 8246) saves asking even when a page is reloaded. Not `public`:
/// that would let shared caches hand out what an ingress asked a password for.
const CACHE_CONTROL: &str = "max-age=60, immutable";

/// One of a chart's files.
struct ChartFile<'a> {
    chart: &'a StoredChart,
    blob: &'a Blob,
    name: String,
    content_type: &'static str,
    etag: String,
}

impl Responder {
    /// The response with a file of the chart whose archive has this name.
    pub(super) fn chart_file(
        &self,
        request: &Request,
        connection: &Connection,
        base: &Base,
        (kind, archive_name): (FileKind, String),
    ) -> Response {
        let Some(snapshot) = self.current.get() else {
            return not_ready();
        };
        let Some(chart) = snapshot.chart_below(base.as_ref(), &archive_name) else {
            return Response::text(404, "no such chart version here");
        };
        let layers = &chart.layers;
        let (blob, name, content_type) = match (kind, layers.provenance.as_deref()) {
            (FileKind::Archive, _) => (&layers.archive, archive_name, "application/x-tar"),
            (FileKind::Provenance, Some(blob)) => {
                let name = format!("{archive_name}.prov");
                (blob, name, "application/pgp-signature")
            }
            (FileKind::Provenance, None) => {
                return Response::text(404, "this chart version is not signed");
            }
        };
        let file = ChartFile {
            chart,
            blob,
            name,
            content_type,
            etag: representation::etag(&blob.digest),
        };
        self.file(request, connection, &file)
    }

    /// The head comes from the snapshot alone: where it's all that is wanted, nothing is downloaded.
    fn file(&self, request: &Request, connection: &Connection, file: &ChartFile) -> Response {
        if request.knows(&file.etag) {
            return Response::not_modified(&file.etag).with("Cache-Control", CACHE_CONTROL);
        }
        if request.method == Method::Head {
            return self.found(200, ResponseBody::Withheld(file.blob.size), file);
        }
        let wanted = Wanted {
            repository: &file.chart.repository,
            blob: file.blob,
            file_name: &file.name,
            connection,
        };
        let (part, size) = self.part(request, file);
        let body = match &part {
            Part::Unsatisfiable => return unsatisfiable(size),
            Part::Bytes(part) if part.len() < size && !self.downloads.is_kept(file.blob) => {
                self.downloads.stream_part(&wanted, part.clone())
            }
            _ => self.downloads.obtain(&wanted),
        };
        match (body, part) {
            (Ok(ResponseBody::Archive(archive, _)), Part::Bytes(part)) => {
                let body = ResponseBody::Archive(archive, part.clone());
                self.found_part(body, part, size, file)
            }
            (Ok(body), Part::Bytes(part)) if body.length() == Some(part.len() as u64) => {
                self.found_part(body, part, size, file)
            }
            (Ok(body), _) => self.found(200, body, file),
            (Err(refusal), _) => {
                // It's listed, so its tag may have moved.
                if let Refusal::Storage(ErrorKind::NotFound) = refusal {
                    self.current.recheck(file.chart);
                }
                refusal.response()
            }
        }
    }

    /// The part that is asked for, and the size of the whole.
    fn part(&self, request: &Request, file: &ChartFile) -> (Part, usize) {
        let size = usize::try_from(file.blob.size).unwrap_or(usize::MAX);
        let headers = &request.headers;
        let (range, if_range) = (headers.range.as_deref(), headers.if_range.as_deref());
        let part = representation::part(range, if_range, &file.etag, size);
        (part, size)
    }

    fn found_part(
        &self,
        body: ResponseBody,
        part: Range<usize>,
        size: usize,
        file: &ChartFile,
    ) -> Response {
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        self.found(206, body, file).with("Content-Range", range)
    }

    fn found(&self, status: u16, body: ResponseBody, file: &ChartFile) -> Response {
        Response::new(status, body)
            .with("Content-Type", file.content_type)
            .with("ETag", file.etag.clone())
            .with("Cache-Control", CACHE_CONTROL)
            .with("Accept-Ranges", "bytes")
    }
}

fn unsatisfiable(size: usize) -> Response {
    Response::text(416, format!("the file has no more than {size} bytes"))
        .with("Content-Range", format!("bytes */{size}"))
}
