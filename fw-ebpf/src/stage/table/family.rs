//! What differs between the tables of the two families.

use core::ptr::NonNull;

use fw_common::abi::config::Config;
use fw_common::abi::flow::{Bucket, Flow, FlowKey4, FlowKey6, Slot4, Slot6, Table};
use fw_common::conntrack;
use fw_common::flow_index::{Place, place4, place6};
use fw_common::wire::Packet;

use crate::job::Job;
use crate::maps::{FLOWS4, FLOWS6, FREE4, FREE6, INDEX4, INDEX6, TABLES};

/// A family of addresses: its keys, and the maps of its table.
pub(crate) trait Family {
    /// The key of a flow.
    type Key: Copy;
    /// The slot of a flow.
    type Slot;
    /// 4 or 6.
    const NUMBER: u8;

    /// The key in the job.
    fn key(job: &Job) -> &Self::Key;
    /// Notes the key of a packet in the job, and whether its sender is the higher end.
    fn note_key(packet: &Packet, key4: &mut FlowKey4, key6: &mut FlowKey6) -> bool;
    /// Where a key belongs.
    fn place(key: &Self::Key, config: &Config) -> Place;
    /// A bucket of the index.
    fn bucket(number: u32) -> Option<*mut Bucket>;
    /// A slot.
    fn slot(number: u32) -> Option<NonNull<Self::Slot>>;
    /// The flow in a slot.
    fn flow(slot: NonNull<Self::Slot>) -> NonNull<Flow>;
    /// The key in a slot.
    fn key_in(slot: NonNull<Self::Slot>) -> *mut Self::Key;
    /// A key for records.
    fn widen(key: Self::Key) -> FlowKey6;
    /// The table's counters.
    fn table() -> Option<*mut Table>;
    /// Takes a slot from the queue of free ones.
    fn pop() -> Option<u32>;
    /// Puts a slot into the queue, which has room for every slot.
    fn push(slot: u32);
}

/// IPv4.
pub(crate) enum Ipv4 {}
/// IPv6.
pub(crate) enum Ipv6 {}

macro_rules! family {
    ($family:ident, $key:ident, $slot:ident, $number:literal, $job_key:ident, $key_of:path, $place:path,
     $flows:ident, $index:ident, $free:ident, $table:literal, $widen:expr) => {
        impl Family for $family {
            type Key = $key;
            type Slot = $slot;
            const NUMBER: u8 = $number;

            #[inline(always)]
            fn key(job: &Job) -> &$key {
                &job.$job_key
            }

            #[inline(always)]
            fn note_key(packet: &Packet, key4: &mut FlowKey4, key6: &mut FlowKey6) -> bool {
                let _ = (&key4, &key6);
                let (key, sender_is_high) = $key_of(packet);
                *$job_key!(key4, key6) = key;
                sender_is_high
            }

            #[inline(always)]
            fn place(key: &$key, config: &Config) -> Place {
                $place(key, config.hash_seed, config.buckets)
            }

            #[inline(always)]
            fn bucket(number: u32) -> Option<*mut Bucket> {
                $index.get_ptr_mut(number)
            }

            #[inline(always)]
            fn slot(number: u32) -> Option<NonNull<$slot>> {
                $flows.get_ptr_mut(number).and_then(NonNull::new)
            }

            #[inline(always)]
            fn flow(slot: NonNull<$slot>) -> NonNull<Flow> {
                // SAFETY: a field of a live map value.
                unsafe { NonNull::new_unchecked(&raw mut (*checked(slot.as_ptr())).flow) }
            }

            #[inline(always)]
            fn key_in(slot: NonNull<$slot>) -> *mut $key {
                // SAFETY: a field of a live map value.
                unsafe { &raw mut (*slot.as_ptr()).key }
            }

            #[inline(always)]
            fn widen(key: $key) -> FlowKey6 {
                $widen(key)
            }

            #[inline(always)]
            fn table() -> Option<*mut Table> {
                TABLES.get_ptr_mut($table)
            }

            #[inline(always)]
            fn pop() -> Option<u32> {
                $free.pop().ok().flatten()
            }

            #[inline(always)]
            fn push(slot: u32) {
                let _ = $free.push(slot, 0);
            }
        }
    };
}

/// The same pointer.
///
/// VERIFIER: the compiler likes to add the offset of a field before it compares the pointer with null, which the verifier
/// forbids; it does not move this. Test: `prog_run::the_programs_load`.
#[inline(always)]
fn checked<T>(mut pointer: *mut T) -> *mut T {
    // SAFETY: copies a register to itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Of two keys the one of IPv4.
macro_rules! key4 {
    ($key4:ident, $key6:ident) => {
        $key4
    };
}
/// Of two keys the one of IPv6.
macro_rules! key6 {
    ($key4:ident, $key6:ident) => {
        $key6
    };
}

family!(Ipv4, FlowKey4, Slot4, 4, key4, conntrack::key4, place4, FLOWS4, INDEX4, FREE4, 0, FlowKey6::from);
family!(Ipv6, FlowKey6, Slot6, 6, key6, conntrack::key6, place6, FLOWS6, INDEX6, FREE6, 1, core::convert::identity);
