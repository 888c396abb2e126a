//! Ends a flow because an operator says so.

use core::mem::offset_of;
use core::ptr::NonNull;

use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use aya_ebpf::programs::XdpContext;
use fw_common::abi::event::{EndOrder, EndReason};
use fw_common::abi::flow::FlowKey6;
use fw_common::conntrack::State;
use fw_common::wire::parse::Frame as _;

use crate::packet::Linear;
use crate::stage::table::{self, Family, Ipv4, Ipv6};

/// Ends the flow that an [`EndOrder`] in place of a packet names; whether it was there.
#[inline(always)]
pub(crate) fn end(ctx: &XdpContext) -> bool {
    let order = Linear::of_xdp(ctx);
    let ended = match word32(&order, offset_of!(EndOrder, family)) {
        Some(4) => end_in::<Ipv4>(&order),
        Some(6) => end_in::<Ipv6>(&order),
        _ => None,
    };
    ended.is_some()
}

#[inline(always)]
fn end_in<F: Family>(order: &Linear) -> Option<()> {
    // SAFETY: the helper has no arguments.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    let number = word32(order, offset_of!(EndOrder, slot))?;
    let opened = word32(order, offset_of!(EndOrder, opened))?;
    if !table::is_used::<F>(number) {
        return None;
    }
    let slot = F::slot(number)?;
    let flow = F::flow(slot);
    // SAFETY: words of a live map value.
    let judged = unsafe { (&raw const (*flow.as_ptr()).last_seen).read_volatile() };
    if judged == 0 || !has_key::<F>(slot, order)? {
        return None;
    }
    // SAFETY: as above.
    let (opened_at, state) = unsafe { ((&raw const (*flow.as_ptr()).opened).read_volatile(), (*flow.as_ptr()).state) };
    if opened_at != opened || state == State::Ended as u8 || !table::claim(flow, judged) {
        return None;
    }
    // A slot of a half-open flow that was ended can be another flow's within the second of `judged`: nobody else changes it now.
    // SAFETY: as above.
    let is_it = unsafe { (&raw const (*flow.as_ptr()).opened).read_volatile() } == opened
        && has_key::<F>(slot, order).unwrap_or(false);
    if !is_it {
        // SAFETY: the word that was claimed.
        unsafe { (&raw mut (*flow.as_ptr()).last_seen).write_volatile(judged) };
        return None;
    }
    let record =
        table::record_end(flow, judged, EndReason::Killed, (F::NUMBER, now_ns), |wide| F::write_key(slot, wide));
    if let Some(record) = record {
        record.submit(0);
    }
    table::close(F::table(), flow, (now_ns / 1_000_000_000) as u32);
    Some(())
}

/// Whether the slot has the key of the order.
#[inline(always)]
fn has_key<F: Family>(slot: NonNull<F::Slot>, order: &Linear) -> Option<bool> {
    let mut key = FlowKey6::default();
    F::write_key(slot, &mut key);
    let words = (&raw const key).cast::<u64>();
    let mut same = true;
    for position in 0..size_of::<FlowKey6>() / 8 {
        let expected = u64::from_ne_bytes(order.bytes(offset_of!(EndOrder, key) + position * 8)?);
        // SAFETY: a key is five aligned words.
        same &= unsafe { words.add(position).read() } == expected;
    }
    Some(same)
}

/// An aligned number of the order.
#[inline(always)]
fn word32(order: &Linear, offset: usize) -> Option<u32> {
    order.bytes(offset).map(u32::from_ne_bytes)
}
