//! From a blob's descriptor to its bytes: from memory, from someone's fetch that is under way, by one
//! of our own, or as a stream, in this order. What is in memory costs nothing; who asks the storage
//! needs a slot.

use super::chart_cache::{Buffer, ChartCache, Claim, Lead, Obtained, Outcome};
use super::client::Client;
use super::slots::{Slot, Slots};
use crate::oci::{Descriptor, RepositoryName, Verifying};
use crate::storage::{Error, ErrorKind, Storage};
use std::io::Read;
use std::sync::Arc;

/// The ways to archives.
pub(super) struct Downloads {
    cache: ChartCache,
    slots: Arc<Slots>,
    storage: Arc<dyn Storage>,
}

/// What is asked for, and by whom.
pub(super) struct Wanted<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) blob: &'a Descriptor,
    /// What the log calls it.
    pub(super) file_name: &'a str,
    pub(super) client: Client<'a>,
}

/// Bytes for a client.
pub(super) enum Source {
    /// All of them, verified.
    Memory(Arc<Buffer>),
    /// As they arrive, verified as they pass.
    Stream(Box<dyn Read + Send>, Slot),
}

/// Why there are none.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Too many ask at once.
    Crowded,
    /// The storage doesn't hand them out.
    Storage(ErrorKind),
}

impl Downloads {
    /// Those from `storage`, with so many bytes kept in memory.
    pub(super) fn new(storage: Arc<dyn Storage>, cache_size: usize) -> Downloads {
        Downloads {
            cache: ChartCache::new(cache_size),
            slots: Arc::default(),
            storage,
        }
    }

    /// What adds a chart to the storage.
    pub(super) fn how_to_add(&self) -> &'static str {
        self.storage.how_to_add()
    }

    /// Whether a part of such a blob can be had: a stream is sent whole.
    pub(super) fn has_parts(&self, blob: &Descriptor) -> bool {
        self.cache.takes(blob)
    }

    /// The bytes of what is wanted.
    pub(super) fn obtain(&self, wanted: &Wanted) -> Result<Source, Refusal> {
        let Client { address, .. } = wanted.client;
        let slot = || {
            self.slots
                .take(address, || wanted.client.has_hung_up())
                .ok_or(Refusal::Crowded)
        };
        let mut own = None;
        let mut claim = self.cache.claim(wanted.blob, false);
        if let Claim::Nothing = claim {
            own = Some(slot()?);
            // While we waited for the slot, someone may have begun to fetch it, or be done.
            claim = self.cache.claim(wanted.blob, true);
        }
        let slot = || own.map_or_else(slot, Ok);
        match claim {
            Claim::Kept(archive) => Ok(Source::Memory(archive)),
            Claim::Join(waiter) => match waiter.wait() {
                Outcome::Fetched(archive) => Ok(Source::Memory(archive)),
                Outcome::Failed(error) => Err(Refusal::Storage(error.kind())),
                Outcome::Slow => self.stream(wanted, slot()?),
            },
            Claim::Lead(lead) => self.fetch(wanted, lead, slot()?),
            Claim::Nothing => self.stream(wanted, slot()?),
        }
    }

    /// For all who ask for it now, and for those who will.
    fn fetch(&self, wanted: &Wanted, lead: Lead, slot: Slot) -> Result<Source, Refusal> {
        let obtained = match self.storage.blob(wanted.repository, wanted.blob) {
            Ok(source) => lead.read(source),
            Err(error) => Err(lead.fail(error)),
        };
        match obtained {
            Ok(Obtained::Whole(archive)) => Ok(Source::Memory(archive)),
            Ok(Obtained::Stream(rest)) => Ok(Source::Stream(rest, slot)),
            Err(error) => Err(refusal(wanted, &error)),
        }
    }

    /// For one client alone.
    fn stream(&self, wanted: &Wanted, slot: Slot) -> Result<Source, Refusal> {
        match self.storage.blob(wanted.repository, wanted.blob) {
            Ok(source) => {
                let source = Verifying::new(source, &wanted.blob.digest, wanted.blob.size);
                Ok(Source::Stream(Box::new(source), slot))
            }
            Err(error) => Err(refusal(wanted, &error)),
        }
    }
}

/// Said once, by who asked the storage, however many wait for it.
fn refusal(wanted: &Wanted, error: &Error) -> Refusal {
    log::warn!("{} can't be served: {error}", wanted.file_name);
    Refusal::Storage(error.kind())
}
