//! Writing to a client, as long as it reads: not one that takes nothing, nor one that takes a byte
//! at a time, nor one that never comes to an end.

use super::connections::{Phase, Place};
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a client may take nothing at all of what is sent to it.
pub(super) const STALL: Duration = Duration::from_secs(5);
/// The least pace of a client, in bytes per second of our waiting for it: a tenth of a bad phone
/// line. Looked at after [`STALL`].
const PACE: u64 = 4 * 1024;
/// The longest that one answer may take: 100 MB at half a megabit per second.
const WHOLE_ANSWER: Duration = Duration::from_secs(30 * 60);
/// Most bytes handed to the kernel at once: after each, pace and progress are noted.
const WRITE: usize = 256 * 1024;

/// One answer on its way out.
pub(super) struct Outlet<'a> {
    stream: &'a TcpStream,
    place: &'a Place,
    began: Instant,
    sent: u64,
    waited: Duration,
}

impl Outlet<'_> {
    /// The stream's write timeout must be [`STALL`].
    pub(super) fn new<'a>(stream: &'a TcpStream, place: &'a Place) -> Outlet<'a> {
        Outlet { stream, place, began: Instant::now(), sent: 0, waited: Duration::ZERO }
    }

    /// Whether nothing has gone out yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// Sends all of `bytes`.
    ///
    /// Errors when the client is gone or too slow, or its place was taken away.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.place.set(Phase::Sending)?;
            let asked = Instant::now();
            let count = match self.stream.write(&bytes[..bytes.len().min(WRITE)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            self.waited += asked.elapsed();
            self.sent += count as u64;
            bytes = &bytes[count..];
            self.check_pace()?;
        }
        Ok(())
    }

    /// Only time spent on this client counts: it isn't to blame for a slow registry.
    fn check_pace(&self) -> io::Result<()> {
        let too_slow = self.waited > STALL && self.sent / self.waited.as_secs().max(1) < PACE;
        if too_slow || self.began.elapsed() > WHOLE_ANSWER {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly"));
        }
        Ok(())
    }
}
