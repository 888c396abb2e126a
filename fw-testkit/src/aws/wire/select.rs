//! Which of many things an answer lists: filters, and pages of them.

use super::params::{Filter, Page};
use crate::aws::model::{ApiError, Tags, World};

/// What one filter looks at: its name, and the values that a thing has.
pub(crate) type Field<T> = (&'static str, fn(&World, &T) -> Vec<String>);

/// The things that all filters let through. A filter that is not in the list is an error, even if there is nothing to filter.
pub(crate) fn select<'w, T: 'w>(
    world: &World,
    things: impl IntoIterator<Item = &'w T>,
    fields: &[Field<T>],
    tags: Option<fn(&T) -> &Tags>,
    filters: &[Filter],
) -> Result<Vec<&'w T>, ApiError> {
    let mut chosen: Vec<&T> = things.into_iter().collect();
    for filter in filters {
        let tag = filter.name.strip_prefix("tag:");
        if let (Some(key), Some(tags)) = (tag, tags) {
            chosen.retain(|thing| tags(thing).get(key).is_some_and(|value| filter.lets(value)));
        } else if let (true, Some(tags)) = (filter.name == "tag-key", tags) {
            chosen.retain(|thing| tags(thing).keys().any(|key| filter.lets(key)));
        } else if let Some((_, values)) = fields.iter().find(|(name, _)| *name == filter.name) {
            chosen.retain(|thing| values(world, thing).iter().any(|value| filter.lets(value)));
        } else {
            return Err(ApiError::invalid_value(format!("The filter '{}' is invalid", filter.name)));
        }
    }
    Ok(chosen)
}

impl Filter {
    fn lets(&self, value: &str) -> bool {
        self.values.iter().any(|pattern| fits(pattern.as_bytes(), value.as_bytes()))
    }
}

/// Whether a text fits a pattern with `*` for any text and `?` for any character.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if fits(rest, text) => true,
        (Some((b'*', _)), Some((_, text))) => fits(pattern, text),
        (Some((one, rest)), Some((other, text))) if one == other || *one == b'?' => fits(rest, text),
        _ => false,
    }
}

/// One page of a list, and what asks for the next one. A token belongs to the action that gave it out.
pub(crate) fn page<T>(
    action: &str,
    things: Vec<T>,
    page: &Page,
    greatest: usize,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let skipped = match &page.token {
        None => 0,
        Some(token) => offset(action, token, things.len())
            .ok_or_else(|| ApiError::new("InvalidNextToken", format!("The token '{token}' is invalid")))?,
    };
    let size = page.most.unwrap_or(greatest).min(greatest);
    let next = skipped.saturating_add(size);
    let token = (next < things.len()).then(|| format!("{:x}", digest(action, next)));
    Ok((things.into_iter().skip(skipped).take(size).collect(), token))
}

/// The position that a token stands for: tokens are opaque, so the positions are tried.
fn offset(action: &str, token: &str, count: usize) -> Option<usize> {
    (0..=count).find(|offset| format!("{:x}", digest(action, *offset)) == token)
}

/// The digest that stands for a position in an action's list (FNV-1a, 64 bits).
fn digest(action: &str, offset: usize) -> u64 {
    let text = format!("{action}/{offset}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit() {
        for (pattern, text, expected) in [
            ("eni-*", "eni-1", true),
            ("*-1", "eni-1", true),
            ("eni-?", "eni-12", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn pages_follow_each_other_and_tokens_belong_to_their_action() {
        let all: Vec<u32> = (0..7).collect();
        let mut seen = Vec::new();
        let mut asked = Page { most: Some(3), token: None };
        loop {
            let (part, token) = page("Describe", all.clone(), &asked, 100).unwrap();
            seen.extend(part);
            match token {
                None => break,
                Some(token) => asked.token = Some(token),
            }
        }
        assert_eq!(seen, all);
        assert_eq!(page("Other", all, &asked, 100).unwrap_err().code, "InvalidNextToken");
    }
}
