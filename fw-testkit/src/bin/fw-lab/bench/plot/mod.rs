//! The results as plots: SVG files beside `summary.json`, one for each subject that was measured.
//!
//! `catalogue` says what is shown, `bars` and `lines` draw it, `scale` and `svg` know axes and elements.

mod bars;
mod catalogue;
mod lines;
mod scale;
mod svg;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::outcome::{Curve, Outcome};

/// What plots are drawn of.
struct Found<'outcomes> {
    figures: BTreeMap<&'outcomes str, f64>,
    curves: Vec<&'outcomes Curve>,
}

/// Writes every plot that something was measured for.
pub(super) fn write(outcomes: &[Outcome], directory: &Path) -> Result<()> {
    let figures = outcomes.iter().flat_map(|outcome| &outcome.figures);
    let found = Found {
        figures: figures.map(|figure| (figure.name.as_str(), figure.value)).collect(),
        curves: outcomes.iter().flat_map(|outcome| &outcome.curves).collect(),
    };
    for (name, picture) in catalogue::plots(&found) {
        let path = directory.join(format!("{name}.svg"));
        fs::write(&path, picture).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
