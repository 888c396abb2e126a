//! The policy in `policies/`, which the demo and the lab use, is valid and passes its own tests.

use fw_policy::{Binding, InterfaceBinding, ManagementBinding, Severity, SourceFile, TestKind, load};
use time::macros::datetime;

/// The files in byte order of their names, as the agent reads them.
fn files() -> Vec<SourceFile> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    let entries = std::fs::read_dir(directory).expect("the directory is in the repository");
    let entries = entries.map(|entry| entry.expect("a file is readable").path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    paths.sort_unstable();
    let file = |path: &std::path::PathBuf| SourceFile {
        name: path.file_name().expect("a file has a name").to_string_lossy().into_owned(),
        text: std::fs::read_to_string(path).expect("a policy file is text"),
    };
    paths.iter().map(file).collect()
}

fn reference_binding() -> Binding {
    let interface = |name: &str, zones: &[&str]| InterfaceBinding {
        name: name.to_owned(),
        zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
    };
    Binding {
        interfaces: vec![
            interface("exposed0", &["onprem", "exposed"]),
            interface("ot0", &["ot"]),
            interface("it0", &["it"]),
            interface("mgmt0", &[]),
        ],
        management: Some(ManagementBinding { slot: 3, allow: vec!["tcp/9477 from 10.3.0.0/16".to_owned()] }),
        ..Binding::default()
    }
}

#[test]
fn it_is_valid_and_passes_its_tests() {
    let policy = load(&files()).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert_eq!(policy.warnings(), []);
    let now = datetime!(2026-07-01 0:00 UTC);
    for binding in [reference_binding(), Binding::offline(&policy)] {
        let compiled = policy.compile(&binding, now).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        let found = policy.analyse(&binding, now);
        assert!(found.items.iter().all(|finding| finding.severity == Severity::Note), "{found}");
        let results = policy.run_tests(&compiled, now);
        let invariants = results.iter().filter(|result| result.kind == TestKind::Invariant).count();
        assert!(results.len() >= 12 && invariants == policy.invariant_count());
        for result in results {
            assert!(result.passed, "{}:{}: {}: {}", result.file, result.line, result.name, result.message);
        }
    }
}

#[test]
fn zones_are_told_apart_as_the_interfaces_see_them() {
    let policy = load(&files()).unwrap();
    let compiled = policy.compile(&reference_binding(), datetime!(2026-07-01 0:00 UTC)).unwrap();
    let zone = |slot, addr: &str| {
        let id = compiled.tables.zone(slot, &addr.parse::<std::net::IpAddr>().unwrap().into());
        compiled.zones.iter().find(|zone| zone.id == id).map_or("none", |zone| zone.name.as_str())
    };
    assert_eq!(zone(0, "192.168.10.10"), "onprem");
    assert_eq!(zone(0, "10.0.1.50"), "exposed");
    assert_eq!(zone(0, "fd00:0:0:a10::10"), "onprem");
    assert_eq!(zone(0, "10.1.1.50"), "none", "OT's addresses are spoofed on the exposed interface");
    assert_eq!(zone(0, "172.16.0.1"), "none");
    assert_eq!(zone(1, "10.1.1.50"), "ot");
    assert_eq!(zone(1, "169.254.169.254"), "(link)");
    assert_eq!(zone(1, "fe80::1"), "(link)");
    assert_eq!(zone(3, "10.3.0.1"), "(management)");
    assert_eq!(zone(3, "fd00:ec2::254"), "(link)");
}
