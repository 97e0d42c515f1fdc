//! What the log says of a request with `--log-requests`: one line when its response has been sent, or as
//! much of it as could be. It holds no query and no user information, which may be secrets, and no more
//! than a bound of what the client chose. The log never waits for its reader, so neither does a request.

use super::request::Request;
use super::route::path_of;
use crate::oci::start_of;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

/// Most bytes of a path in the log: longer than those of all charts with usual names.
const PATH: usize = 300;
/// Most bytes of a method: the longest registered one, UPDATEREDIRECTREF, has fewer.
const METHOD: usize = 20;

/// A request that is to be logged.
pub(super) struct AccessRecord {
    began: Instant,
    /// Why a request can't be read, of one that can't.
    request: Result<Requested, &'static str>,
}

struct Requested {
    method: String,
    path: String,
    user_agent: Option<String>,
    id: Option<String>,
}

impl AccessRecord {
    /// Of a request that has been read at that time.
    pub(super) fn new(request: &Request, began: Instant) -> AccessRecord {
        let headers = &request.headers;
        let requested = Requested {
            method: beginning(request.method.as_str(), METHOD),
            path: beginning(path(&request.target), PATH),
            user_agent: headers.user_agent.clone(),
            id: headers.request_id().map(str::to_owned),
        };
        AccessRecord {
            began,
            request: Ok(requested),
        }
    }

    /// Of a request that can't be read for this reason, as is found now.
    pub(super) fn unreadable(why: &'static str) -> AccessRecord {
        AccessRecord {
            began: Instant::now(),
            request: Err(why),
        }
    }

    /// Logs that it was answered with this status, and how many bytes of the body were sent with which
    /// result.
    pub(super) fn log(self, peer: IpAddr, status: u16, bytes: u64, result: &io::Result<()>) {
        let took = self.began.elapsed();
        let request = self.request.as_ref().ok();
        let method = request.map(|request| &*request.method);
        let path = request.map(|request| &*request.path);
        let agent = request.and_then(|request| request.user_agent.as_deref());
        let id = request.and_then(|request| request.id.as_deref());
        let error = result.as_ref().err().map(io::Error::to_string);
        let mut text = match &self.request {
            Ok(Requested { method, path, .. }) => format!("{method} {path}"),
            Err(why) => format!("unreadable request ({why})"),
        };
        text += &format!(": {status}, {bytes} bytes in {took:.1?}");
        for (name, value) in [("agent", agent), ("id", id), ("cut off", error.as_deref())] {
            if let Some(value) = value {
                text += &format!(", {name} {value}");
            }
        }
        log::info!(
            peer = &*peer.to_string(), method = method, path = path, status = status, bytes = bytes,
            duration = took.as_secs_f64(), user_agent = agent, request_id = id,
            error = error.as_deref();
            "{peer} {text}"
        );
    }
}

/// The path of a request's target, as it was sent: without the query, and without what precedes the path,
/// such as a user's name and password.
pub(super) fn path(target: &str) -> &str {
    match path_of(target) {
        path if path.starts_with('/') || path == "*" => path,
        _ => "-",
    }
}

fn beginning(text: &str, most: usize) -> String {
    start_of(text, most).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_target_the_path_is_logged_alone() {
        for (target, shown) in [
            ("/a%20b/index.yaml?token=x", "/a%20b/index.yaml"),
            ("http://user:secret@h/a?b", "/a"),
            ("HTTPS://user:secret@h", "/"),
            ("user:secret@h:443", "-"),
            ("ftp://user:secret@h/a", "-"),
            ("*", "*"),
            ("/a#user:secret@h", "/a"),
        ] {
            assert_eq!(path(target), shown, "{target}");
        }
        assert_eq!(beginning("/\u{e4}\u{e4}", 4), "/\u{e4}");
    }
}
