//! Settings of the machine, which belong to no name space: changed for a while and set back, also when a signal ends the
//! program.

use std::fs;
use std::sync::Mutex;

use anyhow::{Context, Result};

/// What to write back, which a signal must find as well.
static BEFORE: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

/// A changed setting; dropping it puts the old value back.
pub(super) struct Setting(&'static str);

impl Setting {
    /// Changes a setting if its value is not as `wanted`.
    pub(super) fn change(path: &'static str, value: &str, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let old = fs::read_to_string(path).with_context(|| format!("read {path}"))?.trim().to_owned();
        let setting = Self(path);
        if !wanted(&old) {
            if let Ok(mut before) = BEFORE.lock() {
                before.push((path, old));
            }
            if let Err(error) = fs::write(path, value) {
                // Nothing to put back.
                if let Ok(mut before) = BEFORE.lock() {
                    before.retain(|(changed, _)| *changed != path);
                }
                return Err(error).with_context(|| format!("set {path} to {value}, which root may"));
            }
        }
        Ok(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        restore(|path| path == self.0);
    }
}

/// Puts back whatever is changed.
pub(super) fn restore_all() {
    restore(|_| true);
}

fn restore(chosen: impl Fn(&str) -> bool) {
    let Ok(mut before) = BEFORE.lock() else { return };
    for (path, old) in before.extract_if(.., |(path, _)| chosen(path)) {
        if let Err(error) = fs::write(path, &old) {
            eprintln!("fw-lab: {path} could not be set back to {old}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_put_back_once_and_left_alone_if_it_is_as_wanted() {
        let path = std::env::temp_dir().join(format!("outpost-fw-setting-{}", std::process::id()));
        fs::write(&path, "5\n").unwrap();
        let name: &'static str = String::leak(path.display().to_string());
        let enough = |value: &str| value.parse::<u32>().is_ok_and(|value| value >= 7);
        let changed = Setting::change(name, "7", enough).unwrap();
        let kept = Setting::change(name, "9", enough).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7");
        drop(changed);
        assert_eq!(fs::read_to_string(&path).unwrap(), "5");
        fs::write(&path, "6").unwrap();
        drop(kept);
        assert_eq!(fs::read_to_string(&path).unwrap(), "6");
        fs::remove_file(&path).unwrap();
    }
}
