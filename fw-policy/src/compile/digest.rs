//! The digest that tells one compiled policy from another.

use fw_common::abi::policy::{AddressClass, Entry, EntryList, PairKey, ZoneDefault, ZoneEntry};
use sha2::{Digest, Sha256};

use super::{RuleInfo, ZoneInfo};
use crate::tables::{Prefix, Tables, ZonePrefix};

/// SHA-256 over everything that the agent takes from a compiled policy: two policies with equal digests need no swap.
pub(super) fn digest(tables: &Tables, rules: &[RuleInfo], zones: &[ZoneInfo]) -> [u8; 32] {
    let mut feed = Feed(Sha256::new());
    feed.tables(tables);
    feed.count(rules.len());
    rules.iter().for_each(|rule| feed.rule(rule));
    feed.count(zones.len());
    zones.iter().for_each(|zone| feed.zone(zone));
    feed.0.finalize().into()
}

/// Lengths go in before contents, so that no two inputs run together.
struct Feed(Sha256);

impl Feed {
    fn number(&mut self, number: impl Into<u64>) {
        self.0.update(number.into().to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text);
    }

    fn prefix<const N: usize>(&mut self, prefix: &Prefix<[u8; N]>) {
        let Prefix { addr, len } = prefix;
        self.0.update(addr);
        self.number(*len);
    }

    fn tables(&mut self, tables: &Tables) {
        let Tables { zones4, zones6, sources4, sources6, destinations4, destinations6, pairs, entries, zone_defaults } =
            tables;
        self.zone_trie(zones4);
        self.zone_trie(zones6);
        self.class_trie(sources4);
        self.class_trie(sources6);
        self.class_trie(destinations4);
        self.class_trie(destinations6);
        self.count(pairs.len());
        for (PairKey { source, destination }, EntryList { start, len }) in pairs {
            [*source, *destination, *start, *len].into_iter().for_each(|number| self.number(number));
        }
        self.count(entries.len());
        entries.iter().for_each(|entry| self.entry(entry));
        self.count(zone_defaults.len());
        for ZoneDefault { rule, action, flags, _pad } in zone_defaults {
            self.number(*rule);
            self.0.update([*action, *flags]);
        }
    }

    fn zone_trie<const N: usize>(&mut self, trie: &[(ZonePrefix<[u8; N]>, ZoneEntry)]) {
        self.count(trie.len());
        for (ZonePrefix { slot, prefix }, ZoneEntry { zone }) in trie {
            self.number(*slot);
            self.prefix(prefix);
            self.number(*zone);
        }
    }

    fn class_trie<const N: usize>(&mut self, trie: &[(Prefix<[u8; N]>, AddressClass)]) {
        self.count(trie.len());
        for (prefix, AddressClass { specific, wide }) in trie {
            self.prefix(prefix);
            self.number(*specific);
            self.number(*wide);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let Entry {
            from_zones,
            to_zones,
            src_port,
            dst_port,
            protocol,
            flags,
            action,
            _pad,
            order,
            rule,
            idle_timeout,
        } = entry;
        self.number(*from_zones);
        self.number(*to_zones);
        src_port.iter().chain(dst_port).for_each(|port| self.number(*port));
        self.0.update([*protocol, *flags, *action]);
        [*order, *rule, *idle_timeout].into_iter().for_each(|number| self.number(number));
    }

    fn rule(&mut self, rule: &RuleInfo) {
        let RuleInfo { id, ordinal, action, file, line, description, from, to, log, active, owner, ticket } = rule;
        [id, file, description, from, to, owner, ticket].into_iter().for_each(|text| self.text(text));
        self.number(*ordinal);
        self.number(*line);
        self.0.update([*action as u8, u8::from(*log), u8::from(*active)]);
    }

    fn zone(&mut self, zone: &ZoneInfo) {
        let ZoneInfo { id, name, description, networks, slots } = zone;
        self.number(*id);
        self.text(name);
        self.text(description);
        self.count(networks.len());
        networks.iter().for_each(|network| self.text(network));
        self.count(slots.len());
        slots.iter().for_each(|slot| self.number(*slot));
    }
}
