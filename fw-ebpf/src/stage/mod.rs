//! The stages of the pipeline: each reads bytes and maps, asks a pure function of `fw-common`, and writes back.

pub(crate) mod answer;
pub(crate) mod capture;
pub(crate) mod checksum;
pub(crate) mod classify;
pub(crate) mod count;
pub(crate) mod denied;
pub(crate) mod end_flow;
pub(crate) mod flow;
pub(crate) mod forward;
pub(crate) mod fragment;
pub(crate) mod half_open;
pub(crate) mod interface;
pub(crate) mod limits;
pub(crate) mod next_hop;
pub(crate) mod observe;
pub(crate) mod passage;
pub(crate) mod receive;
pub(crate) mod redirect;
pub(crate) mod related;
pub(crate) mod route;
pub(crate) mod sctp_chunks;
pub(crate) mod segment_size;
pub(crate) mod sum;
pub(crate) mod sweep;
pub(crate) mod table;
pub(crate) mod zone;
