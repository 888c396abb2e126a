//! The flow tables, and the sweep.

use std::collections::BTreeMap;

use aya::Pod;
use fw_common::abi::event::EndOrder;
use fw_common::abi::flow::{DYING, Flow, FlowKey6, LANES, Slot4, Slot6, Table, Tags};
use fw_common::abi::policy::MAX_RULES;
use fw_common::conntrack::{self, IdleBy, SWEEP_BATCH, State, Timeouts};

use super::memory::Mapped;
use super::object::{Object, map_error};
use super::policy::RULE_TIMEOUTS;
use crate::dataplane::{DataplaneError, FlowRecord, Occupancy};

/// Bytes of memory that one flow takes in all tables, rounded up (`docs/maps.md`).
const FLOW_MEMORY: u64 = 256;
/// The part of the machine's memory that flows may take by default.
const MEMORY_SHARE: u64 = 16;

/// A sixteenth of the machine's memory, between 64 Ki and 2 Mi flows of each family.
pub(super) fn default_max_flows() -> u32 {
    let info = rustix::system::sysinfo();
    let memory = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let flows = (memory / MEMORY_SHARE / (2 * FLOW_MEMORY)).clamp(1 << 16, 1 << 21);
    u32::try_from(flows).unwrap_or(1 << 16)
}

/// Visits every flow. Flows that come and go meanwhile may be missed, and none is visited twice.
pub(super) fn visit(object: &Object, visit: &mut dyn FnMut(FlowRecord) -> bool) -> Result<(), DataplaneError> {
    visit_slots(object, 0, &mut |_, _, record| visit(record))
}

/// The flows behind a place in the tables, so many at most, and the place to go on from.
pub(super) fn behind(
    object: &Object,
    place: u64,
    most: usize,
) -> Result<(Vec<FlowRecord>, Option<u64>), DataplaneError> {
    let (mut records, mut next) = (Vec::new(), None);
    visit_slots(object, place, &mut |place, _, record| {
        if records.len() == most {
            next = Some(place);
            return false;
        }
        records.push(record);
        true
    })?;
    Ok((records, next))
}

/// What ends the chosen flows.
pub(super) fn orders(
    object: &Object,
    choose: &mut dyn FnMut(&FlowRecord) -> bool,
) -> Result<Vec<EndOrder>, DataplaneError> {
    let mut orders = Vec::new();
    visit_slots(object, 0, &mut |_, slot, record| {
        if choose(&record) {
            let FlowRecord { key, family, flow, .. } = record;
            orders.push(EndOrder { key, slot, opened: flow.opened, family: family.into(), _pad: 0 });
        }
        true
    })?;
    Ok(orders)
}

/// Visits every flow from a place on, with its own place in both tables, one behind the other, and the number of its slot.
fn visit_slots(
    object: &Object,
    from: u64,
    visit: &mut dyn FnMut(u64, u32, FlowRecord) -> bool,
) -> Result<(), DataplaneError> {
    let timeouts = IdleTimeouts::read(object)?;
    let slots: Mapped<Slot4> = mapped(object, "FLOWS4")?;
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let used = used_slots(object, "TAGS4", ("FLOWS4", slots.len()))?.skip_while(|number| *number < from);
    for (number, Slot4 { key, flow }) in used.map(|number| (number, slots.get(number))) {
        let record = FlowRecord { key: FlowKey6::from(key), family: 4, flow, timeout: timeouts.of(&flow) };
        if holds_a_flow(&flow) && !visit(number as u64, number as u32, record) {
            return Ok(());
        }
    }
    let behind = slots.len();
    let slots: Mapped<Slot6> = mapped(object, "FLOWS6")?;
    let from = from.saturating_sub(behind);
    let used = used_slots(object, "TAGS6", ("FLOWS6", slots.len()))?.skip_while(|number| *number < from);
    for (number, Slot6 { key, flow }) in used.map(|number| (number, slots.get(number))) {
        let record = FlowRecord { key, family: 6, flow, timeout: timeouts.of(&flow) };
        if holds_a_flow(&flow) && !visit((behind + number) as u64, number as u32, record) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether a slot is not being emptied or filled.
fn holds_a_flow(flow: &Flow) -> bool {
    flow.last_seen != 0 && flow.last_seen != DYING
}

/// The slots that are in use, by their tags. Pinned maps are taken over as they are, so that their sizes need not fit.
fn used_slots(
    object: &Object,
    name: &'static str,
    (map, slots): (&'static str, usize),
) -> Result<impl Iterator<Item = usize>, DataplaneError> {
    let tags: Mapped<Tags> = mapped(object, name)?;
    let needed = tags.len() * LANES as usize;
    if slots != needed {
        let reason = format!("has {slots} slots, and {name} has tags for {needed}: the pins are of different tables");
        return Err(DataplaneError::Map { map, reason });
    }
    let buckets = (0..tags.len()).map(move |bucket| (bucket, tags.get(bucket)));
    Ok(buckets.flat_map(|(bucket, tags)| {
        let tags = tags.words.into_iter().flat_map(u64::to_le_bytes);
        (bucket * LANES as usize..).zip(tags).filter(|(_, tag)| *tag != 0).map(|(slot, _)| slot)
    }))
}

/// All values of an array.
pub(super) fn mapped<V: Pod>(object: &Object, name: &'static str) -> Result<Mapped<V>, DataplaneError> {
    let data = object.array_data(name)?;
    let info = data.info().map_err(|error| map_error(name, &error))?;
    if info.value_size() as usize != size_of::<V>() {
        let reason = format!("has values of {} bytes, and this agent's have {}", info.value_size(), size_of::<V>());
        return Err(DataplaneError::Map { map: name, reason });
    }
    Mapped::new(data.fd(), info.max_entries() as usize).map_err(|error| map_error(name, &error))
}

/// The idle time-outs, by state and by rule.
struct IdleTimeouts {
    states: Timeouts,
    /// Of the rules that have one of their own.
    rules: BTreeMap<u32, u32>,
}

impl IdleTimeouts {
    fn read(object: &Object) -> Result<Self, DataplaneError> {
        let seconds: Mapped<u64> = mapped(object, RULE_TIMEOUTS)?;
        let own = (0..MAX_RULES).map(|handle| (handle, seconds.get(handle as usize)));
        let own = own.filter_map(|(handle, seconds)| Some((handle, u32::try_from(seconds).ok()?)));
        let rules = own.filter(|(_, seconds)| *seconds != 0).collect();
        Ok(Self { states: object.config()?.timeouts, rules })
    }

    fn of(&self, flow: &Flow) -> u32 {
        let state = State::from_number(flow.state);
        let state = match conntrack::idle_by(state, flow.flags, flow.tcp_flags) {
            IdleBy::State(state) => state,
            IdleBy::Rule => match self.rules.get(&flow.rule) {
                Some(seconds) => return *seconds,
                None => state,
            },
        };
        self.states.seconds.get(state as usize).copied().unwrap_or_default()
    }
}

/// How full the tables are.
pub(super) fn occupancy(object: &Object) -> Result<[Occupancy; 2], DataplaneError> {
    let config = object.config()?;
    let tables = object.array::<Table>("FLOW_TABLES")?;
    let of = |family: u32| {
        let table = tables.get(&family, 0).map_err(|error| map_error("FLOW_TABLES", &error))?;
        Ok(Occupancy {
            used: table.used,
            half_open: table.half_open,
            limit: u64::from(config.max_flows),
            half_open_limit: u64::from(config.half_open_limit),
            reserved: u64::from(config.reserved_flows),
        })
    };
    Ok([of(0)?, of(1)?])
}

/// Flows that are ended before the lock is given free.
pub(super) const END_CHUNK: usize = 1_024;

/// How many batches look once at every slot.
pub(super) fn sweep_batches(object: &Object) -> Result<u32, DataplaneError> {
    Ok((object.buckets()? * LANES).div_ceil(SWEEP_BATCH))
}
