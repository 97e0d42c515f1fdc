//! Memory for archives: so many blocks and no more. A block that isn't needed any longer waits for
//! the next archive and isn't given back to the allocator. glibc's has an arena for every few threads,
//! and what is freed in one is of no use to the others: 16 MiB of archives came to 60.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Size of a block, in bytes: a small chart is one, and a large one is few enough for `writev`.
pub(super) const BLOCK: usize = 16 * 1024;

/// All blocks there may be.
pub(super) struct Memory {
    most: usize,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    taken: usize,
    spare: Vec<Box<[u8]>>,
}

/// Some of them, given back when dropped.
pub(in crate::server) struct Buffer {
    memory: Arc<Memory>,
    blocks: Vec<Box<[u8]>>,
    length: usize,
    filled: usize,
}

/// How many blocks so many bytes take. Nothing takes one too.
pub(super) fn blocks_for(length: u64) -> usize {
    usize::try_from(length.div_ceil(BLOCK as u64))
        .unwrap_or(usize::MAX)
        .max(1)
}

impl Memory {
    /// No more than `size` bytes.
    pub(super) fn new(size: usize) -> Arc<Memory> {
        Arc::new(Memory {
            most: size / BLOCK,
            blocks: Mutex::default(),
        })
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// How many blocks nobody has.
    pub(super) fn free(&self) -> usize {
        self.most - self.lock().taken
    }

    /// Room for so many bytes, if that many blocks are free.
    pub(super) fn take(self: &Arc<Self>, length: usize) -> Option<Buffer> {
        let count = blocks_for(length as u64);
        let mut all = self.lock();
        if count > self.most - all.taken {
            return None;
        }
        all.taken += count;
        let kept = all.spare.len().saturating_sub(count);
        let mut blocks = all.spare.split_off(kept);
        drop(all);
        blocks.resize_with(count, || vec![0; BLOCK].into_boxed_slice());
        Some(Buffer {
            memory: self.clone(),
            blocks,
            length,
            filled: 0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// Reads once from `source`, as much as fits into the block that is being filled.
    pub(super) fn fill(&mut self, mut source: impl Read) -> io::Result<()> {
        let (at, begun) = (self.filled / BLOCK, self.filled % BLOCK);
        let end = (self.length - at * BLOCK).min(BLOCK);
        let room = self
            .blocks
            .get_mut(at)
            .map_or(&mut [][..], |block| &mut block[begun..end]);
        self.filled += source.read(room)?;
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == self.length
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// How many bytes it holds.
    pub(in crate::server) fn len(&self) -> usize {
        self.filled
    }

    /// A part of them, block by block.
    pub(in crate::server) fn part(&self, part: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let end = part.end.min(self.filled);
        let blocks = self.blocks.iter().enumerate();
        blocks.filter_map(move |(number, block)| {
            let first = number * BLOCK;
            let range = part.start.max(first)..end.min(first + BLOCK);
            (!range.is_empty()).then(|| &block[range.start - first..range.end - first])
        })
    }

    /// Hands out what it holds, from the beginning.
    pub(super) fn into_reader(self) -> impl Read + Send {
        Reader {
            buffer: self,
            at: 0,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut all = self.memory.lock();
        all.taken -= self.blocks.len();
        all.spare.append(&mut self.blocks);
    }
}

struct Reader {
    buffer: Buffer,
    at: usize,
}

impl Read for Reader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let rest = self.buffer.part(self.at..self.buffer.filled).next();
        let count = rest.unwrap_or_default().read(target)?;
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7) as u8).collect()
    }

    fn filled(memory: &Arc<Memory>, length: usize) -> Buffer {
        let (mut buffer, bytes) = (memory.take(length).unwrap(), bytes(length));
        let mut source = &bytes[..];
        while !buffer.is_full() {
            buffer.fill(&mut source).unwrap();
        }
        buffer
    }

    #[test]
    fn what_is_put_in_comes_out_whole_and_in_part() {
        let memory = Memory::new(4 * BLOCK);
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK - 1, 4 * BLOCK] {
            let (buffer, bytes) = (filled(&memory, length), bytes(length));
            for part in [
                0..length,
                0..length.min(1),
                length / 2..length,
                length / 3..length / 2,
                0..0,
            ] {
                assert_eq!(
                    buffer.part(part.clone()).collect::<Vec<_>>().concat(),
                    bytes[part]
                );
            }
            let mut read = Vec::new();
            buffer.into_reader().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
        }
    }

    #[test]
    fn there_are_so_many_blocks_and_no_more_and_they_are_used_again() {
        let memory = Memory::new(3 * BLOCK + 1);
        let (one, two) = (memory.take(1).unwrap(), memory.take(BLOCK + 1).unwrap());
        assert!(memory.take(0).is_none());
        drop(one);
        assert!(memory.take(BLOCK + 1).is_none());
        assert_eq!(memory.free(), 1);
        let place = two.blocks[1].as_ptr();
        drop(two);
        let again = memory.take(BLOCK).unwrap();
        assert_eq!(again.blocks[0].as_ptr(), place);
        assert_eq!((memory.free(), memory.lock().spare.len()), (2, 2));
    }

    #[test]
    fn what_was_in_a_block_before_is_not_told() {
        let memory = Memory::new(BLOCK);
        drop(filled(&memory, BLOCK));
        let buffer = filled(&memory, 3);
        assert_eq!(buffer.part(0..BLOCK).collect::<Vec<_>>().concat(), bytes(3));
    }
}
