//! `[[feed]]`.

use toml::de::DeTable;

use super::definitions::FeedDefinition;
use super::schema::{Schema, Takes, key, words};
use super::table::TableReader;
use crate::Code;
use crate::diagnostic::Report;
use crate::feed::{FeedUrl, Integrity};
use crate::source::{Location, Spanned};

/// The most entries of a feed, and how many it may have if nothing is said.
const MOST_ENTRIES: u32 = 500_000;
/// The largest list, in bytes: 500,000 ranges of IPv6 with a comment behind each.
const MOST_BYTES: u32 = 64 << 20;
/// How often a feed is looked at if nothing is said, in seconds.
const REFRESH: u32 = 300;
/// From which age on a feed is too old if nothing is said, in seconds; later if it is looked at more seldom than three times in that.
const MAX_AGE: u32 = 24 * 3600;

/// `[[feed]]`.
pub(super) const FEED: Schema = Schema {
    what: "a feed",
    keys: &[
        key("name", Takes::SetName, "Its name; `@name` in rules and sets.").required("\"blocklist\""),
        key("description", Takes::Text, "What it holds, and who keeps it."),
        key("url", Takes::Text, "Where it comes from: a file, or `https://HOST/PATH`.")
            .required("\"https://HOST/PATH\""),
        key("refresh", Takes::Duration, "How often it is looked at; `5m` if left out."),
        key(
            "max_entries",
            Takes::Number { lowest: 1, highest: MOST_ENTRIES },
            "A list with more entries is refused; 500000 if left out.",
        ),
        key(
            "max_bytes",
            Takes::Number { lowest: 1, highest: MOST_BYTES },
            "A list with more bytes is refused; 67108864 (64 MiB) if left out.",
        ),
        key(
            "max_age",
            Takes::Duration,
            "From which age on it is too old; `24h`, or three times `refresh` if that is more, if left out.",
        ),
        key(
            "on_failure",
            Takes::Words(&ON_FAILURE_WORDS),
            "What holds when it cannot be had; `keep-last` if left out.",
        ),
        key("sha256", Takes::Text, "The SHA-256 of the list in hexadecimal, if it is always the same."),
        key("signature", Takes::Text, "Where the signature of minisign is: as `url`."),
        key("public_key", Takes::Text, "The key of minisign that must have made the signature."),
    ],
    later: &[],
};

/// There is one way: an emptied blocklist would open what it is there to close, and an emptied list of friends cut them off.
const ON_FAILURE: [(&str, ()); 1] = [("keep-last", ())];
const ON_FAILURE_WORDS: [&str; 1] = words(&ON_FAILURE);

/// Reads a feed; one that is not complete is reported and left out.
pub(super) fn read(table: &DeTable<'_>, at: Location, report: &mut Report) -> Option<FeedDefinition> {
    let mut reader = TableReader::new(&FEED, table, at, report);
    // Told to people who read the file; nobody else asks for it.
    reader.text("description");
    reader.choice("on_failure", &ON_FAILURE);
    let name = reader.string("name");
    let url = url(&mut reader, "url");
    let refresh = reader.duration("refresh").map_or(REFRESH, |refresh| refresh.value);
    let max_age = max_age(&mut reader, refresh);
    let max_entries = reader.whole_number("max_entries", 1..=MOST_ENTRIES);
    let max_bytes = reader.whole_number("max_bytes", 1..=MOST_BYTES);
    let integrity = integrity(&mut reader);
    // What is wrong has been reported, and the policy will not be used. The name is defined all the same: its uses are no mistakes.
    Some(FeedDefinition {
        name: name?,
        url: url.unwrap_or_else(|| FeedUrl::File(String::new())),
        refresh,
        max_entries: max_entries.map_or(MOST_ENTRIES, |most| most.value),
        max_age,
        max_bytes: max_bytes.map_or(MOST_BYTES, |most| most.value),
        integrity: integrity.unwrap_or(Integrity::Transport),
        at,
    })
}

fn url(reader: &mut TableReader<'_, '_, '_>, key: &str) -> Option<FeedUrl> {
    let written = reader.string(key)?;
    match FeedUrl::parse(&written.value) {
        Ok(url) => Some(url),
        Err(fault) => {
            reader.report.at(Code::InvalidUrl, written.at, fault.message).help(fault.help);
            None
        }
    }
}

/// A feed that is too old before it is looked at again would be so for ever.
fn max_age(reader: &mut TableReader<'_, '_, '_>, refresh: u32) -> u32 {
    let Some(max_age) = reader.duration("max_age") else { return MAX_AGE.max(refresh.saturating_mul(3)) };
    if max_age.value <= refresh {
        let refreshed = reader.key_location("refresh");
        reader
            .report
            .at(Code::Contradiction, max_age.at, "the feed is too old before it is looked at again")
            .help("write a `max_age` of three times `refresh` or more, so that a failure or two is no alarm")
            .related(refreshed, "how often it is looked at");
    }
    max_age.value
}

/// What vouches for the list; `None` if that is written wrongly, which has been reported.
fn integrity(reader: &mut TableReader<'_, '_, '_>) -> Option<Integrity> {
    let (sha256, signature) = (reader.string("sha256"), reader.string("signature"));
    let public_key = reader.string("public_key");
    match (sha256, signature, public_key) {
        (None, None, None) => Some(Integrity::Transport),
        (Some(digest), None, None) => sha256_of(reader, &digest).map(Integrity::Sha256),
        (None, Some(_), None) => {
            reader.require("public_key", "\"RWQ…\"");
            None
        }
        (None, None, Some(_)) => {
            reader.require("signature", "\"https://HOST/PATH.minisig\"");
            None
        }
        (None, Some(_), Some(public_key)) => {
            let signature = url(reader, "signature")?;
            let is_key = public_key.value.len() == 56
                && public_key.value.starts_with("RW")
                && public_key.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
            if !is_key {
                reader
                    .report
                    .at(Code::InvalidValue, public_key.at, "this is not a public key of minisign")
                    .help("write the second line of a `minisign.pub`: 56 characters that begin with `RW`");
            }
            is_key.then_some(Integrity::Minisign { signature, public_key: public_key.value })
        }
        (Some(digest), ..) => {
            reader
                .report
                .at(Code::Contradiction, digest.at, "`sha256` is of one list for ever, so there is nothing to sign")
                .help("leave out `sha256`, or `signature` and `public_key`");
            None
        }
    }
}

fn sha256_of(reader: &mut TableReader<'_, '_, '_>, written: &Spanned<String>) -> Option<[u8; 32]> {
    let digest = parse_digest(&written.value);
    if digest.is_none() {
        reader
            .report
            .at(Code::InvalidValue, written.at, "this is not a SHA-256")
            .help("write the 64 hexadecimal digits that `sha256sum` prints");
    }
    digest
}

fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(digest)
}
