//! Files as they are written, so that a crash at any moment leaves whole ones: under a temporary name,
//! synchronised with the disk, and renamed; then their folder is synchronised. While that fails, nothing is
//! written for a growing while, and the caller goes on without.

use crate::pacing::Backoff;
use crate::sync::lock;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Pauses before something is written again after that has failed: a disk that is full may get room at any
/// time, and to try costs little.
const PAUSES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// A further failure is told again after this: a disk that is nearly full takes some files and others not.
const TELL_AGAIN: Duration = Duration::from_secs(600);
/// A folder that is this process's alone, and the files that are written by way of it.
pub(super) struct Disk {
    /// Holds the lock, and the files that are being written.
    own: PathBuf,
    /// Released when the process ends, however it ends; none if the disk can't be written.
    _lock: Option<File>,
    /// Numbers the temporary files.
    next: AtomicU64,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    /// Since when nothing can be written, and when that is tried again.
    row: Option<Backoff>,
    /// When it was last told.
    told: Option<Instant>,
}

impl Disk {
    /// Takes the folder for this process, makes it if it's not there, and removes what a crash has left.
    ///
    /// Errors when another process has it. One that can't be written is no error: what is there can be
    /// read even so.
    pub(super) fn open(own: PathBuf) -> io::Result<Disk> {
        let mut disk = Disk {
            own,
            _lock: None,
            next: AtomicU64::new(0),
            trouble: Mutex::default(),
        };
        let temporary = disk.own.join("tmp");
        let made = fs::create_dir_all(&temporary);
        match made.and_then(|()| lock_file(&disk.own.join("lock"))) {
            Ok(lock) => disk._lock = Some(lock),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(error),
            Err(error) => disk.note_trouble(&disk.own, &error),
        }
        for left in fs::read_dir(&temporary).into_iter().flatten().flatten() {
            let _ = fs::remove_file(left.path());
        }
        Ok(disk)
    }

    /// Opens a regular file, if it's there. Without `NONBLOCK` the open of a FIFO would never return.
    pub(super) fn open_file(&self, path: &Path) -> Option<(File, Metadata)> {
        let mut options = OpenOptions::new();
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let opened = options.read(true).open(path);
        let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((metadata, file)) => metadata.is_file().then_some((file, metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.note_trouble(path, &error);
                None
            }
        }
    }

    /// The bytes of a file, if it can be read.
    pub(super) fn content(&self, path: &Path, limit: u64) -> Option<Vec<u8>> {
        let (file, metadata) = self.open_file(path)?;
        let mut bytes = Vec::with_capacity(metadata.len().min(limit) as usize);
        match file.take(limit).read_to_end(&mut bytes) {
            Ok(_) => Some(bytes),
            Err(error) => {
                self.note_trouble(path, &error);
                None
            }
        }
    }

    /// Begins a file; `None` while nothing can be written.
    pub(super) fn create(&self) -> Option<Incoming> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.own.join("tmp").join(number.to_string());
        self.attempt(&path, || Incoming::create(path.clone()))
    }

    /// Writes a small file whole. Whether that succeeded.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> bool {
        self.create().is_some_and(|mut file| {
            let written = self.attempt(path, || file.write_all(bytes));
            written.is_some() && self.attempt(path, || file.place(path)).is_some()
        })
    }

    /// Removes a file. Whether it is gone.
    pub(super) fn remove(&self, path: &Path) -> bool {
        // Nothing is written then, which would look as if something could be.
        if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return true;
        }
        let removed = self.attempt(path, || match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        });
        removed.is_some()
    }

    /// Whether nothing can be written for now.
    pub(super) fn is_in_trouble(&self) -> bool {
        let row = lock(&self.trouble).row;
        row.is_some_and(|row| Instant::now() < row.retry_at)
    }

    /// Does what writes, unless that has failed not long ago.
    pub(super) fn attempt<T>(
        &self,
        path: &Path,
        work: impl FnOnce() -> io::Result<T>,
    ) -> Option<T> {
        let now = Instant::now();
        let trouble = lock(&self.trouble).row;
        if trouble.is_some_and(|trouble| now < trouble.retry_at) {
            return None;
        }
        match work() {
            Ok(done) => {
                let mut state = lock(&self.trouble);
                let (trouble, told) = (state.row.take(), state.told);
                drop(state);
                if let Some(Backoff { since, .. }) = trouble.filter(|one| told >= Some(one.since)) {
                    let seconds = since.elapsed().as_secs();
                    log::info!("mirror: files can be written again, after {seconds} s");
                }
                Some(done)
            }
            Err(error) => {
                self.note_trouble(path, &error);
                None
            }
        }
    }

    fn note_trouble(&self, path: &Path, error: &io::Error) {
        let (mut state, now) = (lock(&self.trouble), Instant::now());
        let trouble = Backoff::after(state.row, PAUSES, now);
        state.row = Some(trouble);
        let is_news = |told| told < trouble.since && now >= told + TELL_AGAIN;
        let is_news = state.told.is_none_or(is_news);
        let shown = path.display();
        if is_news {
            state.told = Some(now);
            log::warn!(
                "mirror: {shown}: {error}; what is read is not kept on disk until files can be written there again"
            );
        } else {
            log::debug!("mirror: {shown}: {error}");
        }
    }
}

/// A file under a temporary name, removed when it's dropped before it has got its own.
pub(super) struct Incoming {
    file: File,
    path: Option<PathBuf>,
}

impl Incoming {
    /// Begins an empty file.
    pub(super) fn create(path: PathBuf) -> io::Result<Incoming> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                path.parent().map_or(Ok(()), make_folder)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        Ok(Incoming {
            file,
            path: Some(path),
        })
    }

    /// Adds bytes at its end.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it its name, once its bytes are on the disk.
    pub(super) fn place(mut self, place: &Path) -> io::Result<Metadata> {
        self.file.sync_all()?;
        let folder = place.parent().unwrap_or(place);
        make_folder(folder)?;
        if let Some(path) = self.path.take() {
            let renamed = fs::rename(&path, place);
            self.path = renamed.is_err().then_some(path);
            renamed?;
        }
        synchronise(folder)?;
        self.file.metadata()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes a folder and those above it, each of which knows of it after a crash too.
fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = folder.parent().ok_or(error)?;
            make_folder(above)?;
            make_folder(folder)
        }
        Err(error) => Err(error),
        Ok(()) => folder.parent().map_or(Ok(()), synchronise),
    }
}

fn synchronise(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let text = "another process uses it; each needs a directory of its own";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
