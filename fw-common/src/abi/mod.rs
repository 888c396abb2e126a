//! The layouts that the eBPF program and the agent agree on: one file per map family.
//!
//! Every type here is `repr(C)`, has explicit padding and a `const` assertion of its size, and holds no
//! `bool`, `enum` or reference, because the other side may write any bit pattern. Addresses and ports are kept in
//! network byte order as byte arrays; every other integer is in host byte order.

pub mod capture;
pub mod config;
pub mod counters;
pub mod event;
pub mod explained;
pub mod flow;
pub mod fragment;
pub mod interface;
pub mod limit;
pub mod policy;
pub mod redirect;
pub mod tables;

/// Version of every layout in this module.
///
/// It names the directory in which the maps are pinned, so that an agent with another layout never reads old
/// maps as new ones. The tidy test fails when a file under `abi/` changes and this number does not.
pub const ABI_VERSION: u32 = 2;

/// Asserts the size of a layout at compile time.
macro_rules! assert_size {
    ($($layout:ty = $size:expr),+ $(,)?) => {
        $(const _: () = assert!(core::mem::size_of::<$layout>() == $size);)+
    };
}
pub(crate) use assert_size;

/// Lets aya read and write these layouts as plain bytes.
macro_rules! plain_bytes {
    ($($layout:ty),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)`, no padding (the size assertion next to the definition and explicit `_pad` fields),
            // and every bit pattern is a value.
            #[cfg(feature = "aya")]
            unsafe impl aya::Pod for $layout {}
        )+
    };
}
pub(crate) use plain_bytes;
