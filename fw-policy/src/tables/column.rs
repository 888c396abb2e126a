//! Tables of small elements, kept in lines as the data plane has them.

use fw_common::abi::policy::ZoneDefault;
use fw_common::abi::tables::{
    AddressClass, ClassLine, Clause, ClauseLine, DefaultLine, Entry, EntryLine, Node, NodeLine, RootLine, SplitLine,
    TableLine,
};

/// A line of several elements.
pub trait Packed: TableLine + Default {
    /// The element.
    type Item: Copy + Default;

    /// The elements of the line.
    fn items(&self) -> &[Self::Item];
    /// The same, to be changed.
    fn items_mut(&mut self) -> &mut [Self::Item];
}

macro_rules! packed {
    ($($line:ty { $field:ident: $item:ty }),+ $(,)?) => {
        $(impl Packed for $line {
            type Item = $item;

            fn items(&self) -> &[$item] {
                &self.$field
            }

            fn items_mut(&mut self) -> &mut [$item] {
                &mut self.$field
            }
        })+
    };
}

packed!(
    RootLine { roots: u32 },
    NodeLine { nodes: Node },
    ClassLine { classes: AddressClass },
    SplitLine { words: u32 },
    EntryLine { entries: Entry },
    ClauseLine { clauses: Clause },
    DefaultLine { defaults: ZoneDefault },
);

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column<L> {
    lines: Vec<L>,
    len: usize,
}

impl<L: Packed> Column<L> {
    /// An empty table.
    pub(crate) const fn new() -> Self {
        Self { lines: Vec::new(), len: 0 }
    }

    fn per_line() -> usize {
        L::default().items().len()
    }

    /// Number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The lines; what the last one has behind the elements is zero.
    #[must_use]
    pub fn lines(&self) -> &[L] {
        &self.lines
    }

    /// The elements.
    pub fn iter(&self) -> impl Iterator<Item = &L::Item> {
        self.lines.iter().flat_map(|line| line.items()).take(self.len)
    }

    pub(crate) fn push(&mut self, item: L::Item) {
        let per_line = Self::per_line();
        if self.len.is_multiple_of(per_line) {
            self.lines.push(L::default());
        }
        if let Some(line) = self.lines.last_mut() {
            line.items_mut()[self.len % per_line] = item;
        }
        self.len += 1;
    }

    /// Adds elements of zeros; the position of the first.
    pub(crate) fn grow(&mut self, count: usize) -> usize {
        let first = self.len;
        self.len += count;
        self.lines.resize(self.len.div_ceil(Self::per_line()), L::default());
        first
    }

    /// Adds elements of zeros until the next one would be the first of a line.
    pub(crate) fn align(&mut self) {
        self.len = self.lines.len() * Self::per_line();
    }

    pub(crate) fn set(&mut self, at: usize, item: L::Item) {
        let per_line = Self::per_line();
        self.lines[at / per_line].items_mut()[at % per_line] = item;
    }

    pub(crate) fn get(&self, at: usize) -> L::Item {
        let per_line = Self::per_line();
        self.lines[at / per_line].items()[at % per_line]
    }

    /// Adds whole lines behind whole lines.
    pub(crate) fn extend_whole(&mut self, lines: impl Iterator<Item = L>) {
        self.lines.extend(lines);
        self.align();
    }
}

impl<L: Packed> FromIterator<L::Item> for Column<L> {
    fn from_iter<I: IntoIterator<Item = L::Item>>(items: I) -> Self {
        let mut column = Self::new();
        items.into_iter().for_each(|item| column.push(item));
        column
    }
}
