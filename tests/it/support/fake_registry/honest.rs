//! The good answers: what Debian's docker-registry 2.8 says to a client that only reads
//! (distribution v2.8.2, registry/handlers). `None` means that no registry knows the request.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use serde_json::{Value, json};

use super::artifacts::media;
use super::reply::Reply;
use super::request::Request;
use super::store::{Manifest, Store};

/// How the two listings are cut into pages and ordered.
pub struct Listing {
    /// The page of a client that names no `n` (distribution: 100).
    pub page: usize,
    /// An `n` above this is refused (distribution: 1000).
    pub most: usize,
    /// A page never holds more than this, whatever `n` says (Quay, zot behind a proxy, …).
    pub clamp: usize,
    /// Tags come in pages too, sorted (distribution 3); 2.8 answers all at once.
    pub tags_in_pages: bool,
    /// Shuffles both listings, the same way for the same seed.
    pub seed: Option<u64>,
    /// Repositories that whoever says nothing of himself isn't shown.
    pub private: Vec<&'static str>,
    /// How the `Link` header is written; `None` leaves it out.
    pub link: LinkForm,
}

pub type LinkForm = Box<dyn Fn(&Next) -> Option<String> + Send>;

/// The page after this one.
pub struct Next<'a> {
    /// `/v2/_catalog` or `/v2/NAME/tags/list`.
    pub path: &'a str,
    /// The last name of this page, percent-encoded.
    pub last: String,
    pub n: usize,
}

/// What a path of the registry's API speaks of.
pub(super) enum Route<'a> {
    Ping,
    Catalog,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
}

impl Default for Listing {
    fn default() -> Self {
        Listing {
            page: 100,
            most: 1000,
            clamp: usize::MAX,
            tags_in_pages: false,
            seed: None,
            private: Vec::new(),
            link: Box::new(|next| Some(next.relative())),
        }
    }
}

impl Next<'_> {
    /// As distribution writes it: path and query, no host.
    pub fn relative(&self) -> String {
        format!("<{}>; rel=\"next\"", self.target())
    }

    pub fn target(&self) -> String {
        format!("{}?last={}&n={}", self.path, self.last, self.n)
    }

    /// A cursor that says nothing to a client, as Quay's `next_page`.
    pub fn opaque(&self) -> String {
        let cursor: String = self.last.bytes().map(|b| format!("{b:02x}")).collect();
        format!("{}?n={}&next_page={cursor}", self.path, self.n)
    }
}

impl<'a> Route<'a> {
    pub fn of(path: &'a str) -> Option<Route<'a>> {
        let rest = path.strip_prefix("/v2/")?;
        match rest {
            "" => return Some(Route::Ping),
            "_catalog" => return Some(Route::Catalog),
            _ => {}
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return repository_name(name).then_some(Route::Tags(name));
        }
        let (front, reference) = rest.rsplit_once('/')?;
        let (name, kind) = front.rsplit_once('/')?;
        match kind {
            _ if !repository_name(name) || reference.is_empty() => None,
            "manifests" => Some(Route::Manifest(name, reference)),
            "blobs" => Some(Route::Blob(name, reference)),
            _ => None,
        }
    }

    pub fn answer(&self, request: &Request, store: &Store, listing: &Listing) -> Option<Reply> {
        let head_too = matches!(self, Route::Ping | Route::Manifest(..) | Route::Blob(..));
        match request.method.as_str() {
            "GET" => {}
            "HEAD" if head_too => {}
            _ => return None,
        }
        let reply = match self {
            Route::Ping => Reply::json(200, &Value::Null).body("{}"),
            Route::Catalog => listing.catalog(request, store),
            Route::Tags(name) => listing.tags(request, store, name),
            Route::Manifest(name, reference) => manifest(request, store, name, reference),
            Route::Blob(name, digest) => blob(request, store, name, digest),
        };
        Some(reply.header("Docker-Distribution-Api-Version", "registry/2.0"))
    }
}

/// The grammar of the distribution spec (v1.1, "Pulling manifests"), by hand.
fn repository_name(name: &str) -> bool {
    let part = |part: &str| {
        let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        ends_well(part.chars().next()) && ends_well(part.chars().last()) && part.chars().all(known)
    };
    name.split('/').all(part)
}

impl Listing {
    fn catalog(&self, request: &Request, store: &Store) -> Reply {
        let mut names = store.names();
        if request.header("Authorization").is_none() {
            names.retain(|name| !self.private.contains(name));
        }
        let names = self.ordered(names);
        self.paged(request, &names, |page| json!({ "repositories": page }))
    }

    fn tags(&self, request: &Request, store: &Store, name: &str) -> Reply {
        let Some(repository) = store.repository(name) else {
            return detailed(404, NAME_UNKNOWN, json!({ "name": name }));
        };
        let mut tags = repository.tags();
        if tags.is_empty() {
            return Reply::json(200, &json!({ "name": name, "tags": null }));
        }
        if !self.tags_in_pages {
            return Reply::json(200, &json!({ "name": name, "tags": self.ordered(tags) }));
        }
        tags.sort_unstable();
        let tags = self.ordered(tags);
        self.paged(request, &tags, |page| json!({ "name": name, "tags": page }))
    }

    fn ordered<'a>(&self, mut names: Vec<&'a str>) -> Vec<&'a str> {
        if let Some(seed) = self.seed {
            names.sort_by_key(|name| {
                let mut hash = DefaultHasher::new();
                (seed, name).hash(&mut hash);
                hash.finish()
            });
        }
        names
    }

    fn paged(&self, request: &Request, names: &[&str], body: impl Fn(&[&str]) -> Value) -> Reply {
        let asked = request.query("n");
        let asked = asked.first().and_then(|n| n.parse::<usize>().ok());
        let n = asked.unwrap_or(self.page);
        if n > self.most {
            return detailed(400, PAGINATION_NUMBER_INVALID, json!({ "n": n }));
        }
        let rest = self.after(cursor(request), names);
        let page = &rest[..rest.len().min(n).min(self.clamp)];
        let mut reply = Reply::json(200, &body(page));
        if let Some(last) = page.last().filter(|_| page.len() < rest.len()) {
            let last = last.replace('/', "%2F");
            let path = request.path();
            if let Some(link) = (self.link)(&Next { path, last, n }) {
                reply = reply.header("Link", &link);
            }
        }
        reply
    }

    fn after<'a, 'b>(&self, last: Option<String>, names: &'a [&'b str]) -> &'a [&'b str] {
        let Some(last) = last else { return names };
        let start = match self.seed {
            None => names.iter().position(|name| *name > last.as_str()),
            Some(_) => names.iter().position(|name| *name == last).map(|i| i + 1),
        };
        &names[start.unwrap_or(names.len())..]
    }
}

/// The name that a page starts after: by `last`, or by the cursor of [`Next::opaque`].
fn cursor(request: &Request) -> Option<String> {
    let hex = request.query("next_page").into_iter().next();
    let opaque = hex.map(|hex| {
        let pairs = (0..hex.len()).step_by(2).map(|i| &hex[i..i + 2]);
        let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("a cursor of ours"));
        let last = String::from_utf8(bytes.collect()).expect("a cursor of ours");
        last.replace("%2F", "/")
    });
    opaque.or_else(|| request.query("last").into_iter().next())
}

fn manifest(request: &Request, store: &Store, name: &str, reference: &str) -> Reply {
    let repository = store.repository(name);
    let Some(manifest) = repository.and_then(|r| r.manifest(reference)) else {
        let detail = match reference.contains(':') {
            true => json!({ "Name": name, "Revision": reference }),
            false => json!({ "Tag": reference }),
        };
        return detailed(404, MANIFEST_UNKNOWN, detail);
    };
    let etag = format!("\"{}\"", manifest.digest);
    if request.header("If-None-Match") == Some(etag.as_str()) {
        return Reply::new(304);
    }
    if let Some(refusal) = refused_by_accept(request, manifest) {
        return refusal;
    }
    Reply::new(200)
        .header("Content-Type", &manifest.media_type)
        .header("Docker-Content-Digest", &manifest.digest)
        .header("Etag", &etag)
        .shared_body(&manifest.bytes)
}

/// 2.8 serves OCI types only to clients that name them; a Docker manifest it tries to rewrite to
/// schema 1, which needs a config that the things pushed here don't have. A list without its type
/// in `Accept` would be resolved to one platform's manifest; clients of ours have no use for that.
fn refused_by_accept(request: &Request, manifest: &Manifest) -> Option<Reply> {
    let accept = request
        .headers_of("Accept")
        .into_iter()
        .flat_map(|v| v.split(','));
    let mut types = accept.map(|t| t.split(';').next().unwrap_or_default().trim());
    if manifest.media_type == media::DOCKER_SCHEMA1 || types.any(|t| t == manifest.media_type) {
        return None;
    }
    let unknown = |message| Some(Reply::error(404, "MANIFEST_UNKNOWN", message));
    match manifest.media_type.as_str() {
        media::OCI_MANIFEST => {
            unknown("OCI manifest found, but accept header does not support OCI manifests")
        }
        media::OCI_INDEX => {
            unknown("OCI index found, but accept header does not support OCI indexes")
        }
        _ => Some(detailed(400, MANIFEST_INVALID, json!({}))),
    }
}

fn blob(request: &Request, store: &Store, name: &str, digest: &str) -> Reply {
    if digest.strip_prefix("sha256:").map(str::len) != Some(64) {
        return detailed(400, DIGEST_INVALID, json!({}));
    }
    let repository = store.repository(name);
    let Some(bytes) = repository.and_then(|r| r.blob(digest)) else {
        return detailed(404, BLOB_UNKNOWN, json!(digest));
    };
    let etag = format!("\"{digest}\"");
    let start = request.header("Range").and_then(|range| {
        let start = range.strip_prefix("bytes=")?.strip_suffix('-')?;
        start.parse().ok().filter(|start| *start < bytes.len())
    });
    let reply = match (request.header("If-None-Match"), start) {
        (Some(known), _) if known == etag => Reply::new(304),
        (_, Some(start)) => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            Reply::new(206)
                .header("Content-Type", "application/octet-stream")
                .header("Content-Range", &format!("bytes {start}-{last}/{all}"))
                .body(&bytes[start..])
        }
        _ => Reply::new(200)
            .header("Content-Type", "application/octet-stream")
            .shared_body(bytes),
    };
    reply
        .header("Cache-Control", "max-age=31536000")
        .header("Docker-Content-Digest", digest)
        .header("Etag", &etag)
}

/// Code and message of the errors that distribution answers.
type Code = (&'static str, &'static str);
const NAME_UNKNOWN: Code = ("NAME_UNKNOWN", "repository name not known to registry");
const MANIFEST_UNKNOWN: Code = ("MANIFEST_UNKNOWN", "manifest unknown");
const MANIFEST_INVALID: Code = ("MANIFEST_INVALID", "manifest invalid");
const BLOB_UNKNOWN: Code = ("BLOB_UNKNOWN", "blob unknown to registry");
const DIGEST_INVALID: Code = (
    "DIGEST_INVALID",
    "provided digest did not match uploaded content",
);
const PAGINATION_NUMBER_INVALID: Code = (
    "PAGINATION_NUMBER_INVALID",
    "invalid number of results requested",
);

pub(super) fn detailed(status: u16, (code, message): Code, detail: Value) -> Reply {
    let error = json!({ "code": code, "message": message, "detail": detail });
    Reply::json(status, &json!({ "errors": [error] }))
}
