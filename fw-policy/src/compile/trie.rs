//! Writes the tries that map addresses to classes, as [`fw_common::policy::address`] reads them.

use fw_common::abi::tables::{AddressClass, ClassLine, Node, NodeLine, ROOT_BITS, ROOT_IS_CLASS, RootLine};
use fw_common::policy::address::STEP_BITS;

use crate::set::interval::{Cidr, Family};
use crate::tables::{Column, Tables};

/// The trie of one side and family; its nodes and classes are counted from 0.
#[derive(Debug)]
pub(super) struct Trie {
    roots: Vec<RootLine>,
    nodes: Column<NodeLine>,
    classes: Column<ClassLine>,
}

/// Puts the tries of all sides and families into tables; their order is that of their roots.
pub(super) fn join<'t>(tries: impl IntoIterator<Item = &'t Trie>, tables: &mut Tables) {
    let (roots, nodes, classes) = (&mut tables.roots, &mut tables.nodes, &mut tables.classes);
    (*roots, *nodes, *classes) = (Column::new(), Column::new(), Column::new());
    for trie in tries {
        let [first_node, first_class] = [nodes.len(), classes.len()].map(|len| u32::try_from(len).unwrap_or(0));
        roots.extend_whole(trie.roots.iter().map(|line| RootLine {
            // The mark of a class stays, as no table has so many of them.
            roots: line.roots.map(|root| root + if root & ROOT_IS_CLASS == 0 { first_node } else { first_class }),
        }));
        nodes.extend_whole(trie.nodes.lines().iter().map(|line| NodeLine {
            nodes: line.nodes.map(|node| Node {
                first_node: node.first_node + first_node,
                first_class: node.first_class + first_class,
                ..node
            }),
        }));
        classes.extend_whole(trie.classes.lines().iter().copied());
    }
}

/// A prefix whose address begins at the highest bit, whatever its family.
#[derive(Clone, Copy)]
struct Labelled {
    first: u128,
    len: u32,
    class: AddressClass,
}

impl Labelled {
    /// The bits from `depth` on, `count` of them.
    const fn bits(&self, depth: u32, count: u32) -> usize {
        let behind = match self.first.checked_shl(depth) {
            Some(bits) => bits,
            None => 0,
        };
        (behind >> (128 - count)) as usize
    }
}

/// Spreads prefixes over the branches of `count` bits from `depth` on: what each branch leads to, and the longer prefixes
/// in it.
fn spread<'p>(
    prefixes: &'p [Labelled],
    (depth, count): (u32, u32),
    classes: &mut [AddressClass],
    inner: &mut [&'p [Labelled]],
) {
    let mut rest = prefixes;
    while let [prefix, behind @ ..] = rest {
        let branch = prefix.bits(depth, count);
        if prefix.len <= depth + count {
            // As among the roots.
            let width = 1 << (depth + count - prefix.len);
            classes[branch..branch + width].fill(prefix.class);
            rest = behind;
        } else {
            let end = rest.partition_point(|other| other.bits(depth, count) <= branch);
            (inner[branch], rest) = rest.split_at(end);
        }
    }
}

impl Trie {
    /// The trie of some prefixes, which ascend.
    pub(super) fn new(prefixes: &[(Cidr, AddressClass)], family: Family) -> Self {
        let mut trie = Self { roots: Vec::new(), nodes: Column::new(), classes: Column::new() };
        // Of addresses that no rule names.
        trie.push_class(AddressClass::default());
        trie.fill(prefixes, family);
        trie
    }

    fn fill(&mut self, prefixes: &[(Cidr, AddressClass)], family: Family) {
        let shift = 128 - u32::from(family.bits());
        let labelled = |(cidr, class): &(Cidr, AddressClass)| Labelled {
            first: cidr.first << shift,
            len: u32::from(cidr.len),
            class: *class,
        };
        let prefixes: Vec<Labelled> = prefixes.iter().map(labelled).collect();
        // Where nothing is known, the first class of all.
        let mut roots = vec![ROOT_IS_CLASS; 1 << ROOT_BITS];
        let mut rest = prefixes.as_slice();
        while let [prefix, behind @ ..] = rest {
            let branch = prefix.bits(0, ROOT_BITS);
            if prefix.len <= ROOT_BITS {
                // What stands later in the order is within or behind, so it is right to overwrite.
                let width = 1 << (ROOT_BITS - prefix.len);
                roots[branch..branch + width].fill(self.push_class(prefix.class) | ROOT_IS_CLASS);
                rest = behind;
            } else {
                let end = rest.partition_point(|other| other.bits(0, ROOT_BITS) <= branch);
                let around = self.classes.get((roots[branch] & !ROOT_IS_CLASS) as usize);
                let node = self.nodes.grow(1);
                self.write_node(node, &rest[..end], ROOT_BITS, around);
                roots[branch] = u32::try_from(node).unwrap_or(0);
                rest = &rest[end..];
            }
        }
        self.roots = roots.as_chunks().0.iter().map(|roots| RootLine { roots: *roots }).collect();
    }

    fn push_class(&mut self, class: AddressClass) -> u32 {
        self.classes.push(class);
        u32::try_from(self.classes.len() - 1).unwrap_or(0)
    }

    fn write_node(&mut self, at: usize, prefixes: &[Labelled], depth: u32, around: AddressClass) {
        let mut branches = [around; 1 << STEP_BITS];
        let mut inner: [&[Labelled]; 1 << STEP_BITS] = [&[]; 1 << STEP_BITS];
        spread(prefixes, (depth, STEP_BITS), &mut branches, &mut inner);
        let first_node = self.nodes.grow(inner.iter().filter(|inner| !inner.is_empty()).count());
        let mut node = Node {
            first_node: u32::try_from(first_node).unwrap_or(0),
            first_class: u32::try_from(self.classes.len()).unwrap_or(0),
            ..Node::default()
        };
        let mut before = None;
        for (branch, (class, inner)) in branches.iter().zip(&inner).enumerate() {
            if !inner.is_empty() {
                node.inner |= 1 << branch;
            } else if before != Some(*class) {
                node.classes |= 1 << branch;
                self.classes.push(*class);
                before = Some(*class);
            }
        }
        self.nodes.set(at, node);
        let below = inner.iter().zip(branches).filter(|(inner, _)| !inner.is_empty());
        for ((inner, class), child) in below.zip(first_node..) {
            self.write_node(child, inner, depth + STEP_BITS, class);
        }
    }
}
