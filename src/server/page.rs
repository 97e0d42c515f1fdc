//! From a page of a snapshot to a response: in the coding that the request asks for, and not at all if the
//! client has it already.

use super::flight::Page;
use super::request::Request;
use super::response::{Response, ResponseBody};
use crate::representation::{Coded, Coding, Representation};
use crate::snapshot::{PageError, Snapshot};
use std::net::IpAddr;
use std::sync::Arc;

/// A request, and the snapshot that it's answered from.
pub(super) struct Asked<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) request: &'a Request,
    pub(super) client: IpAddr,
}

impl Asked<'_> {
    /// A representation in the coding that the request asks for. A cache may keep it, but must ask
    /// each time.
    pub(super) fn represent(
        &self,
        representation: &Representation,
        content_type: &'static str,
    ) -> Response {
        let accepted = self.request.headers.accept_encoding.as_deref();
        let length = representation.identity().length;
        let coded = representation.select(accepted, || self.snapshot.turn(self.client, length));
        self.conditional(coded, content_type)
            .with("Cache-Control", "no-cache")
            .with("Vary", "Accept-Encoding")
    }

    /// What was selected, unless the client has it already.
    pub(super) fn conditional(&self, coded: &Coded, content_type: &'static str) -> Response {
        if self.request.knows(&coded.etag) {
            return Response::not_modified(&coded.etag);
        }
        let page = Page {
            content: coded.content.clone(),
            length: coded.length,
            outdated: self.snapshot.outdated(),
            flight: None,
        };
        let response = Response::new(200, ResponseBody::Page(page))
            .with("Content-Type", content_type)
            .with("ETag", coded.etag.clone());
        match coded.coding {
            Coding::Identity => response,
            Coding::Gzip => response.with("Content-Encoding", "gzip"),
        }
    }

    /// A page of the snapshot; `not_found` responds with the reason where there is none.
    pub(super) fn page(
        &self,
        page: Result<Arc<Representation>, PageError>,
        content_type: &'static str,
        not_found: impl FnOnce(String) -> Response,
    ) -> Response {
        match page {
            Ok(page) => self.represent(&page, content_type),
            Err(PageError::NotFound(why)) => not_found(why),
            Err(PageError::Busy) => busy(),
        }
    }
}

/// The response to one request too many.
pub(super) fn busy() -> Response {
    Response::text(503, "too many requests wait for a page to be made").retry_later()
}
