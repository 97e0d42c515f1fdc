//! Doors for the fuzzer: see [`crate::fuzzing`].

use super::client::challenge::{self, Challenge};
use super::paging;
use ureq::http::Uri;

/// A Bearer challenge's realm, service and scope.
pub type Bearer = (Uri, Option<String>, Option<String>);

/// The challenge that is answered of those in `headers`, sent by `from`: `Some(None)` for Basic.
pub fn challenge(headers: &[String], from: &Uri) -> Option<Option<Bearer>> {
    match Challenge::choose(challenge::parse(headers), from)? {
        Challenge::Basic { .. } => Some(None),
        Challenge::Bearer {
            realm,
            service,
            scope,
        } => Some(Some((realm, service, scope))),
    }
}

/// The query of the next page.
pub fn next_page(headers: &[String]) -> Option<String> {
    paging::next_query(headers)
}
