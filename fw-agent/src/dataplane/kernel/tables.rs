//! The tables of a policy as maps: made in their size, filled as memory, put into their slot together.

use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};

use aya::maps::{ArrayOfMaps, Map, MapData};
use fw_common::abi::policy::ZoneDefault;
use fw_common::abi::tables::{Clause, ClauseLine, DefaultLine, LINE, Line, TableLine, table};
use fw_policy::{Packed, Tables};

use super::calls;
use super::memory::{MMAPABLE, Mapped};
use super::object::{Object, map_error};
use crate::dataplane::DataplaneError;

/// The name of the map.
const TABLES: &str = "TABLES";
/// `BPF_F_INNER_MAP` of `include/uapi/linux/bpf.h`: the arrays of one slot differ in size.
const BPF_F_INNER_MAP: u32 = 1 << 12;
/// The maps of a slot.
pub(super) struct Loaded {
    first: u32,
    maps: Vec<OwnedFd>,
}

impl Loaded {
    /// Waits until every packet that is under way now has been judged.
    ///
    /// Setting an inner map, be it to what it is, waits for an RCU grace period (`maybe_wait_bpf_programs` in
    /// kernel/bpf/syscall.c), and every program runs within one.
    pub(super) fn wait(&self, object: &mut Object) -> Result<(), DataplaneError> {
        put(object, self.first, &self.maps[..1])
    }
}

/// Fills the tables of a slot, which judges no packets; `handles` says what stands for each rule.
pub(super) fn fill(object: &mut Object, slot: u32, tables: &Tables, handles: &[u32]) -> Result<Loaded, DataplaneError> {
    let handle = |rule: u32| handles.get(rule as usize).copied().unwrap_or_default();
    let clauses: Vec<ClauseLine> =
        relabelled(tables.clauses.lines(), |clause: Clause| Clause { rule: handle(clause.rule), ..clause });
    let defaults: Vec<DefaultLine> = relabelled(tables.zone_defaults.lines(), |default: ZoneDefault| ZoneDefault {
        rule: handle(default.rule),
        ..default
    });
    let lines: [&[Line]; table::COUNT as usize] = [
        lines(std::slice::from_ref(&tables.header)),
        lines(tables.roots.lines()),
        lines(tables.nodes.lines()),
        lines(tables.classes.lines()),
        lines(&tables.pairs),
        lines(tables.splits.lines()),
        lines(tables.entries.lines()),
        lines(&clauses),
        lines(&defaults),
    ];
    let maps: Vec<OwnedFd> = lines.iter().map(|lines| array(lines.len())).collect::<Result<_, _>>()?;
    let first = slot * table::COUNT;
    std::thread::scope(|scope| {
        // Nothing is judged by this slot yet, so its tables are filled while the kernel waits for those that were there before.
        let put = scope.spawn(|| put(object, first, &maps));
        maps.iter().zip(lines).try_for_each(|(map, lines)| write(map, lines))?;
        put.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(Loaded { first, maps })
}

/// The same lines with other rules in them.
fn relabelled<L: Packed>(lines: &[L], change: impl Fn(L::Item) -> L::Item) -> Vec<L> {
    let mut lines = lines.to_vec();
    lines.iter_mut().flat_map(Packed::items_mut).for_each(|item| *item = change(*item));
    lines
}

/// Lines of a table as lines.
fn lines<L: TableLine>(lines: &[L]) -> &[Line] {
    const { assert!(align_of::<L>() == align_of::<Line>()) };
    // SAFETY: a `TableLine` has the size of a `Line` and no padding, and a `Line` may have any bytes; the alignment is
    // asserted.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len()) }
}

/// Makes an array that holds so many lines.
fn array(len: usize) -> Result<OwnedFd, DataplaneError> {
    // Maps have at least one element.
    let map = calls::create_array(TABLES, LINE, len.max(1), BPF_F_INNER_MAP | MMAPABLE);
    map.map_err(|error| map_error(TABLES, &error))
}

/// Writes lines into the array that was made for them.
fn write(map: &OwnedFd, lines: &[Line]) -> Result<(), DataplaneError> {
    let mut memory = Mapped::new(map, lines.len().max(1)).map_err(|error| map_error(TABLES, &error))?;
    memory.copy_from(lines);
    Ok(())
}

/// Puts inner maps into consecutive places of the outer map, with one call: each call waits until no program can use what was
/// there before (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c).
fn put(object: &mut Object, first: u32, maps: &[OwnedFd]) -> Result<(), DataplaneError> {
    let Map::ArrayOfMaps(outer) = object.map_mut(TABLES)? else {
        return Err(DataplaneError::Map { map: TABLES, reason: "is not an array of maps".to_owned() });
    };
    let keys: Vec<u32> = (first..).take(maps.len()).collect();
    let fds: Vec<i32> = maps.iter().map(AsRawFd::as_raw_fd).collect();
    calls::update_batch(outer.fd().as_fd(), &keys, &fds).map_err(|error| map_error(TABLES, &error))
}

/// Bytes that the kernel says the tables of a slot take.
pub(super) fn memory(object: &Object, slot: u32) -> Result<u64, DataplaneError> {
    let outer: ArrayOfMaps<&MapData> =
        ArrayOfMaps::try_from(object.map(TABLES)?).map_err(|error| map_error(TABLES, &error))?;
    let first = slot * table::COUNT;
    let bytes = (first..first + table::COUNT).map(|index| {
        let inner = outer.get(&index, 0).map_err(|error| map_error(TABLES, &error))?;
        let path = format!("/proc/self/fdinfo/{}", inner.fd().as_fd().as_raw_fd());
        let info = std::fs::read_to_string(path).map_err(|error| map_error(TABLES, &error))?;
        let memlock = info.lines().find_map(|line| line.strip_prefix("memlock:"));
        Ok(memlock.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or_default())
    });
    bytes.sum()
}
