//! A download that is written to the mirror as it passes.

use super::disk::Incoming;
use super::room::Room;
use crate::oci::{Blob, RepositoryName, Verifying};
use std::io::{self, Read};
use std::sync::Arc;

/// A download, verified and written to the mirror as it is read. When the disk fails, the download goes
/// on without it; when the download fails, nothing of it stays on disk.
pub(super) struct Copying<R> {
    source: Verifying<R>,
    room: Arc<Room>,
    repository: RepositoryName,
    blob: Blob,
    file: Option<Incoming>,
    left: u64,
}

impl<R: Read> Copying<R> {
    /// Nothing has been read yet.
    pub(super) fn new(
        source: R,
        room: Arc<Room>,
        repository: &RepositoryName,
        blob: &Blob,
    ) -> Copying<R> {
        Copying {
            source: Verifying::new(source, &blob.digest, blob.size),
            file: room.create(blob.size),
            room,
            repository: repository.clone(),
            blob: blob.clone(),
            left: blob.size,
        }
    }

    /// Reads what is left of it. Whether it is on the disk then.
    pub(super) fn finish(mut self) -> io::Result<bool> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.place())
    }
}

impl<R> Copying<R> {
    fn place(&mut self) -> bool {
        let file = self.file.take().filter(|_| self.left == 0);
        file.is_some_and(|file| self.room.place(file, &self.repository, &self.blob))
    }
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The last bytes come only when all have been verified.
        let count = self.source.read(buffer)?;
        self.left -= count as u64;
        if let Some(file) = &mut self.file {
            let directory = &self.room.directory;
            let path = directory.blob(&self.repository, &self.blob.digest);
            let written = directory
                .disk
                .attempt(&path, || file.write_all(&buffer[..count]));
            if written.is_none() {
                self.file = None;
            }
        }
        Ok(count)
    }
}

impl<R> Drop for Copying<R> {
    /// The client has all bytes by now, and doesn't wait for the disk.
    fn drop(&mut self) {
        self.place();
    }
}
