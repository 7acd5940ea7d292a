//! Where in its window a slot begins: by chance, and the same after every restart.

/// Seconds from zero up to, not including, `window`.
pub(super) fn within(window: i64, seed: u64, job: u64, slot: i64) -> i64 {
    let Ok(window @ 1..) = u64::try_from(window) else { return 0 };
    let number = mix(seed ^ mix(job ^ mix(slot.cast_unsigned())));
    (number % window).cast_signed()
}

/// A number for a name (FNV-1a, 64 bits).
pub(super) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014). It is written out here because what it
/// gives must never change: no library promises that.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_spread_evenly_and_stay_where_they_are() {
        let job = hash("orders-nightly");
        // A restart with another version must find the same.
        let starts: Vec<i64> = (0..5).map(|slot| within(3600, 7, job, slot * 86_400)).collect();
        assert_eq!(starts, [751, 476, 321, 2885, 1017]);
        let mut quarters = [0; 4];
        for slot in 0..4000 {
            let quarter = usize::try_from(within(3600, 7, job, slot * 86_400) / 900).unwrap();
            quarters[quarter] += 1;
        }
        assert!(quarters.iter().all(|count| (900..1100).contains(count)), "{quarters:?}");
        let others = (0..100).filter(|slot| {
            let at = slot * 86_400;
            let here = within(3600, 7, job, at);
            here != within(3600, 8, job, at) && here != within(3600, 7, hash("orders-weekly"), at)
        });
        assert!(others.count() > 90);
        assert_eq!(within(0, 7, job, 1), 0);
        assert_eq!(within(1, 7, job, 1), 0);
    }
}
