//! PostgreSQL's own client programs and ours on the same files, sound and damaged: what one says, the
//! other must say. 15 is the distribution's, 16 and 18 come from PyPI, 17 from Debian 13.

mod checksums;
mod controldata;
mod waldump;

/// Repeatable random numbers (splitmix64), so that a failure names what to look at.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
