//! What a benchmark found: rows for the table, ratios with their aims, figures for the summary.

use super::aim;
use super::sample::Measured;

/// The result of one benchmark.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What was measured, for the head of the table.
    pub(super) title: String,
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
    pub(super) ratios: Vec<Ratio>,
    pub(super) figures: Vec<Figure>,
    pub(super) curves: Vec<Curve>,
}

/// Points of a plot that are no figures.
#[derive(Debug)]
pub(super) struct Curve {
    /// Name of the plot.
    pub(super) plot: &'static str,
    pub(super) label: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A quotient that is compared between machines and versions.
#[derive(Debug)]
pub(super) struct Ratio {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) aim: Option<aim::Aim>,
}

/// A number of this machine.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
}

impl Outcome {
    pub(super) fn ratio(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        let aim = aim::of(&name);
        self.ratios.push(Ratio { name, value, aim });
    }

    pub(super) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), value, unit });
    }

    /// The outcome of lanes through the chain: costs of events in nanoseconds, above those of the lane `drop`.
    pub(super) fn of_chain(benchmark: &str, events: &'static str, title: String, lanes: &[Measured]) -> Self {
        let mut outcome = Self {
            title: format!("{title}: {events}"),
            columns: vec!["candidate", "ns", "own ns", "million/s", "of redirect", "as meant"],
            ..Self::default()
        };
        let find = |label: &str| lanes.iter().find(|lane| lane.label == label);
        let (base, floor) = (find("drop"), find("redirect"));
        for lane in lanes {
            let own = base.map(|base| lane.above(base));
            let ratio = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
            outcome.rows.push(vec![
                lane.label.clone(),
                format!("{:.1}", lane.cost()),
                own.map_or_else(String::new, |own| format!("{own:.1}")),
                format!("{:.3}", 1e3 / lane.cost()),
                ratio(floor.map(|floor| lane.rate_to(floor))),
                format!("{:.2} %", lane.arrived * 100.0),
            ]);
            outcome.figure(format!("{benchmark}/{}", lane.label), 1e3 / lane.cost(), "million/s");
            if let Some(own) = own {
                outcome.figure(format!("{benchmark}/{}/own", lane.label), own, "ns");
            }
        }
        outcome
    }
}
