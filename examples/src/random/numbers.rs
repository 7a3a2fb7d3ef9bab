//! Numbers that depend on a seed, the same on every machine.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Numbers for these words; other words give unrelated numbers.
    pub fn new(words: &[u64]) -> Numbers {
        words.iter().fold(Numbers(0), |mut numbers, word| {
            numbers.0 ^= word.wrapping_mul(0xd6e8_feb8_6659_fd93);
            Numbers(numbers.next())
        })
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        let way = i64::try_from(self.below(u64::from(low.abs_diff(high)) + 1)).expect("a small number");
        i32::try_from(i64::from(low) + way).expect("a number between two small ones")
    }

    /// True once in `turns` times.
    pub fn once_in(&mut self, turns: u64) -> bool {
        self.below(turns) == 0
    }

    /// One of some things.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[usize::try_from(self.below(things.len() as u64)).expect("an index")]
    }
}
