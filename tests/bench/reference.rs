//! What the front door is compared with: the plainest server that `tiny_http` makes, a thread for
//! each request, serving one file with its validator.

use std::io::Cursor;
use std::sync::Arc;
use tiny_http::{Header, Request, Response, Server, StatusCode};

fn main() {
    let path = std::env::args_os().nth(1).expect("usage: reference FILE");
    let body: Arc<[u8]> = std::fs::read(path).expect("the file can be read").into();
    let server = Server::http("127.0.0.1:0").expect("a port is free");
    println!("http://{}", server.server_addr());
    for request in server.incoming_requests() {
        let body = body.clone();
        std::thread::spawn(move || answer(request, body));
    }
}

fn answer(request: Request, body: Arc<[u8]>) {
    let etag = format!("\"{:x}\"", body.len());
    let is_known = request
        .headers()
        .iter()
        .any(|header| header.field.equiv("If-None-Match") && header.value.as_str() == etag);
    let headers = [
        ("Content-Type", "application/x-yaml"),
        ("ETag", &etag),
        ("Cache-Control", "no-cache"),
    ];
    let headers = headers.map(|(name, value)| Header::from_bytes(name, value).expect("plain text"));
    // Without the threshold it would send what is long in chunks, as if it didn't know the length.
    let (status, length) = if is_known {
        (304, 0)
    } else {
        (200, body.len())
    };
    let response = Response::new(
        StatusCode(status),
        headers.into(),
        Cursor::new(body),
        Some(length),
        None,
    );
    // A client that is gone is no failure of ours.
    let _ = request.respond(response.with_chunked_threshold(usize::MAX));
}
