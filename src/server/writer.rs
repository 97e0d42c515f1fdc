//! How a response is written: only as long as the client reads it. A client that takes nothing, or a byte
//! at a time, or never comes to an end, is cut off. A response whose body fails in the middle is never
//! completed.

use super::blocks::BLOCK;
use super::client::{Connection, ConnectionPhase, NO_STREAM, UNJUDGED};
use super::request::is_timeout;
use super::response::{ArchiveStream, Response, ResponseBody, SentFile};
use crate::pacing::Pace;
use crate::representation::{self, Content};
use socket2::SockRef;
use std::io::{self, IoSlice, Read, Write};
use std::iter::once;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// How long a client may take nothing at all of what is sent to it, as long as no other client needs
/// its place: kernels open a large window in steps, between which a client at 10 KB/s takes nothing
/// for longer than 20 s.
const STALL: Duration = Duration::from_secs(30);
/// How long a write may wait, and over which time a pace is judged by which a download may have to make
/// room for others.
pub(super) const JUDGED: Duration = Duration::from_secs(5);
/// The least pace of a client, in bytes per second of our waiting for it: a tenth of a bad phone
/// line. Judged after [`STALL`].
const LEAST_PACE: u64 = 4 * 1024;
/// How long a client may take for an index or a page, which holds memory as long: its least pace grows with
/// the size of what it reads.
const WHOLE_PAGE: Duration = Duration::from_secs(10 * 60);
/// The longest that one response may take: 100 MB at half a megabit per second.
const WHOLE_RESPONSE: Duration = Duration::from_secs(30 * 60);
/// Most blocks handed to the kernel at once, 256 KiB: pace and progress are noted after each.
const BLOCKS_AT_ONCE: usize = 16;
/// How much of a streamed body is held at a time, in bytes: with half of it, a download takes a tenth
/// more of a processor; with twice as much, hardly less.
const CHUNK: usize = 32 * 1024;
/// Most bytes of a file that the kernel is asked to send at once: pace and progress are noted after each.
const FILE_AT_ONCE: usize = 1024 * 1024;

/// Writes one response.
pub(super) struct ResponseWriter<'a> {
    connection: &'a Connection,
    began: Instant,
    /// Only time spent on the client counts: a slow registry is not its fault.
    pace: Pace,
    /// The same since it was last judged.
    recent: Pace,
    /// How long the client has taken nothing.
    stalled: Duration,
    /// Fewest bytes a second that it must take.
    least_pace: u64,
    is_stream: bool,
    /// How many bytes of heads have been sent, or were to be.
    heads: u64,
}

impl ResponseWriter<'_> {
    /// The stream's write timeout must be [`JUDGED`].
    pub(super) fn new(connection: &Connection) -> ResponseWriter<'_> {
        connection.begin_response();
        ResponseWriter {
            connection,
            began: Instant::now(),
            pace: Pace::default(),
            recent: Pace::default(),
            stalled: Duration::ZERO,
            least_pace: LEAST_PACE,
            is_stream: false,
            heads: 0,
        }
    }

    /// How many bytes of the body have been sent.
    pub(super) fn sent(&self) -> u64 {
        self.pace.bytes().saturating_sub(self.heads)
    }

    /// Writes all of it.
    ///
    /// Errors when the connection is of no more use: the client is gone or too slow, the connection
    /// was evicted, or the body failed.
    pub(super) fn send(&mut self, response: Response, keep_alive: bool) -> io::Result<()> {
        let head = response.head(keep_alive);
        self.heads += head.len() as u64;
        match response.body {
            ResponseBody::Withheld(_) | ResponseBody::Absent => self.send_all(once(&head[..])),
            ResponseBody::Text(text) => self.send_all([&head[..], &text].into_iter()),
            ResponseBody::Page(page) => {
                self.least_pace = least_pace(page.length);
                match &page.content {
                    Content::Whole(bytes) => {
                        self.send_all(once(&head[..]).chain(bytes.chunks(BLOCK)))
                    }
                    Content::Filled(bytes, gaps) => {
                        self.send_all(once(&head[..]).chain(representation::pieces(bytes, gaps)))
                    }
                    Content::Made(render) => {
                        self.send_all(once(&head[..]))?;
                        render(self)
                    }
                }
            }
            ResponseBody::Archive(archive, part) => {
                self.send_all(once(&head[..]).chain(archive.part(part)))
            }
            ResponseBody::Stream(stream) => self.judged(|this| this.pass_on(&head, stream)),
            ResponseBody::File(file) => self.judged(|this| this.send_file(&head, file)),
        }
    }

    /// Sends what may have to make room for other downloads.
    fn judged(&mut self, send: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        self.is_stream = true;
        self.connection.set_stream_pace(UNJUDGED);
        let sent = send(self);
        self.connection.set_stream_pace(NO_STREAM);
        sent
    }

    /// Has the kernel send a file, whose bytes don't pass through this process.
    fn send_file(&mut self, head: &[u8], archive: SentFile) -> io::Result<()> {
        self.send_all(once(head))?;
        let SentFile { file, part, .. } = &archive;
        let mut at = part.start;
        while let Some(most) = NonZeroUsize::new((part.end - at).min(FILE_AT_ONCE)) {
            let asked = Instant::now();
            let socket = SockRef::from(&self.connection.stream);
            let count = match socket.sendfile(file, at, Some(most)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if is_timeout(&error) => 0,
                // Not every file system lets the kernel do it.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    return self.pass_on(&[], archive.rest(at)?);
                }
                Err(error) => return Err(error),
            };
            at += count;
            self.note(count, asked.elapsed())?;
        }
        Ok(())
    }

    /// Passes a body on as it arrives. When the source fails, the rest is left out: the caller closes
    /// the connection, and the client gets fewer bytes than were announced. As long as nothing has
    /// been sent, it gets a sentence instead.
    fn pass_on(&mut self, head: &[u8], mut stream: ArchiveStream) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        // The head goes out with the first bytes that have arrived, and not before.
        chunk[..head.len()].copy_from_slice(head);
        let mut held = head.len();
        loop {
            let count = match stream.source.read(&mut chunk[held..]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let file = &*stream.name;
                    log::warn!(file = file; "{file} can't be served whole: {error}");
                    if self.pace.bytes() == 0 {
                        let why =
                            "the registry behind this chart repository handed out a broken file";
                        self.send(Response::text(502, why), false)?;
                    }
                    return Err(error);
                }
            };
            self.write_pieces(&mut [IoSlice::new(&chunk[..held + count])])?;
            held = 0;
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Writes one piece after the other, several at a time.
    fn send_all<'p>(&mut self, pieces: impl Iterator<Item = &'p [u8]>) -> io::Result<()> {
        let mut pieces: Vec<IoSlice> = pieces.map(IoSlice::new).collect();
        let mut groups = pieces.chunks_mut(BLOCKS_AT_ONCE);
        groups.try_for_each(|group| self.write_pieces(group))
    }

    fn write_pieces(&mut self, mut pieces: &mut [IoSlice]) -> io::Result<()> {
        // Empty ones at the beginning would look like the end of the connection.
        IoSlice::advance_slices(&mut pieces, 0);
        self.connection.enter(ConnectionPhase::Sending)?;
        while !pieces.is_empty() {
            let asked = Instant::now();
            let count = match (&self.connection.stream).write_vectored(pieces) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if is_timeout(&error) => 0,
                Err(error) => return Err(error),
            };
            IoSlice::advance_slices(&mut pieces, count);
            self.note(count, asked.elapsed())?;
        }
        Ok(())
    }

    /// Notes how much the client has taken in which time.
    ///
    /// Errors when that is too slow.
    fn note(&mut self, count: usize, waited: Duration) -> io::Result<()> {
        self.pace.note(count, waited);
        self.recent.note(count, waited);
        self.connection.set_sent(self.pace.bytes());
        if let Some(pace) = self.recent.after(JUDGED) {
            if self.is_stream {
                self.connection.set_stream_pace(pace);
            }
            self.recent = Pace::default();
        }
        if count > 0 {
            self.connection.enter(ConnectionPhase::Sending)?;
            self.stalled = Duration::ZERO;
        } else {
            self.stalled += waited;
        }
        let is_slow = self.stalled >= STALL || self.pace.is_below(self.least_pace, STALL);
        if is_slow || self.began.elapsed() > WHOLE_RESPONSE {
            let text = "the client reads too slowly";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(())
    }
}

/// The least pace of a client that gets a page of so many bytes.
fn least_pace(length: usize) -> u64 {
    LEAST_PACE.max(length as u64 / WHOLE_PAGE.as_secs())
}

/// What is made while it's sent is written to the client as it comes.
impl Write for ResponseWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_all(bytes.chunks(BLOCK))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_pace_of_a_client_grows_with_what_it_reads() {
        assert_eq!(least_pace(1024 * 1024), LEAST_PACE);
        assert_eq!(least_pace(60_000_000), 100_000);
    }
}
