//! A string of bytes, spent one decision at a time. When it's spent every choice is the first one,
//! which makes things end.

/// Decisions yet to be made.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices(bytes)
    }

    /// As many choices as `length`, that `seed` alone decides (splitmix64).
    pub fn bytes_from(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut word = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        (0..length.div_ceil(8))
            .flat_map(|_| word().to_le_bytes())
            .take(length)
            .collect()
    }

    pub fn are_spent(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `end`, which is at most 65,536.
    pub fn below(&mut self, end: usize) -> usize {
        let low = usize::from(self.byte());
        let number = if end > 256 {
            low << 8 | usize::from(self.byte())
        } else {
            low
        };
        number % end.max(1)
    }

    /// Yes, `percent` times in a hundred; no, once all is spent.
    pub fn chance(&mut self, percent: usize) -> bool {
        !self.are_spent() && self.below(100) < percent
    }

    pub fn one<'b, T>(&mut self, of: &'b [T]) -> &'b T {
        &of[self.below(of.len())]
    }
}
