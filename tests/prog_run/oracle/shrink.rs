//! Makes a case that fails smaller while it still fails: first the steps, then the rules of the policies.

use super::case::Case;
use super::policies::PARTS;

pub(super) fn shrink(case: &Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut small = case.clone();
    loop {
        let before = small.clone();
        let steps = without_parts(&small.steps, |steps| fails(&Case { steps: steps.to_vec(), ..small.clone() }));
        small.steps = steps;
        for position in 0..small.policies.len() {
            let parts = split(&small.policies[position]);
            let with = |parts: &[String]| {
                let mut candidate = small.clone();
                candidate.policies[position] = format!("{}{}", parts_head(&small.policies[position]), parts.concat());
                candidate
            };
            let parts = without_parts(&parts, |parts| fails(&with(parts)));
            small = with(&parts);
        }
        if small == before {
            return small;
        }
    }
}

/// Removes runs of elements, long ones first, as long as what is left still fails.
fn without_parts<T: Clone>(all: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = all.to_vec();
    let mut run = left.len().div_ceil(2).max(1);
    loop {
        let mut position = 0;
        while position < left.len() {
            let mut candidate = left.clone();
            candidate.drain(position..(position + run).min(left.len()));
            if fails(&candidate) {
                left = candidate;
            } else {
                position += run;
            }
        }
        if run == 1 {
            return left;
        }
        run = run.div_ceil(2);
    }
}

/// Where the first removable part begins.
fn head_len(policy: &str) -> usize {
    PARTS.iter().filter_map(|part| policy.find(part)).min().unwrap_or(policy.len())
}

fn parts_head(policy: &str) -> &str {
    &policy[..head_len(policy)]
}

/// The rules and defaults of zone pairs.
fn split(policy: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for line in policy[head_len(policy)..].split_inclusive('\n') {
        match parts.last_mut() {
            Some(part) if !PARTS.contains(&line) => part.push_str(line),
            _ => parts.push(line.to_owned()),
        }
    }
    parts
}

#[test]
fn what_matters_is_left() {
    let case: Case =
        "=== policy\nversion = 1\n[[rule]]\na\n[[rule]]\nb\n=== steps\napply 0\napply 1\napply 2\napply 3\n"
            .parse()
            .unwrap();
    let matters = |case: &Case| {
        let text = case.to_string();
        text.contains("apply 1") && text.contains("apply 3") && text.contains("[[rule]]\nb\n")
    };
    let small = shrink(&case, matters);
    assert_eq!(small.to_string(), "=== policy\nversion = 1\n[[rule]]\nb\n=== steps\napply 1\napply 3\n");
}
