//! All durations of the registry client except those of [`retry`](super::retry), in one table. Every
//! wait of a request ends by one of them.

use std::time::Duration;

/// Longest wait for a connection: a distant registry takes a tenth of this. A name's look-up has
/// the resolver's own deadlines (resolv.conf: 5 s, twice, for each server); ureq would keep ours by
/// starting a thread for each, and panics if the system refuses to start one.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// The same for the probe of a scheme, with the TLS session: after it, a port that doesn't answer a TLS
/// greeting is asked in plain HTTP.
pub(super) const CONNECT_OF_PROBE: Duration = Duration::from_secs(5);
/// Longest wait for the head of a response.
pub(super) const HEAD: Duration = Duration::from_secs(30);
/// The same for a `HEAD`, which only checks whether a tag still points to the same manifest. A refresh
/// waits for it, and repeats it if the registry hangs.
pub(super) const HEAD_OF_CHECK: Duration = Duration::from_secs(10);
/// The same for the catalog: distribution 2.7 on S3 takes more than a minute to list it
/// (distribution#3678).
pub(super) const HEAD_OF_CATALOG: Duration = Duration::from_secs(120);
/// Longest wait for the next bytes of a body, and to hand over a request.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// Longest time to read a manifest, config or listing whole.
pub(super) const BODY: Duration = Duration::from_secs(120);
/// Longest time for a blob that is passed on: as long as a client may take for it.
pub(super) const BLOB: Duration = Duration::from_secs(30 * 60);
/// Longest time for the body of an error, of which one line is logged.
pub(super) const ERROR_BODY: Duration = Duration::from_secs(5);
/// Longest wait for a token or a probe that another thread is fetching: longer than the fetch itself
/// waits for a connection and the head of its response.
pub(super) const SHARED: Duration = Duration::from_secs(60);
/// A token is renewed this long before its end, or in the last quarter of a shorter life: for the
/// request that is under way, and for clocks that drift.
pub(super) const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// The life of a token when its server doesn't state one (token specification, "expires_in").
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Longest life of a token that is believed.
pub(super) const MAX_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
