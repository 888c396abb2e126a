//! What the files define, as written: values have the right type, but names may be unknown or taken twice.

use std::net::IpAddr;

use fw_common::abi::policy::Action;
use time::OffsetDateTime;

use crate::feed::{FeedUrl, Integrity};
use crate::invariant::Wants;
use crate::level::Level;
use crate::limits::{MaxFlows, Rate};
use crate::policy::Mode;
use crate::set::address::{AddressSet, Network};
use crate::set::service::ServiceSet;
use crate::set::{SetDefinition, Term};
use crate::source::{Location, Spanned};

/// Everything that all files define, in file order.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    pub(crate) includes: Vec<Spanned<String>>,
    pub(crate) defaults: Vec<DefaultsDefinition>,
    pub(crate) zones: Vec<ZoneDefinition>,
    pub(crate) addresses: Vec<SetDefinition<AddressSet>>,
    pub(crate) feeds: Vec<FeedDefinition>,
    pub(crate) services: Vec<SetDefinition<ServiceSet>>,
    pub(crate) rules: Vec<RuleDefinition>,
    pub(crate) zone_pairs: Vec<ZonePairDefinition>,
    pub(crate) tests: Vec<TestDefinition>,
    pub(crate) invariants: Vec<InvariantDefinition>,
}

/// `[defaults]`.
#[derive(Debug)]
pub(crate) struct DefaultsDefinition {
    pub(crate) action: Option<Spanned<Action>>,
    pub(crate) log: Option<Level>,
    pub(crate) at: Location,
}

/// `[zones.NAME]`.
#[derive(Debug)]
pub(crate) struct ZoneDefinition {
    pub(crate) name: Spanned<String>,
    pub(crate) description: String,
    /// `None`: the rest of its interface.
    pub(crate) networks: Option<Vec<Spanned<Network>>>,
}

/// `[[feed]]`, complete: an incomplete one has been reported and left out.
#[derive(Debug)]
pub(crate) struct FeedDefinition {
    pub(crate) name: Spanned<String>,
    pub(crate) url: FeedUrl,
    /// In seconds.
    pub(crate) refresh: u32,
    pub(crate) max_entries: u32,
    /// In seconds.
    pub(crate) max_age: u32,
    pub(crate) max_bytes: u32,
    pub(crate) integrity: Integrity,
    pub(crate) at: Location,
}

/// The terms of an address or service key, and where the key's value stands.
pub(crate) type Terms<T> = Spanned<Vec<Spanned<Term<T>>>>;

/// `[[rule]]`. What is `None` although it must be there has been reported.
#[derive(Debug)]
pub(crate) struct RuleDefinition {
    pub(crate) id: Option<Spanned<String>>,
    pub(crate) renamed_from: Option<Spanned<String>>,
    pub(crate) description: String,
    pub(crate) from: Option<Vec<Spanned<String>>>,
    pub(crate) to: Option<Vec<Spanned<String>>>,
    pub(crate) source: Option<Terms<AddressSet>>,
    pub(crate) destination: Option<Terms<AddressSet>>,
    pub(crate) services: Option<Terms<ServiceSet>>,
    pub(crate) action: Option<Spanned<Action>>,
    /// Whether `log` is there, and if it says so, as how severe.
    pub(crate) log: Option<Option<Level>>,
    pub(crate) mode: Mode,
    pub(crate) rate: Option<Spanned<Rate>>,
    pub(crate) max_flows: Option<Spanned<MaxFlows>>,
    /// In seconds.
    pub(crate) idle_timeout: Option<Spanned<u32>>,
    pub(crate) starts: Option<Spanned<OffsetDateTime>>,
    pub(crate) expires: Option<Spanned<OffsetDateTime>>,
    pub(crate) expires_opens: Option<Spanned<bool>>,
    pub(crate) owner: String,
    pub(crate) ticket: String,
    pub(crate) at: Location,
}

/// `[[zone_pair]]`.
#[derive(Debug)]
pub(crate) struct ZonePairDefinition {
    pub(crate) from: Option<Spanned<String>>,
    pub(crate) to: Option<Spanned<String>>,
    pub(crate) description: String,
    pub(crate) action: Option<Spanned<Action>>,
    /// Whether `log` is there, and if it says so, as how severe.
    pub(crate) log: Option<Option<Level>>,
    pub(crate) at: Location,
}

/// Which packet of a flow a test is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FlowState {
    /// One that opens it.
    #[default]
    New,
    /// A later one, of either end: it passes if the flow may be open, whichever end has opened it.
    Established,
}

/// What a test expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) action: Action,
    pub(crate) rule: Option<Spanned<String>>,
}

/// `[[test]]`, complete: an incomplete one has been reported and left out.
#[derive(Debug)]
pub(crate) struct TestDefinition {
    pub(crate) name: Spanned<String>,
    pub(crate) from: Spanned<String>,
    pub(crate) to: Spanned<String>,
    pub(crate) src_addr: Spanned<IpAddr>,
    pub(crate) dst_addr: Spanned<IpAddr>,
    pub(crate) service: Spanned<Packet>,
    pub(crate) state: FlowState,
    pub(crate) expect: Decision,
    pub(crate) moment: Option<OffsetDateTime>,
    pub(crate) at: Location,
}

/// `[[invariant]]`, complete: an incomplete one has been reported and left out.
#[derive(Debug)]
pub(crate) struct InvariantDefinition {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) wants: Wants,
    pub(crate) scope: ScopeDefinition,
    pub(crate) except: Vec<ScopeDefinition>,
    pub(crate) at: Location,
}

/// Packets by the keys that a rule has for them. Without a key, all.
#[derive(Debug)]
pub(crate) struct ScopeDefinition {
    pub(crate) from: Option<Vec<Spanned<String>>>,
    pub(crate) to: Option<Vec<Spanned<String>>>,
    pub(crate) source: Option<Terms<AddressSet>>,
    pub(crate) destination: Option<Terms<AddressSet>>,
    pub(crate) services: Option<Terms<ServiceSet>>,
}

/// Protocol and ports of a test's packet, as the data plane sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) protocol: u8,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
}
