//! Kernel settings of this network name space: which ones a forwarding host needs (pure), and writing those that differ.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One setting below `/proc/sys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Path below `/proc/sys`.
    pub path: String,
    /// The value to have.
    pub value: String,
    /// Not having it is an error; else it is worth a debug line, as kernels and name spaces differ in what they offer.
    pub required: bool,
    /// When a value that is there already is good enough.
    pub accept: Accept,
}

/// Which values besides the wanted one are left as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// None.
    Exactly,
    /// Larger numbers.
    AtLeast,
    /// What the kernel made of a time in milliseconds: it counts in ticks, of at most 10 ms.
    SameTick,
}

impl Setting {
    /// A setting that the firewall does not work without.
    pub fn required(path: impl Into<String>, value: impl ToString) -> Self {
        Self { path: path.into(), value: value.to_string(), required: true, accept: Accept::Exactly }
    }

    /// A setting that not every kernel or name space has.
    pub fn optional(path: impl Into<String>, value: impl ToString) -> Self {
        Self { required: false, ..Self::required(path, value) }
    }

    /// A size that is only ever raised.
    pub fn at_least(path: impl Into<String>, value: u64) -> Self {
        Self { required: false, accept: Accept::AtLeast, ..Self::required(path, value) }
    }

    /// A time that not every kernel lets one set.
    pub fn milliseconds(path: impl Into<String>, value: u32) -> Self {
        Self { required: false, accept: Accept::SameTick, ..Self::required(path, value) }
    }

    fn is_met_by(&self, current: &str) -> bool {
        let (Ok(current), Ok(wanted)) = (current.parse::<u64>(), self.value.parse()) else {
            return current == self.value;
        };
        match self.accept {
            Accept::Exactly => current == wanted,
            Accept::AtLeast => current >= wanted,
            Accept::SameTick => current.abs_diff(wanted) <= 10,
        }
    }
}

/// Turns forwarding on; the last settings to be made.
#[must_use]
pub fn forwarding() -> Vec<Setting> {
    vec![
        Setting::required("net/ipv4/conf/all/forwarding", 1),
        Setting::required("net/ipv4/conf/default/forwarding", 1),
        Setting::required("net/ipv6/conf/all/forwarding", 1),
        Setting::required("net/ipv6/conf/default/forwarding", 1),
    ]
}

/// Settings of the whole name space, without forwarding itself.
#[must_use]
pub fn host() -> Vec<Setting> {
    let mut settings = vec![
        // The effective reverse path filter is the larger of this and the interface's.
        Setting::required("net/ipv4/conf/all/rp_filter", 0),
        Setting::required("net/ipv4/conf/all/send_redirects", 0),
        Setting::required("net/ipv4/conf/all/accept_redirects", 0),
    ];
    for family in ["ipv4", "ipv6"] {
        let threshold = |n: u32, value| Setting::at_least(format!("net/{family}/neigh/default/gc_thresh{n}"), value);
        settings.extend([threshold(1, 4_096), threshold(2, 16_384), threshold(3, 32_768)]);
        // The kernel's round over the managed neighbours; a child name space cannot set it and has 5 s.
        settings.push(Setting::milliseconds(format!("net/{family}/neigh/default/interval_probe_time_ms"), 1_000));
    }
    settings
}

/// Settings of one forwarding interface.
///
/// The neighbour times let a host that was replaced without a word (same address, another hardware address) be found
/// within seconds: an entry counts as confirmed for 1.5 to 4.5 s, is then probed at its old hardware address for under
/// two seconds, and then asked for by broadcast.
#[must_use]
pub fn interface(name: &str) -> Vec<Setting> {
    let mut settings = vec![
        Setting::required(format!("net/ipv4/conf/{name}/rp_filter"), 0),
        Setting::required(format!("net/ipv4/conf/{name}/send_redirects"), 0),
        Setting::required(format!("net/ipv4/conf/{name}/accept_redirects"), 0),
        Setting::required(format!("net/ipv6/conf/{name}/accept_redirects"), 0),
        // A forwarding host accepts router advertisements only with 2.
        Setting::required(format!("net/ipv6/conf/{name}/accept_ra"), 2),
        Setting::optional(format!("net/ipv6/conf/{name}/accept_ra_defrtr"), 1),
    ];
    for family in ["ipv4", "ipv6"] {
        let path = |key: &str| format!("net/{family}/neigh/{name}/{key}");
        settings.extend([
            Setting::milliseconds(path("base_reachable_time_ms"), 3_000),
            Setting::optional(path("delay_first_probe_time"), 1),
            Setting::milliseconds(path("retrans_time_ms"), 250),
            Setting::optional(path("ucast_solicit"), 3),
            Setting::optional(path("mcast_solicit"), 3),
            Setting::optional(path("mcast_resolicit"), 3),
        ]);
    }
    settings
}

/// Settings that keep another interface as it was although `all` or forwarding changes what its own settings mean:
/// `rp_filter` is its effective reverse path filter so far, `accept_ra` its own setting so far.
#[must_use]
pub fn bystander(name: &str, rp_filter: u32, accept_ra: u32) -> Vec<Setting> {
    let mut settings = vec![Setting::optional(format!("net/ipv4/conf/{name}/rp_filter"), rp_filter)];
    if accept_ra == 1 {
        settings.push(Setting::optional(format!("net/ipv6/conf/{name}/accept_ra"), 2));
    }
    settings
}

/// Reads a number below `/proc/sys`.
#[must_use]
pub fn read_number(path: &str) -> Option<u32> {
    fs::read_to_string(root().join(path)).ok()?.trim().parse().ok()
}

/// Forwarding is on, in both families.
#[must_use]
pub fn is_forwarding() -> bool {
    ["net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"].iter().all(|path| read_number(path) == Some(1))
}

/// Makes each setting that is not as wanted; `reason` is for the log. An error names the first required one that could
/// not be made.
pub fn apply_all(settings: &[Setting], reason: &str) -> io::Result<()> {
    let mut changed = Vec::new();
    let result = settings.iter().try_for_each(|setting| {
        if apply(&root(), setting)? {
            changed.push(format!("{}={}", setting.path, setting.value));
        }
        Ok(())
    });
    if !changed.is_empty() {
        tracing::info!(reason, settings = changed.join(" "), "changed kernel settings");
    }
    result
}

fn root() -> PathBuf {
    PathBuf::from("/proc/sys")
}

/// True if the setting was changed.
fn apply(root: &Path, setting: &Setting) -> io::Result<bool> {
    let path = root.join(&setting.path);
    let result = fs::read_to_string(&path).and_then(|current| {
        let current = current.trim();
        if setting.is_met_by(current) {
            return Ok(false);
        }
        fs::write(&path, &setting.value)?;
        Ok(true)
    });
    match result {
        Err(error) if setting.required => {
            Err(io::Error::new(error.kind(), format!("/proc/sys/{} = {}: {error}", setting.path, setting.value)))
        }
        Err(error) => {
            tracing::debug!(setting = %setting.path, %error, "left a kernel setting as it is");
            Ok(false)
        }
        Ok(changed) => Ok(changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_only_raised() {
        let setting = Setting::at_least("net/x", 4_096);
        assert!(setting.is_met_by("8192"));
        assert!(!setting.is_met_by("128"));
        assert!(!Setting::required("net/x", 1).is_met_by("2"));
    }

    #[test]
    fn a_time_is_met_by_what_the_kernel_rounds_it_to() {
        assert!(Setting::milliseconds("net/x", 250).is_met_by("252"));
        assert!(!Setting::milliseconds("net/x", 250).is_met_by("1000"));
    }

    #[test]
    fn what_differs_is_written_and_what_is_missing_is_an_error_only_if_required() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("there"), "1\n").unwrap();
        assert!(apply(root.path(), &Setting::required("there", 0)).unwrap());
        assert!(!apply(root.path(), &Setting::required("there", 0)).unwrap());
        assert_eq!(fs::read_to_string(root.path().join("there")).unwrap(), "0");
        assert!(!apply(root.path(), &Setting::optional("missing", 0)).unwrap());
        let error = apply(root.path(), &Setting::required("missing", 0)).unwrap_err();
        assert!(error.to_string().contains("/proc/sys/missing = 0"), "{error}");
    }

    #[test]
    fn an_interface_that_does_not_forward_keeps_its_router_when_forwarding_is_turned_on() {
        assert!(bystander("ens5", 2, 1).contains(&Setting::optional("net/ipv6/conf/ens5/accept_ra", 2)));
        assert_eq!(bystander("ens5", 2, 0), [Setting::optional("net/ipv4/conf/ens5/rp_filter", 2)]);
    }
}
