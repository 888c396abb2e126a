//! The result as text.

use std::time::Duration;

use super::outcome::{Outcome, Ratio};

/// Prints one benchmark.
pub(super) fn print(outcome: &Outcome) {
    println!("\n{}", outcome.title);
    let head: Vec<String> = outcome.columns.iter().map(|column| (*column).to_owned()).collect();
    print_rows(&[std::slice::from_ref(&head), &outcome.rows].concat());
}

/// Prints every ratio beside its aim.
pub(super) fn print_ratios<'outcome>(ratios: impl Iterator<Item = &'outcome Ratio>) {
    println!("\nratios");
    let mut rows = vec![["ratio", "measured", "aim", ""].map(str::to_owned).to_vec()];
    rows.extend(ratios.map(|ratio| {
        let (aim, met) = match ratio.aim {
            Some(aim) => (aim.to_string(), if aim.is_met(ratio.value) { "met" } else { "missed" }),
            None => (String::new(), ""),
        };
        let digits = if ratio.value < 0.1 { 4 } else { 3 };
        vec![ratio.name.clone(), format!("{:.digits$}", ratio.value), aim, met.to_owned()]
    }));
    print_rows(&rows);
}

/// Prints how long the benchmarks took.
pub(super) fn print_times(times: &[(String, Duration)]) {
    println!("\ntimes");
    let row = |(title, time): &(String, Duration)| vec![title.clone(), format!("{:.1} s", time.as_secs_f64())];
    print_rows(&times.iter().map(row).collect::<Vec<_>>());
}

/// Pads the first column on the right and the others on the left.
fn print_rows(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::from(" ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            line += &if column == 0 { format!(" {cell}{padding}") } else { format!("  {padding}{cell}") };
        }
        println!("{}", line.trim_end());
    }
}
