//! Where the running kernel keeps a field of a structure, by its own type information (`Documentation/bpf/btf.rst`).
//!
//! What compilers for C leave to the loader as relocations is asked for by name here: there are three fields.

use std::collections::HashMap;

/// The kernel's type information.
pub(super) const KERNEL: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// Kinds of types (include/uapi/linux/btf.h).
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const ENUM64: u32 = 19;
    /// The last one that is known.
    pub(super) const LAST: u32 = ENUM64;
}

/// Words of the head of a type.
const HEAD: usize = 3;
/// Anonymous structures that may lie in each other.
const DEPTH: u32 = 8;

/// The types, and the names of structures.
pub(super) struct Types<'b> {
    words: Vec<u32>,
    strings: &'b [u8],
    /// Where each type begins, by its number less one.
    starts: Vec<usize>,
    structures: HashMap<&'b [u8], usize>,
}

impl<'b> Types<'b> {
    /// Reads type information; `None` if it is not what this understands.
    pub(super) fn read(bytes: &'b [u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let (head, types, types_len) = (word(4)? as usize, word(8)? as usize, word(12)? as usize);
        let (strings, strings_len) = (word(16)? as usize, word(20)? as usize);
        let types = bytes.get(head + types..)?.get(..types_len)?;
        let strings = bytes.get(head + strings..)?.get(..strings_len)?;
        let words = types.chunks_exact(4).filter_map(|word| Some(u32::from_ne_bytes(*word.first_chunk()?))).collect();
        let mut read = Self { words, strings, starts: Vec::new(), structures: HashMap::new() };
        let mut at = 0;
        while at < read.words.len() {
            let (kind, members) = read.info(at)?;
            if kind == kind::STRUCT {
                read.structures.insert(read.name(*read.words.get(at)?)?, at);
            }
            read.starts.push(at);
            at += HEAD + words_behind(kind, members)?;
        }
        Some(read)
    }

    /// Offset in bytes of a field, given by its name, or by those of the fields that it lies in and its own.
    pub(super) fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut at = *self.structures.get(structure.as_bytes())?;
        let mut bits = 0;
        for name in path {
            let (offset, kind) = self.member(at, name.as_bytes(), DEPTH)?;
            bits += offset;
            // Only a structure goes on; the last field may be of any type.
            at = self.starts.get((kind as usize).checked_sub(1)?).copied()?;
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Offset in bits and type of a member, also of one in an anonymous member.
    fn member(&self, at: usize, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        let (kind, members) = self.info(at)?;
        if depth == 0 || (kind != kind::STRUCT && kind != kind::UNION) {
            return None;
        }
        // With the topmost bit of the information, the upper byte of an offset is the size of a bit field.
        let mask = if *self.words.get(at + 1)? >> 31 != 0 { 0x00ff_ffff } else { u32::MAX };
        let members = self.words.get(at + HEAD..)?.chunks_exact(3).take(members);
        for member in members {
            let &[name_offset, kind, offset] = member else { return None };
            let offset = offset & mask;
            let member_name = self.name(name_offset)?;
            if member_name == name {
                return Some((offset, kind));
            }
            if member_name.is_empty()
                && let Some(inner) = self.starts.get((kind as usize).checked_sub(1)?)
                && let Some((within, kind)) = self.member(*inner, name, depth - 1)
            {
                return Some((offset + within, kind));
            }
        }
        None
    }

    /// Kind of a type, and how many members it has.
    fn info(&self, at: usize) -> Option<(u32, usize)> {
        let info = *self.words.get(at + 1)?;
        Some((info >> 24 & 0x1f, (info & 0xffff) as usize))
    }

    fn name(&self, offset: u32) -> Option<&'b [u8]> {
        self.strings.get(offset as usize..)?.split(|byte| *byte == 0).next()
    }
}

/// Words of a type behind its head; `None` for kinds that are not known, behind which nothing can be found.
const fn words_behind(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 1,
        kind::ARRAY => 3,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 3 * members,
        kind::ENUM | kind::FUNC_PROTO => 2 * members,
        0 => return None,
        kind if kind <= kind::LAST => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { struct { int a; int b; }; struct inner i; }; struct inner { int c; int d; };`
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0i\0inner\0c\0d\0";
        let at = |name: &str| {
            strings.windows(name.len() + 2).position(|window| {
                window[0] == 0 && window[1..=name.len()] == *name.as_bytes() && window[name.len() + 1] == 0
            })
        };
        let at = |name: &str| u32::try_from(at(name).unwrap() + 1).unwrap();
        let structure = |members: u32| kind::STRUCT << 24 | members;
        let types: Vec<u32> = [
            vec![at("int"), kind::INT << 24, 4, 32],
            vec![0, structure(2), 8, at("a"), 1, 0, at("b"), 1, 32],
            vec![at("inner"), structure(2), 8, at("c"), 1, 0, at("d"), 1, 32],
            vec![at("outer"), structure(2), 16, 0, 2, 0, at("i"), 3, 64],
        ]
        .concat();
        let len = u32::try_from(types.len() * 4).unwrap();
        let head = [24, 0, len, len, u32::try_from(strings.len()).unwrap()];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        bytes.extend(head.iter().chain(&types).flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn fields_are_found_also_in_anonymous_members_and_in_fields() {
        let bytes = sample();
        let types = Types::read(&bytes).unwrap();
        assert_eq!(types.offset("outer", &["b"]), Some(4));
        assert_eq!(types.offset("outer", &["i"]), Some(8));
        assert_eq!(types.offset("outer", &["i", "d"]), Some(12));
        assert_eq!(types.offset("outer", &["e"]), None);
        assert_eq!(types.offset("other", &["b"]), None);
    }

    #[test]
    fn what_is_cut_off_or_strange_is_refused() {
        let bytes = sample();
        for len in 0..bytes.len() {
            let read = Types::read(&bytes[..len]);
            assert!(read.is_none(), "{len} bytes");
        }
        assert!(Types::read(&[0; 64]).is_none());
    }
}
