//! What a rule set costs: to read, to compile, to load, to change, to look up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use fw_policy::{Compiled, Compiler, Diagnostics, LiveSets, Options, Policy, Reader, SourceFile, WorkLimits};
use serde::Serialize;
use time::OffsetDateTime;

use super::bed::Bed;
use super::{ANY_PORT, Family, Header, Prefix, Rule, RuleSet, Style, Trace};

/// How long each step from text to tables took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Steps {
    /// Parsing and validation.
    pub load: Duration,
    /// Compilation.
    pub compile: Duration,
    /// Loading into the kernel, until the policy judges packets and the one before judges none any more.
    pub apply: Duration,
}

impl Steps {
    /// From the files that were read to the last packet that the policy before judges.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.load + self.compile + self.apply
    }
}

/// Takes policy files to tables one after the other, as the agent does, and measures the steps.
#[derive(Default)]
pub struct Stopwatch {
    reader: Reader,
    compiler: Compiler,
}

impl Stopwatch {
    /// The tables of some files; what has not changed since the last ones is not looked at again.
    ///
    /// # Errors
    /// What the policy language says of the files.
    pub fn compile(&mut self, files: &[SourceFile]) -> Result<(Compiled, Steps), Diagnostics> {
        let start = Instant::now();
        let policy = self.reader.load(files)?;
        let load = start.elapsed();
        let start = Instant::now();
        let (binding, options) = (RuleSet::binding(), Options::default());
        let compiled = self.compiler.compile(policy, &binding, OffsetDateTime::UNIX_EPOCH, &options)?;
        Ok((compiled, Steps { load, compile: start.elapsed(), apply: Duration::ZERO }))
    }
}

/// What one rule set costs.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// [`Style::name`].
    pub style: &'static str,
    /// 4 or 6.
    pub family: u8,
    /// Number of rules.
    pub rules: usize,
    /// Size of the policy files in bytes.
    pub text: usize,
    /// The first time.
    pub first: Steps,
    /// With other services in one rule in the middle.
    pub one_rule: Steps,
    /// With another destination in that rule.
    pub one_address: Steps,
    /// Kernel memory of the tables in bytes, as predicted and as the kernel says.
    pub memory: (u64, u64),
    /// Nanoseconds of the program for a packet that opens a flow, by kind of trace: the mean without the slowest hundredth.
    pub new_flow: Vec<(&'static str, f64)>,
}

/// Number of address pairs of the trace with locality.
pub const SITES: usize = 1000;

/// The traces, by name: `locality` is [`SITES`] address pairs by Zipf's law, `spread` a rule by chance for each packet,
/// `uniform` addresses by chance.
pub const TRACES: [(&str, Trace); 3] =
    [("locality", Trace::Zipf(SITES)), ("spread", Trace::Pareto(0.0)), ("uniform", Trace::Uniform)];

/// A rule set in force, on a firewall of its own.
pub struct Loaded {
    bed: Bed,
    set: RuleSet,
    stopwatch: Stopwatch,
    /// Size of the policy files in bytes.
    pub text: usize,
    /// What loading it took.
    pub first: Steps,
    /// Kernel memory of the tables in bytes, as predicted and as the kernel says.
    pub memory: (u64, u64),
}

impl Loaded {
    /// Loads a rule set.
    ///
    /// # Errors
    /// What the policy language or the kernel says.
    pub fn load(set: RuleSet, max_flows: u32) -> Result<Self> {
        let bed = Bed::new(max_flows)?;
        let files = set.files();
        let mut stopwatch = Stopwatch::default();
        let (compiled, mut first) = stopwatch.compile(&files)?;
        first.apply = bed.apply(&compiled)?;
        let memory = (compiled.memory.total(), bed.dataplane().table_memory()?);
        let text = files.iter().map(|file| file.text.len()).sum();
        Ok(Self { bed, set, stopwatch, text, first, memory })
    }

    /// Packets of a trace that can be forwarded, each of a flow of its own.
    ///
    /// # Errors
    /// If too few can be.
    pub fn packets(&self, trace: Trace, count: usize) -> Result<Vec<Header>> {
        let mut found = 0;
        // The pairs of addresses that are drawn most often may be such that nobody forwards.
        for factor in [2, 8, 32] {
            let packets = self.set.trace(trace, count * factor, 7).into_iter();
            let packets: Vec<Header> = packets.filter(|header| self.set.is_routable(header)).take(count).collect();
            if packets.len() == count {
                return Ok(packets);
            }
            found = packets.len();
        }
        bail!("only {found} packets of the trace can be forwarded, of {count} that are wanted")
    }

    /// Nanoseconds of the program for a packet that opens a flow: the mean without the slowest hundredth.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new_flow(&self, packets: &[Header]) -> Result<f64> {
        let (mut times, _) = self.bed.open_flows(&self.set, packets)?;
        times.sort_unstable();
        times.truncate(times.len() - times.len() / 100);
        let total: Duration = times.iter().sum();
        Ok(total.as_secs_f64() * 1e9 / times.len() as f64)
    }

    /// What other services in one rule in the middle cost, and then another destination in it.
    ///
    /// # Errors
    /// What the policy language or the kernel says.
    pub fn change(&mut self) -> Result<(Steps, Steps)> {
        let services = self.change_rule(|rule| {
            (rule.protocol, rule.src_port, rule.dst_port) = (Some(6), ANY_PORT, (4321, 4321));
        })?;
        let destination = self.change_rule(|rule| rule.destination = Prefix { first: 0x0a09_0807 << 96, len: 32 })?;
        Ok((services, destination))
    }

    /// Changes the rule in the middle.
    fn change_rule(&mut self, edit: impl FnOnce(&mut Rule)) -> Result<Steps> {
        let middle = self.set.rules.len() / 2;
        self.set.rules.get_mut(middle).map(edit);
        let (compiled, mut steps) = self.stopwatch.compile(&self.set.files())?;
        steps.apply = self.bed.apply(&compiled)?;
        Ok(steps)
    }
}

/// Measures a rule set whose flow tables are empty at first; `flows` is the number of packets of each trace.
///
/// # Errors
/// What the policy language or the kernel says.
pub fn measure(style: Style, family: Family, rules: usize, flows: usize) -> Result<Figures> {
    // Every rule allows, so that all packets that match one take the same way.
    let set = RuleSet::generate(style, family, rules, 1).allowing();
    let mut loaded = Loaded::load(set, u32::try_from(flows * 4)?)?;
    let mut new_flow = Vec::new();
    for (name, trace) in TRACES {
        // A tenth more, to warm up: the first packets meet tables that are in no cache.
        let packets = loaded.packets(trace, flows + flows / 10)?;
        let (warm_up, measured) = packets.split_at(flows / 10);
        loaded.new_flow(warm_up)?;
        new_flow.push((name, loaded.new_flow(measured)?));
    }
    let (one_rule, one_address) = loaded.change()?;
    let Loaded { text, first, memory, .. } = loaded;
    let family = if family == Family::V4 { 4 } else { 6 };
    Ok(Figures { style: style.name(), family, rules, text, first, one_rule, one_address, memory, new_flow })
}

/// What it costs to say what a rule set means as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct AnalysisFigures {
    /// [`Style::name`].
    pub style: &'static str,
    /// 4 or 6.
    pub family: u8,
    /// Number of rules.
    pub rules: usize,
    /// Parsing and validation.
    pub load: Duration,
    /// [`fw_policy::Policy::analyse`]; nothing for sets of more rules than it is made for.
    pub analyse: Option<Duration>,
    /// [`fw_policy::Policy::plan`] of the same policy with one rule that does something else, one in the middle; nothing for sets of
    /// more rules than the analysis is made for. With it, how many flips there are.
    pub plan: Option<(Duration, usize)>,
    /// What one invariant adds to the tests of the policy, by what it speaks of, and whether it was decided.
    pub invariants: Vec<(&'static str, Duration, bool)>,
    /// How many findings of each code there are.
    pub findings: BTreeMap<String, usize>,
}

/// Measures the analysis of a rule set; without root and without the kernel.
///
/// # Errors
/// What the policy language says.
pub fn measure_analysis(style: Style, family: Family, rules: usize) -> Result<AnalysisFigures> {
    let files = RuleSet::generate(style, family, rules, 1).files();
    let start = Instant::now();
    let policy = fw_policy::load(&files)?;
    let load = start.elapsed();
    let mut findings = BTreeMap::new();
    let analyse = (rules <= MOST_ANALYSED).then(|| {
        let start = Instant::now();
        let found = policy.analyse(&RuleSet::binding(), OffsetDateTime::UNIX_EPOCH);
        let time = start.elapsed();
        for finding in &found.items {
            *findings.entry(finding.code.to_string()).or_default() += 1;
        }
        time
    });
    let plan = (rules <= MOST_ANALYSED).then(|| measure_plan(&files, &policy, rules)).transpose()?;
    let invariants = INVARIANTS
        .into_iter()
        .map(|(name, text)| measure_invariant(&files, text).map(|(time, decided)| (name, time, decided)));
    let invariants = invariants.collect::<Result<_>>()?;
    let family = if family == Family::V4 { 4 } else { 6 };
    Ok(AnalysisFigures { style: style.name(), family, rules, load, analyse, plan, invariants, findings })
}

/// How long the plan takes for a policy in which one rule in the middle does something else.
fn measure_plan(files: &[SourceFile], old: &Policy, rules: usize) -> Result<(Duration, usize)> {
    let mut files = files.to_vec();
    let mut before = rules / 2;
    for file in &mut files {
        let starts: Vec<usize> = file.text.match_indices("action = \"").map(|(at, _)| at).collect();
        let Some(at) = starts.get(before) else {
            before -= starts.len();
            continue;
        };
        let (head, rule) = file.text.split_at(*at);
        let other = if rule.starts_with("action = \"allow\"") { ("allow", "drop") } else { ("drop", "allow") };
        file.text = format!("{head}{}", rule.replacen(other.0, other.1, 1));
        break;
    }
    let new = fw_policy::load(&files)?;
    let binding = RuleSet::binding();
    let start = Instant::now();
    let plan = new.plan(&binding, (old, &binding), OffsetDateTime::UNIX_EPOCH, WorkLimits::default());
    Ok((start.elapsed(), plan.flips.len()))
}

/// The largest rule set that is analysed.
const MOST_ANALYSED: usize = 20_000;

/// Invariants by what they speak of, each behind the rules that it needs to hold.
const INVARIANTS: [(&str, &str); 4] = [
    ("no packet of a rule", "[[invariant]]\ndeny_all = { from = [\"inside\"], to = [\"outside\"] }\n"),
    (
        "a network",
        "[[invariant]]\ndeny_all = { from = [\"outside\"], to = [\"inside\"], destination = [\"10.1.0.0/16\", \"2001:0:1::/48\"], except = { services = [\"tcp\", \"udp\"] } }\n",
    ),
    (
        "a port",
        "[[rule]]\nid = \"guard\"\nfrom = [\"any\"]\nto = [\"any\"]\nservices = [\"tcp/7\"]\naction = \"drop\"\n\
      [[invariant]]\ndeny_all = { from = [\"outside\"], to = [\"inside\"], services = [\"tcp/7\"] }\n",
    ),
    (
        "everything",
        "[[invariant]]\nallow_all = { from = [\"outside\"], to = [\"inside\"], except = { services = [\"tcp\", \"udp\", \"icmp\", \"icmpv6\"] } }\n",
    ),
];

/// How much longer the tests of a policy take with an invariant, and whether it was decided.
fn measure_invariant(files: &[SourceFile], invariant: &str) -> Result<(Duration, bool)> {
    let mut files = files.to_vec();
    // In front of the others: a guard is the first rule.
    files.insert(0, SourceFile { name: "invariant.toml".to_owned(), text: format!("version = 1\n{invariant}") });
    let policy = fw_policy::load(&files)?;
    let now = OffsetDateTime::UNIX_EPOCH;
    let compiled = policy.compile(&RuleSet::binding(), now)?;
    let start = Instant::now();
    let results = policy.run_tests(&compiled, now);
    Ok((start.elapsed(), results.iter().all(|result| result.passed || result.packet.is_some())))
}

/// What a change of a long list costs, in a policy with many other rules.
#[derive(Clone, Debug, Serialize)]
pub struct ListFigures {
    /// Number of other rules.
    pub rules: usize,
    /// Prefixes of the list before and after.
    pub prefixes: (usize, usize),
    /// The whole policy read again from its files.
    pub from_files: Steps,
    /// Only the list handed over: `compile` is what that took.
    pub in_place: Steps,
    /// Kernel memory of the tables in bytes.
    pub memory: u64,
}

/// Measures how `prefixes.0` prefixes of a list become `prefixes.1`.
///
/// # Errors
/// What the policy language or the kernel says.
pub fn measure_list(rules: usize, prefixes: (usize, usize)) -> Result<ListFigures> {
    let bed = Bed::new(1024)?;
    let set = RuleSet::generate(Style::Acl, Family::V4, rules, 1);
    let mut live = LiveSets::new(
        fw_policy::load(&files_with_list(&set, prefixes.0))?,
        &RuleSet::binding(),
        OffsetDateTime::UNIX_EPOCH,
        &Options::default(),
    )?;
    bed.apply(live.compiled())?;
    let changed: Vec<(IpAddr, u8)> = list(prefixes.1).collect();
    let start = Instant::now();
    live.replace(LIST, changed.into_iter())?;
    let compile_time = start.elapsed();
    let in_place = Steps { load: Duration::ZERO, compile: compile_time, apply: bed.apply(live.compiled())? };
    let mut stopwatch = Stopwatch::default();
    stopwatch.compile(&files_with_list(&set, prefixes.0))?;
    let (compiled, mut from_files) = stopwatch.compile(&files_with_list(&set, prefixes.1))?;
    from_files.apply = bed.apply(&compiled)?;
    Ok(ListFigures { rules, prefixes, from_files, in_place, memory: live.compiled().memory.total() })
}

/// The name of the list.
const LIST: &str = "listed";

/// Hosts that lie apart, as those of a block list do.
fn list(count: usize) -> impl Iterator<Item = (IpAddr, u8)> {
    let spread = |n: u32| n.wrapping_mul(2_654_435_761);
    (0..).take(count).map(move |n| (Ipv4Addr::from_bits(spread(n)).into(), 32))
}

/// The rule set behind a rule for the list.
fn files_with_list(set: &RuleSet, count: usize) -> Vec<SourceFile> {
    let mut text = format!("version = 1\n[addresses]\n{LIST} = [\n");
    for (addr, _) in list(count) {
        let _ = writeln!(text, "\"{addr}\",");
    }
    let _ = write!(
        text,
        "]\n[[rule]]\nid = \"{LIST}\"\nfrom = [\"{}\"]\nto = [\"{}\"]\nsource = [\"@{LIST}\"]\naction = \"drop\"\n",
        super::OUTSIDE,
        super::INSIDE
    );
    let mut files = vec![SourceFile { name: "list.toml".to_owned(), text }];
    files.extend(set.files());
    files
}
