//! `fw-lab classifier`: what rule sets of ClassBench's styles cost, from their text to a packet.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use fw_testkit::classbench::measure::{self, AnalysisFigures, Figures, Steps};
use fw_testkit::classbench::{Family, Style};

#[derive(Args, Debug)]
pub(crate) struct Classifier {
    /// Numbers of rules; ratios are to the first.
    #[arg(long, value_name = "N", num_args = 1.., default_values_t = [10, 1_000, 100_000])]
    rules: Vec<usize>,
    /// Packets of each trace.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    flows: usize,
    /// Measures a change of a long list instead: this many other rules, prefixes before, prefixes after.
    #[arg(long, value_name = "N", num_args = 3)]
    list: Option<Vec<usize>>,
    /// Measures the analysis of `fwctl policy check` instead.
    #[arg(long)]
    analysis: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Classifier) -> Result<ExitCode> {
    if let Some([rules, before, after]) = arguments.list.as_deref() {
        let figures = measure::measure_list(*rules, (*before, *after))?;
        if arguments.json {
            println!("{}", serde_json::to_string(&figures)?);
        } else {
            println!("{rules} rules and a list of {before} prefixes that become {after}, {} KiB", figures.memory >> 10);
            println!("  from the files: {}", steps(&figures.from_files));
            println!("  in place: {}", steps(&figures.in_place));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.analysis {
        return analysis(arguments);
    }
    for family in [Family::V4, Family::V6] {
        for style in Style::ALL {
            let mut base: Option<Figures> = None;
            for rules in &arguments.rules {
                let figures = measure::measure(style, family, *rules, arguments.flows)?;
                if arguments.json {
                    println!("{}", serde_json::to_string(&figures)?);
                } else {
                    print(&figures, base.as_ref());
                }
                base.get_or_insert(figures);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn analysis(arguments: &Classifier) -> Result<ExitCode> {
    for family in [Family::V4, Family::V6] {
        for (style, rules) in
            Style::ALL.into_iter().flat_map(|style| arguments.rules.iter().map(move |rules| (style, *rules)))
        {
            let figures = measure::measure_analysis(style, family, rules)?;
            if arguments.json {
                println!("{}", serde_json::to_string(&figures)?);
                continue;
            }
            let AnalysisFigures { style, family, rules, load, analyse, plan, invariants, findings } = figures;
            let analyse = analyse.map(|time| format!(", analysis {:.3} s", time.as_secs_f64())).unwrap_or_default();
            let plan = plan.map(|(time, flips)| {
                let seconds = time.as_secs_f64();
                format!(", plan for one rule that is changed {seconds:.3} s ({flips} flips)")
            });
            let plan = plan.unwrap_or_default();
            println!("{style} IPv{family}, {rules} rules: read {:.3} s{analyse}{plan}", load.as_secs_f64());
            for (name, time, is_decided) in invariants {
                let undecided = if is_decided { "" } else { ", undecided" };
                println!("  invariant about {name}: {:.3} s{undecided}", time.as_secs_f64());
            }
            let found: Vec<String> = findings.iter().map(|(code, count)| format!("{count} {code}")).collect();
            println!("  {}", found.join(", "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(figures: &Figures, base: Option<&Figures>) {
    let Figures { style, family, rules, text, first, one_rule, one_address, memory, new_flow } = figures;
    println!("{style} IPv{family}, {rules} rules, {} KiB of text", text >> 10);
    println!("  first: {}", steps(first));
    println!("  other services in one rule: {}; another address: {}", steps(one_rule), steps(one_address));
    println!("  tables: {} KiB predicted, {} KiB taken", memory.0 >> 10, memory.1 >> 10);
    for (position, (name, nanoseconds)) in new_flow.iter().enumerate() {
        let ratio =
            base.map(|base| format!(", {:.2} of {} rules", nanoseconds / base.new_flow[position].1, base.rules));
        println!("  new flow, {name}: {nanoseconds:.0} ns{}", ratio.unwrap_or_default());
    }
}

fn steps(Steps { load, compile, apply }: &Steps) -> String {
    let millis = [load, compile, apply].map(|step| format!("{:.1}", step.as_secs_f64() * 1e3));
    format!("read {} + compile {} + load {} ms", millis[0], millis[1], millis[2])
}
