//! Writing to a client, as long as it reads: not one that takes nothing, nor one that takes a byte
//! at a time, nor one that never comes to an end.

use super::connections::{Phase, Place};
use std::io::{self, IoSlice, Write};
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
/// Most pieces handed to it at once: as many bytes, in the blocks of an archive.
const PIECES: usize = 16;

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
        Outlet {
            stream,
            place,
            began: Instant::now(),
            sent: 0,
            waited: Duration::ZERO,
        }
    }

    /// Whether nothing has gone out yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// Sends all of `bytes`.
    ///
    /// Errors when the client is gone or too slow, or its place was taken away.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        bytes
            .chunks(WRITE)
            .try_for_each(|piece| self.write(&mut [IoSlice::new(piece)]))
    }

    /// Sends one piece after the other, several at a time. Errors as `send` does.
    pub(super) fn send_all<'p>(
        &mut self,
        pieces: impl Iterator<Item = &'p [u8]>,
    ) -> io::Result<()> {
        let mut pieces: Vec<IoSlice> = pieces.map(IoSlice::new).collect();
        pieces
            .chunks_mut(PIECES)
            .try_for_each(|some| self.write(some))
    }

    fn write(&mut self, mut pieces: &mut [IoSlice]) -> io::Result<()> {
        while !pieces.is_empty() {
            self.place.set(Phase::Sending)?;
            let asked = Instant::now();
            let count = match self.write_some(pieces) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            let now = Instant::now();
            self.waited += now - asked;
            self.sent += count as u64;
            IoSlice::advance_slices(&mut pieces, count);
            self.check_pace(now)?;
        }
        Ok(())
    }

    /// One piece, which is nearly all that is written, costs the kernel less by itself.
    fn write_some(&self, pieces: &[IoSlice]) -> io::Result<usize> {
        let mut stream = self.stream;
        match pieces {
            [one] => stream.write(one),
            several => stream.write_vectored(several),
        }
    }

    /// Only time spent on this client counts: it isn't to blame for a slow registry.
    fn check_pace(&self, now: Instant) -> io::Result<()> {
        let too_slow = self.waited > STALL && self.sent / self.waited.as_secs().max(1) < PACE;
        if too_slow || now - self.began > WHOLE_ANSWER {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client reads too slowly",
            ));
        }
        Ok(())
    }
}
