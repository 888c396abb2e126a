//! What differs between the tables of the two families.

use core::ptr::NonNull;

use fw_common::abi::config::Config;
use fw_common::abi::flow::{Flow, FlowKey4, FlowKey6, Slot4, Slot6, Table, Tags};
use fw_common::conntrack;
use fw_common::flow_index::{Place, place, words4, words6};
use fw_common::wire::Packet;

use crate::job::Job;
use crate::maps::{FLOW_TABLES, FLOWS4, FLOWS6, TAGS4, TAGS6};

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
    /// The tags of a bucket.
    fn tags(bucket: u32) -> Option<*mut Tags>;
    /// A slot.
    fn slot(number: u32) -> Option<NonNull<Self::Slot>>;
    /// The flow in a slot.
    fn flow(slot: NonNull<Self::Slot>) -> NonNull<Flow>;
    /// The key in a slot.
    fn key_in(slot: NonNull<Self::Slot>) -> *mut Self::Key;
    /// Writes the key in a slot to a record.
    fn write_key(slot: NonNull<Self::Slot>, to: &mut FlowKey6);
    /// The table's counters.
    fn table() -> Option<*mut Table>;
}

/// IPv4.
pub(crate) enum Ipv4 {}
/// IPv6.
pub(crate) enum Ipv6 {}

macro_rules! family {
    ($family:ident, $key:ident, $slot:ident, $number:literal, $job_key:ident, $key_of:path, $words:path,
     $flows:ident, $tags:ident, $table:literal, $write_key:path) => {
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
            fn tags(bucket: u32) -> Option<*mut Tags> {
                $tags.get_ptr_mut(bucket)
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
            fn write_key(slot: NonNull<$slot>, to: &mut FlowKey6) {
                $write_key(slot, to)
            }

            #[inline(always)]
            fn table() -> Option<*mut Table> {
                FLOW_TABLES.get_ptr_mut($table)
            }
        }
    };
}

#[inline(always)]
fn write_key4(slot: NonNull<Slot4>, to: &mut FlowKey6) {
    // SAFETY: the key in a live slot.
    *to = FlowKey6::from(unsafe { Ipv4::key_in(slot).read() });
}

#[inline(always)]
fn write_key6(slot: NonNull<Slot6>, to: &mut FlowKey6) {
    // SAFETY: the key in a live slot, and a record that is being written.
    unsafe { copy_key(Ipv6::key_in(slot), &raw mut *to) };
}

/// Copies a key by words: the compiler would copy it by bytes and by way of the stack. Volatile, so that it is there before the
/// word behind it by which others judge the flow.
///
/// # Safety
/// Both are valid.
#[inline(always)]
pub(super) unsafe fn copy_key<K>(from: *const K, to: *mut K) {
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    for word in 0..size_of::<K>() / 8 {
        // SAFETY: the caller's; a key is aligned to words and has no padding of the compiler's.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}

/// The same pointer.
///
/// VERIFIER: the compiler likes to add the offset of a field before it compares the pointer with null, which the verifier
/// forbids; it does not move this. Test: `prog_run::the_programs_load`.
#[inline(always)]
fn checked<T>(pointer: *mut T) -> *mut T {
    let mut address = pointer as usize;
    // SAFETY: copies a register to itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) address, options(nomem, nostack, preserves_flags)) };
    address as *mut T
}

family!(Ipv4, FlowKey4, Slot4, 4, key4, conntrack::key4, words4, FLOWS4, TAGS4, 0, write_key4);
family!(Ipv6, FlowKey6, Slot6, 6, key6, conntrack::key6, words6, FLOWS6, TAGS6, 1, write_key6);
