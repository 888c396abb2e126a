//! What differs between the tables of the two families.

use core::ptr::NonNull;

use fw_common::abi::config::Config;
use fw_common::abi::flow::{Bucket, Flow, FlowKey4, FlowKey6, Slot4, Slot6, Table};
use fw_common::conntrack;
use fw_common::flow_index::{Place, place, words4, words6};
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
    /// The words of a key.
    type Words: Copy + AsRef<[u64]>;

    /// The key of a packet, and whether its sender is the higher end.
    fn key_of(packet: &Packet) -> (Self::Key, bool);
    /// The key in the job.
    fn key(job: &mut Job) -> &mut Self::Key;
    /// The words of a key.
    fn words(key: &Self::Key) -> Self::Words;
    /// Where a key belongs.
    fn place(words: &Self::Words, config: &Config) -> Place;
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
    ($family:ident, $key:ident, $slot:ident, $number:literal, $job_key:ident, $key_of:path, $words:path,
     $flows:ident, $index:ident, $free:ident, $table:literal, $widen:expr) => {
        impl Family for $family {
            type Key = $key;
            type Slot = $slot;
            const NUMBER: u8 = $number;

            type Words = [u64; size_of::<$key>() / 8];

            #[inline(always)]
            fn key_of(packet: &Packet) -> ($key, bool) {
                $key_of(packet)
            }

            #[inline(always)]
            fn key(job: &mut Job) -> &mut $key {
                &mut job.$job_key
            }

            #[inline(always)]
            fn words(key: &$key) -> Self::Words {
                $words(key)
            }

            #[inline(always)]
            fn place(words: &Self::Words, config: &Config) -> Place {
                place(words, config.hash_seed, config.buckets)
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

family!(Ipv4, FlowKey4, Slot4, 4, key4, conntrack::key4, words4, FLOWS4, INDEX4, FREE4, 0, FlowKey6::from);
family!(Ipv6, FlowKey6, Slot6, 6, key6, conntrack::key6, words6, FLOWS6, INDEX6, FREE6, 1, core::convert::identity);
