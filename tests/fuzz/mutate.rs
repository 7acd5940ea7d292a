//! Random changes of bytes and of text.

/// Repeatable random numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// Below `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A range of at most `most` bytes within `length`.
    fn range(&mut self, length: usize, most: usize) -> std::ops::Range<usize> {
        if length == 0 {
            return 0..0;
        }
        let start = self.below(length);
        let end = start + 1 + self.below((length - start).min(most));
        start..end
    }
}

/// Numbers at which things break.
const NUMBERS: [u64; 22] = [
    0,
    1,
    7,
    8,
    24,
    31,
    64,
    127,
    128,
    255,
    256,
    511,
    512,
    8191,
    8192,
    32_767,
    65_535,
    0x3FFF_FFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0xFFFF_FFFF_FFFF_FFFF,
];

fn number(random: &mut Random) -> u64 {
    match random.below(3) {
        0 => random.next() >> random.below(64),
        1 => random.pick(&NUMBERS).wrapping_add(random.next() % 5).wrapping_sub(2),
        _ => *random.pick(&NUMBERS),
    }
}

/// One change; `other` is another input to take pieces of.
pub fn bytes(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let length = input.len();
    if length == 0 {
        input.extend_from_slice(other);
        return;
    }
    match random.below(12) {
        0..=2 => {
            let at = random.below(length);
            input[at] ^= 1 << random.below(8);
        }
        3 => {
            let at = random.below(length);
            input[at] = random.next() as u8;
        }
        4 | 5 => {
            let width = 1 << random.below(4);
            let at = random.below(length);
            let value = number(random);
            let value =
                if random.one_in(3) { value.swap_bytes() >> (64 - width * 8) } else { value };
            let end = (at + width).min(length);
            input[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        6 => drop(input.drain(random.range(length, 64))),
        7 => {
            let range = random.range(length, 64);
            let piece = input[range].to_vec();
            let at = random.below(length + 1);
            input.splice(at..at, piece);
        }
        8 => {
            let range = random.range(length, 4096);
            let to = random.below(length);
            let count = range.len().min(length - to);
            input.copy_within(range.start..range.start + count, to);
        }
        9 => {
            let range = random.range(other.len(), 4096);
            let to = random.below(length);
            let count = range.len().min(length - to);
            input[to..to + count].copy_from_slice(&other[range.start..range.start + count]);
        }
        10 => {
            let range = random.range(length, 1024);
            input[range].fill(*random.pick(&[0, 0xFF, b' ', b'0', b'A']));
        }
        _ if random.one_in(3) => input.truncate(random.below(length)),
        _ => {
            let at = random.below(length + 1);
            let count = 1 + random.below(16);
            let new: Vec<u8> = (0..count).map(|_| random.next() as u8).collect();
            input.splice(at..at, new);
        }
    }
}

/// One change of a text; `words` are those that its parser knows.
pub fn text(input: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    let lines: Vec<std::ops::Range<usize>> = input
        .split_inclusive(|byte| *byte == b'\n')
        .scan(0, |at, line| {
            let start = *at;
            *at += line.len();
            Some(start..*at)
        })
        .collect();
    match random.below(9) {
        0..=2 => bytes(input, other, random),
        3 | 4 => {
            let word = random.pick(words).as_bytes().to_vec();
            let at = random.below(input.len() + 1);
            let end = if random.one_in(2) { at } else { (at + word.len()).min(input.len()) };
            input.splice(at..end, word);
        }
        5 => {
            // Another number in the place of one.
            let digit = |byte: &u8| byte.is_ascii_digit();
            let from = random.below(input.len().max(1)).min(input.len());
            let Some(start) = input[from..].iter().position(digit) else { return };
            let start = from + start;
            let end = input[start..].iter().position(|byte| !digit(byte));
            let end = end.map_or(input.len(), |count| start + count);
            let value = number(random);
            let value = match random.below(4) {
                0 => format!("{value:X}"),
                1 => format!("-{value}"),
                2 => format!("{value}{value}{value}"),
                _ => value.to_string(),
            };
            input.splice(start..end, value.into_bytes());
        }
        _ if lines.is_empty() => input.extend_from_slice(other),
        6 => {
            let line = input[random.pick(&lines).clone()].to_vec();
            let at = random.pick(&lines).start;
            input.splice(at..at, line);
        }
        7 => drop(input.drain(random.pick(&lines).clone())),
        _ => {
            let (a, b) = (random.pick(&lines).clone(), random.pick(&lines).clone());
            let line = input[a].to_vec();
            input.splice(b, line);
        }
    }
}
