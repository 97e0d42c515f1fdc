//! Doors for the fuzzer: see [`crate::fuzzing`].

use super::request::{NoRequest, parse};
use super::route::{Route, route};

/// Takes the next request head out of `unread`, if it has arrived whole: its target, and all that is
/// looked at of it as text. Errors with the status that refuses it.
pub fn request_head(unread: &mut Vec<u8>) -> Result<Option<(String, String)>, u16> {
    match parse(unread) {
        Ok(head) => Ok(head.map(|head| (head.target.clone(), format!("{head:?}")))),
        Err(NoRequest::Refused(status, _)) => Err(status),
        Err(NoRequest::Closed) => Err(0),
    }
}

/// The file name that a request target asks for, if it asks for an archive or its provenance.
pub fn request_target(target: &str) -> Result<Option<String>, &'static str> {
    match route(target) {
        Ok(Route::File(_, (_, name))) => Ok(Some(name)),
        Ok(_) => Ok(None),
        Err(bad) => Err(bad.0),
    }
}
