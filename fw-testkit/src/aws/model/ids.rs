//! Identifiers in the form of those of EC2: a prefix and seventeen hexadecimal digits, the same in each run.

/// Gives identifiers out.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids(u64);

impl Ids {
    /// The next identifier with this prefix, such as `eni`.
    pub(super) fn next(&mut self, prefix: &str) -> String {
        self.0 += 1;
        format!("{prefix}-0{:016x}", mixed(self.0))
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): a bijection, so that no two identifiers are equal.
const fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Whether a text is the prefix, a hyphen and 8 or 17 hexadecimal digits.
pub(crate) fn is_well_formed(prefix: &str, id: &str) -> bool {
    let digits = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_look_like_those_of_ec2_and_differ() {
        let mut ids = Ids::default();
        let (first, second) = (ids.next("eni-attach"), ids.next("eni-attach"));
        assert_ne!(first, second);
        assert!(is_well_formed("eni-attach", &first), "{first}");
        assert!(!is_well_formed("eni", &first), "{first}");
        assert!(!is_well_formed("eni", "eni-12345"));
    }
}
