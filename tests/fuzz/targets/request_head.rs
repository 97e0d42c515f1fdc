//! Request heads: whatever arrives is taken, waited for or refused with a status of ours, and the
//! outcome doesn't depend on how it was cut into packets.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_chartrepo::fuzzing::request_head;

/// What fits into the inbox.
const MOST: usize = 32 * 1024;
const STATUSES: [u16; 7] = [400, 411, 413, 414, 431, 501, 505];

type Outcome = Result<Option<(String, String)>, u16>;

fuzz_target!(|data: &[u8]| {
    let mut inbox = data[..data.len().min(MOST)].to_vec();
    let sent = inbox.clone();
    let whole = request_head(&mut inbox);
    match &whole {
        Ok(Some((target, _))) => {
            assert!(
                inbox.len() < sent.len() && sent.ends_with(&inbox),
                "the rest is left as it was"
            );
            assert!(
                !target.contains(|c: char| c.is_ascii_control() || c == ' '),
                "{target:?}"
            );
        }
        Ok(None) => assert_eq!(inbox, sent, "nothing is lost of a head that hasn't arrived"),
        Err(status) => assert!(STATUSES.contains(status), "{status}"),
    }
    assert_eq!(in_pieces(&sent), whole);
});

/// The first outcome of the same bytes, arriving in pieces of growing size.
fn in_pieces(sent: &[u8]) -> Outcome {
    let mut inbox = Vec::new();
    let mut rest = sent;
    for size in 1.. {
        let (piece, left) = rest.split_at(rest.len().min(size));
        inbox.extend_from_slice(piece);
        rest = left;
        let outcome = request_head(&mut inbox);
        if rest.is_empty() || !matches!(outcome, Ok(None)) {
            return outcome;
        }
    }
    unreachable!("the pieces end")
}
