//! The digest that tells one policy from another.

use fw_common::abi::policy::{ZoneDefault, ZoneEntry};
use sha2::{Digest, Sha256};

use super::ZoneInfo;
use super::clause::Clause;
use super::infos::{RuleInfo, RuleInfos};
use super::operands::{FamilyClause, Operands, Services};
use crate::set::interval::Cidr;
use crate::tables::{Prefix, Tables, ZonePrefix};

/// Raised when the same policy compiles to other tables than before, so that an agent with another compiler loads them.
const COMPILER: u32 = 4;

/// SHA-256 over everything that decides what the tables are and what the agent tells about them: two policies with equal
/// digests need no swap. The tables themselves are several times larger, and follow from this.
pub(super) fn digest(
    tables: &Tables,
    clauses: &[Clause],
    operands: &[Operands; 2],
    rules: &RuleInfos,
    zones: &[ZoneInfo],
) -> [u8; 32] {
    let mut feed = Feed::new();
    feed.words([COMPILER]);
    feed.zone_trie(&tables.zones4);
    feed.zone_trie(&tables.zones6);
    feed.all(tables.zone_defaults.len(), tables.zone_defaults.iter(), |feed, default| {
        let ZoneDefault { rule, action, flags, _pad } = default;
        feed.words([*rule]);
        feed.bytes(&[*action, *flags]);
    });
    feed.all(clauses.len(), clauses.iter(), Feed::clause);
    operands.iter().for_each(|operands| feed.operands(operands));
    feed.all(rules.pages().len(), rules.pages(), |feed, page| feed.bytes(&page.digest));
    feed.all(zones.len(), zones.iter(), Feed::zone);
    feed.finish()
}

/// A digest of some of the rules. Where rules are shared, it has been made already.
pub(super) fn of_rules(rules: &[RuleInfo]) -> [u8; 32] {
    let mut feed = Feed::new();
    feed.all(rules.len(), rules.iter(), Feed::rule);
    feed.finish()
}

/// How many bytes are hashed at once.
const BUFFER: usize = 1 << 14;

/// Lengths go in before contents, so that no two inputs run together.
struct Feed {
    hash: Sha256,
    buffer: Vec<u8>,
}

impl Feed {
    fn new() -> Self {
        Self { hash: Sha256::new(), buffer: Vec::with_capacity(2 * BUFFER) }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.hash.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn finish(mut self) -> [u8; 32] {
        self.hash.update(&self.buffer);
        self.hash.finalize().into()
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// Numbers of which there are many.
    fn words<const N: usize>(&mut self, words: [u32; N]) {
        self.bytes(words.map(u32::to_le_bytes).as_flattened());
    }

    fn all<T>(&mut self, len: usize, items: impl Iterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.number(len as u64);
        items.for_each(|item| each(self, item));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn zone_trie<const N: usize>(&mut self, trie: &[(ZonePrefix<[u8; N]>, ZoneEntry)]) {
        self.all(trie.len(), trie.iter(), |feed, (key, ZoneEntry { zone })| {
            let ZonePrefix { slot, prefix: Prefix { addr, len } } = key;
            feed.words([*slot, *zone]);
            feed.bytes(addr);
            feed.bytes(&[*len]);
        });
    }

    fn clause(&mut self, clause: &Clause) {
        let Clause {
            rule,
            from_zones,
            to_zones,
            source: _,
            destination: _,
            services: _,
            action,
            log,
            limited,
            observes,
            idle_timeout,
        } = clause;
        self.words([*rule, *idle_timeout]);
        self.bytes([*from_zones, *to_zones].map(u64::to_le_bytes).as_flattened());
        self.bytes(&[*action as u8, u8::from(*log), u8::from(*limited), u8::from(*observes)]);
    }

    fn operands(&mut self, operands: &Operands) {
        let Operands { addresses, services, clauses } = operands;
        self.all(addresses.len(), addresses.iter(), |feed, set| {
            feed.all(set.len(), set.iter(), |feed, Cidr { first, len }| {
                feed.bytes(&first.to_le_bytes());
                feed.bytes(&[*len]);
            });
        });
        self.all(services.len(), services.iter(), |feed, set| {
            feed.all(set.len(), set.iter(), |feed, Services { first, last, src_port }| {
                feed.words([*first, *last, src_port.0.into(), src_port.1.into()]);
            });
        });
        self.all(clauses.len(), clauses.iter(), |feed, FamilyClause { clause, source, destination, services }| {
            feed.words([*clause, *source, *destination, *services]);
        });
    }

    fn rule(&mut self, rule: &RuleInfo) {
        let RuleInfo { id, renamed_from, ordinal, action, file, line, description, from, to, log, .. } = rule;
        let RuleInfo { mode, limits, active, owner, ticket, .. } = rule;
        [id, renamed_from, file, description, from, to, owner, ticket].into_iter().for_each(|text| self.text(text));
        self.words([*ordinal, *line]);
        let log = log.map_or(0, |level| level as u8 + 1);
        self.bytes(&[*action as u8, *mode as u8, log, u8::from(*active)]);
        // The text is exact, and two limits have one text only if they are equal.
        self.text(&limits.to_string());
    }

    fn zone(&mut self, zone: &ZoneInfo) {
        let ZoneInfo { id, name, description, networks, slots } = zone;
        self.bytes(&[*id]);
        self.text(name);
        self.text(description);
        self.all(networks.len(), networks.iter(), |feed, network| feed.text(network));
        self.all(slots.len(), slots.iter(), |feed, slot| feed.words([*slot]));
    }
}
