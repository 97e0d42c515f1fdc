//! Memory for archives in blocks of one size, at most as many as were configured. A free block is kept
//! for the next archive and never given back to the allocator: glibc has an arena for every few
//! threads, and what is freed in one is of no use to the others; 16 MiB of archives came to 60 that way.

use crate::sync::lock;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Size of a block, in bytes: a small chart takes one, and a large one few enough for `writev`.
pub(super) const BLOCK: usize = 16 * 1024;

/// All blocks.
pub(super) struct BlockMemory {
    most: usize,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    taken: usize,
    free: Vec<Box<[u8]>>,
}

/// An archive, or the part of it that has been read so far, in blocks that are given back on drop.
pub(super) struct Buffer {
    memory: Arc<BlockMemory>,
    blocks: Vec<Box<[u8]>>,
    length: usize,
    filled: usize,
}

/// How many blocks so many bytes take: at least one.
pub(super) fn blocks_for(length: u64) -> usize {
    let blocks = usize::try_from(length.div_ceil(BLOCK as u64));
    blocks.unwrap_or(usize::MAX).max(1)
}

impl BlockMemory {
    /// At most `size` bytes.
    pub(super) fn new(size: usize) -> Arc<BlockMemory> {
        Arc::new(BlockMemory {
            most: size / BLOCK,
            blocks: Mutex::default(),
        })
    }

    /// How many blocks there are.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// How many blocks are free.
    pub(super) fn free(&self) -> usize {
        self.most - lock(&self.blocks).taken
    }

    /// Room for so many bytes, if enough blocks are free.
    pub(super) fn take(self: &Arc<Self>, length: u64) -> Option<Buffer> {
        let (count, length) = (blocks_for(length), usize::try_from(length).ok()?);
        let mut all = lock(&self.blocks);
        if count > self.most - all.taken {
            return None;
        }
        all.taken += count;
        let rest = all.free.len().saturating_sub(count);
        let mut blocks = all.free.split_off(rest);
        drop(all);
        blocks.resize_with(count, || vec![0; BLOCK].into_boxed_slice());
        Some(Buffer {
            memory: self.clone(),
            blocks,
            length,
            filled: 0,
        })
    }
}

impl Buffer {
    /// Reads once from `source`, as much as fits into the block that is being filled.
    pub(super) fn fill(&mut self, mut source: impl Read) -> io::Result<()> {
        let (at, begun) = (self.filled / BLOCK, self.filled % BLOCK);
        let end = (self.length - at * BLOCK).min(BLOCK);
        let block = self.blocks.get_mut(at);
        let room = block.map_or(&mut [][..], |block| &mut block[begun..end]);
        self.filled += source.read(room)?;
        Ok(())
    }

    /// Whether all of the archive has been read.
    pub(super) fn is_full(&self) -> bool {
        self.filled == self.length
    }

    /// How many blocks it holds.
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// How many bytes have been read.
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// A part of those bytes, block by block.
    pub(super) fn part(&self, part: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let end = part.end.min(self.filled);
        let blocks = self.blocks.iter().enumerate();
        blocks.filter_map(move |(number, block)| {
            let first = number * BLOCK;
            let range = part.start.max(first)..end.min(first + BLOCK);
            (!range.is_empty()).then(|| &block[range.start - first..range.end - first])
        })
    }

    /// Reads those bytes out again, from the beginning.
    pub(super) fn into_reader(self) -> impl Read + Send {
        BufferReader {
            buffer: self,
            at: 0,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut all = lock(&self.memory.blocks);
        all.taken -= self.blocks.len();
        all.free.append(&mut self.blocks);
    }
}

struct BufferReader {
    buffer: Buffer,
    at: usize,
}

impl Read for BufferReader {
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

    fn filled(memory: &Arc<BlockMemory>, length: usize) -> Buffer {
        let (mut buffer, bytes) = (memory.take(length as u64).unwrap(), bytes(length));
        let mut source = &bytes[..];
        while !buffer.is_full() {
            buffer.fill(&mut source).unwrap();
        }
        buffer
    }

    #[test]
    fn bytes_come_out_as_they_went_in_whole_and_in_part() {
        let memory = BlockMemory::new(4 * BLOCK);
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
    fn blocks_are_bounded_and_used_again() {
        let memory = BlockMemory::new(3 * BLOCK + 1);
        let (one, two) = (
            memory.take(1).unwrap(),
            memory.take(BLOCK as u64 + 1).unwrap(),
        );
        assert!(memory.take(0).is_none());
        drop(one);
        assert!(memory.take(BLOCK as u64 + 1).is_none());
        assert_eq!(memory.free(), 1);
        let address = two.blocks[1].as_ptr();
        drop(two);
        let again = memory.take(BLOCK as u64).unwrap();
        assert_eq!(again.blocks[0].as_ptr(), address);
        assert_eq!((memory.free(), lock(&memory.blocks).free.len()), (2, 2));
    }

    #[test]
    fn the_former_contents_of_a_block_stay_hidden() {
        let memory = BlockMemory::new(BLOCK);
        drop(filled(&memory, BLOCK));
        let buffer = filled(&memory, 3);
        assert_eq!(buffer.part(0..BLOCK).collect::<Vec<_>>().concat(), bytes(3));
    }
}
