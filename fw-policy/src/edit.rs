//! What an edit has changed in a policy file, in whole rules.
//!
//! A rule begins at a line that is `[[rule]]` and nothing else, and ends where the next one begins. In a file without multi-line
//! strings no such line is anything else: a comment does not begin with a bracket, and within an array `[[rule]]` would be a
//! mistake. So the rules in front of an edit and behind it mean what they did, and the ones between can be read by themselves.

use std::ops::Range;

/// How every rule begins, behind the end of another line.
const HEADER: &str = "\n[[rule]]\n";

/// Some rules of a file that have become other ones, as bytes of the old and the new text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) old: Range<usize>,
    pub(crate) new: Range<usize>,
}

/// Whether rules can be told apart by their first lines.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.contains("\"\"\"") && !text.contains("'''")
}

/// The smallest run of rules outside of which two texts are equal; `None` if there is none, or if the new rules have strings of
/// several lines. The old text must be [plain](is_plain).
pub(crate) fn between(old: &str, new: &str) -> Option<Edit> {
    let prefix = common_start(old.as_bytes(), new.as_bytes());
    let rest = old.len().min(new.len()) - prefix;
    let suffix = common_end(&old.as_bytes()[old.len() - rest..], &new.as_bytes()[new.len() - rest..]);
    // The whole header of the first rule is common, so that both texts have it. Cut between characters, as `str` must be.
    let start = old[..old.floor_char_boundary(prefix)].rfind(HEADER)? + 1;
    let behind = &old[old.ceil_char_boundary(old.len() - suffix)..];
    let kept = behind.find(HEADER).map_or(0, |at| behind.len() - at - 1);
    let edit = Edit { old: start..old.len() - kept, new: start..new.len() - kept };
    is_plain(&new[edit.new.clone()]).then_some(edit)
}

/// How much is compared at once.
const BLOCK: usize = 4096;

/// How many bytes two texts have in common at their start.
fn common_start(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.chunks(BLOCK).zip(other.chunks(BLOCK)).take_while(|(one, other)| one == other);
    let equal = (blocks.count() * BLOCK).min(one.len()).min(other.len());
    equal + one[equal..].iter().zip(&other[equal..]).take_while(|(one, other)| one == other).count()
}

/// How many bytes two texts have in common at their end.
fn common_end(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.rchunks(BLOCK).zip(other.rchunks(BLOCK)).take_while(|(one, other)| one == other);
    let equal = (blocks.count() * BLOCK).min(one.len()).min(other.len());
    let (one, other) = (&one[..one.len() - equal], &other[..other.len() - equal]);
    equal + one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit<'t>(old: &'t str, new: &'t str) -> Option<(&'t str, &'t str)> {
        between(old, new).map(|edit| {
            assert_eq!(old[..edit.old.start], new[..edit.new.start]);
            assert_eq!(old[edit.old.end..], new[edit.new.end..]);
            (&old[edit.old], &new[edit.new])
        })
    }

    #[test]
    fn a_changed_rule_is_found_between_its_neighbours() {
        let text = |middle: &str| format!("version = 1\n[[rule]]\nid = \"a\"\n{middle}[[rule]]\nid = \"z\"\n");
        let (b, c) = ("[[rule]]\nid = \"b\"\n", "[[rule]]\nid = \"c\"\n");
        assert_eq!(edit(&text(b), &text(c)), Some((b, c)));
        let (old, new) = (text(b), text(""));
        let (gone, left) = edit(&old, &new).unwrap();
        assert!(gone.contains(b) && !left.contains(b));
        let last = text(b) + "action = \"drop\"\n";
        assert_eq!(edit(&text(b), &last).unwrap().1, "[[rule]]\nid = \"z\"\naction = \"drop\"\n");
    }

    #[test]
    fn what_is_no_rule_is_not_cut() {
        assert_eq!(between("version = 1\n[zones.a]\n", "version = 1\n[zones.b]\n"), None);
        let with = |description: &str| format!("version = 1\n[[rule]]\n[[rule]]\ndescription = {description}\n");
        assert_eq!(between(&with("\"a\""), &with("\"\"\"\n[[rule]]\n\"\"\"")), None);
    }

    #[test]
    fn characters_of_several_bytes_are_not_cut() {
        // The two differ in the second byte of the letter.
        let with = |letter: char| format!("version = 1\n[[rule]]\nid = \"{letter}\"\n[[rule]]\n");
        assert_eq!(edit(&with('é'), &with('è')), Some(("[[rule]]\nid = \"é\"\n", "[[rule]]\nid = \"è\"\n")));
    }

    #[test]
    fn long_texts_are_compared_to_the_byte() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let one = vec![b'a'; length];
            let mut other = one.clone();
            assert_eq!((common_start(&one, &other), common_end(&one, &other)), (length, length));
            if let Some(byte) = other.get_mut(length / 2) {
                *byte = b'b';
                assert_eq!(
                    (common_start(&one, &other), common_end(&one, &other)),
                    (length / 2, length - length / 2 - 1)
                );
            }
        }
    }
}
