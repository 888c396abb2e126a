//! Rule handles: small numbers that stand for rule ids in flows, counters and events.
//!
//! A rule keeps its handle for as long as its id is in use, over changes of the policy and restarts of the agent, so that
//! its counters go on. The pinned map `RULE_NAMES` is the only record of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aya::maps::{Map, PerCpuValues};
use fw_common::abi::counters::RuleCounter;
use fw_common::abi::policy::{MAX_RULE_ID, MAX_RULES, RuleName};
use fw_policy::RuleInfos;

use super::memory::Mapped;
use super::object::{Object, map_error};
use crate::dataplane::DataplaneError;

/// Handle 0 means "no rule".
const FIRST: u32 = 1;

/// The ids in use, by handle.
pub(super) fn names(object: &Object) -> Result<Vec<(u32, String)>, DataplaneError> {
    let names = stored(&memory(object)?);
    Ok((FIRST..).zip(names.iter().map(|name| String::from_utf8_lossy(bytes(name)).into_owned())).collect())
}

/// The names in use; the first one belongs to the handle [`FIRST`], and so on.
fn stored(memory: &Mapped<RuleName>) -> Vec<RuleName> {
    let names = (FIRST..MAX_RULES).map(|handle| memory.get(handle as usize));
    // Handles are given out from the lowest, and none is ever freed without being given out again at once.
    names.take_while(|name| name.len != 0).collect()
}

/// The id in a name.
fn bytes(name: &RuleName) -> &[u8] {
    name.id.get(..usize::from(name.len)).unwrap_or_default()
}

/// The map as memory: it is read and written whole.
fn memory(object: &Object) -> Result<Mapped<RuleName>, DataplaneError> {
    let Map::Array(map) = object.map("RULE_NAMES")? else {
        return Err(DataplaneError::Map { map: "RULE_NAMES", reason: "is not an array".to_owned() });
    };
    Mapped::new(map.fd(), MAX_RULES as usize).map_err(|error| map_error("RULE_NAMES", &error))
}

/// Rules that have handles, and these.
#[derive(Default)]
pub(super) struct Assigned {
    rules: RuleInfos,
    handles: Arc<[u32]>,
}

/// The handle of each rule, in their order; new ones are stored.
///
/// Ids that are no longer in a policy keep their handle, because flows may still name it; only when there are no others
/// are their handles given to new ids.
pub(super) fn assign(object: &mut Object, rules: &RuleInfos) -> Result<Arc<[u32]>, DataplaneError> {
    let Assigned { rules: before, handles } = object.assigned();
    if before.have_ids_of(rules) {
        // Most changes change what rules say, not which there are.
        return Ok(Arc::clone(handles));
    }
    let ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    let mut memory = memory(object)?;
    let stored = stored(&memory);
    let known: Vec<&[u8]> = stored.iter().map(bytes).collect();
    let plan = plan(&known, &ids)?;
    for (handle, id) in &plan.new {
        if known.len() >= *handle as usize {
            // It was another rule's. What was never given out has counters at zero.
            clear(object, *handle)?;
        }
        memory.set(*handle as usize, name(id));
    }
    let handles: Arc<[u32]> = plan.handles.into();
    *object.assigned() = Assigned { rules: rules.clone(), handles: Arc::clone(&handles) };
    Ok(handles)
}

/// Which handles an id list gets.
#[derive(Debug, PartialEq, Eq)]
struct Plan<'i> {
    /// By position in the list.
    handles: Vec<u32>,
    /// Those that must be stored.
    new: Vec<(u32, &'i str)>,
}

/// Decides, without touching the kernel. `known` are the ids of the handles from [`FIRST`] on.
fn plan<'i>(known: &[&[u8]], ids: &[&'i str]) -> Result<Plan<'i>, DataplaneError> {
    let by_id: HashMap<&[u8], u32> = known.iter().copied().zip(FIRST..).collect();
    let known_handles: Vec<Option<u32>> = ids.iter().map(|id| by_id.get(id.as_bytes()).copied()).collect();
    let next = FIRST + u32::try_from(known.len()).unwrap_or(MAX_RULES);
    let wanted = known_handles.iter().filter(|handle| handle.is_none()).count();
    // Those of forgotten rules, if there are no others.
    let unused: Vec<u32> = if wanted > (MAX_RULES - next) as usize {
        let kept: HashSet<u32> = known_handles.iter().flatten().copied().collect();
        (FIRST..next).filter(|handle| !kept.contains(handle)).collect()
    } else {
        Vec::new()
    };
    let held = u32::try_from(unused.len()).unwrap_or(u32::MAX);
    let mut free = (next..MAX_RULES).chain(unused);
    let mut plan = Plan { handles: Vec::with_capacity(ids.len()), new: Vec::with_capacity(wanted) };
    for (id, known) in ids.iter().zip(known_handles) {
        let handle = match known {
            Some(handle) => handle,
            None => {
                let handle = free.next().ok_or(DataplaneError::TooManyRules { limit: MAX_RULES - FIRST, held })?;
                plan.new.push((handle, *id));
                handle
            }
        };
        plan.handles.push(handle);
    }
    Ok(plan)
}

/// An id as the map holds it.
fn name(id: &str) -> RuleName {
    let mut name = RuleName { len: 0, id: [0; MAX_RULE_ID] };
    let bytes = id.as_bytes();
    let len = bytes.len().min(MAX_RULE_ID);
    name.id[..len].copy_from_slice(&bytes[..len]);
    name.len = u8::try_from(len).unwrap_or(u8::MAX);
    name
}

/// Sets the counters of a handle to zero.
fn clear(object: &mut Object, handle: u32) -> Result<(), DataplaneError> {
    let processors = aya::util::nr_cpus().map_err(|(_, error)| map_error("RULE_COUNTERS", &error))?;
    let zeros = PerCpuValues::try_from(vec![RuleCounter::default(); processors])
        .map_err(|error| map_error("RULE_COUNTERS", &error))?;
    object
        .per_cpu_mut::<RuleCounter>("RULE_COUNTERS")?
        .set(handle, zeros, 0)
        .map_err(|error| map_error("RULE_COUNTERS", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_keeps_its_handle_and_new_ones_follow() {
        let plan = plan(&[b"a", b"b", b"c"], &["c", "d", "a"]).unwrap();
        assert_eq!(plan.handles, [3, 4, 1]);
        assert_eq!(plan.new, [(4, "d")]);
    }

    #[test]
    fn handles_of_forgotten_rules_are_the_last_resort() {
        let names: Vec<String> = (FIRST..MAX_RULES).map(|number| format!("old-{number}")).collect();
        let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        let plan = plan(&names, &["old-1", "new"]).unwrap();
        assert_eq!((plan.handles, plan.new), (vec![1, 2], vec![(2, "new")]));
    }

    #[test]
    fn too_many_rules_are_refused() {
        let names: Vec<String> = (0..MAX_RULES).map(|number| format!("rule-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(
            matches!(plan(&[], &names), Err(DataplaneError::TooManyRules { limit, held: 0 }) if limit == MAX_RULES - 1)
        );
    }
}
